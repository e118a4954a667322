//! Detail lines: what is too long for a report goes to the log, one JSON object a line, bounded and with a digest. Writes stdout.

use std::io::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Most bytes of detail lines that a Job writes.
const LIMIT: usize = 256 << 10;

/// A line as it stands in the log.
#[derive(Serialize)]
struct Line<T> {
    detail: T,
}

/// The lines written so far.
#[derive(Debug, Default)]
pub struct Details {
    bytes: usize,
    lines: u32,
    cut: u32,
    hash: Sha256,
}

impl Details {
    /// Writes a line, or counts it where there are too many already.
    pub fn line(&mut self, detail: &impl Serialize) {
        let line = format!("{}\n", serde_json::to_string(&Line { detail }).unwrap_or_default());
        if self.cut > 0 || self.bytes + line.len() > LIMIT {
            self.cut += 1;
            return;
        }
        self.bytes += line.len();
        self.lines += 1;
        self.hash.update(line.as_bytes());
        // A log that cannot be written is no reason to end: the digest tells.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }

    /// Number of lines and their digest, hexadecimal; how many were left out is logged.
    pub fn end(self) -> (u32, String) {
        let _ = std::io::stdout().lock().flush();
        if self.cut > 0 {
            tracing::warn!(left_out = self.cut, "more details than a log may hold");
        }
        (self.lines, base16ct::lower::encode_string(&self.hash.finalize()))
    }
}

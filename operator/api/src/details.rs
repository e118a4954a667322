//! Detail lines of a Job's log: what is too long for its report, one JSON object a line. Reads them. Pure.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::digest;

#[derive(Deserialize)]
struct Line<T> {
    detail: T,
}

/// The details among the lines of a log; none when they are not those that the digest in the report is of. Lines of other kinds
/// are passed over.
pub fn read<T: DeserializeOwned>(log: &str, sha256: &str) -> Option<Vec<T>> {
    let mut text = String::new();
    let mut details = Vec::new();
    for line in log.lines() {
        let Ok(Line { detail }) = serde_json::from_str(line) else { continue };
        text.push_str(line);
        text.push('\n');
        details.push(detail);
    }
    (digest::sha256(text) == sha256).then_some(details)
}

//! Sees the output of a child as it passes, counts it, and finds out whether it is what it should be. Reads and blocks.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenlang_backup_store::Activity;

use super::archive::{ArchiveError, Inspected, Inspector};

/// Everything of `pg_dumpall` starts with a comment.
const SQL_MAGIC: &[u8] = b"--";
/// How much is read on after damage was found, to see whether the child ends by itself and says more about it.
const DRAIN: usize = 16 << 20;

/// What a child is to write.
#[derive(Clone, Debug)]
pub enum Output {
    /// Commands.
    Sql,
    /// An archive of `pg_dump`.
    Archive {
        /// For formats that cannot be walked: the program of the server's major version.
        pg_restore: PathBuf,
    },
}

/// What a child wrote instead.
#[derive(Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    Nothing,
    /// No commands.
    NotSql,
    /// No whole archive.
    Archive(ArchiveError),
}

/// What is known of an output at its end: of an archive, what is in it.
pub type Checked = Result<Option<Inspected>, Damage>;

/// The source as it passes.
pub struct Tap {
    source: File,
    counter: Arc<AtomicU64>,
    activity: Activity,
    any: bool,
    check: Check,
}

enum Check {
    Sql { start: Vec<u8> },
    Archive(Inspector),
    Damaged(ArchiveError),
}

impl Tap {
    /// Before the first byte. All bytes are added to the counter, and are told to have moved.
    pub fn new(source: File, counter: Arc<AtomicU64>, activity: Activity, output: Output) -> Self {
        let check = match output {
            Output::Sql => Check::Sql { start: Vec::with_capacity(SQL_MAGIC.len()) },
            Output::Archive { pg_restore } => Check::Archive(Inspector::new(pg_restore)),
        };
        Self { source, counter, activity, any: false, check }
    }

    /// Judges what passed, once all of it has.
    pub fn finish(self) -> Checked {
        match self.check {
            _ if !self.any => Err(Damage::Nothing),
            Check::Sql { start } if start == SQL_MAGIC => Ok(None),
            Check::Sql { .. } => Err(Damage::NotSql),
            Check::Archive(inspector) => inspector.finish().map(Some).map_err(Damage::Archive),
            Check::Damaged(error) => Err(Damage::Archive(error)),
        }
    }

    /// Whether the source ends soon. Then its child ended by itself, and its exit status is to be believed first.
    fn ends(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut drained = 0;
        while drained < DRAIN {
            match self.source.read(buffer) {
                Ok(0) => return Ok(true),
                Ok(read) => drained += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl Read for Tap {
    /// Fails with an [`ArchiveError`] where an archive is damaged and its child goes on writing.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.counter.fetch_add(read as u64, Ordering::Relaxed);
        self.activity.moved(read as u64);
        self.any |= read > 0;
        let bytes = &buffer[..read];
        let error = match &mut self.check {
            Check::Sql { start } => {
                let wanted = (SQL_MAGIC.len() - start.len()).min(read);
                start.extend_from_slice(&bytes[..wanted]);
                return Ok(read);
            }
            Check::Archive(inspector) => match inspector.push(bytes) {
                Ok(()) => return Ok(read),
                Err(error) => error,
            },
            Check::Damaged(error) => error.clone(),
        };
        self.check = Check::Damaged(error.clone());
        if self.ends(buffer)? { Ok(0) } else { Err(io::Error::other(error)) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    fn read(content: &[u8], output: Output) -> (io::Result<u64>, u64, Checked) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let counter = Arc::new(AtomicU64::new(0));
        let mut tap = Tap::new(file, Arc::clone(&counter), Activity::default(), output);
        let copied = io::copy(&mut tap, &mut io::sink());
        (copied, counter.load(Ordering::Relaxed), tap.finish())
    }

    fn archive() -> Output {
        Output::Archive { pg_restore: "/nonexistent".into() }
    }

    #[test]
    fn commands_start_with_a_comment() {
        let (copied, counted, checked) = read(b"-- roles\n", Output::Sql);
        assert_eq!((copied.unwrap(), counted), (9, 9));
        assert_eq!(checked, Ok(None));
        for other in ["-", "roles\n"] {
            assert_eq!(read(other.as_bytes(), Output::Sql).2, Err(Damage::NotSql));
        }
    }

    #[test]
    fn nothing_is_neither() {
        for output in [Output::Sql, archive()] {
            assert_eq!(read(b"", output).2, Err(Damage::Nothing));
        }
    }

    #[test]
    fn a_damaged_archive_whose_child_ends_is_read_to_its_end() {
        let (copied, _, checked) = read(b"no archive", archive());
        assert!(copied.is_ok(), "the exit status comes first");
        assert_eq!(checked, Err(Damage::Archive(ArchiveError::NotAnArchive)));
    }

    #[test]
    fn a_damaged_archive_that_goes_on_is_given_up() {
        let (copied, _, checked) = read(&vec![b'x'; DRAIN + (1 << 20)], archive());
        assert!(copied.is_err());
        assert_eq!(checked, Err(Damage::Archive(ArchiveError::NotAnArchive)));
    }
}

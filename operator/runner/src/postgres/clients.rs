//! Picks the PostgreSQL client programs of a server's major version. Looks at the file system.

use std::fs;
use std::path::{Path, PathBuf};

use super::PostgresError;

/// Overrides where the clients are, for images that are not Debian's.
const PATTERN_ENV: &str = "GREENLANG_PG_BIN_DIR";
/// Where Debian has them, side by side.
const DEFAULT_PATTERN: &str = "/usr/lib/postgresql/{major}/bin";
const MAJOR: &str = "{major}";

/// The clients of an image.
pub struct Clients {
    pattern: String,
}

impl Clients {
    /// As the environment says, or as Debian has it.
    pub fn from_env() -> Self {
        Self { pattern: std::env::var(PATTERN_ENV).unwrap_or_else(|_| DEFAULT_PATTERN.to_owned()) }
    }

    /// Directory of the programs of a major version.
    pub fn directory(&self, major: u32) -> Result<PathBuf, PostgresError> {
        let directory = PathBuf::from(self.pattern.replace(MAJOR, &major.to_string()));
        if directory.join("pg_dump").exists() {
            Ok(directory)
        } else {
            Err(PostgresError::UnsupportedServerVersion { major, found: self.majors() })
        }
    }

    fn majors(&self) -> Vec<u32> {
        let parent = self.pattern.split(MAJOR).next().unwrap_or_default();
        let mut majors: Vec<u32> = fs::read_dir(Path::new(parent))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        majors.sort_unstable();
        majors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_client_names_those_that_are_there() {
        let image = tempfile::tempdir().unwrap();
        for major in ["9", "15", "17", "common"] {
            let directory = image.path().join(major).join("bin");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("pg_dump"), "").unwrap();
        }
        let clients = Clients { pattern: format!("{}/{{major}}/bin", image.path().display()) };
        assert_eq!(clients.directory(17).unwrap(), image.path().join("17/bin"));
        let error = clients.directory(16).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server is PostgreSQL 16, and this image has clients for 9, 15, 17: use an image with the client of 16"
        );
    }
}

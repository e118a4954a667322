//! Decides where every object lies in the bucket. Pure.

use greenlang_backup_api::manifest::FILE_NAME;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::FILE_NAME as OWNER;
use greenlang_backup_api::restore::record_key;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a key: the characters that no S3 server, shell or URL gives a meaning to. A database may be
/// called `a/b "é`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Ending of every sealed object: what it went through, in this order.
const SEALED: &str = "zst.age";

/// File name of the manifest of a backup that is being deleted.
const DELETED: &str = "deleted.json";

/// The keys below one prefix of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Empty, or segments that each end in a slash.
    prefix: String,
}

/// The keys of one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupKeys {
    /// `<prefix>/<path>/<id>/`.
    directory: String,
}

impl Layout {
    /// Slashes at the ends of the prefix, and doubled ones within, count as none.
    pub fn new(prefix: &str) -> Self {
        let segments = prefix.split('/').filter(|segment| !segment.is_empty());
        Self { prefix: segments.flat_map(|segment| [segment, "/"]).collect() }
    }

    /// Keys of the backup of a path and id.
    pub fn backup(&self, path: &str, id: &BackupId) -> BackupKeys {
        BackupKeys { directory: format!("{}{}/{id}/", self.prefix, encode(path)) }
    }

    /// Prefix of all backups of a path; ends in a slash, so `data` does not match `database`.
    pub fn path(&self, path: &str) -> String {
        format!("{}{}/", self.prefix, encode(path))
    }

    /// The backup in whose directory a key lies; none when it lies in none.
    pub fn id_of(&self, path: &str, key: &str) -> Option<BackupId> {
        key.strip_prefix(&self.path(path))?.split_once('/')?.0.parse().ok()
    }

    /// Key of the record of a restore, by namespace and name of its request.
    pub fn record(&self, namespace: &str, name: &str) -> String {
        format!("{}{}", self.prefix, record_key(namespace, name))
    }

    /// Key of the file that says who writes here.
    pub fn owner(&self) -> String {
        format!("{}{OWNER}", self.prefix)
    }

    /// Key of a report about a path, for example of a prune.
    pub fn report(&self, kind: &str, id: &BackupId, path: &str) -> String {
        format!("{}{id}/{}.json", self.reports(kind), encode(path))
    }

    /// Prefix of all reports of a kind.
    pub fn reports(&self, kind: &str) -> String {
        format!("{}reports/{kind}/", self.prefix)
    }

    /// Key of the object that a probe puts and deletes again.
    pub fn probe(&self, marker: &str) -> String {
        format!("{}.probe/{}", self.prefix, encode(marker))
    }
}

impl BackupKeys {
    /// Key of the manifest.
    pub fn manifest(&self) -> String {
        format!("{}{FILE_NAME}", self.directory)
    }

    /// Prefix of everything of the backup; ends in a slash.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Key of the manifest's copy while the backup is being deleted: what remains of a deletion that was cut off is known by it.
    pub fn deleted(&self) -> String {
        format!("{}{DELETED}", self.directory)
    }

    /// Whether a key is one of those that attempts write below.
    pub fn is_of_attempt(&self, key: &str) -> bool {
        let attempt = key.strip_prefix(&self.directory).and_then(|rest| rest.split_once('/'));
        attempt.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    }

    /// Prefix of everything that an attempt writes; ends in a slash, so attempt 1 does not match attempt 10.
    pub fn attempt(&self, attempt: u32) -> String {
        format!("{}{attempt}/", self.directory)
    }

    /// Key of the archive of a database.
    pub fn database(&self, attempt: u32, database: &str) -> String {
        format!("{}{}.dump.{SEALED}", self.attempt(attempt), encode(database))
    }

    /// Key of the data of a database that a further dump wrote, numbered from 2. Below a directory of its own, which no
    /// database can be called.
    pub fn data(&self, attempt: u32, database: &str, stream: u8) -> String {
        format!("{}data/{}.{stream}.dump.{SEALED}", self.attempt(attempt), encode(database))
    }

    /// Key of the roles and tablespaces as SQL.
    pub fn globals(&self, attempt: u32) -> String {
        format!("{}globals.sql.{SEALED}", self.attempt(attempt))
    }

    /// Key of the roles and tablespaces as structured data.
    pub fn globals_data(&self, attempt: u32) -> String {
        format!("{}globals.json.{SEALED}", self.attempt(attempt))
    }

    /// Key of the server's settings.
    pub fn settings(&self, attempt: u32) -> String {
        format!("{}settings.json.{SEALED}", self.attempt(attempt))
    }

    /// Key of the list of what the databases hold.
    pub fn contents(&self, attempt: u32) -> String {
        format!("{}contents.json.{SEALED}", self.attempt(attempt))
    }
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> BackupId {
        "20251107-020000".parse().unwrap()
    }

    #[test]
    fn keys_are_as_documented() {
        for (prefix, start) in [("", ""), ("/", ""), ("a", "a/"), ("a/b", "a/b/"), ("//a//b//", "a/b/")] {
            let layout = Layout::new(prefix);
            let keys = layout.backup("database", &id());
            let directory = format!("{start}database/20251107-020000");
            assert_eq!(keys.manifest(), format!("{directory}/manifest.json"));
            assert_eq!(keys.attempt(2), format!("{directory}/2/"));
            assert_eq!(keys.globals(2), format!("{directory}/2/globals.sql.zst.age"));
            assert_eq!(keys.globals_data(2), format!("{directory}/2/globals.json.zst.age"));
            assert_eq!(keys.settings(2), format!("{directory}/2/settings.json.zst.age"));
            assert_eq!(keys.contents(2), format!("{directory}/2/contents.json.zst.age"));
            assert_eq!(keys.data(2, "a/b", 3), format!("{directory}/2/data/a%2Fb.3.dump.zst.age"));
            assert_eq!(
                keys.database(2, "green-lang_1.0"),
                format!("{directory}/2/green-lang_1.0.dump.zst.age")
            );
            assert_eq!(layout.probe("p-1"), format!("{start}.probe/p-1"));
        }
    }

    #[test]
    fn keys_are_known_by_their_backup() {
        let layout = Layout::new("a");
        let of = |key| layout.id_of("database", key);
        assert_eq!(of("a/database/20251107-020000/1/x"), Some(id()));
        assert_eq!(of("a/database/20251107-020000/manifest.json"), Some(id()));
        for other in [
            "a/database/20251107-020000",
            "a/database/greenlang_20251107.sql.gz",
            "a/database2/20251107-020000/x",
            "database/20251107-020000/x",
            "a/database/20251307-020000/x",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let keys = layout.backup("database", &id());
        let key = |rest| format!("{}{rest}", keys.directory());
        assert!(keys.is_of_attempt(&key("1/x")) && keys.is_of_attempt(&key("12/data/x")));
        for rest in ["x", "manifest.json", "x/1", "-1/x", "1"] {
            assert!(!keys.is_of_attempt(&key(rest)), "{rest}");
        }
        assert_eq!(
            layout.report("prune", &id(), "database"),
            "a/reports/prune/20251107-020000/database.json"
        );
        assert_eq!((layout.owner(), keys.deleted()), ("a/.owner.json".into(), key("deleted.json")));
    }

    #[test]
    fn hostile_names_are_encoded() {
        let keys = Layout::new("").backup("database", &id());
        for (name, encoded) in [
            ("a/b \"é", "a%2Fb%20%22%C3%A9"),
            ("..", ".."),
            ("a%2Fb", "a%252Fb"),
            ("a'$(b)`\n", "a%27%24%28b%29%60%0A"),
        ] {
            assert_eq!(keys.database(1, name), format!("database/20251107-020000/1/{encoded}.dump.zst.age"));
        }
    }

    proptest! {
        #[test]
        fn names_stay_apart_and_in_their_directory(one in "\\PC{1,63}", other in "\\PC{1,63}") {
            let keys = Layout::new("p").backup("database", &id());
            let key = keys.database(1, &one);
            let name = key.strip_prefix(&keys.attempt(1)).unwrap();
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.%".contains(c)));
            prop_assert!(key != keys.globals(1) && key != keys.manifest());
            prop_assert_eq!(one == other, key == keys.database(1, &other));
        }
    }
}

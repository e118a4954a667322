//! Derives every name that must come out the same after a crash: backup ids and Job names. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;

/// `strftime` pattern of a backup id: the shape that the shell procedures used (BACKUP-001), so runbooks stay true.
const ID_FORMAT: &str = "%Y%m%d-%H%M%S";

/// Longest name of an object, in bytes.
const MAX_OBJECT_NAME: usize = 253;

/// Whether an object can have this name (RFC 1123); UIDs have the same letters.
pub fn is_object_name(name: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= MAX_OBJECT_NAME
        && bytes.iter().all(|byte| plain(byte) || b"-.".contains(byte))
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
}

/// Name of a backup within its path: its slot in UTC as `yyyymmdd-hhmmss`, for example `20251107-020000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9]{8}-[0-9]{6}$"))]
pub struct BackupId(String);

/// Text that is no backup id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no backup id: expected UTC time as yyyymmdd-hhmmss, for example 20251107-020000")]
pub struct InvalidBackupId(String);

impl BackupId {
    /// The id of a slot; fractions of a second are cut off.
    pub fn from_slot(slot: Timestamp) -> Self {
        Self(slot.strftime(ID_FORMAT).to_string())
    }

    /// The slot that the id stands for.
    pub fn slot(&self) -> Result<Timestamp, InvalidBackupId> {
        let invalid = || InvalidBackupId(self.0.clone());
        let civil = DateTime::strptime(ID_FORMAT, &self.0).map_err(|_| invalid())?;
        Ok(civil.to_zoned(TimeZone::UTC).map_err(|_| invalid())?.timestamp())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, InvalidBackupId> {
        let id = Self(text.to_owned());
        // Formatting what was parsed refuses what strptime is lenient about, such as missing zeros.
        match id.slot() {
            Ok(slot) if Self::from_slot(slot) == id => Ok(id),
            _ => Err(InvalidBackupId(text.to_owned())),
        }
    }
}

impl TryFrom<String> for BackupId {
    type Error = InvalidBackupId;

    fn try_from(text: String) -> Result<Self, InvalidBackupId> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest Job name: the Job controller adds a suffix to make the Pod's name, which must stay within 63 bytes.
pub const MAX_JOB_NAME: usize = 57;
/// Hexadecimal digits of the hash at a name's end.
const HASH_DIGITS: usize = 10;

/// Name of the Job for one attempt: readable first, unique by a hash of all that identifies it. The same identity gives
/// the same name, so a second POST after a crash meets the first Job instead of making another.
pub fn job_name(policy_uid: &str, policy: &str, subject: &str, key: &str, attempt: u32) -> String {
    let digits = digest::short(&[policy_uid, subject, key, &attempt.to_string()], HASH_DIGITS);
    let mut readable = format!("{policy}-{subject}");
    readable.truncate(MAX_JOB_NAME - HASH_DIGITS - 1);
    format!("{}-{digits}", readable.trim_end_matches(['-', '.']))
}

/// A number below `below` that follows from `parts` alone, spread evenly: for delays that must be the same each time.
/// 0 where `below` is 0.
pub fn number_below(parts: &[&str], below: u64) -> u64 {
    let number =
        digest::of_parts(parts).iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number.checked_rem(below).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn id_is_the_slot_in_utc() {
        let slot: Timestamp = "2025-11-07T03:00:00.9+01:00".parse().unwrap();
        let id = BackupId::from_slot(slot);
        assert_eq!(id.as_str(), "20251107-020000");
        assert_eq!(id.slot().unwrap().to_string(), "2025-11-07T02:00:00Z");
    }

    #[test]
    fn ids_of_another_shape_are_refused() {
        for text in [
            "",
            "2025117-020000",
            "20251107T020000",
            "20251307-020000",
            "20251107-0200001",
            "../20251107-020000",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_follow_from_the_parts_and_are_spread() {
        let numbers: Vec<u64> = (0..1000).map(|at| number_below(&["uid", &at.to_string()], 10)).collect();
        for digit in 0..10 {
            let times = numbers.iter().filter(|number| **number == digit).count();
            assert!((60..140).contains(&times), "{digit} came {times} times");
        }
        assert_eq!(number_below(&["a", "b"], 1000), number_below(&["a", "b"], 1000));
        assert_ne!(number_below(&["a", "b"], u64::MAX), number_below(&["ab", ""], u64::MAX));
        assert_eq!(number_below(&["a"], 0), 0);
    }

    proptest! {
        #[test]
        fn job_names_are_dns_labels_and_differ(policy in "[a-z][a-z0-9-]{0,38}[a-z0-9]", backup in "[a-z][a-z0-9-]{0,38}[a-z0-9]", attempt in 1u32..9) {
            let name = job_name("uid", &policy, &backup, "20251107-020000", attempt);
            prop_assert!(name.len() <= MAX_JOB_NAME);
            prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            prop_assert_eq!(&name, &job_name("uid", &policy, &backup, "20251107-020000", attempt));
            prop_assert_ne!(&name, &job_name("uid", &policy, &backup, "20251107-020000", attempt + 1));
            prop_assert_ne!(&name, &job_name("uid2", &policy, &backup, "20251107-020000", attempt));
        }
    }
}

//! Names and marks of the databases that a RestoreRequest makes. A database is ours by its mark and its OID, never by its name
//! alone. Pure.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::v1alpha1::RestoreRequestSpec;

/// Longest name of a database in bytes: PostgreSQL cuts longer ones off without an error, and the rest may be the name of another.
pub const MAX_DATABASE_NAME: usize = 63;
/// Hexadecimal digits of the request's UID hash in a name.
const HASH_DIGITS: usize = 10;
/// Begin of every mark.
const MARK: &str = "greenlang-backup restore ";

/// A RestoreRequest by all its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestIdentity {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl RequestIdentity {
    /// Comment of a database that this request has made or moved out of its place. The UID in it says whose it is.
    pub fn mark(&self) -> String {
        format!("{MARK}{} {}/{}", self.uid, self.namespace, self.name)
    }

    /// Whether a database with this comment is this request's.
    pub fn is_mark(&self, comment: &str) -> bool {
        marked_by(comment) == Some(self.uid.as_str())
    }
}

/// UID of the request whose mark a comment is.
pub fn marked_by(comment: &str) -> Option<&str> {
    comment.strip_prefix(MARK)?.split(' ').next().filter(|uid| !uid.is_empty())
}

/// Name of the database that a request loads into.
pub fn temporary_name(database: &str, uid: &str) -> String {
    derived_name(database, "_restore_", uid)
}

/// Name that a database gets when a request moves it out of its place.
pub fn previous_name(database: &str, uid: &str) -> String {
    derived_name(database, "_before_", uid)
}

/// The name of a database, cut so that the whole fits, what it is for, and a hash of the request's UID and the whole name: names
/// that are equal up to the cut stay different.
fn derived_name(database: &str, purpose: &str, uid: &str) -> String {
    let digits = digest::short(&[uid, database], HASH_DIGITS);
    let room = MAX_DATABASE_NAME - purpose.len() - HASH_DIGITS;
    let readable = &database[..database.floor_char_boundary(room)];
    format!("{readable}{purpose}{digits}")
}

/// SHA-256 of what a request asks for, hexadecimal. `cancel`, which may change, does not count.
pub fn spec_sha256(spec: &RestoreRequestSpec) -> String {
    let asked = RestoreRequestSpec { cancel: false, ..spec.clone() };
    digest::sha256(serde_json::to_vec(&asked).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_says_whose_it_is() {
        let request =
            RequestIdentity { namespace: "greenlang".into(), name: "back".into(), uid: "u-1".into() };
        assert_eq!(request.mark(), "greenlang-backup restore u-1 greenlang/back");
        assert!(request.is_mark(&request.mark()));
        let other = RequestIdentity { uid: "u-12".into(), ..request.clone() };
        assert!(!request.is_mark(&other.mark()), "the UID counts as a whole");
        for comment in ["", "greenlang-backup restore ", "our production database, u-1"] {
            assert!(!request.is_mark(comment), "{comment:?}");
        }
    }

    proptest! {
        #[test]
        fn names_fit_and_differ(database in "[\"A-Za-z é𝄞ß-]{1,63}", tail in "[a-z]{1,4}") {
            let mut names = std::collections::BTreeSet::new();
            for (name, uid) in [(database.clone(), "u1"), (database.clone(), "u2"), (format!("{database}{tail}"), "u1")] {
                for made in [temporary_name(&name, uid), previous_name(&name, uid)] {
                    prop_assert!(made.len() <= MAX_DATABASE_NAME, "{made}");
                    prop_assert_ne!(&made, &database);
                    prop_assert!(names.insert(made));
                }
            }
        }
    }

    #[test]
    fn a_name_that_fills_all_bytes_is_cut_at_a_character() {
        let long = "ä".repeat(31) + "b";
        let name = temporary_name(&long, "uid");
        assert!(name.starts_with(&"ä".repeat(22)), "{name}");
        assert_eq!(name.len(), MAX_DATABASE_NAME);
    }
}

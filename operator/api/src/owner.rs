//! `.owner.json`: who writes below a prefix of a bucket. Whoever does not own it is refused, until told to adopt it. Pure.

use serde::{Deserialize, Serialize};

use crate::digest;

/// File name at the top of the prefix.
pub const FILE_NAME: &str = ".owner.json";
/// Version of the file that this build writes; a reader refuses a newer one.
pub const OWNER_VERSION: u32 = 1;
/// Hexadecimal digits of an owner's id.
const ID_DIGITS: usize = 12;

/// A policy by what stays the same when it is deleted and made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// UID of the namespace `kube-system`, which stands for the cluster.
    pub cluster_uid: String,
    /// Namespace of the policy.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
}

/// Who asks to be the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The policy that the Job is of.
    pub owner: Owner,
    /// Id of the owner that it may take the place of ([`Owner::id`]), from the annotation `backup.greenlang.io/adopt`.
    pub adopt: Option<String>,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerFile {
    /// [`OWNER_VERSION`] of the writer.
    pub version: u32,
    /// Who writes here.
    pub owner: Owner,
    /// Who wrote here before, oldest first: their backups are the owner's now.
    #[serde(default)]
    pub adopted: Vec<Owner>,
}

impl Owner {
    /// Short name that tells it from any other.
    pub fn id(&self) -> String {
        digest::short(&[&self.cluster_uid, &self.namespace, &self.policy], ID_DIGITS)
    }

    /// The mark on every object that it stores.
    pub fn mark(&self) -> String {
        format!("{}/{}", self.namespace, self.policy)
    }
}

impl OwnerFile {
    /// Of somebody who writes where nobody did before.
    pub fn new(owner: Owner) -> Self {
        Self { version: OWNER_VERSION, owner, adopted: vec![] }
    }

    /// The same prefix in the hands of another.
    #[must_use]
    pub fn adopted_by(self, owner: Owner) -> Self {
        let mut adopted = self.adopted;
        adopted.push(self.owner);
        adopted.retain(|former| *former != owner);
        Self { version: OWNER_VERSION, owner, adopted }
    }

    /// Whether a policy's backups are the owner's. The cluster is not asked for: manifests and marks do not name it.
    pub fn has(&self, namespace: &str, policy: &str) -> bool {
        let mut owners = self.adopted.iter().chain([&self.owner]);
        owners.any(|owner| owner.namespace == namespace && owner.policy == policy)
    }

    /// Whether a mark on an object is the owner's.
    pub fn has_mark(&self, mark: &str) -> bool {
        self.adopted.iter().chain([&self.owner]).any(|owner| owner.mark() == mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(cluster: &str, namespace: &str, policy: &str) -> Owner {
        Owner { cluster_uid: cluster.into(), namespace: namespace.into(), policy: policy.into() }
    }

    #[test]
    fn ids_tell_owners_apart_and_are_the_same_for_a_policy_that_was_made_again() {
        let ours = owner("c", "n", "p");
        assert_eq!((ours.id(), ours.id().len()), (owner("c", "n", "p").id(), 12));
        for other in [owner("d", "n", "p"), owner("c", "np", ""), owner("c", "n", "q")] {
            assert_ne!(other.id(), ours.id());
        }
    }

    #[test]
    fn backups_of_former_owners_are_the_owners() {
        let file = OwnerFile::new(owner("old", "n", "p")).adopted_by(owner("new", "n", "q"));
        assert!(file.has("n", "p") && file.has("n", "q") && !file.has("m", "p"));
        assert!(file.has_mark("n/p") && !file.has_mark("n/r"));
        let back = file.adopted_by(owner("old", "n", "p"));
        assert_eq!(back.adopted, [owner("new", "n", "q")]);
    }
}

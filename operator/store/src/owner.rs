//! Who may write below a prefix: the first to say so, and nobody else until told to adopt it. Network.

use std::sync::Arc;

use greenlang_backup_api::owner::{Claim, OWNER_VERSION, Owner, OwnerFile};
use greenlang_backup_api::reasons;

use crate::RequestError;
use crate::error::Place;
use crate::s3::Store;

/// How often the file is looked at when others write it at the same time.
const ROUNDS: usize = 3;

/// A prefix that cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Somebody else does.
    #[error(
        "{key} in {place} says that policy {namespace}/{policy} of the cluster with UID {cluster} writes there, not {ours}: give this policy a storage.s3.prefix of its own; or, if the other one is gone for good, take its place with the annotation backup.greenlang.io/adopt: {id}",
        namespace = theirs.namespace, policy = theirs.policy, cluster = theirs.cluster_uid, id = theirs.id()
    )]
    Other {
        /// Where.
        place: Arc<Place>,
        /// The file that says so.
        key: String,
        /// Who writes there.
        theirs: Box<Owner>,
        /// Who asked, in words.
        ours: String,
    },
    /// The file says nothing that this release understands.
    #[error(
        "{key} in {place} cannot be read ({problem}), so nobody knows who writes there: look at it, and delete it if the prefix is this policy's"
    )]
    Unreadable {
        /// Where.
        place: Arc<Place>,
        /// The file.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl OwnerError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::Other { .. } | Self::Unreadable { .. } => reasons::OWNED_BY_OTHER,
        }
    }

    /// Whether another try may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::Other { .. } | Self::Unreadable { .. } => false,
        }
    }
}

impl Store {
    /// Becomes the owner of the prefix where nobody is, or where the claim names the owner whose place it takes; otherwise says
    /// who is.
    pub async fn claim(&self, claim: &Claim) -> Result<OwnerFile, OwnerError> {
        for _ in 0..ROUNDS {
            if let Some(file) = self.check_owner(claim).await? {
                return Ok(file);
            }
            let file = OwnerFile::new(claim.owner.clone());
            if self.put_if_absent(&self.layout().owner(), &encode(&file)).await? {
                return Ok(file);
            }
        }
        let problem = "it appears and disappears".to_owned();
        Err(OwnerError::Unreadable { place: self.place.clone(), key: self.layout().owner(), problem })
    }

    /// Who the owner is, if it is who claims it or nobody. Writes only to adopt.
    pub async fn check_owner(&self, claim: &Claim) -> Result<Option<OwnerFile>, OwnerError> {
        let key = self.layout().owner();
        let Some(bytes) = self.get(&key).await? else { return Ok(None) };
        let file = decode(&bytes).map_err(|problem| OwnerError::Unreadable {
            place: self.place.clone(),
            key: key.clone(),
            problem,
        })?;
        if file.owner == claim.owner {
            return Ok(Some(file));
        }
        if claim.adopt.as_ref() != Some(&file.owner.id()) {
            let Owner { cluster_uid, namespace, policy } = &claim.owner;
            let ours = format!("policy {namespace}/{policy} of the cluster with UID {cluster_uid}");
            let (place, theirs) = (self.place.clone(), Box::new(file.owner));
            return Err(OwnerError::Other { place, key, theirs, ours });
        }
        let adopted = file.adopted_by(claim.owner.clone());
        self.put(&key, &encode(&adopted)).await?;
        tracing::info!(key, "the prefix was adopted");
        Ok(Some(adopted))
    }
}

fn encode(file: &OwnerFile) -> Vec<u8> {
    serde_json::to_vec_pretty(file).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Result<OwnerFile, String> {
    let file: OwnerFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version > OWNER_VERSION {
        return Err(format!("it has version {}, this release reads up to {OWNER_VERSION}", file.version));
    }
    Ok(file)
}

//! Finds the checksum that a server verifies, by giving it wrong ones. Network.
//!
//! A server verifies a checksum if it refuses a part that does not match, refuses to complete an upload that does not match,
//! completes one that does, and shows the checksum of the object. Tried best first: CRC-64/NVME and CRC-32 cover the whole
//! object, SHA-256 its parts.

use aws_sdk_s3::primitives::ByteStream;
use backon::Retryable as _;
use greenlang_backup_api::v1alpha1::{Checksum, Verification};
use tracing::debug;

use crate::checksum::{Algorithm, Checksums, PartSum};
use crate::complete::{Completion, Failure};
use crate::s3::Store;
use crate::target::{SentPart, UploadTarget};
use crate::{ProbeError, RequestError, UploadError};

/// The only part of the trial's object.
const PART: &[u8] =
    b"Written by a probe of the GreenLang backup operator as a part. It removes this upload again.\n";
/// Wrong checksums are those of other bytes.
const OTHER: &[u8] = b"These bytes are never sent.\n";

/// What a trial shows.
enum Verdict {
    Verified,
    /// What the server did or did not do.
    Not(String),
}

impl Store {
    /// Tries what the policy allows. A server that verifies nothing serves all the same, and is not trusted, unless the policy
    /// asks for a certain checksum.
    pub(crate) async fn find_checksums(&self, key: &str) -> Result<Checksums, ProbeError> {
        let (candidates, must): (&[Algorithm], bool) = match self.checksum {
            Checksum::Auto => (&[Algorithm::Crc64Nvme, Algorithm::Crc32, Algorithm::Sha256], false),
            Checksum::Crc64Nvme => (&[Algorithm::Crc64Nvme], true),
            Checksum::Crc32 => (&[Algorithm::Crc32], true),
            Checksum::Sha256 => (&[Algorithm::Sha256], true),
            Checksum::None => (&[], false),
        };
        let mut unsupported = None;
        for &algorithm in candidates {
            match self.try_algorithm(key, algorithm).await? {
                Verdict::Verified => return Ok(Checksums { algorithm: Some(algorithm) }),
                Verdict::Not(problem) => {
                    debug!(algorithm = algorithm.name(), problem, "checksum not verified by the server");
                    unsupported = Some(ProbeError::ChecksumUnsupported {
                        place: self.place.clone(),
                        algorithm: algorithm.name(),
                        problem,
                    });
                }
            }
        }
        // Uploads must work without, too; if they do not, then the checksum was not the trouble.
        self.try_plain(key).await?;
        match unsupported {
            Some(error) if must => Err(error),
            _ => Ok(Checksums { algorithm: None }),
        }
    }

    async fn try_algorithm(&self, key: &str, algorithm: Algorithm) -> Result<Verdict, ProbeError> {
        let target = match self.open_listed(key, Some(algorithm)).await {
            Ok(target) => target,
            Err(ProbeError::Upload(error)) => return Ok(Verdict::Not(refusal(error)?)),
            Err(error) => return Err(error),
        };
        let verdict = match target.try_it(algorithm).await {
            Err(ProbeError::Upload(error)) => refusal(error).map(Verdict::Not).map_err(Into::into),
            verdict => verdict,
        };
        if !matches!(verdict, Ok(Verdict::Verified)) {
            target.give_up().await;
        }
        verdict
    }

    async fn try_plain(&self, key: &str) -> Result<(), ProbeError> {
        let target = self.open_listed(key, None).await?;
        let done = async {
            let part = target.send_marker(None).await?;
            Completion::of(&target, [&part].into_iter(), part.sum.len).run().await
        };
        let done = done.await;
        target.give_up().await;
        Ok(done.map(|_| ())?)
    }

    /// Opens an upload, which must then be found by a clean-up.
    async fn open_listed(&self, key: &str, algorithm: Option<Algorithm>) -> Result<UploadTarget, ProbeError> {
        let target = UploadTarget::open(self, key, algorithm).await?;
        let listed = self.open_uploads(key).await?;
        if listed.iter().any(|upload| upload.id == target.id) {
            return Ok(target);
        }
        target.give_up().await;
        Err(ProbeError::UploadsNotListed(self.place.clone()))
    }
}

impl UploadTarget {
    async fn try_it(&self, algorithm: Algorithm) -> Result<Verdict, ProbeError> {
        let wrong = algorithm.of(OTHER);
        match self.send_marker(Some(wrong.clone())).await.map_err(refusal) {
            Ok(_) => return Ok(Verdict::Not("a part with a wrong checksum was accepted".to_owned())),
            Err(refused) => refused?,
        };
        let part = self.send_marker(None).await?;
        if self.completes(&wrong_completion(self, algorithm, &part, wrong)).await? {
            return Ok(Verdict::Not("an upload with a wrong checksum was completed".to_owned()));
        }
        let verified = match Completion::of(self, [&part].into_iter(), part.sum.len).run().await {
            // Some servers end an upload whose completion they refuse.
            Err(UploadError::UploadGone { .. }) => self.complete_anew(algorithm).await?,
            result => result?,
        };
        Ok(match verified {
            Verification::Stored => Verdict::Verified,
            _ => Verdict::Not("the checksum of an object is not shown".to_owned()),
        })
    }

    async fn complete_anew(&self, algorithm: Algorithm) -> Result<Verification, ProbeError> {
        let target = self.store.open_listed(&self.key, Some(algorithm)).await?;
        let part = target.send_marker(None).await?;
        let done = Completion::of(&target, [&part].into_iter(), part.sum.len).run().await;
        target.give_up().await;
        Ok(done?)
    }

    /// Sends the only part, with its checksum or with another.
    async fn send_marker(&self, wrong: Option<String>) -> Result<SentPart, UploadError> {
        let mut sum = PartSum::of(self.algorithm, PART);
        if wrong.is_some() {
            sum.sent = wrong;
        }
        (|| self.send_once(1, sum.clone(), ByteStream::from_static(PART)))
            .retry(self.store.patience.pauses())
            .when(UploadError::is_transient)
            .await
    }

    /// Whether the server completes the upload.
    async fn completes(&self, completion: &Completion<'_>) -> Result<bool, UploadError> {
        let once = (|| completion.once())
            .retry(self.store.patience.pauses())
            .when(|failure| matches!(failure, Failure::Open(error) if error.is_transient()))
            .await;
        match once {
            Ok(()) => Ok(true),
            Err(Failure::Refused(error) | Failure::Open(error)) => refusal(error).map(|_| false),
        }
    }
}

/// Of the whole object where the checksum covers that, else of its part.
fn wrong_completion<'a>(
    target: &'a UploadTarget,
    algorithm: Algorithm,
    part: &SentPart,
    wrong: String,
) -> Completion<'a> {
    let bytes = part.sum.len;
    if algorithm == Algorithm::Sha256 {
        let mut sum = part.sum.clone();
        sum.sent = Some(wrong);
        let part = SentPart { sum, etag: part.etag.clone() };
        return Completion::of(target, [&part].into_iter(), bytes);
    }
    let mut completion = Completion::of(target, [part].into_iter(), bytes);
    completion.expected.checksum = Some((algorithm, wrong));
    completion
}

/// The server's no to what was asked, in words; any other failure stays one.
fn refusal(error: UploadError) -> Result<String, UploadError> {
    match error {
        UploadError::Request(RequestError::Refused { status: 400..=499 | 501, .. })
            if !error.is_transient() =>
        {
            Ok(error.to_string())
        }
        UploadError::Request(RequestError::ChecksumRefused { .. })
        | UploadError::UploadGone { .. }
        | UploadError::StoredDiffers { .. } => Ok(error.to_string()),
        other => Err(other),
    }
}

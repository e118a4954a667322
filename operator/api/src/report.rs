//! What one Job says at its end: RunReport in the termination message, and the exit code. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::BackupId;
use crate::prune::{CatalogueReport, PruneReport};
use crate::restore::RestoreReport;
use crate::text::cut;
use crate::v1alpha1::Verification;

/// Longest encoded report in bytes. The kubelet keeps the last 4,096 bytes of a termination message.
pub const MAX_LEN: usize = 3_800;
/// Longest message in bytes before anything else needs to be cut.
const MAX_MESSAGE_LEN: usize = 1_024;
/// Version of the report format.
pub const REPORT_VERSION: u32 = 1;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything asked for was done.
    Done,
    /// There was nothing to do: what was asked for is there already.
    Unchanged,
    /// Failed, and trying again without a change would fail again.
    Failed,
    /// Failed for a reason that may pass.
    Retryable,
    /// Stopped from outside (SIGTERM); nothing half-done remains.
    Interrupted,
    /// Stopped at a safe point; another run goes on from there.
    Continue,
}

impl Outcome {
    /// The exit code that goes with the outcome; the hint that is left when the report is lost.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unchanged => 3,
            Self::Failed => 10,
            Self::Retryable => 20,
            Self::Interrupted => 30,
            Self::Continue => 40,
        }
    }

    /// The outcome that an exit code stands for; none for codes that are not ours (a crash, a kill).
    pub fn from_exit_code(code: i32) -> Option<Self> {
        [Self::Done, Self::Unchanged, Self::Failed, Self::Retryable, Self::Interrupted, Self::Continue]
            .into_iter()
            .find(|outcome| i32::from(outcome.exit_code()) == code)
    }

    /// Whether what was asked for is there now.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Done | Self::Unchanged)
    }
}

/// What a Job says at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// Format version.
    pub version: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable reason from [`crate::reasons`].
    pub reason: String,
    /// Full sentence for people: what happened, to which object, and the way out. No secret.
    pub message: String,
    /// The backup, when one was made or found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupReport>,
    /// Findings of a probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeReport>,
    /// What a prune did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneReport>,
    /// What a catalogue found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueReport>,
    /// What a step of a RestoreRequest did or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreReport>,
    /// Whether objects or open uploads of the attempt may have stayed in the bucket, so that a clean-up has to look.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leftovers: bool,
    /// How many texts were shortened to keep within [`MAX_LEN`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cuts: u32,
}

/// A finished backup in short; the manifest in the bucket has the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// Name within its path.
    pub id: BackupId,
    /// Directory in the bucket.
    pub path: String,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// Bytes read from the source.
    pub source_bytes: u64,
    /// Start of the attempt that made it.
    pub start_time: Timestamp,
    /// End of that attempt.
    pub end_time: Timestamp,
    /// How far it was proved.
    pub verified: Verification,
    /// SHA-256 of the manifest, hexadecimal.
    pub manifest_sha256: String,
    /// Number of warnings in the manifest.
    #[serde(default)]
    pub warnings: u32,
}

/// Findings of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// The bucket.
    pub storage: Finding,
    /// Server and databases; absent when the policy has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Finding>,
    /// The encryption keys.
    pub encryption: Finding,
    /// Bytes that a dump of the largest database is expected to have; absent when that could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_database_bytes: Option<u64>,
}

/// One checked thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Whether it can be used.
    pub ok: bool,
    /// Stable reason from [`crate::reasons`].
    pub reason: String,
    /// Full sentence: what was found, and what to do.
    pub message: String,
}

impl RunReport {
    /// A report without further findings.
    pub fn new(outcome: Outcome, reason: &str, message: impl Into<String>) -> Self {
        Self {
            version: REPORT_VERSION,
            outcome,
            reason: reason.to_owned(),
            message: message.into(),
            backup: None,
            probe: None,
            prune: None,
            catalogue: None,
            restore: None,
            leftovers: false,
            cuts: 0,
        }
    }

    /// JSON of at most [`MAX_LEN`] bytes: the longest texts are shortened until it fits, and the cuts are counted.
    pub fn encode(&self) -> String {
        let mut report = self.clone();
        let mut limit = MAX_MESSAGE_LEN;
        loop {
            report.cuts +=
                report.texts().into_iter().map(|text| u32::from(shorten(text, limit))).sum::<u32>();
            let json = serde_json::to_string(&report).unwrap_or_default();
            if json.len() <= MAX_LEN || limit == 0 {
                return json;
            }
            limit /= 2;
        }
    }

    /// Reads a termination message; none when it is no report.
    pub fn decode(message: &str) -> Option<Self> {
        serde_json::from_str(message.trim()).ok()
    }

    /// Every text whose length somebody else decides.
    fn texts(&mut self) -> Vec<&mut String> {
        let Self {
            version: _,
            outcome: _,
            reason,
            message,
            backup,
            probe,
            prune,
            catalogue: _,
            restore,
            leftovers: _,
            cuts: _,
        } = self;
        let mut texts = vec![reason, message];
        texts.extend(restore.iter_mut().flat_map(RestoreReport::texts));
        texts.extend(prune.as_mut().map(|prune| &mut prune.report));
        if let Some(backup) = backup {
            texts.push(&mut backup.path);
        }
        if let Some(ProbeReport { storage, database, encryption, largest_database_bytes: _ }) = probe {
            texts.extend([&mut storage.message, &mut encryption.message]);
            texts.extend(database.as_mut().map(|finding| &mut finding.message));
        }
        texts
    }
}

/// Says whether anything was cut.
fn shorten(text: &mut String, limit: usize) -> bool {
    let end = cut(text, limit).len();
    let is_cut = end < text.len();
    text.truncate(end);
    is_cut
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(is: &bool) -> bool {
    !*is
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding(message: String) -> Finding {
        Finding { ok: false, reason: "AccessDenied".into(), message }
    }

    proptest! {
        #[test]
        fn any_report_fits_and_can_be_read(message in ".{0,5000}", storage in "[\"\\\\\u{1}é𝄞]{0,3000}", database in ".{0,3000}") {
            let mut report = RunReport::new(Outcome::Failed, "AccessDenied", message);
            report.probe = Some(ProbeReport {
                storage: finding(storage.clone()),
                database: Some(finding(database)),
                encryption: finding(storage),
                largest_database_bytes: Some(u64::MAX),
            });
            let encoded = report.encode();
            prop_assert!(encoded.len() <= MAX_LEN, "{}", encoded.len());
            let read = RunReport::decode(&encoded).unwrap();
            prop_assert_eq!(read.outcome, Outcome::Failed);
            prop_assert_eq!(&read.reason, "AccessDenied");
            let cut = read.message != report.message || read.probe != report.probe;
            prop_assert_eq!(read.cuts > 0, cut);
        }
    }

    #[test]
    fn all_that_a_prune_may_say_fits() {
        let mut report = RunReport::new(Outcome::Done, "Succeeded", "é".repeat(2_000));
        let id: BackupId = "20251107-020000".parse().unwrap();
        let prune = PruneReport { gone: vec![id; 100], report: "r".repeat(600), ..PruneReport::default() };
        report.prune = Some(PruneReport { freed_bytes: u64::MAX, ..prune });
        let encoded = report.encode();
        assert!(encoded.len() <= MAX_LEN, "{}", encoded.len());
        assert_eq!(RunReport::decode(&encoded).unwrap().prune.unwrap().gone.len(), 100);
    }

    #[test]
    fn a_report_that_says_nothing_of_leftovers_has_none() {
        let mut report = RunReport::new(Outcome::Retryable, "StorageError", "away");
        assert!(!report.encode().contains("leftovers"), "as older releases wrote it");
        assert!(!RunReport::decode(&report.encode()).unwrap().leftovers);
        report.leftovers = true;
        assert!(RunReport::decode(&report.encode()).unwrap().leftovers);
    }

    #[test]
    fn exit_codes_are_distinct_and_read_back() {
        for outcome in [
            Outcome::Done,
            Outcome::Unchanged,
            Outcome::Failed,
            Outcome::Retryable,
            Outcome::Interrupted,
            Outcome::Continue,
        ] {
            assert_eq!(Outcome::from_exit_code(outcome.exit_code().into()), Some(outcome));
        }
        assert_eq!(Outcome::from_exit_code(137), None);
    }
}

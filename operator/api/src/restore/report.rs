//! What a Job of a RestoreRequest says at its end, beside outcome, reason and message. Bounded, so that it fits into a termination
//! message. Pure.

use serde::{Deserialize, Serialize};

use super::RecordState;
use crate::details;
use crate::v1alpha1::{ChosenBackup, NamedDatabase, RestorePlan, RestoredData};

/// Most entries of [`CheckReport::failed`].
pub const MAX_FAILED_CHECKS: usize = 5;

/// What an action has done or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all_fields = "camelCase")]
pub enum RestoreReport {
    /// Of a plan, also of one that cannot work.
    Plan(PlanReport),
    /// Of a load that succeeded.
    Load(LoadReport),
    /// Of a switch that succeeded.
    Switch(SwitchReport),
    /// Of a switch that failed and has seen by OIDs that nothing was renamed, by it or an earlier attempt; sessions get in as
    /// before. Only with this a request whose switch failed is undone: without it nobody knows.
    NotSwitched,
    /// Of a drop that was done, also where the record could not be written afterwards: then the outcome is a failure.
    Drop(DropReport),
    /// Of checks, also of those that failed.
    Check(CheckReport),
}

/// What a plan found. The plan for people is one detail line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The backup that was chosen; none for an undo, and where none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<ChosenBackup>,
    /// OID of the database that has the target's name now; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_oid: Option<u32>,
    /// The database that comes back; only for an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comes_back: Option<NamedDatabase>,
    /// What the bucket's record of this very request (by its UID) says at the end of the plan; none where there is none. Further
    /// than [`super::RecordState::Started`], its status was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownRestore>,
    /// Lines of detail in the log: 1, or 0 where the plan came to nothing.
    pub details: u32,
    /// SHA-256 of those lines, each with its line break, hexadecimal.
    pub details_sha256: String,
}

impl PlanReport {
    /// The plan among the lines of a log; none when it is not the one that the report is about.
    pub fn plan(&self, log: &str) -> Option<RestorePlan> {
        details::read(log, &self.details_sha256)?.pop()
    }
}

/// What the bucket knows of a request whose status was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownRestore {
    /// How far it came.
    pub state: RecordState,
    /// The database that takes the place, by its temporary name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<NamedDatabase>,
    /// The database that is replaced, by the name that it gets; with strategy Replace the one that is dropped, by its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<NamedDatabase>,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// The temporary database.
    pub database: NamedDatabase,
    /// What is in it, and how that was verified.
    pub data: RestoredData,
}

/// What was renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchReport {
    /// The database that has the name now.
    pub serving: NamedDatabase,
    /// The database that was replaced, by its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<NamedDatabase>,
    /// Milliseconds in which no session got in; none where an earlier attempt has renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_milliseconds: Option<u64>,
}

/// What was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropReport {
    /// Whether there was something to drop.
    pub dropped: bool,
    /// Bytes that it took on the server.
    pub freed_bytes: u64,
}

/// What checks found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// Checks that passed.
    pub passed: u32,
    /// Checks that failed, the first five: which, and what was found, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Checks that failed beyond these.
    #[serde(default)]
    pub more_failed: u32,
}

impl RestoreReport {
    /// Every text whose length somebody else decides.
    pub(crate) fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::Plan(_) | Self::Switch(_) | Self::NotSwitched | Self::Drop(_) => vec![],
            Self::Load(load) => {
                let data = &mut load.data;
                data.verified.iter_mut().chain(data.largest.iter_mut().map(|size| &mut size.table)).collect()
            }
            Self::Check(check) => check.failed.iter_mut().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{MAX_LEN, Outcome, RunReport};
    use crate::v1alpha1::TableSize;

    fn encoded(restore: RestoreReport) -> RunReport {
        let mut report = RunReport::new(Outcome::Failed, "CheckFailed", "é".repeat(2_000));
        report.restore = Some(restore);
        let encoded = report.encode();
        assert!(encoded.len() <= MAX_LEN, "{}", encoded.len());
        RunReport::decode(&encoded).unwrap()
    }

    #[test]
    fn whatever_an_action_says_fits() {
        let database = NamedDatabase { name: "\"".repeat(63), oid: u32::MAX };
        let largest = vec![TableSize { table: "\"é".repeat(63), bytes: u64::MAX }; 10];
        let data = RestoredData {
            tables: u64::MAX,
            rows: u64::MAX,
            bytes: u64::MAX,
            verified: Some("rows".repeat(1_000)),
            largest,
            warnings: u32::MAX,
            left_out: u32::MAX,
        };
        encoded(RestoreReport::Load(LoadReport { database: database.clone(), data }));
        let failed = vec!["é\u{1}".repeat(1_000); MAX_FAILED_CHECKS];
        let read = encoded(RestoreReport::Check(CheckReport { passed: 1, failed, more_failed: 7 }));
        assert!(
            matches!(read.restore, Some(RestoreReport::Check(check)) if check.failed.len() == MAX_FAILED_CHECKS)
        );
        let known = KnownRestore {
            state: RecordState::Switching,
            restored: Some(database.clone()),
            previous: Some(database.clone()),
        };
        let backup = ChosenBackup {
            path: "p".repeat(63),
            id: "20251107-020000".parse().unwrap(),
            database: "\"".repeat(63),
            manifest_sha256: Some("0".repeat(64)),
        };
        let plan = PlanReport {
            backup: Some(backup),
            target_oid: Some(u32::MAX),
            comes_back: Some(database.clone()),
            known: Some(known),
            details: 1,
            details_sha256: "0".repeat(64),
        };
        let read = encoded(RestoreReport::Plan(plan.clone()));
        assert_eq!(read.restore, Some(RestoreReport::Plan(plan)));
        encoded(RestoreReport::Switch(SwitchReport {
            serving: database.clone(),
            previous: Some(database),
            closed_milliseconds: Some(u64::MAX),
        }));
    }

    #[test]
    fn a_plan_is_read_by_its_digest() {
        let plan = RestorePlan { feasible: true, steps: vec!["Load".into()], ..RestorePlan::default() };
        let line = serde_json::json!({"detail": plan}).to_string();
        let digest = crate::digest::sha256(format!("{line}\n"));
        let report = PlanReport { details: 1, details_sha256: digest, ..PlanReport::default() };
        let log = format!("{{\"progress\":{{\"step\":\"Planning\"}}}}\n{line}\n");
        assert_eq!(report.plan(&log), Some(plan));
        assert_eq!(report.plan(&log.replace("Load", "Drop")), None);
        assert_eq!(report.plan(""), None);
    }
}

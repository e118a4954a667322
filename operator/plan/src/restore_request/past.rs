//! How long loading will take, by how long it took before: the latest request of the namespace that loaded the same database into the
//! same server, and verified it as thoroughly. Pure.

use greenlang_backup_api::restore::PlanReport;
use greenlang_backup_api::v1alpha1::{
    ChosenBackup, RestorePhase, RestorePlan, RestoreRequest, VerifyRestored,
};
use jiff::Timestamp;

use super::pass::Pass;

/// A load that succeeded, whatever became of its request afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastLoad {
    server: (String, u16),
    path: String,
    database: String,
    legacy: bool,
    verify: VerifyRestored,
    /// Bytes of the archive.
    bytes: u64,
    /// What loading and verifying took, pauses between attempts included.
    seconds: u64,
    /// When that had ended.
    end: Timestamp,
}

impl PastLoad {
    /// What a request tells; none where it has loaded nothing.
    pub fn of(request: &RestoreRequest) -> Option<Self> {
        let status = request.status.as_ref().filter(|status| status.restored.is_some())?;
        let server = &status.place.as_ref()?.server;
        let ChosenBackup { path, database, .. } = status.backup.clone()?;
        let planned = status.plan.as_ref()?.backup.as_ref()?;
        let loads = |phase| matches!(phase, RestorePhase::Restoring | RestorePhase::Verifying);
        let phases = status.phases.iter().filter(|times| loads(times.phase));
        let times: Vec<(Timestamp, Timestamp)> =
            phases.filter_map(|times| Some((times.start_time.0, times.end_time.as_ref()?.0))).collect();
        let took: i64 = times.iter().map(|(start, end)| end.duration_since(*start).as_secs()).sum();
        Some(Self {
            server: (server.host.to_ascii_lowercase(), server.port),
            path,
            database,
            legacy: planned.legacy,
            verify: request.spec.database.verify.unwrap_or_default(),
            bytes: Some(planned.source_bytes).filter(|bytes| *bytes > 0)?,
            seconds: u64::try_from(took).ok()?,
            end: times.last()?.1,
        })
    }
}

/// Seconds that loading is expected to take; none where nothing is known.
pub(super) fn expected(pass: &Pass<'_>, found: &PlanReport, plan: &RestorePlan) -> Option<u64> {
    let (chosen, planned) = (found.backup.as_ref()?, plan.backup.as_ref()?);
    let server = &pass.request.place.server;
    let server = (server.host.to_ascii_lowercase(), server.port);
    let alike = pass.seen.past.iter().filter(|past| {
        past.server == server
            && (&past.path, &past.database) == (&chosen.path, &chosen.database)
            && (past.legacy, past.verify) == (planned.legacy, pass.request.verify)
    });
    let latest = alike.max_by_key(|past| past.end)?;
    let seconds = u128::from(latest.seconds) * u128::from(planned.source_bytes) / u128::from(latest.bytes);
    u64::try_from(seconds.max(1)).ok()
}

//! Each phase and what may be seen in it, as one table: where the request goes from there, and what the database then is.

use greenlang_backup_api::conditions::READY;
use greenlang_backup_api::v1alpha1::{RestorePhase, WorkloadKind};
use serde_json::json;

use super::assert_back;
use super::restore_world::{Blow, DATABASE, Fate, OLD, World};

/// `goes on`: through the phases that it has when nothing comes between. Else the phases that follow, with the reason of the failure.
const TABLE: &str = "\
spec.cancel is set
  Pending: Cancelled (Cancelled); as before
  Planning, Quiescing, Restoring, Verifying, Switching: Undoing, Cancelled (Cancelled); as before
  PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
the request is deleted
  Pending: Failed (Deleted); as before
  Planning: Undoing, Failed (Deleted); as before
  Quiescing: Undoing (Deleted); as before
  Restoring, Verifying, Switching: Undoing, Failed (Deleted); as before
  PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
its status is lost
  Pending, Planning, Quiescing, Restoring: goes on
  Verifying: Planning, Quiescing, Restoring, Switching, Resuming, Checking, Succeeded; restored
  Switching, PastReturn: goes on
  Resuming, Checking: Planning, Switching, Resuming, Checking, Succeeded; restored
  Undoing: goes on
  Succeeded: Planning, Switching, Resuming, Checking, Succeeded; restored
its policy is deleted
  Pending: waits, PolicyNotFound
  Planning, Quiescing, Restoring, Verifying, Switching, PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
its Lease is deleted
  Pending, Planning, Quiescing, Restoring, Verifying, Switching, PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
another request has its Lease
  Pending: waits, WaitingForOther
  Planning, Quiescing, Restoring, Verifying, Switching: Undoing, Failed (LockLost); as before
  PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
somebody starts an application
  Pending, Planning, Quiescing: goes on
  Restoring, Verifying, Switching: Undoing, Failed (ScaleContested); as before
  PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
an application is deleted
  Pending: Planning, Failed (WorkloadNotFound); as before
  Planning: Failed (WorkloadNotFound); as before
  Quiescing: Undoing, Failed (WorkloadNotFound); as before
  Restoring, Verifying, Switching, PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
its Job fails
  Planning: Failed (PermissionDenied); as before
  Restoring, Verifying, Switching, PastReturn: Undoing, Failed (PermissionDenied); as before
  Checking: Failed (CheckFailed); restored
  Undoing: goes on
its Job fails for now, once
  Planning, Restoring, Verifying, Switching, PastReturn, Checking, Undoing: goes on
its Job fails for now, nine times
  Planning: Failed (ConnectionFailed); as before
  Restoring, Verifying: Undoing, Failed (ConnectionFailed); as before
  Switching, PastReturn: goes on
  Checking: Failed (CheckFailed); restored
  Undoing: goes on
the report of its Job is lost, once
  Planning, Restoring, Verifying, Switching, PastReturn, Checking, Undoing: goes on
the ConfigMap of the old database is refused
  Pending: Planning, Quiescing, Restoring, Switching, Undoing, Failed (ConfigMapRefused); as before
  Planning: Quiescing, Restoring, Switching, Undoing, Failed (ConfigMapRefused); as before
  Quiescing: Restoring, Switching, Undoing, Failed (ConfigMapRefused); as before
  Restoring, Verifying: Switching, Undoing, Failed (ConfigMapRefused); as before
  Switching: Undoing, Failed (ConfigMapRefused); as before
  PastReturn, Resuming, Checking, Undoing, Succeeded: goes on
";

/// Where a request may be when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    Planning,
    Quiescing,
    Restoring,
    Verifying,
    /// Before the point of no return.
    Switching,
    /// After it.
    PastReturn,
    Resuming,
    Checking,
    Undoing,
    Succeeded,
}

const STAGES: [Stage; 11] = [
    Stage::Pending,
    Stage::Planning,
    Stage::Quiescing,
    Stage::Restoring,
    Stage::Verifying,
    Stage::Switching,
    Stage::PastReturn,
    Stage::Resuming,
    Stage::Checking,
    Stage::Undoing,
    Stage::Succeeded,
];

impl Stage {
    /// A request that has just come here.
    fn world(self) -> World {
        let checks = json!({"sql": [{"query": "SELECT 1", "expect": "1"}]});
        let mut world = World::new(&json!({"spec": {"checks": checks}}));
        match self {
            Self::Pending => {}
            Self::Planning => world.run_until(RestorePhase::Planning),
            Self::Quiescing => world.run_until(RestorePhase::Quiescing),
            Self::Restoring => world.run_until(RestorePhase::Restoring),
            Self::Verifying => {
                world.run_until(RestorePhase::Restoring);
                let status = world.request.status.as_mut().unwrap();
                status.phase = Some(RestorePhase::Verifying);
                status.phases.last_mut().unwrap().phase = RestorePhase::Verifying;
            }
            Self::Switching => world.run_until(RestorePhase::Switching),
            Self::PastReturn => {
                world.run_until(RestorePhase::Switching);
                while world.status().switch_started_time.is_none() {
                    world.turn();
                }
            }
            Self::Resuming => world.run_until(RestorePhase::Resuming),
            Self::Checking => world.run_until(RestorePhase::Checking),
            Self::Undoing => {
                world.fates = vec![("load", Fate::Fails)];
                world.run_until(RestorePhase::Undoing);
            }
            Self::Succeeded => world.run_to_end(),
        }
        world
    }

    /// What the Job of this stage is for.
    const fn job(self) -> Option<&'static str> {
        match self {
            Self::Planning => Some("plan"),
            Self::Restoring | Self::Verifying => Some("load"),
            Self::Switching | Self::PastReturn => Some("switch"),
            Self::Checking => Some("check"),
            Self::Undoing => Some("drop"),
            Self::Pending | Self::Quiescing | Self::Resuming | Self::Succeeded => None,
        }
    }
}

/// What may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    Outside(Blow),
    Started,
    ApplicationGone,
    Job(Fate, usize),
    ConfigMapRefused,
}

const ALL: [(&str, Evidence); 13] = [
    ("spec.cancel is set", Evidence::Outside(Blow::Cancel)),
    ("the request is deleted", Evidence::Outside(Blow::Delete)),
    ("its status is lost", Evidence::Outside(Blow::Wipe)),
    ("its policy is deleted", Evidence::Outside(Blow::PolicyGone)),
    ("its Lease is deleted", Evidence::Outside(Blow::LeaseGone)),
    ("another request has its Lease", Evidence::Outside(Blow::LeaseTaken)),
    ("somebody starts an application", Evidence::Started),
    ("an application is deleted", Evidence::ApplicationGone),
    ("its Job fails", Evidence::Job(Fate::Fails, 1)),
    ("its Job fails for now, once", Evidence::Job(Fate::FailsForNow, 1)),
    ("its Job fails for now, nine times", Evidence::Job(Fate::FailsForNow, 9)),
    ("the report of its Job is lost, once", Evidence::Job(Fate::SucceedsUnheard, 1)),
    ("the ConfigMap of the old database is refused", Evidence::ConfigMapRefused),
];

impl Evidence {
    /// Brings it about; false where it cannot be seen at this stage.
    fn comes_to(self, world: &mut World, stage: Stage) -> bool {
        let api = (WorkloadKind::Deployment, "api".to_owned());
        match self {
            // The pass that it interrupts has no part in this.
            Self::Outside(blow) => drop(world.strike(blow)),
            Self::Started => world.workloads.get_mut(&api).unwrap().replicas = Some(2),
            Self::ApplicationGone => drop(world.workloads.remove(&api)),
            Self::Job(fate, times) => {
                let Some(job) = stage.job() else { return false };
                world.fates = vec![(job, fate); times];
            }
            Self::ConfigMapRefused => world.refuses_kept = true,
        }
        true
    }
}

/// The phases from some number on, the reason why it failed, and what the database is.
fn rest(world: &World, from: usize) -> String {
    let status = world.status();
    let phases: Vec<&str> = status.phases.iter().skip(from).map(|times| times.phase.as_str()).collect();
    let reason = status.failure.map(|failure| format!(" ({})", failure.reason)).unwrap_or_default();
    let is_old = world.named(DATABASE) == Some(OLD);
    let left = world.databases.values().any(|database| database.name.contains("_restore_"));
    let database = match (is_old, left) {
        (true, false) => "as before",
        (false, false) => "restored",
        (_, true) => "half-made",
    };
    format!("{}{reason}; {database}", phases.join(", "))
}

fn cell(stage: Stage, evidence: Evidence) -> Option<String> {
    let mut usual = stage.world();
    let from = usual.status().phases.len();
    usual.run_to_end();
    let mut world = stage.world();
    if !evidence.comes_to(&mut world, stage) {
        return None;
    }
    let ends = world.ends();
    // Those two change themselves what there is to come back to.
    if !matches!(evidence, Evidence::Started | Evidence::ApplicationGone) {
        assert_back(&world, &format!("{stage:?}, {evidence:?}"));
    }
    // A status that was lost begins anew.
    let from = if evidence == Evidence::Outside(Blow::Wipe) { 0 } else { from };
    if !ends {
        return Some(format!("waits, {}", world.condition(READY).1));
    }
    let (is, would_be) = (rest(&world, from), rest(&usual, from));
    Some(if is == would_be { "goes on".to_owned() } else { is })
}

/// One line for all stages, in their order, that have the same outcome.
fn table() -> String {
    let mut lines = Vec::new();
    for (what, evidence) in ALL {
        lines.push(what.to_owned());
        let cells: Vec<(Stage, String)> =
            STAGES.into_iter().filter_map(|stage| Some((stage, cell(stage, evidence)?))).collect();
        for same in cells.chunk_by(|one, next| one.1 == next.1) {
            let stages: Vec<String> = same.iter().map(|(stage, _)| format!("{stage:?}")).collect();
            lines.push(format!("  {}: {}", stages.join(", "), same[0].1));
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn each_phase_and_what_may_be_seen_in_it() {
    let table = table();
    assert_eq!(table, TABLE, "\n{table}");
}

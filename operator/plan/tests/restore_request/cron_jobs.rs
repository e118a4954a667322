//! Jobs that a CronJob has under way when it is suspended: one that waits, after a failure or for room, has no Pod, and starts one later.

use greenlang_backup_api::v1alpha1::{RestorePhase, WorkloadKind};

use super::restore_world::World;
use super::{assert_back, assert_untouched, swap};

/// Jobs of the CronJob that have not ended.
fn jobs(world: &mut World) -> &mut Vec<String> {
    &mut world.workloads.get_mut(&(WorkloadKind::CronJob, "nightly".to_owned())).unwrap().jobs
}

#[test]
fn a_job_without_a_pod_is_waited_for_until_it_ends() {
    let mut world = World::new(&swap());
    *jobs(&mut world) = vec!["nightly-1".into(), "nightly-2".into()];
    world.run_until(RestorePhase::Quiescing);
    for _ in 0..20 {
        world.turn();
    }
    let status = world.status();
    assert_eq!((status.phase, status.quiesced_time), (Some(RestorePhase::Quiescing), None));
    let said = status.progress.unwrap();
    assert!(said.contains("nightly (Job nightly-1 and 1 more)"), "{said}");
    assert_eq!(world.counts().2, Some(true), "no further one comes");
    jobs(&mut world).clear();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "its Jobs have ended");
}

#[test]
fn a_job_that_does_not_end_is_named_and_all_is_undone() {
    let mut world = World::new(&swap());
    *jobs(&mut world) = vec!["nightly-1".into()];
    world.run_to_end();
    let failure = world.status().failure.unwrap();
    assert_eq!(failure.reason, "PodsRemain");
    assert!(failure.message.contains("nightly (Job nightly-1)"), "{}", failure.message);
    assert_untouched(&world, "a Job that does not end");
}

/// Whoever wrote the CronJob last has not started it.
#[test]
fn a_job_that_somebody_starts_meanwhile_is_named_and_nobody_is_accused() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    jobs(&mut world).push("by-hand".into());
    world.run_to_end();
    let failure = world.status().failure.unwrap();
    assert_eq!(failure.reason, "ScaleContested");
    let said = &failure.message;
    assert!(said.contains("something of CronJob nightly was started by itself"), "{said}");
    assert!(said.contains("Job by-hand") && !said.contains("helm"), "{said}");
    assert_untouched(&world, "a Job by hand");
}

//! What attempts leave in the bucket that could not clean up after themselves is removed in the end, whatever is cut when.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::v1alpha1::{CleanUp, MAX_CLEAN_UPS};
use greenlang_backup_plan::backup_policy::{Effect, validate};
use greenlang_backup_plan::jobs::Refusal;
use proptest::prelude::*;
use serde_json::json;

use super::schedule::{often, with};
use super::world::{self, Cut, Fate, World, at, policy};
use super::{assert_made_once, backup, counts, lived, probed, step};

/// A world in which the slot of 00:05 is being made.
fn running() -> World {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world
}

/// Every Job that runs ends so, and everything is decided that follows at once.
fn ends(world: &mut World, fate: Fate) {
    world.jobs_end(fate);
    world.settle();
}

fn clean_ups(world: &World) -> Vec<CleanUp> {
    backup(world).clean_ups
}

/// Jobs that clean up.
fn cleaners(world: &World) -> Vec<&str> {
    let jobs = world.jobs.iter().map(|job| job.name.as_str());
    jobs.filter(|name| name.starts_with("p-clean-up-")).collect()
}

#[test]
fn what_a_killed_attempt_left_is_removed_once_its_run_is_over() {
    let mut world = running();
    ends(&mut world, Fate::IsKilled);
    assert_eq!(world.leftovers().len(), 1);
    assert_eq!(cleaners(&world), [""; 0], "the run goes on");
    world.later(10);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
    let entry = clean_ups(&world)[0].clone();
    assert_eq!((entry.id.as_str(), entry.path.as_str()), ("20251107-000500", "database"));
    assert_eq!(entry.attempts, [1], "the second attempt left nothing");
    world.later(49);
    world.settle();
    assert_eq!(cleaners(&world), [""; 0], "the last request of what was killed may still be on its way");
    world.later(1);
    world.settle();
    assert_eq!(cleaners(&world).len(), 1);
    ends(&mut world, Fate::Succeeds);
    assert_eq!((clean_ups(&world), cleaners(&world).len()), (vec![], 0));
    assert_eq!(world.leftovers(), []);
    assert_eq!(world.objects.len(), 1, "the backup stays");
}

#[test]
fn every_end_that_may_leave_something_is_followed_by_a_clean_up_and_no_other_is() {
    for (fate, noted) in [
        (Fate::Succeeds, false),
        (Fate::FailsForNow, false),
        (Fate::Fails, false),
        (Fate::IsKilled, true),
        (Fate::SucceedsUnheard, true),
        (Fate::FailsUntidily, true),
        (Fate::IsDeleted, true),
    ] {
        let mut world = running();
        ends(&mut world, fate);
        assert_eq!(clean_ups(&world).len(), usize::from(noted), "{fate:?}");
    }
}

#[test]
fn attempts_of_a_failed_run_are_cleaned_up_together() {
    let mut world = running();
    for pause in [10, 20, 60] {
        ends(&mut world, Fate::IsKilled);
        world.later(pause);
        world.settle();
    }
    assert_eq!(counts(&backup(&world).schedules[0].history), (3, 0, 1));
    assert_eq!(clean_ups(&world)[0].attempts, [1, 2, 3]);
    assert_eq!(cleaners(&world).len(), 1);
    ends(&mut world, Fate::Succeeds);
    assert!(world.objects.is_empty());
}

#[test]
fn a_clean_up_that_fails_is_tried_for_ever_and_told_once() {
    let mut world = running();
    for pause in [10, 20, 60] {
        ends(&mut world, Fate::IsKilled);
        world.later(pause);
        world.settle();
    }
    // No slot comes between.
    world.policy.spec.suspend = true;
    let mut pauses = Vec::new();
    for fate in [Fate::FailsForNow, Fate::Fails, Fate::IsDeleted].into_iter().cycle().take(10) {
        ends(&mut world, fate);
        let entry = &clean_ups(&world)[0];
        assert!(entry.last_error.is_some());
        let next = entry.next_time.as_ref().unwrap().0;
        pauses.push(next.duration_since(world.now).as_secs());
        world.now = next;
        world.settle();
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    assert_eq!(world.told.iter().filter(|told| **told == "CleanUpFailed").count(), 1);
    assert!(cleaners(&world).len() <= 4, "three failed ones and the one that runs");
    ends(&mut world, Fate::Succeeds);
    assert_eq!((clean_ups(&world), world.leftovers()), (vec![], vec![]));
}

/// Its Pod may live on where nobody hears of it and still finish the backup: nothing is taken from under it.
#[test]
fn nothing_is_removed_of_an_attempt_that_nobody_saw_end_before_its_time_limit() {
    let mut world = running();
    world.policy.spec.suspend = true;
    let seen = world.now;
    ends(&mut world, Fate::IsDeleted);
    world.later(10);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(cleaners(&world), [""; 0]);
    let until = clean_ups(&world)[0].next_time.as_ref().unwrap().0;
    assert_eq!(until.duration_since(seen).as_secs(), 86_400 + 300);
    world.now = until;
    world.settle();
    ends(&mut world, Fate::Succeeds);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!((clean_ups(&world), world.leftovers()), (vec![], vec![]));
}

#[test]
fn a_run_waits_for_the_clean_up_of_its_own_id_and_for_no_other() {
    let mut world = running();
    for pause in [10, 20, 60] {
        ends(&mut world, Fate::IsKilled);
        world.later(pause);
        world.settle();
    }
    assert_eq!(cleaners(&world).len(), 1);
    // The slot of 00:10 is another id.
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-001000");
    // As after a wrong clock: the slot of 00:05 is due again.
    world.jobs.retain(|job| job.backup.is_none());
    let mut status = world.status();
    status.backups[0].active = None;
    status.backups[0].schedules.iter_mut().for_each(|entry| entry.last_schedule_time = None);
    world.policy.status = Some(status);
    world.now = at("2025-11-07T00:06:00Z");
    world.settle();
    assert_eq!(backup(&world).active, None, "the clean-up goes first");
    ends(&mut world, Fate::Succeeds);
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-000500");
}

#[test]
fn a_refused_job_is_a_failed_clean_up() {
    let mut world = running();
    for pause in [10, 20] {
        ends(&mut world, Fate::IsKilled);
        world.later(pause);
        world.settle();
    }
    world.jobs_end(Fate::IsKilled);
    world.pass(Cut::Nowhere);
    world.later(60);
    world.pass(Cut::Nowhere);
    let decision = world.decide();
    let mut jobs = decision.effects.iter().filter_map(|effect| match effect {
        Effect::CreateJob(job) => job.metadata.name.clone(),
        Effect::DeleteJob { .. } => None,
    });
    let refusal = Refusal { job: jobs.next_back().unwrap(), reason: "JobRefused", message: "quota".into() };
    let valid = validate(&world.policy).unwrap();
    let refused = decision.refused(&valid, &world.seen(), &world::runner(), &refusal);
    let entry = &refused.status.backups[0].clean_ups[0];
    assert_eq!((entry.failures, &entry.active), (1, &None));
    assert_eq!(entry.last_error.as_deref(), Some("JobRefused: quota"));
    assert_eq!(refused.events.last().unwrap().reason, "CleanUpFailed");
}

#[test]
fn a_list_that_is_full_takes_in_no_more_and_says_who_removes_the_rest() {
    let mut world = running();
    for run in 0..=MAX_CLEAN_UPS {
        // Nobody sees them end, so all of them wait.
        for pause in [10, 20, 0] {
            ends(&mut world, Fate::IsDeleted);
            world.later(pause);
            world.settle();
        }
        world.later(300);
        world.settle();
        assert_eq!(clean_ups(&world).len(), (run + 1).min(MAX_CLEAN_UPS));
    }
    // Each attempt of the last run comes to a list that is full.
    assert_eq!((world.dropped.len(), backup(&world).clean_ups_dropped), (3, 3));
    assert!(
        world.dropped[0].contains(
            "[1] of backup database left below database/20251107-015000 in the bucket is left to the deletion"
        ),
        "{:?}",
        world.dropped
    );
    assert_eq!(clean_ups(&world)[0].id.as_str(), "20251107-000500", "the first to be due stays");
}

/// Every run is replaced before its end, and nobody sees its Pod end: more come than can wait. Those that wait have their turn, and
/// of all others it is said.
#[test]
fn where_every_run_is_replaced_clean_ups_go_on_and_nothing_is_lost_in_silence() {
    let mut world = with(often("Replace"));
    let mut ends = 0;
    for _ in 0..30 * 12 {
        world.later(300);
        world.settle();
        world.ghosts_go();
        world.settle();
        let cleaning = cleaners(&world).first().map(|name| (*name).to_owned());
        if let Some(name) = cleaning {
            world.job_ends(&name, Fate::Succeeds);
            world.settle();
            ends += 1;
        }
        assert!(clean_ups(&world).len() <= MAX_CLEAN_UPS);
    }
    assert!(ends >= MAX_CLEAN_UPS, "only {ends} in thirty hours");
    let waits = |id: &BackupId| clean_ups(&world).iter().any(|entry| entry.id == *id);
    let told = |id: &BackupId| world.dropped.iter().any(|message| message.contains(id.as_str()));
    let running: Vec<_> = backup(&world).runs().map(|run| run.run.id.clone()).collect();
    for (id, _) in world.leftovers() {
        assert!(waits(&id) || told(&id) || running.contains(&id), "{id} is forgotten");
    }
    assert_eq!(backup(&world).clean_ups_dropped, world.dropped.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// The process dies at any point of any pass, and attempts and clean-ups end in any way: once Jobs can work again, nothing is
    /// left but what manifests name, and all of that. That no two Jobs are at the same objects, the world checks at each Job.
    #[test]
    fn in_the_end_nothing_is_left_but_backups(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = lived(steps);
        world.policy.spec.suspend = true;
        for _ in 0..200 {
            world.settle();
            world.jobs_end(Fate::Succeeds);
            world.settle();
            let status = backup(&world);
            if status.active.is_none() && status.clean_ups.is_empty() {
                break;
            }
            world.later(3_600);
        }

        prop_assert_eq!(clean_ups(&world), vec![]);
        let dropped = |id: &str| world.dropped.iter().any(|message| message.contains(id));
        let left: Vec<_> = world.leftovers().into_iter().filter(|(id, _)| !dropped(id.as_str())).collect();
        prop_assert_eq!(left, vec![]);
        for (id, attempt) in &world.manifests {
            prop_assert!(world.objects.contains(&(id.clone(), *attempt)), "backup {} lost its objects", id);
        }
        assert_made_once(&world);
    }
}

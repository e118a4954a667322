//! What becomes of what goes on when the spec changes, and of a prefix that is another policy's.

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::reasons;
use greenlang_backup_plan::backup_policy::unserved;
use serde_json::json;

use super::world::{Cut, Fate, World, at, policy};
use super::{backup, counts, is, probed};

/// A world in which the run of 00:05 goes on.
fn running() -> World {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    assert_eq!(world.jobs.len(), 1);
    world
}

fn prunes(world: &World) -> usize {
    world.jobs.iter().filter(|job| job.name.starts_with("p-prune")).count()
}

#[test]
fn a_run_that_ends_while_the_spec_is_invalid_counts_once_it_is_mended() {
    for fate in [Fate::Succeeds, Fate::Fails] {
        let mut world = running();
        world.policy.spec.time_zone = Some("Mars/Olympus".into());
        world.policy.metadata.generation = Some(2);
        world.settle();
        assert!(is(&world, conditions::STALLED, State::True));
        assert_eq!(world.jobs.len(), 1, "its Job goes on");
        world.jobs_end(fate);
        world.settle();
        assert!(backup(&world).active.is_some() && world.jobs.len() == 1, "its end is not forgotten");
        world.policy.spec.time_zone = None;
        world.policy.metadata.generation = Some(3);
        world.settle();
        let expected = if fate == Fate::Succeeds { (1, 1, 0) } else { (1, 0, 1) };
        assert_eq!((counts(&backup(&world).schedules[0].history), backup(&world).active), (expected, None));
        assert_eq!(world.made.values().max(), Some(&1), "{:?}", world.made);
    }
}

#[test]
fn an_edit_makes_no_second_job_of_an_attempt_and_the_next_one_follows_it() {
    let mut world = running();
    world.policy.spec.job_template =
        serde_json::from_value(json!({"resources": {"limits": {"memory": "3Gi"}}})).unwrap();
    world.policy.spec.backups[0].schedules[0].keep_days = 77;
    world.policy.metadata.generation = Some(2);
    world.settle();
    world.jobs_end(Fate::FailsForNow);
    world.settle();
    world.later(10);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
    let limits: Vec<_> = world.limits.values().filter(|limit| *limit == "3Gi").collect();
    assert_eq!((world.limits.len(), limits.len()), (2, 1), "the second attempt is by the spec as it is now");
    assert_eq!(world.prunes[0].retention.schedules[0].keep_days, 77, "and so is retention");
}

#[test]
fn a_prune_of_a_backup_that_is_renamed_is_stopped_and_its_heir_prunes_the_path() {
    for cut in [Cut::Nowhere, Cut::AfterEffects(0), Cut::AfterEffects(1)] {
        let mut world = running();
        world.bucket_answers = false;
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert_eq!(prunes(&world), 1);
        world.policy.spec.backups[0].name = "heir".into();
        world.pass(cut);
        world.settle();
        assert_eq!(prunes(&world), 0, "{cut:?}");
        world.bucket_answers = true;
        world.now = at("2025-11-07T00:10:00Z");
        for _ in 0..2 {
            world.settle();
            world.jobs_end(Fate::Succeeds);
        }
        world.settle();
        let task = world.prunes.last().unwrap();
        assert_eq!((world.prunes.len(), task.backup.as_str(), task.path.as_str()), (2, "heir", "database"));
        assert_eq!(world.made.values().max(), Some(&1), "{cut:?}: {:?}", world.made);
    }
}

#[test]
fn retention_is_not_touched_by_a_suspension_of_schedules_and_a_removed_one_leaves_its_rule_to_manifests() {
    let mut world = running();
    world.policy.spec.suspend = true;
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(world.prunes.len(), 1, "a success that a suspension finds is followed by its prune");
    world.policy.spec.suspend = false;
    world.policy.spec.backups[0].schedules.remove(0);
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    let rules: Vec<_> = world.prunes[1].retention.schedules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(rules, ["seldom"]);
}

#[test]
fn a_prefix_of_another_policy_is_told_with_both_names_until_it_is_adopted() {
    let names = "policy n/other of the cluster with UID c-2 writes there, not policy n/p of the cluster with UID c: adopt: 0123456789ab";
    let mut world = World::new(policy(json!({})));
    world.findings.storage.ok = false;
    world.findings.storage.reason = reasons::OWNED_BY_OTHER.into();
    world.findings.storage.message = names.into();
    let mut world = probed(world);
    for type_ in [conditions::READY, conditions::STORAGE_REACHABLE] {
        let status = world.status();
        let condition = conditions::find(&status.conditions, type_).unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("False", reasons::OWNED_BY_OTHER)
        );
        assert!(condition.message.contains(names), "{type_}: {}", condition.message);
    }
    assert!(world.told.contains(&reasons::PROBE_FAILED));

    // The probe of a token that was told to adopt finds that it may.
    let annotation = json!({"backup.greenlang.io/adopt": "0123456789ab"});
    world.policy.metadata.annotations = serde_json::from_value(annotation).unwrap();
    world.findings.storage.ok = true;
    world.findings.storage.reason = reasons::SUCCEEDED.into();
    let world = probed(world);
    assert!(
        is(&world, conditions::READY, State::True) && is(&world, conditions::STORAGE_REACHABLE, State::True)
    );
}

#[test]
fn where_nobody_works_a_policy_says_so_once_and_what_is_known_of_it_stays() {
    let world = probed(World::new(policy(json!({}))));
    let before = world.status();
    let after = unserved(&before, "n", 7, world.now);
    for (type_, state) in [
        (conditions::READY, State::False),
        (conditions::STALLED, State::True),
        (conditions::RECONCILING, State::False),
        (conditions::RETENTION_ACTIVE, State::False),
    ] {
        let said = conditions::find(&after.conditions, type_).unwrap();
        let expected = (state.as_str(), "NamespaceNotServed", Some(7));
        assert_eq!((&*said.status, &*said.reason, said.observed_generation), expected, "{type_}");
    }
    assert_eq!((&after.backups, after.observed_generation), (&before.backups, Some(7)));
    assert_eq!(unserved(&after, "n", 7, at("2025-11-08T00:00:00Z")), after);
}

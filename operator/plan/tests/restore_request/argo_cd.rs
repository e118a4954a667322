//! Applications of Argo CD that heal themselves: they leave everything as it is until what they have is back.

use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::{QuiesceState, RestorePhase};
use greenlang_backup_plan::restore_request::{Effect, Patched, step, validate};
use serde_json::Value;

use super::owners::{application, argo_cd, failure, of_another, skipping};
use super::restore_world::{runner, shop};
use super::{AS_BEFORE, assert_back, assert_untouched, swap};

#[test]
fn argo_cd_leaves_everything_as_it_is_until_the_applications_are_back() {
    let mut world = argo_cd(&skipping());
    application(&mut world).skip_reconcile = Some("false".into());
    world.run_until(RestorePhase::Restoring);
    assert_eq!(world.counts(), (Some(0), Some(0), Some(true)));
    let seen = application(&mut world).clone();
    assert_eq!(seen.skip_reconcile.as_deref(), Some("true"));
    let ledger = seen.ledger.unwrap();
    assert_eq!((ledger.request_uid.as_str(), ledger.annotation.as_deref()), ("u-1", Some("false")));
    let recorded = world.status().skipped_applications;
    assert_eq!((recorded.len(), recorded[0].skip_reconcile.as_deref()), (1, Some("false")));
    assert_eq!(world.status().plan.unwrap().workloads[2].application.as_deref(), Some("argocd/shop"));
    world.run_until(RestorePhase::Resuming);
    while world.phase() == RestorePhase::Resuming {
        let back = world.counts() == AS_BEFORE;
        assert!(
            back || world.applications[&shop()].skip_reconcile.as_deref() == Some("true"),
            "let go too early"
        );
        world.turn();
    }
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_eq!(world.applications[&shop()].skip_reconcile.as_deref(), Some("false"));
    assert_eq!((world.counts(), world.carries_nothing()), (AS_BEFORE, true));
    assert_eq!(world.done["stop Application argocd/shop"], 1);
}

#[test]
fn an_application_that_somebody_else_has_skip_is_left_alone() {
    for change in [swap(), skipping()] {
        let mut world = argo_cd(&change);
        application(&mut world).skip_reconcile = Some("true".into());
        let before = world.applications.clone();
        world.run_to_end();
        assert_eq!((world.phase(), world.counts()), (RestorePhase::Succeeded, AS_BEFORE));
        assert_eq!(world.applications, before);
        assert!(world.status().skipped_applications.is_empty());
    }
}

#[test]
fn whoever_lets_argo_cd_go_on_is_named_and_all_is_undone() {
    for (says, by, named) in [
        (None, None, "by somebody (whoever removes an annotation leaves no name)"),
        (Some("false"), Some("kubectl-annotate"), "by kubectl-annotate"),
    ] {
        let mut world = argo_cd(&skipping());
        world.run_until(RestorePhase::Restoring);
        let seen = application(&mut world);
        (seen.skip_reconcile, seen.skipped_by) = (says.map(str::to_owned), by.map(str::to_owned));
        world.run_to_end();
        let (reason, message) = failure(&world);
        assert_eq!(reason, "ScaleContested");
        assert!(message.contains(named) && message.contains("argocd/shop"), "{message}");
        assert_untouched(&world, "told to go on");
    }
}

/// Also where nothing is left that says who had told it to leave everything as it is.
#[test]
fn an_application_that_lost_ledger_and_annotation_is_contested() {
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Restoring);
    let seen = application(&mut world);
    (seen.skip_reconcile, seen.skipped_by, seen.ledger) = (None, None, None);
    world.run_to_end();
    let (reason, message) = failure(&world);
    assert_eq!(reason, "ScaleContested");
    assert!(message.contains("Application argocd/shop was told by somebody"), "{message}");
    assert_untouched(&world, "nothing is left");
}

#[test]
fn nothing_is_stopped_once_somebody_lets_argo_cd_go_on() {
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Quiescing);
    while world.applications[&shop()].ledger.is_none() {
        world.turn();
    }
    application(&mut world).skip_reconcile = None;
    world.run_to_end();
    assert_eq!(failure(&world).0, "ScaleContested");
    let stopped: Vec<_> = world.done.keys().filter(|what| what.starts_with("stop ")).collect();
    assert_eq!(stopped, ["stop Application argocd/shop"]);
    assert_untouched(&world, "before anything stopped");
}

/// Else Argo CD would leave it as it is for ever.
#[test]
fn an_application_that_lost_its_ledger_only_is_let_go() {
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Restoring);
    application(&mut world).ledger = None;
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_eq!(world.applications[&shop()].skip_reconcile, None);
    assert_back(&world, "let go");
}

/// An operation that goes on would be stopped half way, or would start what is stopped.
#[test]
fn an_operation_of_argo_cd_is_waited_for_before_anything_stops() {
    let mut world = argo_cd(&skipping());
    application(&mut world).operating = true;
    world.run_until(RestorePhase::Quiescing);
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!((world.counts(), world.carries_nothing()), (AS_BEFORE, true));
    let progress = world.status().progress.unwrap();
    assert!(progress.contains("argocd/shop (an operation of Argo CD goes on)"), "{progress}");
    application(&mut world).operating = false;
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "afterwards");
    // One that does not end keeps nothing down.
    let mut world = argo_cd(&skipping());
    application(&mut world).operating = true;
    world.run_to_end();
    assert_eq!(failure(&world).0, "PodsRemain");
    assert_untouched(&world, "it does not end");
}

#[test]
fn what_people_should_know_of_an_application_is_in_the_plan() {
    let mut world = argo_cd(&skipping());
    application(&mut world).made_by = Some("all-shops".into());
    world.run_to_end();
    let plan = world.status().plan.unwrap();
    assert!(plan.feasible && plan.warnings.len() == 3, "{:?}", plan.warnings);
    let parts = ["ApplicationSet all-shops", "preservedFields.annotations", "backup.greenlang.io/quiesced"];
    assert!(parts.iter().all(|part| plan.warnings[0].contains(part)), "{}", plan.warnings[0]);
    // It is in another cluster.
    let mut world = argo_cd(&swap());
    world.applications.clear();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    let warning = world.status().plan.unwrap().warnings.remove(0);
    assert!(warning.contains("argocd/shop") && warning.contains("not in this cluster"), "{warning}");
}

#[test]
fn an_application_that_is_deleted_or_made_anew_is_said() {
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Restoring);
    world.applications.clear();
    world.run_to_end();
    assert_eq!((world.phase(), world.counts()), (RestorePhase::Succeeded, AS_BEFORE));
    let gone = world.status().skipped_applications.remove(0);
    assert_eq!(gone.state, QuiesceState::Gone);
    assert!(gone.message.unwrap().contains("was deleted"));
    assert!(world.events.contains(&"WorkloadNotFound"));
    // Made anew it heals, and so starts what is stopped.
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Restoring);
    let seen = application(&mut world);
    (seen.ledger, seen.skip_reconcile, seen.uid) = (None, None, "anew".into());
    world.turn();
    world.run_to_end();
    assert_eq!(failure(&world).0, "ScaleContested");
    assert!(world.status().skipped_applications[0].message.clone().unwrap().contains("made anew"));
    assert_untouched(&world, "made anew");
    // Made anew of a copy of itself it is still told to leave everything as it is, and is let go.
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Restoring);
    application(&mut world).uid = "anew".into();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "a copy");
}

#[test]
fn an_application_that_another_request_takes_is_left_to_it() {
    for phase in [RestorePhase::Restoring, RestorePhase::Resuming] {
        let mut world = argo_cd(&skipping());
        world.run_until(phase);
        application(&mut world).ledger = of_another();
        world.run_to_end();
        let end =
            if phase == RestorePhase::Resuming { RestorePhase::Succeeded } else { RestorePhase::Failed };
        assert_eq!((world.phase(), world.counts()), (end, AS_BEFORE), "{phase:?}");
        let state = &world.applications[&shop()];
        assert_eq!((state.skip_reconcile.as_deref(), &state.ledger), (Some("true"), &of_another()));
        assert_eq!(world.status().skipped_applications[0].state, QuiesceState::Taken);
        assert_eq!(world.condition(conditions::RESUMED), ("True".into(), "WorkloadTaken".into()));
    }
}

/// The Application is in another namespace, and stays.
#[test]
fn an_application_is_let_go_although_the_namespace_of_the_request_is_deleted() {
    let mut world = argo_cd(&skipping());
    world.run_until(RestorePhase::Restoring);
    for back in [false, true] {
        let mut seen = world.observe();
        (seen.namespace_deleting, seen.workloads) = (true, vec![]);
        let valid = validate(&world.request, world.policy.as_ref()).unwrap();
        let effects = step(&valid, &seen, &world.status(), &runner()).effects;
        let (last, first) = effects.split_last().unwrap();
        assert_eq!(*last, Effect::RemoveFinalizer);
        match first {
            [] => assert!(back, "it is not let go"),
            [Effect::Patch { target, patch }] => {
                assert!(!back && *target == Patched::Application(shop()), "{target}");
                let annotations = &patch["metadata"]["annotations"];
                assert_eq!(annotations["argocd.argoproj.io/skip-reconcile"], Value::Null);
                assert_eq!(annotations["backup.greenlang.io/quiesced"], Value::Null);
            }
            other => panic!("{other:?}"),
        }
        let state = application(&mut world);
        (state.ledger, state.skip_reconcile) = (None, None);
    }
}

/// As long as one application is not back, Argo CD would see the stop of it.
#[test]
fn an_application_is_let_go_last() {
    let mut world = argo_cd(&skipping());
    world.with_keda();
    world.run_until(RestorePhase::Resuming);
    world.reads_scaled_objects = false;
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!((world.counts().0, world.counts().1), (Some(6), Some(0)), "what KEDA scales is not back");
    assert_eq!(world.applications[&shop()].skip_reconcile.as_deref(), Some("true"));
    world.reads_scaled_objects = true;
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "let go last");
}

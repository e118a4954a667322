//! A database that is not there: what was restored gets its name, nothing is replaced, and nothing is said of an undo.

use greenlang_backup_api::v1alpha1::RestorePhase;
use serde_json::json;

use super::assert_back;
use super::restore_world::{Blow, DATABASE, Fate, OLD, World};

fn empty_server() -> World {
    let mut world = World::new(&json!({"spec": {"checks": {"sql": [{"query": "SELECT 1", "expect": "1"}]}}}));
    world.databases.remove(&OLD);
    world
}

#[test]
fn what_was_restored_gets_the_name_and_nothing_is_kept() {
    let mut world = empty_server();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded, "{:#?}", world.status());
    assert!(world.named(DATABASE).is_some());
    assert_eq!((world.databases.len(), world.done["rename"]), (1, 1), "{:?}", world.databases);
    let status = world.status();
    assert!(status.previous.is_none() && world.kept.is_none());
    let done = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(done.message, "all was done");
    assert_back(&world, "onto an empty server");
}

#[test]
fn cut_before_any_write_or_with_its_status_lost_it_comes_to_the_same_end() {
    let mut whole = empty_server();
    whole.run_to_end();
    for blow in [Blow::Cut, Blow::Wipe] {
        for at in 0..whole.writes {
            let mut world = empty_server();
            world.blow = Some((at, blow));
            world.run_to_end();
            let what = format!("{blow:?} before write {at}");
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}: {:#?}", world.status());
            assert_eq!((world.databases.len(), world.done["rename"]), (1, 1), "{what}");
            assert_back(&world, &what);
        }
    }
}

#[test]
fn nobody_is_sent_to_an_undo_that_cannot_be() {
    let mut failed = empty_server();
    failed.fates = vec![("check", Fate::Fails)];
    failed.run_to_end();
    let failure = failed.status().failure.unwrap();
    assert_eq!(failure.reason, "CheckFailed");
    assert!(!failure.message.contains("undoOf"), "{}", failure.message);

    let mut late = empty_server();
    late.run_until(RestorePhase::Switching);
    while late.status().switch_started_time.is_none() {
        late.turn();
    }
    late.cancel();
    late.turn();
    let status = late.status();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "TooLateToCancel");
    assert!(!ready.message.contains("undoOf"), "{}", ready.message);

    let mut given_up = empty_server();
    given_up.run_until(RestorePhase::Switching);
    given_up.fates = vec![("switch", Fate::IsKilled)];
    let annotations = given_up.request.metadata.annotations.get_or_insert_default();
    annotations.insert("restore.backup.greenlang.io/give-up".into(), "u-1".into());
    given_up.run_to_end();
    let failure = given_up.status().failure.unwrap();
    assert!(failure.message.contains("there is no database greenlang,"), "{}", failure.message);
    assert!(failure.message.contains("nothing else is left"), "{}", failure.message);
}

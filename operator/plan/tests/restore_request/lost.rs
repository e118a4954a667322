//! What becomes of a request with strategy Replace whose status is lost when the old database is about to be dropped.

use greenlang_backup_api::restore::RecordState;
use greenlang_backup_api::v1alpha1::{NamedDatabase, RestorePhase};

use super::restore_world::{DATABASE, Database, OLD, World};
use super::{assert_switched, ways, world};

/// The Job wrote the record, and has not dropped yet.
fn about_to_drop() -> World {
    let (way, change) = ways().into_iter().find(|(way, _)| *way == "replace").unwrap();
    let mut world = world(way, &change);
    world.run_until(RestorePhase::Restoring);
    world.record = Some((world.request.metadata.uid.clone().unwrap(), RecordState::Switching));
    world.record_pair = (None, Some(NamedDatabase { name: DATABASE.into(), oid: OLD }));
    world.request.status = None;
    world
}

#[test]
fn the_old_database_is_dropped_all_the_same() {
    let mut world = about_to_drop();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded, "{:#?}", world.status());
    assert_switched(&world, "replace", "status lost before the drop");
}

#[test]
fn one_that_somebody_has_made_since_is_not_dropped() {
    let mut world = about_to_drop();
    world.databases.remove(&OLD);
    world.databases.insert(900, Database { name: DATABASE.into(), mark: None });
    world.run_until(RestorePhase::Switching);
    assert_eq!(world.named(DATABASE), Some(900));
}

//! Clean-ups by a process that knows nothing of what the attempt did, on servers that list open uploads in different ways.

use greenlang_backup_api::reasons;
use greenlang_backup_test_s3::{Fault, FaultServer, Listing, Operation, Switches};

use crate::fixture::{Fixture, assert_clean};
use crate::{Activity, Checksums, Upload};

const ATTEMPT: &str = "p/x/1/";

fn lists(lists_uploads: Listing) -> FaultServer {
    FaultServer::with(Switches { lists_uploads, ..Switches::default() })
}

/// Uploads of a process that is killed: they stay open, and nobody remembers them.
async fn killed<const N: usize>(server: &FaultServer, keys: [&str; N]) {
    let fixture = Fixture::new(server.endpoint()).await;
    for key in keys {
        start(&fixture, key).await;
    }
}

async fn start(fixture: &Fixture, key: &str) {
    let none = Checksums { algorithm: None };
    Upload::start(&fixture.store, key, 5 << 20, none, &Activity::default()).await.unwrap();
}

#[tokio::test]
async fn all_that_a_killed_process_left_goes_however_uploads_are_listed() {
    for listing in [Listing::ByPrefix, Listing::ByKey] {
        let server = lists(listing);
        killed(&server, ["p/x/1/one.dump", "p/x/1/data/one.2.dump", "p/x/10/neighbour"]).await;
        let other = Fixture::new(server.endpoint()).await;
        other.upload("p/x/1/done.dump", 1000).await.unwrap();
        other.store.remove_attempt(ATTEMPT).await.unwrap();
        assert_eq!(server.open_uploads(), ["p/x/10/neighbour"], "{listing:?}");
        assert_eq!(server.objects(), ["p/x/10/neighbour"], "{listing:?}");
    }
}

/// What else it lists is not ours to delete.
#[tokio::test]
async fn a_server_that_does_not_filter_its_listings_loses_nothing_else() {
    let server = FaultServer::with(Switches { filters_objects: false, ..Switches::default() });
    killed(&server, ["p/x/1/one.dump"]).await;
    let others = ["p/x/10/neighbour", "p/x/manifest.json", "somebody/elses"];
    for key in others {
        server.plant(key, "x");
    }
    Fixture::new(server.endpoint()).await.store.remove_attempt(ATTEMPT).await.unwrap();
    assert_eq!(server.objects(), others);
    assert_eq!(server.open_uploads(), [""; 0]);
}

#[tokio::test]
async fn what_names_an_upload_stays_until_the_upload_is_gone() {
    let server = lists(Listing::ByKey);
    killed(&server, ["p/x/1/one.dump"]).await;
    let denied = || Fault::Answer(403, "AccessDenied");
    for operation in [Operation::AbortMultipartUpload, Operation::ListMultipartUploads] {
        server.inject(denied().on(operation));
        let fixture = Fixture::new(server.endpoint()).await;
        let error = fixture.store.remove_attempt(ATTEMPT).await.unwrap_err();
        assert_eq!(error.reason(), reasons::ACCESS_DENIED);
        assert_eq!(server.objects(), ["p/x/1/one.dump"], "{operation:?}");
        server.heal();
    }
    Fixture::new(server.endpoint()).await.store.remove_attempt(ATTEMPT).await.unwrap();
    assert_clean(&server);
}

#[tokio::test]
async fn a_placeholder_never_replaces_an_object() {
    let server = FaultServer::start();
    let fixture = Fixture::new(server.endpoint()).await;
    fixture.upload("p/x/1/one.dump", 1000).await.unwrap();
    let stored = server.object("p/x/1/one.dump").unwrap();
    start(&fixture, "p/x/1/one.dump").await;
    assert!(server.object("p/x/1/one.dump").unwrap() == stored);
    assert_eq!(server.open_uploads(), ["p/x/1/one.dump"]);
}

#[tokio::test]
async fn a_clean_up_pages_through_thousands_and_spares_the_neighbours() {
    let server = FaultServer::start();
    let fixture = Fixture::new(server.endpoint()).await;
    for number in 0..1_010 {
        start(&fixture, &format!("p/x/1/{number:04}")).await;
    }
    start(&fixture, "p/x/10/neighbour").await;
    fixture.store.remove_attempt(ATTEMPT).await.unwrap();
    assert_eq!(server.open_uploads(), ["p/x/10/neighbour"]);
}

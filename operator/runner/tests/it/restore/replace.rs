//! Strategy Replace: the database that is there goes only once the backup is known to be there and to open.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{RecordState, RestoreRecord};
use greenlang_backup_api::v1alpha1::NamedDatabase;

use super::world::{Request, databases, oid};
use crate::fixture::Fixture;
use crate::servers::POSTGRES;

const RECORD: &str = "clusters/test/restores/greenlang/back.json";

#[test]
fn nothing_is_dropped_for_a_backup_that_cannot_be_read() {
    let name = "replaced";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i");
    let fixture = Fixture::new("replace", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    POSTGRES.sql(name, "CREATE TABLE newer ()");
    let mut request = Request::new(&fixture, &POSTGRES, name, "u-replace");
    let replaced = NamedDatabase { name: name.into(), oid: oid(&POSTGRES, name) };
    request.load().drop_first = Some(replaced.clone());
    let expect_failure = |request: &Request<'_>, reason: &str| {
        request.run().expect(Outcome::Failed, reason);
        assert_eq!(POSTGRES.sql(name, "SELECT count(*) FROM newer").trim(), "0", "{reason}");
        assert!(!request.is_there() && !fixture.bucket.keys().iter().any(|key| key == RECORD), "{reason}");
    };

    let key = request.load().keys.identity.clone();
    let other = age::x25519::Identity::generate().to_string();
    let other = age::secrecy::ExposeSecret::expose_secret(&other);
    request.load().keys.identity = Some(fixture.secret("other", &[("identity.txt", other)]));
    expect_failure(&request, reasons::IDENTITY_MISMATCH);
    request.load().keys.identity = key;

    let objects = fixture.manifest().objects;
    for part in [".dump.zst.age", "contents.json.zst.age"] {
        let key = &objects.iter().find(|object| object.key.ends_with(part)).unwrap().key;
        let good = fixture.bucket.get(key);
        fixture.bucket.put(key, &good[..good.len() - 1]);
        expect_failure(&request, reasons::OBJECT_DAMAGED);
        fixture.bucket.delete(key);
        expect_failure(&request, reasons::OBJECT_MISSING);
        fixture.bucket.put(key, &good);
    }

    // Of a length that the bucket confirms, but not of those bytes.
    let contents = &objects.iter().find(|object| object.key.contains("contents.json")).unwrap().key;
    let good = fixture.bucket.get(contents);
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    fixture.bucket.put(contents, &changed);
    expect_failure(&request, reasons::OBJECT_DAMAGED);
    fixture.bucket.put(contents, &good);

    request.loaded();
    assert!(!databases(&POSTGRES).contains(&name.to_owned()));
    assert_eq!(POSTGRES.sql(&request.temporary(), "SELECT count(*) FROM t").trim(), "100");
    let record: RestoreRecord = serde_json::from_slice(&fixture.bucket.get(RECORD)).unwrap();
    assert_eq!((record.state, record.previous), (RecordState::Switching, Some(replaced)));
    request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);
}

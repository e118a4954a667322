//! What each `sslMode` and CA accepts, by the driver and by libpq alike.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::MountedSecret;
use greenlang_backup_api::v1alpha1::SslMode;

use crate::fixture::{Ended, Fixture};
use crate::happy::SEEDED;
use crate::servers::{CERTIFICATES, S3_WITH_TLS};

fn ca(fixture: &Fixture, file: &str) -> MountedSecret {
    let pem = std::fs::read_to_string(CERTIFICATES.directory.join(file)).unwrap();
    fixture.secret(file, &[("ca.crt", &pem)])
}

fn backup(name: &str, mode: SslMode, host: &str, ca_file: Option<&str>) -> (Fixture, Ended) {
    let mut fixture = Fixture::new(name, &[*SEEDED]);
    fixture.task.server.ssl_mode = mode;
    host.clone_into(&mut fixture.task.server.host);
    fixture.task.server.ca = ca_file.map(|file| ca(&fixture, file));
    let ended = fixture.run();
    (fixture, ended)
}

#[test]
fn what_is_trusted_is_backed_up() {
    for (name, mode, host, ca_file) in [
        ("tls-require", SslMode::Require, "127.0.0.1", None),
        ("tls-require-other", SslMode::Require, "127.0.0.1", Some("other.crt")),
        ("tls-ca", SslMode::VerifyCa, "127.0.0.1", Some("ca.crt")),
        ("tls-full", SslMode::VerifyFull, "localhost", Some("ca.crt")),
    ] {
        let (_, ended) = backup(name, mode, host, ca_file);
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
    }
}

#[test]
fn what_is_not_trusted_is_refused() {
    for (name, mode, host, ca_file) in [
        ("tls-name", SslMode::VerifyFull, "127.0.0.1", Some("ca.crt")),
        ("tls-other-ca", SslMode::VerifyCa, "localhost", Some("other.crt")),
        ("tls-public", SslMode::VerifyFull, "localhost", None),
    ] {
        let (fixture, ended) = backup(name, mode, host, ca_file);
        ended.expect(Outcome::Failed, reasons::TLS_FAILED);
        ended.expect_message(&[host, "postgres.caSecretRef"]);
        fixture.bucket.assert_empty();
    }
}

#[test]
fn the_bucket_has_a_ca_of_its_own() {
    let mut fixture = Fixture::new("tls-bucket", &[*SEEDED]);
    fixture.task.bucket.endpoint = Some(S3_WITH_TLS.endpoint.clone());
    let untrusted = fixture.probe();
    untrusted.expect(Outcome::Done, reasons::PROBE_FAILED);
    let finding = untrusted.report.probe.unwrap().storage;
    assert_eq!(finding.reason, reasons::TLS_FAILED, "{}", finding.message);

    // Trusted, it gets as far as the bucket, which only the other server has.
    fixture.task.bucket.ca = Some(ca(&fixture, "ca.crt"));
    assert_eq!(fixture.probe().report.probe.unwrap().storage.reason, reasons::BUCKET_NOT_FOUND);

    fixture.task.bucket.ca = Some(fixture.secret("no-pem", &[("ca.crt", "nonsense")]));
    assert_eq!(fixture.probe().report.probe.unwrap().storage.reason, reasons::SECRET_KEY_MISSING);
}

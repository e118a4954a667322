//! A server that follows another: it is read, and never written to.

use std::net::SocketAddr;

use super::super::PostgresError;
use super::endpoint;
use greenlang_backup_api::reasons::restore;
use greenlang_backup_test_servers::{ADMIN_PASSWORD, POSTGRES, Postgres, majors};

#[tokio::test]
async fn what_changes_something_goes_to_the_primary_alone() {
    let standby = majors::standby(ADMIN_PASSWORD, "");
    let endpoint = endpoint(&standby, "postgres", ADMIN_PASSWORD);
    endpoint.connect("postgres").await.unwrap();
    let refused = endpoint.connect_to_change("postgres").await.err().unwrap();
    assert_eq!((refused.reason(), refused.is_retryable()), (restore::SERVER_IS_STANDBY, true), "{refused}");
    let endpoint = endpoint.of_primary();
    let refused = endpoint.connect("postgres").await.err().unwrap();
    assert!(matches!(refused, PostgresError::Standby { .. }), "{refused}");

    // As a name has several addresses.
    let target = endpoint.target("postgres");
    let address = |server: &Postgres| SocketAddr::from(([127, 0, 0, 1], server.port));
    let port = async |addresses: &[SocketAddr]| {
        let session = endpoint.find_primary(&target, "-c search_path=pg_catalog", addresses).await?;
        session.value::<String>("SELECT pg_catalog.current_setting('port')").await
    };
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let primary = POSTGRES.port.to_string();
    assert_eq!(port(&[address(&standby), address(&POSTGRES)]).await.unwrap(), primary);
    assert_eq!(port(&[nobody, address(&POSTGRES), address(&standby)]).await.unwrap(), primary);
    let lost = port(&[nobody, address(&standby)]).await.unwrap_err();
    assert!(matches!(lost, PostgresError::ConnectionFailed { .. }), "the primary may be the other: {lost}");
}

//! Decides the environment in which the PostgreSQL programs run: all that they are told, and nothing that is inherited by
//! accident. Pure.

use std::path::Path;

use greenlang_backup_api::v1alpha1::SslMode;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use super::connect::{APPLICATION, Endpoint, KEEPALIVES, KEEPALIVES_IDLE, KEEPALIVES_INTERVAL, VANISHED};

/// CA bundle of the image, unless `SSL_CERT_FILE` names another. libpq from 16 could be told `system`; older ones cannot,
/// and a file serves both.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Long statements are the nature of a dump; the rest makes its text the same whatever the server's settings are.
const OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                       -c bytea_output=hex";

/// A program that will connect to a database of the endpoint. The password is in its environment, never in its arguments.
pub fn command(program: &Path, endpoint: &Endpoint, database: &str) -> Command {
    let server = &endpoint.server;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        // No ~/.pgpass, ~/.pg_service.conf or ~/.postgresql: a root certificate there would change what `require` means.
        .env("HOME", "/nonexistent")
        .env("PGHOST", &server.host)
        .env("PGPORT", server.port.to_string())
        .env("PGUSER", &endpoint.user)
        .env("PGPASSWORD", endpoint.password.expose_secret())
        .env("PGDATABASE", database)
        .env("PGAPPNAME", APPLICATION)
        .env("PGCONNECT_TIMEOUT", "10")
        .env("PGGSSENCMODE", "disable")
        .env("PGOPTIONS", OPTIONS)
        .env("PGTZ", "UTC")
        .env("PGSSLMODE", server.ssl_mode.libpq())
        .arg("--no-password");
    if endpoint.primary {
        command.env("PGTARGETSESSIONATTRS", "primary");
    }
    if matches!(server.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull) {
        command.env("PGSSLROOTCERT", root_certificates(endpoint));
    }
    command
}

fn root_certificates(endpoint: &Endpoint) -> String {
    match &endpoint.server.ca {
        Some(secret) => format!("{}/ca.crt", secret.directory),
        None => std::env::var("SSL_CERT_FILE").unwrap_or_else(|_| CA_BUNDLE.to_owned()),
    }
}

/// The argument that names a database to a program that we start. What finds out that a server vanished has no variable in the
/// environment, so it stands here.
pub fn database_argument(database: &str) -> String {
    format!(
        "--dbname={} keepalives_idle={} keepalives_interval={} keepalives_count={KEEPALIVES} tcp_user_timeout={}",
        connection_string(database),
        KEEPALIVES_IDLE.as_secs(),
        KEEPALIVES_INTERVAL.as_secs(),
        VANISHED.as_millis()
    )
}

/// A connection string for programs that take a database only as an argument, where a name with `=` would be read as one.
pub fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        assert_eq!(connection_string("a=b"), "dbname='a=b'");
        assert_eq!(connection_string("it's \\"), "dbname='it\\'s \\\\'");
    }

    #[test]
    fn programs_are_told_how_a_server_that_vanished_is_found_out() {
        assert_eq!(
            database_argument("a=b"),
            "--dbname=dbname='a=b' keepalives_idle=30 keepalives_interval=10 keepalives_count=9 tcp_user_timeout=120000"
        );
    }
}

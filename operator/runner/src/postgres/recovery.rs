//! Writes down how to recover a backup by hand, with Debian's programs only. Pure. Tests and the demo run these commands as
//! they stand.

use std::collections::BTreeSet;

use greenlang_backup_api::manifest::{Content, Object, Recovery};
use greenlang_backup_api::task::Bucket;

use super::inspect::ServerFacts;
use super::libpq;

/// How the globals begin what they say of the role that restores. A command of its own, so that its failure stops.
const OWN_ROLE: &str =
    r#"OWN_ROLE="$(psql -XAtq -d postgres -c "SELECT format('ALTER ROLE %I WITH ', current_user)")""#;
/// Leaves that out: the role's password would change under the commands that follow, and where it is no superuser in the
/// backup, it would lose the right to go on.
const SKIP_OWN_ROLE: &str = r#"OWN_ROLE="$OWN_ROLE" awk 'index($0, ENVIRON["OWN_ROLE"]) != 1'"#;
/// Applies all globals; what exists already (42710, such as the role postgres) is passed over, any other error stops.
const APPLY_GLOBALS: &str = "PGOPTIONS='-c client_min_messages=error' psql -Xq --set=ON_ERROR_STOP=0 --set=VERBOSITY=sqlstate -d postgres 2>&1 >/dev/null | { ! grep -v 'ERROR:  42710$'; }";

/// What a server must have before this backup can be restored on it.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Directories of tablespaces.
    pub tablespaces: Vec<String>,
    /// Locales of the C library.
    pub locales: BTreeSet<String>,
    /// Whether there are roles that the globals of the backup lack.
    pub lost_roles: bool,
}

/// The recipe of a backup.
pub fn recipe(bucket: &Bucket, server: &ServerFacts, wanted: &Needs, objects: &[Object]) -> Recovery {
    Recovery {
        needs: needs(bucket, server, wanted),
        commands: std::iter::once("set -euo pipefail".to_owned())
            .chain(objects.iter().flat_map(|object| commands(bucket, objects, object)))
            .collect(),
    }
}

fn needs(bucket: &Bucket, server: &ServerFacts, wanted: &Needs) -> Vec<String> {
    let major = server.version.major;
    let endpoint = bucket.endpoint.as_deref().unwrap_or("not set: the bucket is at AWS");
    let mut needs = vec![
        format!(
            "programs: bash, awk, aws, age, zstd, psql and pg_restore of PostgreSQL {major} or newer (Debian: apt-get install awscli age zstd postgresql-client-{major})"
        ),
        format!(
            "AWS_ENDPOINT_URL ({endpoint}), AWS_REGION ({}), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: access to bucket {}",
            bucket.region, bucket.name
        ),
        "IDENTITY: path of a file with one of the age private keys that this backup was encrypted for"
            .to_owned(),
        format!(
            "PGHOST, PGPORT, PGUSER, PGPASSWORD: an empty server of PostgreSQL {major} or newer, best made with superuser {}, and a superuser of it, whose own password and attributes stay as they are",
            server.owner
        ),
    ];
    if !wanted.tablespaces.is_empty() {
        needs.push(format!(
            "empty directories on that server, owned by its operating-system user: {}",
            wanted.tablespaces.join(", ")
        ));
    }
    if wanted.lost_roles {
        needs.push(
            "on that server, after the globals: the roles that contents.json lists as lost_roles of a database (CREATE ROLE, by hand)"
                .to_owned(),
        );
    }
    let locales: Vec<&str> = wanted.locales.iter().map(String::as_str).collect();
    needs.push(format!("locales on that server: {}", locales.join(", ")));
    needs
}

fn commands(bucket: &Bucket, objects: &[Object], object: &Object) -> Vec<String> {
    match &object.content {
        Content::PostgresGlobals => {
            let read = read(bucket, object);
            vec![OWN_ROLE.to_owned(), format!("{read} | {SKIP_OWN_ROLE} | {APPLY_GLOBALS}")]
        }
        Content::PostgresArchive { database } => {
            let of_it = |object: &&Object| matches!(&object.content, Content::PostgresData { database: of, .. } if of == database);
            let data: Vec<&Object> = objects.iter().filter(of_it).collect();
            database_commands(bucket, database, object, &data)
        }
        // Data is restored between the two halves of its database's archive; the rest is for programs.
        Content::PostgresData { .. }
        | Content::PostgresGlobalsData
        | Content::PostgresSettings
        | Content::PostgresContents => Vec::new(),
    }
}

/// One command for a database in one object. Where further dumps have data, it must be there before indexes and keys are made: the
/// archive comes first without its last section, then the data, then the last section alone. `pg_restore` is done with
/// that before its input ends, and what feeds it would fail if nobody read the rest.
fn database_commands(bucket: &Bucket, database: &str, archive: &Object, data: &[&Object]) -> Vec<String> {
    let (create, into) = restore(database);
    let archive = read(bucket, archive);
    if data.is_empty() {
        return vec![format!("{archive} | {create}")];
    }
    let into = format!("pg_restore --exit-on-error --dbname={}", quoted(&into));
    std::iter::once(format!("{archive} | {create} --section=pre-data --section=data"))
        .chain(data.iter().map(|object| format!("{} | {into} --section=data", read(bucket, object))))
        .chain([format!("{archive} | {{ {into} --section=post-data && cat >/dev/null; }}")])
        .collect()
}

fn read(bucket: &Bucket, object: &Object) -> String {
    let source = quoted(&format!("s3://{}/{}", bucket.name, object.key));
    // Before 2.13, Debian bookworm's among them, `aws` does not read that variable by itself.
    let aws = "aws ${AWS_ENDPOINT_URL:+--endpoint-url \"$AWS_ENDPOINT_URL\"}";
    format!("{aws} s3 cp --only-show-errors {source} - | age -d -i \"$IDENTITY\" | zstd -dc")
}

/// The command that makes a database out of its archive, and where it then is. The archive names its database, which is created.
/// Those that every server has are the exceptions: `postgres` is replaced, `template1` is filled, since a template
/// cannot be dropped.
fn restore(database: &str) -> (&'static str, String) {
    let create = match database {
        "postgres" => "pg_restore --clean --if-exists --create --exit-on-error --dbname=template1",
        "template1" => "pg_restore --exit-on-error --dbname=template1",
        _ => "pg_restore --create --exit-on-error --dbname=postgres",
    };
    (create, libpq::connection_string(database))
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_words_stay_words() {
        for word in ["a b", "it's", "$(id)", "a\"b`c`\\", "new\nline"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}

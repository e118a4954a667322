//! A cluster is lost with all that was in it, and the database server too. In a new cluster, bucket and private key bring the database back
//! on an empty server. Bucket and servers are processes of this machine; the local node in between is made anew.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_test_servers::{
    ADMIN_PASSWORD, CERTIFICATES, NODE_ADDRESS, Postgres, S3, S3_KEY, S3_SECRET, run,
};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::parts::{self, KeyPair};
use greenlang_backup_tests::{namespaces, node, operator, policy, restore, suite};
use serde_json::{Value, json};

const NAMES: &[&str] = &["lost"];
/// Longer than a backup or a restore takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(8);
const DATABASE: &str = "greenlang";
const BUCKET: &str = "greenlang-outside";
const POLICY: &str = "greenlang";
const REQUEST: &str = "after-the-loss";
/// Roles with a password and a membership, and of each kind of content something.
const CONTENT: &str = "
    CREATE SCHEMA app AUTHORIZATION greenlang_owner;
    SET ROLE greenlang_owner;
    CREATE TYPE app.state AS ENUM ('new', 'geöffnet');
    CREATE TABLE app.agent (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, state app.state DEFAULT 'new');
    CREATE TABLE app.task (id uuid PRIMARY KEY, agent bigint REFERENCES app.agent, detail jsonb, CHECK (detail <> '{}'));
    INSERT INTO app.agent (name) SELECT 'agent ' || i FROM generate_series(1, 500) AS i;
    INSERT INTO app.task SELECT gen_random_uuid(), 1 + i % 500, jsonb_build_object('n', i) FROM generate_series(1, 20000) AS i;
    CREATE INDEX ON app.task (agent) WHERE detail ->> 'n' > '5';
    CREATE VIEW app.busy AS SELECT name, count(*) FROM app.agent JOIN app.task ON task.agent = agent.id GROUP BY name;
    GRANT USAGE ON SCHEMA app TO greenlang_app;
    GRANT SELECT ON app.busy TO greenlang_app;
    COMMENT ON TABLE app.agent IS 'who does it';
    RESET ROLE;
    SELECT lo_from_bytea(0, 'large');";

/// What outlives the cluster: a bucket, the server that is backed up, and one that is empty.
struct Outside {
    s3: S3,
    source: Postgres,
    empty: Postgres,
}

impl Outside {
    fn start() -> Self {
        let s3 = S3::start_for_pods();
        let mut make_bucket = s3.aws();
        make_bucket.args(["s3", "mb", &format!("s3://{BUCKET}")]);
        run(make_bucket.env("AWS_CA_BUNDLE", CERTIFICATES.directory.join("ca.crt")));
        let [source, empty] = [(); 2].map(|()| Postgres::start_for_pods(ADMIN_PASSWORD));
        source.sql("postgres", "CREATE ROLE greenlang_owner");
        source.sql(
            "postgres",
            "CREATE ROLE greenlang_app LOGIN PASSWORD 'of the application' CONNECTION LIMIT 20",
        );
        source.sql("postgres", "GRANT greenlang_owner TO greenlang_app");
        source.sql("postgres", &format!("CREATE DATABASE {DATABASE} OWNER greenlang_owner"));
        source.sql("postgres", &format!("ALTER DATABASE {DATABASE} SET statement_timeout = '5min'"));
        source.sql(DATABASE, CONTENT);
        Self { s3, source, empty }
    }

    fn storage(&self) -> Value {
        json!({"s3": {
            "bucket": BUCKET, "endpoint": self.s3.endpoint_for_pods(),
            "caSecretRef": {"name": "outside-ca"}, "credentialsSecretRef": {"name": "backup-s3"},
        }})
    }
}

fn server(of: &Postgres) -> Value {
    json!({"host": NODE_ADDRESS, "port": of.port, "sslMode": "VerifyFull", "caSecretRef": {"name": "outside-ca"}})
}

/// What people keep outside of a cluster: how to reach bucket and server.
async fn secrets(cluster: &Cluster, namespace: &str) -> Result<()> {
    let ca = std::fs::read_to_string(CERTIFICATES.directory.join("ca.crt"))?;
    parts::secret(cluster, namespace, "outside-ca", [("ca.crt", &*ca)]).await?;
    let keys = [("AWS_ACCESS_KEY_ID", S3_KEY), ("AWS_SECRET_ACCESS_KEY", S3_SECRET)];
    parts::secret(cluster, namespace, "backup-s3", keys).await?;
    let login = [("username", "postgres"), ("password", ADMIN_PASSWORD)];
    parts::secret(cluster, namespace, "db-admin", login).await
}

/// Makes a backup by a policy, whose cluster will be lost.
async fn back_up(cluster: &Cluster, namespace: &str, outside: &Outside, keys: &[KeyPair]) -> Result<()> {
    secrets(cluster, namespace).await?;
    let recipients: Vec<_> = keys.iter().map(|key| &key.recipient).collect();
    let mut postgres = server(&outside.source);
    postgres["database"] = json!(DATABASE);
    postgres["credentialsSecretRef"] = json!({"name": "db-admin"});
    let wanted = json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": POLICY, "namespace": namespace},
        "spec": {
            "storage": outside.storage(),
            "encryption": {"age": {"recipients": recipients}},
            "postgres": postgres,
            "backups": [{"name": "database", "postgresDump": {}, "schedules": []}],
        },
    });
    policy::first_backup(cluster, &wanted, LIMIT).await
}

/// The request of a cluster that knows no policy.
fn request(namespace: &str, outside: &Outside) -> Value {
    let mut target = server(&outside.empty);
    target["name"] = json!(DATABASE);
    json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "RestoreRequest",
        "metadata": {"name": REQUEST, "namespace": namespace},
        "spec": {
            "storage": outside.storage(),
            "source": {"latest": {"path": "database"}},
            "database": {"target": target, "credentialsSecretRef": {"name": "db-admin"}},
            "identitySecretRef": {"name": "backup-identity"},
            "confirm": DATABASE,
        },
    })
}

/// By what the API server's objects are known to be of another cluster.
async fn identity(cluster: &Cluster) -> Result<String> {
    cluster.kube("get namespace kube-system -o jsonpath={.metadata.uid}").await
}

/// All that a server has of the database, but for its comment, which is the mark of the request.
fn everything(server: &Postgres) -> Vec<String> {
    let mut lines = server.content(DATABASE);
    lines.retain(|line| !line.starts_with("COMMENT ON DATABASE"));
    lines.extend(server.globals().into_iter().filter(|line| line.contains("greenlang_")));
    lines
}

#[tokio::test]
#[ignore = "makes the local node anew: make test-all runs it"]
async fn bucket_and_private_key_bring_a_database_back_in_an_empty_cluster() -> Result<()> {
    let (cluster, namespace) = suite::enter(NAMES, "lost").await?;
    let addresses = cluster.kube("get nodes -o jsonpath={.items[*].status.addresses[*].address}").await?;
    assert!(
        addresses.contains(NODE_ADDRESS),
        "Pods reach this machine at {addresses}, not at {NODE_ADDRESS}"
    );
    let outside = Outside::start();
    let keys = [KeyPair::new(), KeyPair::new()];
    back_up(&cluster, &namespace, &outside, &keys).await?;
    let (before, lost) = (everything(&outside.source), identity(&cluster).await?);

    let cluster = node::make_anew(&cluster).await?;
    assert_ne!(identity(&cluster).await?, lost, "it must be another cluster");
    namespaces::ensure_served(&cluster, &namespace).await?;
    operator::install(&cluster).await?;
    secrets(&cluster, &namespace).await?;
    // Either of the two private keys will do; this one was offline.
    let offline = keys.last().context("no key pair")?;
    let identity = [("identity.txt", &*offline.identity)];
    parts::secret(&cluster, &namespace, "backup-identity", identity).await?;
    assert_eq!(cluster.kube("get backuppolicies --all-namespaces -o name").await?, "", "there is no policy");
    restore::apply(&cluster, &request(&namespace, &outside)).await?;
    let status = restore::ended(&cluster, &namespace, REQUEST, LIMIT).await?;

    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    for type_ in ["Restored", "Verified", "Switched"] {
        assert!(conditions::is(&status.conditions, type_, State::True), "{type_}: {:#?}", status.conditions);
    }
    assert_eq!(status.previous, None, "there was nothing to replace");
    assert_eq!(everything(&outside.empty), before);
    let databases = outside.empty.sql("postgres", "SELECT datname FROM pg_database ORDER BY 1");
    assert_eq!(databases.lines().collect::<Vec<_>>(), [DATABASE, "postgres", "template0", "template1"]);
    // The application gets in with the password that it had.
    let mut application: Command = outside.empty.command("psql", DATABASE);
    application.env("PGUSER", "greenlang_app").env("PGPASSWORD", "of the application");
    assert_eq!(run(application.args(["-XAtc", "SELECT sum(count) FROM app.busy"])).trim(), "20000");
    Ok(())
}

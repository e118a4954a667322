//! The last part of the demo: what the old shell scripts stored comes back, into a database of its own.

use anyhow::Result;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::parts::{Parts, postgres};
use greenlang_backup_tests::{dataset, old_backup, random};
use serde_json::json;

use crate::{Clock, NAMESPACE, restore};

/// Backs up the data set as the scripts did, restores that beside it, compares the rows, and drops it again. Says whether they are equal:
/// owners and rights are not, for such a backup does not hold them.
pub async fn demonstrate(
    clock: &Clock,
    cluster: &Cluster,
    parts: &Parts,
    source: &Fingerprint,
) -> Result<bool> {
    clock.say("a backup as the old shell scripts made theirs: pg_dump, tar, openssl enc -aes-256-cbc");
    let key = old_backup::make(cluster, parts, dataset::DATABASE, "database").await?;
    clock.say(&format!("in the bucket: {key}"));
    // A name restores once, so each run of the demo takes new ones.
    let suffix = random::word(5)?;
    let database = format!("greenlang_old_{suffix}");
    let mut request =
        restore::example("restore-old-backup.yaml", &format!("from-the-old-scripts-{suffix}"), None)?;
    request["spec"]["database"]["strategy"] = json!("NewDatabase");
    request["spec"]["database"]["target"] = json!({"name": database});
    if let Some(spec) = request["spec"].as_object_mut() {
        // Nothing is replaced, so nothing stops.
        spec.retain(|field, _| !matches!(field.as_str(), "quiesce" | "confirm"));
    }
    let what = "examples/restore-old-backup.yaml with strategy NewDatabase";
    restore::carry_out(clock, cluster, what, &request).await?;

    let restored = Fingerprint::take(cluster, NAMESPACE, &database).await?;
    postgres::psql(cluster, NAMESPACE, "postgres", format!("DROP DATABASE {database}")).await?;
    let tables = source.tables(&restored);
    let rows: u64 = tables.iter().filter_map(|table| table.restored).sum();
    let is_equal = rows > 0 && tables.iter().all(|table| table.equal);
    let verdict = if is_equal { "EQUAL" } else { "NOT EQUAL" };
    clock.say(&format!("{verdict}: {} tables and views with {rows} rows", tables.len()));
    for table in tables.iter().filter(|table| !table.equal) {
        clock.say(&format!("{}: {:?} rows, restored {:?}", table.name, table.source, table.restored));
    }
    Ok(is_equal)
}

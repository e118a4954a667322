//! The policies that the operator is measured with: three schedules each, and the status of a policy that has lived for long.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::policy;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Unit};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::{Options, SERVED};

/// Requests at the same time, so that policies are not made one after another.
const AT_ONCE: usize = 8;

/// When policies are due.
pub struct Slots {
    /// Some of them.
    pub first: Timestamp,
    /// All of them.
    pub second: Timestamp,
}

impl Slots {
    /// The first whole minute some minutes from now, and one later.
    pub fn after(now: Timestamp, minutes: u8, between: SignedDuration) -> Result<Self> {
        let first = now.round(Unit::Minute)? + SignedDuration::from_mins(minutes.into());
        Ok(Self { first, second: first + between })
    }
}

/// A schedule that is due at this time each day.
fn daily(name: &str, slot: Timestamp) -> serde_json::Value {
    let slot = slot.to_zoned(TimeZone::UTC);
    json!({"name": name, "cron": format!("{} {} * * *", slot.minute(), slot.hour()), "keepDays": 30})
}

/// Makes all policies.
pub async fn create(cluster: &Cluster, options: &Options, slots: &Slots) -> Result<()> {
    let api = policy::api(cluster, SERVED);
    let recipients = [age_recipient(), age_recipient()];
    // Half a day away from what is measured.
    let far = slots.first + SignedDuration::from_hours(12);
    stream::iter(0..options.policies)
        .map(|number| {
            let name = format!("policy-{number}");
            let first = if number < options.due { slots.first } else { far };
            let wanted = json!({
                "apiVersion": BackupPolicy::API_VERSION, "kind": BackupPolicy::KIND, "metadata": {"name": name, "namespace": SERVED},
                "spec": {
                    "storage": {"s3": {"bucket": "greenlang-backups", "prefix": name, "region": "us-east-1", "credentialsSecretRef": {"name": "backup-s3"}}},
                    "encryption": {"age": {"recipients": recipients}},
                    "postgres": {"host": "db.greenlang.io", "database": "greenlang", "credentialsSecretRef": {"name": "db-backup"}},
                    "backups": [{"name": "database", "postgresDump": {}, "schedules": [
                        daily("some", first), daily("all", slots.second), {"name": "yearly", "cron": "0 0 1 1 *", "keepDays": 365}]}],
                },
            });
            let (api, status) = (api.clone(), lived(options.available));
            async move {
                let wanted: BackupPolicy = serde_json::from_value(wanted)?;
                api.create(&PostParams::default(), &wanted).await?;
                // The definition's own default goes before what `create` is given.
                let patch = Patch::Merge(json!({"status": status?}));
                api.patch_status(&name, &PatchParams::default(), &patch).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn age_recipient() -> String {
    age::x25519::Identity::generate().to_public().to_string()
}

/// What is left of many runs.
fn lived(available: u16) -> Result<serde_json::Value> {
    let newest = Timestamp::now() - SignedDuration::from_hours(24);
    let entries: Result<Vec<_>> = (0..available)
        .map(|days| {
            let time = newest - SignedDuration::from_hours(24 * i64::from(days));
            let time = time.round(Unit::Second)?;
            anyhow::Ok(json!({"backup": "database", "id": BackupId::from_slot(time), "time": time, "bytes": 123_456_789, "verified": "ReadBack"}))
        })
        .collect();
    Ok(json!({"available": entries?}))
}

/// Whether every policy has been checked and nothing is going on.
pub async fn at_rest(cluster: &Cluster, policies: u16) -> Result<bool> {
    let is_at_rest = |status: &BackupPolicyStatus| {
        status.probe.as_ref().is_some_and(|probe| probe.active.is_none() && probe.last_probe_time.is_some())
            && status.backups.iter().all(|backup| backup.active.is_none())
    };
    let all = policy::api(cluster, SERVED).list(&ListParams::default()).await?;
    let ready = all.iter().filter(|policy| policy.status.as_ref().is_some_and(is_at_rest)).count();
    Ok(ready == usize::from(policies))
}

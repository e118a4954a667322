//! An operator whose clock is wrong, by an offset in its process.

use std::time::Duration;

use anyhow::Result;
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::ScheduleStatus;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::install_chart;
use greenlang_backup_tests::{policy, wait};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use kube::ResourceExt;
use serde_json::json;

use crate::apply_changed;
use crate::kubernetes::{Ends, Kubernetes};
use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs::until;

/// In which an operator with nothing to do would do it.
const QUIET: Duration = Duration::from_secs(8);

/// Every four hours, half an hour before now.
fn cron(now: Timestamp) -> Result<String> {
    let slot = now.checked_sub(30.minutes())?.to_zoned(TimeZone::UTC);
    let hours: Vec<_> = (0..6).map(|turn| ((i16::from(slot.hour()) + 4 * turn) % 24).to_string()).collect();
    Ok(format!("{} {} * * *", slot.minute(), hours.join(",")))
}

async fn schedule(api: &ApiServer) -> Result<ScheduleStatus> {
    until(api, "clock", "a schedule", |status| {
        status.backup("database").is_some_and(|backup| !backup.schedules.is_empty())
    })
    .await
    .map(|status| status.backups[0].schedules[0].clone())
}

#[tokio::test]
async fn a_day_ahead_and_an_hour_back_make_one_backup_more_and_no_flood() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let _kubernetes = Kubernetes::play(&api, Ends::Well);
    let recorder = Recorder::start(&api.cluster, SERVED);
    let began = Timestamp::now();
    let cron = cron(began)?;
    apply_changed(&api, "clock", |wanted| {
        wanted["spec"]["backups"][0]["schedules"][0]["cron"] = json!(cron);
    })
    .await?;
    let mut operator = Replica::start_off(&api, "+0").await?;
    until(&api, "clock", "probed", |status| {
        status.probe.as_ref().is_some_and(|probe| probe.last_probe_time.is_some())
            && !status.backups.is_empty()
    })
    .await?;
    tokio::time::sleep(QUIET).await;
    assert_eq!(recorder.jobs("clock", labels::TASK_BACKUP).len(), 0, "nothing is due yet");

    // A day ahead one of six slots is made up for, and the others are said to be missed.
    drop(operator);
    operator = Replica::start_off(&api, "+1d").await?;
    let status = until(&api, "clock", "a run is over", |status| {
        status.backup("database").is_some_and(|backup| {
            backup.schedules[0].history.succeeded > 0
                && backup.prune.as_ref().is_some_and(|prune| prune.active.is_none() && prune.last.is_some())
        })
    })
    .await?;
    let entry = &status.backups[0].schedules[0];
    assert_eq!((entry.history.attempts, entry.history.succeeded, entry.missed), (1, 1, 5), "{entry:?}");
    let slot = entry.last_schedule_time.as_ref().map(|time| time.0.duration_since(began).as_hours());
    assert_eq!(slot, Some(23));

    // Set back by an hour the slot lies ahead; then it is past again; then the clock is right; and then an hour late.
    for offset in ["+23h", "+1d", "+0", "-1h"] {
        drop(operator);
        operator = Replica::start_off(&api, offset).await?;
        tokio::time::sleep(QUIET).await;
        let made: Vec<_> =
            recorder.jobs("clock", labels::TASK_BACKUP).iter().map(ResourceExt::name_any).collect();
        assert_eq!(made.len(), 1, "{offset}: {made:?}");
        let entry = schedule(&api).await?;
        assert_eq!((entry.history.attempts, entry.history.failed), (1, 0), "{offset}: {entry:?}");
        assert_eq!(recorder.jobs("clock", labels::TASK_PRUNE).len(), 1, "{offset}");
    }
    // The last clock was behind, so whoever is right now has a slot to come.
    drop(operator);
    let _operator = Replica::start_off(&api, "+0").await?;
    wait::until("the next slot is to come", LIMIT, async || {
        let next = schedule(&api).await?.next_schedule_time;
        let ahead = next.map(|next| next.0.duration_since(Timestamp::now()));
        Ok(ahead
            .filter(|ahead| (SignedDuration::ZERO..SignedDuration::from_hours(4)).contains(ahead))
            .map(drop))
    })
    .await?;
    let probes = recorder.jobs("clock", labels::TASK_PROBE).len();
    assert!(probes <= 7, "{probes} probes of seven operators");
    policy::delete(&api.cluster, SERVED, "clock").await
}

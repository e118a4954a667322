//! A spec that cannot be carried out is said to be so, by field, and nothing runs; mending it is enough.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{READY, STALLED, find};
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::{policy, suite};
use kube::ResourceExt;
use serde_json::json;

use crate::NAMES;

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_wrong_zone_or_cron_names_its_field_and_runs_nothing() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "invalid").await?;
    let recorder = Recorder::start(&cluster, &parts.namespace);
    let mut right = policy::small(&cluster, &parts, "invalid").await?;
    // Everything would run at once, were it not for the one wrong field.
    right["spec"]["firstRun"] = json!("Immediately");
    right["spec"]["backups"][0]["schedules"] = json!([{"name": "often", "cron": "* * * * *", "keepDays": 1}]);
    let cron = |cron: &str| {
        ("/spec/backups/0/schedules/0/cron", json!(cron), "InvalidSchedule", ".schedules[often].cron")
    };
    let cases = [
        ("/spec/timeZone", json!("Europe/Atlantis"), "InvalidTimeZone", "spec.timeZone"),
        cron("0 0 31 2 *"),
        cron("0 0 2 * * *"),
        cron("61 * * * *"),
        cron("whenever"),
    ];
    for (field, value, reason, named) in cases {
        let mut wrong = right.clone();
        *wrong.pointer_mut(field).context(field)? = value.clone();
        let applied = policy::apply(&cluster, &wrong).await?;
        let generation = applied.generation();
        let what = format!("{field} {value} is {reason}");
        let status = policy::until(&cluster, &applied, &what, MINUTE, |status| {
            policy::shows(status, generation, READY, "False", reason)
                && policy::shows(status, generation, STALLED, "True", reason)
        })
        .await?;
        let message = &find(&status.conditions, READY).context("a condition")?.message;
        assert!(message.contains(named), "{what}: {message}");
    }
    for task in ["backup", "probe"] {
        let jobs: Vec<_> = recorder.jobs("invalid", task).iter().map(ResourceExt::name_any).collect();
        assert!(jobs.is_empty(), "{task}: {jobs:?}");
    }

    let applied = policy::apply(&cluster, &right).await?;
    let generation = applied.generation();
    let status = policy::until(&cluster, &applied, "ready, and a backup made", 3 * MINUTE, |status| {
        policy::shows(status, generation, READY, "True", "Succeeded")
            && status.backup("database").is_some_and(|backup| backup.manual.succeeded == 1)
    })
    .await?;
    assert!(find(&status.conditions, STALLED).is_some_and(|stalled| stalled.status == "False"));
    policy::delete(&cluster, &parts.namespace, "invalid").await
}

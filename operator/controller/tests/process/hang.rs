//! A leader that hangs for longer than its Lease runs, as on a node that is frozen, and wakes up beside its successor.

use anyhow::Result;
use greenlang_backup_api::labels;
use greenlang_backup_tests::jobs::Recorder;
use serde_json::json;

use crate::replica::{LIMIT, Replica, SERVED};
use crate::runs::{carry_out, manual, over, probed, run, start, until};
use crate::{holder, until_leads};

#[tokio::test]
async fn a_leader_that_hung_ends_and_counts_nothing_again() -> Result<()> {
    let (api, mut first) = start().await?;
    probed(&api, "hung").await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    let made = run(&api, "hung", "a", &[]).await?;
    until(&api, "hung", "its Job is known", |status| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
    })
    .await?;
    first.signal("STOP").await?;
    let second = Replica::start(&api, "second").await?;
    until_leads(&api, &second).await?;
    carry_out(&api, &made).await?;
    let status = until(&api, "hung", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));

    // It wakes up while the other one is at a run, of which it has not heard.
    let next = run(&api, "hung", "b", &[&made]).await?;
    first.signal("CONT").await?;
    let ended = first.ended(LIMIT).await?;
    let said = first.said("the operator stops").await?;
    assert_eq!((ended.code(), &said["reason"]), (Some(1), &json!("LeaseLost")), "{said}");
    carry_out(&api, &next).await?;
    let status = until(&api, "hung", "the next run is over", |status| over(status, 2)).await?;
    assert_eq!(manual(&status)?, (2, 2, 0));
    assert_eq!(status.available.len(), 2);
    assert_eq!(recorder.jobs("hung", labels::TASK_BACKUP).len(), 2);
    assert_eq!(holder(&api).await?.as_deref(), Some("second"));
    Ok(())
}

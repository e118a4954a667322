//! A backup of the old shell scripts takes the place of a database that applications use.

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions;
use greenlang_backup_tests::old_backup;

use super::{begin, expect_restored};

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn what_the_old_scripts_stored_comes_back_by_a_request() -> Result<()> {
    let story = begin("scripts").await?;
    old_backup::make(&story.cluster, &story.parts, &story.name, "scripts/database").await?;
    story.damage().await?;
    let mut request = story.request("back");
    old_backup::ask_for(&mut request);
    let status = story.carry_out("back", &request).await?;
    // Roles and grants, which it does not hold, play no part here: superuser and applications are as they were.
    expect_restored(&story, &status).await?;

    let planned = status.plan.as_ref().and_then(|plan| plan.backup.as_ref()).context("no plan")?;
    assert!(planned.legacy, "{planned:?}");
    let id = status.backup.as_ref().map(|backup| backup.id.to_string());
    assert_eq!(id.as_deref(), Some(old_backup::ID));
    let state = |type_| {
        conditions::find(&status.conditions, type_)
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    assert_eq!(state("Switched"), Some(("True".into(), "Switched".into())));
    assert_eq!(state("Verified"), Some(("False".into(), "NotYet".into())), "it has no list to compare with");
    story.close().await
}

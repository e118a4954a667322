//! What was replaced, and what a person does to the ConfigMap that remembers it.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::restore::{DropReport, RestoreReport};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::{kubelet, wait};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use super::World;
use crate::replica::{LIMIT, SERVED};
use crate::runs;

impl World {
    /// The time of a database is over: the Job that drops it does so, and its ConfigMap goes.
    pub(super) async fn drop_at_once(&self, kept: &ConfigMap) -> Result<()> {
        self.drop_after(kept, "2025-11-07T00:00:00Z").await?;
        let jobs = runs::jobs(&self.api);
        let job = wait::until("the Job that drops it", LIMIT, async || {
            Ok(jobs.list(&ListParams::default().labels(labels::KEPT_DATABASE)).await?.items.pop())
        })
        .await?;
        let mut report = kubelet::good_report(&job)?;
        report.restore = Some(RestoreReport::Drop(DropReport { dropped: true, freed_bytes: 1 }));
        kubelet::carry_out(&self.api.cluster.client, &job, &report).await?;
        wait::until("it is forgotten", LIMIT, async || Ok(self.kept().await?.is_empty().then_some(()))).await
    }
}

#[tokio::test]
async fn a_request_says_what_became_of_what_it_replaced() -> Result<()> {
    let world = World::start().await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(world.api.cluster.client.clone(), SERVED);
    world.apply("left", |_| {}).await?;
    world.phase("left", RestorePhase::Succeeded).await?;
    let kept = world.kept().await?.pop().context("nothing remembers it")?;

    // A time that cannot be read is told, and the time of before is not written over it; a good one counts again.
    world.drop_after(&kept, "next summer").await?;
    let said = |part: &'static str| {
        move |status: &RestoreRequestStatus| {
            let message = status.previous.as_ref().and_then(|previous| previous.message.as_deref());
            message.is_some_and(|message| message.contains(part))
        }
    };
    world.until("left", "its ConfigMap cannot be read", said("cannot be read")).await?;
    world.drop_after(&kept, "2125-11-07T00:00:00Z").await?;
    world
        .until("left", "it can be read again", |status| {
            status.previous.as_ref().is_some_and(|previous| {
                previous.message.is_none() && previous.drop_after.0.to_string().starts_with("2125")
            })
        })
        .await?;

    // Whoever deletes it keeps the database.
    config_maps.delete(&kept.name_any(), &DeleteParams::default()).await?;
    let status = world.until("left", "its ConfigMap was deleted", said("was deleted")).await?;
    assert!(status.previous.context("no database")?.dropped_time.is_none());
    assert!(world.kept().await?.is_empty(), "it is made again");
    wait::until("its event", LIMIT, async || {
        Ok(world.events("left").await?.contains("PreviousKept").then_some(()))
    })
    .await?;

    // One that is dropped is told as dropped.
    world.apply("dropped", |_| {}).await?;
    world.phase("dropped", RestorePhase::Succeeded).await?;
    world.drop_at_once(&world.kept().await?.pop().context("nothing remembers it")?).await?;
    let previous = world.status("dropped").await?.previous.context("no database")?;
    assert!(previous.dropped_time.is_some() && previous.message.is_none(), "{previous:?}");
    Ok(())
}

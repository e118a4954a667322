//! The instrument of every rollout: a watch of the applications' Pods that notes by a monotonic clock when each is gone or ready. Talks to
//! the API server.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt as _;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::restore::APPLICATIONS;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::away::Away;

/// Longest that anything is waited for; it takes seconds.
const LIMIT: Duration = Duration::from_mins(5);

/// A running watch; it ends when this is dropped.
pub struct Instrument {
    seen: watch::Receiver<Seen>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// None before the Pods that are there were listed.
    away: Option<Away>,
    /// Why the watch is of no use any more.
    broken: Option<String>,
}

impl Instrument {
    /// Starts to watch; all Pods of the applications must be there.
    pub async fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let (sender, seen) = watch::channel(Seen::default());
        let mut task = JoinSet::new();
        let pods = Api::namespaced(cluster.client.clone(), namespace);
        task.spawn(async move {
            if let Err(error) = follow(pods, &sender).await {
                sender.send_modify(|seen| seen.broken = Some(format!("{error:#}")));
            }
        });
        let mut instrument = Self { seen, _task: task };
        let found = instrument.until("Pods are listed", |away| Ok(Some(away.started_with()))).await?;
        let wanted: i32 = APPLICATIONS.iter().map(|(_, replicas)| replicas).sum();
        ensure!(usize::try_from(wanted) == Ok(found), "{found} Pods of the applications, not {wanted}");
        Ok(instrument)
    }

    /// Waits until every Pod that was there at the start is gone.
    pub async fn stopped(&mut self) -> Result<()> {
        self.until("the applications are stopped", |away| Ok(away.stopped().map(|_| ()))).await
    }

    /// Waits until the first new Pod is ready, and gives the time that the applications were away.
    pub async fn away(&mut self) -> Result<Duration> {
        self.until("an application is back", Away::took).await
    }

    async fn until<T>(&mut self, what: &str, find: impl Fn(&Away) -> Result<Option<T>>) -> Result<T> {
        let found = async {
            loop {
                {
                    let seen = self.seen.borrow_and_update();
                    if let Some(why) = &seen.broken {
                        bail!("the watch of Pods is of no use, measure again: {why}");
                    }
                    if let Some(found) = seen.away.as_ref().map(&find).transpose()?.flatten() {
                        return Ok(found);
                    }
                }
                self.seen.changed().await?;
            }
        };
        timeout(LIMIT, found).await.with_context(|| format!("{what}: not so after {} s", LIMIT.as_secs()))?
    }
}

/// Notes what happens until the watch breaks off. What happens in a gap would be noted late or never, so a gap is an error.
async fn follow(pods: Api<Pod>, seen: &watch::Sender<Seen>) -> Result<()> {
    let names = APPLICATIONS.map(|(name, _)| name).join(",");
    let config = Config::default().labels(&format!("app in ({names})"));
    let mut events = pin!(watcher(pods, config));
    let mut there = BTreeSet::new();
    while let Some(event) = events.try_next().await? {
        let now = Instant::now();
        match event {
            Event::Init => ensure!(seen.borrow().away.is_none(), "it began anew"),
            Event::InitApply(pod) => {
                there.insert(uid(&pod));
            }
            Event::InitDone => {
                let away = Away::new(std::mem::take(&mut there));
                seen.send_modify(|seen| seen.away = Some(away));
            }
            Event::Apply(pod) if is_ready(&pod) => note(seen, |away| away.note_ready(&uid(&pod), now)),
            Event::Apply(_) => {}
            Event::Delete(pod) => note(seen, |away| away.note_end(&uid(&pod), now)),
        }
    }
    bail!("it ended")
}

fn note(seen: &watch::Sender<Seen>, change: impl FnOnce(&mut Away)) {
    seen.send_modify(|seen| {
        if let Some(away) = &mut seen.away {
            change(away);
        }
    });
}

fn uid(pod: &Pod) -> String {
    pod.uid().unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_ready_by_its_condition_of_that_name() -> Result<()> {
        let pod = |type_: &str, status: &str| -> Result<Pod> {
            let other = json!({"type": "PodScheduled", "status": "True"});
            let condition = json!({"type": type_, "status": status});
            Ok(serde_json::from_value(json!({"status": {"conditions": [other, condition]}}))?)
        };
        assert!(is_ready(&pod("Ready", "True")?));
        assert!(!is_ready(&pod("Ready", "False")?));
        assert!(!is_ready(&pod("ContainersReady", "True")?));
        assert!(!is_ready(&Pod::default()));
        Ok(())
    }
}

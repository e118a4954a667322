//! RestoreRequests on a real API server, with the rights of the chart: whatever happens, applications come back and nothing is done twice.

mod away;
mod checks;
mod dumps;
mod elsewhere;
mod kept;
mod limit;
mod refused;
mod workloads;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::conditions::{READY, RESUMED, find};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest, RestoreRequestStatus};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apply_policy;
use crate::proxy::{Fault, Proxy};
use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs;
use crate::server::{PLAN_LINE, Server};

const DATABASE: &str = "greenlang";
/// Replicas of the application.
pub const REPLICAS: i64 = 3;
/// The variable that names the file which arms a cut.
const CUT_FILE: &str = "GREENLANG_CUT_FILE";
/// What a namespace with an active request may take to go.
const GONE: Duration = Duration::from_mins(1);

/// What a life that is cut may take: the next operator waits for the Lease of the one before.
#[cfg(feature = "crash-points")]
pub const LIFE: Duration = Duration::from_mins(5);

/// The world of these tests.
pub struct World {
    pub api: ApiServer,
    proxy: Proxy,
    pub operator: Replica,
    pub server: Server,
    pub folder: TempDir,
    variables: &'static [(&'static str, &'static str)],
}

impl World {
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// With these variables of the operator.
    async fn start_with(variables: &'static [(&'static str, &'static str)]) -> Result<Self> {
        let api = ApiServer::start().await?;
        install(&api).await?;
        install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
        let proxy = Proxy::start(&api).await?;
        proxy.inject(Fault::Text(PLAN_LINE.to_owned()), "GET", "/log", usize::MAX);
        let folder = tempfile::tempdir()?;
        let operator = operator(&proxy, &folder, variables)?;
        operator.said("this replica leads").await?;
        apply_policy(&api, "main").await?;
        let server = Server::play(&api, DATABASE);
        let world = Self { api, proxy, operator, server, folder, variables };
        world.application().await?;
        Ok(world)
    }

    async fn application(&self) -> Result<()> {
        let labels = json!({"app": "api"});
        let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "api", "image": "none"}]}});
        let spec = json!({"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": pod});
        let metadata = json!({"name": "api", "namespace": SERVED});
        let deployment =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
        self.api.cluster.apply(&deployment.to_string()).await
    }

    /// The policy's own Jobs come to their end.
    async fn policy_at_rest(&self) -> Result<()> {
        for task in [labels::TASK_CATALOGUE, labels::TASK_PROBE] {
            runs::carry_out(&self.api, &runs::job(&self.api, "main", task, &[]).await?).await?;
        }
        Ok(())
    }

    /// Starts an operator that has died again, as Kubernetes does.
    pub fn tend(&mut self) -> Result<()> {
        if !self.operator.runs()? {
            self.operator = operator(&self.proxy, &self.folder, self.variables)?;
        }
        Ok(())
    }

    pub fn requests(&self) -> Api<RestoreRequest> {
        Api::namespaced(self.api.cluster.client.clone(), SERVED)
    }

    pub async fn apply(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut request = json!({
            "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "RestoreRequest",
            "metadata": {"name": name, "namespace": SERVED},
            "spec": {
                "policyRef": {"name": "main"},
                "source": {"backup": {"name": "database", "id": "20251107-020000"}},
                "database": {"credentialsSecretRef": {"name": "admin"}},
                "identitySecretRef": {"name": "identity"},
                "confirm": DATABASE,
                "quiesce": {"drainSeconds": 0, "workloads": [{"kind": "Deployment", "name": "api"}]},
            },
        });
        change(&mut request);
        self.api.cluster.apply(&request.to_string()).await
    }

    pub async fn change(&self, name: &str, patch: Value) -> Result<()> {
        self.requests().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub async fn status(&self, name: &str) -> Result<RestoreRequestStatus> {
        Ok(self.requests().get(name).await?.status.unwrap_or_default())
    }

    pub async fn until(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&RestoreRequestStatus) -> bool,
    ) -> Result<RestoreRequestStatus> {
        let what = format!("{name}: {what}");
        let found = wait::until(&what, LIMIT, async || Ok(Some(self.status(name).await?).filter(&is_so)));
        match found.await {
            Ok(status) => Ok(status),
            Err(error) => Err(error.context(format!("{:#?}", self.status(name).await?))),
        }
    }

    pub async fn phase(&self, name: &str, phase: RestorePhase) -> Result<RestoreRequestStatus> {
        self.until(name, phase.as_str(), |status| status.phase == Some(phase)).await
    }

    /// The status at the end, whatever becomes of the operator until then.
    #[cfg(feature = "crash-points")]
    pub async fn end(&mut self, name: &str) -> Result<RestoreRequestStatus> {
        wait::until(&format!("{name} ends"), LIFE, async || {
            self.tend()?;
            let found = self.status(name).await?;
            Ok(found.phase.is_some_and(RestorePhase::is_end).then_some(found))
        })
        .await
    }

    pub async fn replicas(&self) -> Result<String> {
        let question =
            format!("get deployment -n {SERVED} api -o jsonpath={{.spec.replicas}}{{.metadata.annotations}}");
        self.api.cluster.kube(&question).await
    }

    /// The application has what it had and carries nothing of ours, and nothing holds the request or the database.
    pub async fn at_rest(&mut self, name: &str) -> Result<()> {
        wait::until("Lease and finalizer are gone", LIMIT, async || {
            self.tend()?;
            let leases: Api<Lease> = Api::namespaced(self.api.cluster.client.clone(), NAMESPACE);
            let held = leases.list(&ListParams::default()).await?;
            let request = self.requests().get_opt(name).await?;
            let is_free = request.is_none_or(|request| request.finalizers().is_empty());
            Ok((is_free && held.iter().all(|lease| lease.name_any() == RELEASE)).then_some(()))
        })
        .await?;
        let replicas = self.replicas().await?;
        let is_back = replicas.starts_with(&REPLICAS.to_string()) && !replicas.contains(labels::LEDGER);
        ensure!(is_back, "{replicas}");
        Ok(())
    }

    async fn kept(&self) -> Result<Vec<ConfigMap>> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.api.cluster.client.clone(), SERVED);
        Ok(config_maps.list(&ListParams::default().labels(labels::KEPT_DATABASE)).await?.items)
    }

    /// Sets the time after which what was replaced is dropped, as a person may.
    async fn drop_after(&self, kept: &ConfigMap, time: &str) -> Result<()> {
        let text = kept.data.as_ref().context("no data")?.get("kept.json").context("no text")?;
        let mut text: Value = serde_json::from_str(text)?;
        text["dropAfter"] = json!(time);
        let patch = Patch::Merge(json!({"data": {"kept.json": text.to_string()}}));
        let config_maps: Api<ConfigMap> = Api::namespaced(self.api.cluster.client.clone(), SERVED);
        config_maps.patch(&kept.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn events(&self, name: &str) -> Result<String> {
        let question = format!(
            "get events -n {SERVED} --field-selector involvedObject.name={name} -o jsonpath={{.items[*].reason}}"
        );
        self.api.cluster.kube(&question).await
    }
}

fn operator(proxy: &Proxy, folder: &TempDir, variables: &[(&str, &str)]) -> Result<Replica> {
    let file = folder.path().join("cut").display().to_string();
    let cut = [(CUT_FILE, &*file)];
    Replica::start_with(&proxy.kubeconfig, "operator", &[&cut[..], variables].concat())
}

/// Whether a phase has a Job that the operator knows, so that whatever comes then meets it at work.
fn works(phase: RestorePhase) -> impl Fn(&RestoreRequestStatus) -> bool {
    move |status| {
        let active = status.active.as_ref().filter(|_| status.phase == Some(phase));
        active.is_some_and(|active| active.job_uid.is_some())
    }
}

/// What a restore does, each once.
pub const ALL: [&str; 3] = ["load", "plan", "switch"];

pub fn once(actions: &[&str]) -> Vec<(String, u32)> {
    actions.iter().map(|action| ((*action).to_owned(), 1)).collect()
}

#[tokio::test]
async fn a_request_goes_through_its_phases_and_leaves_no_trace_but_what_it_replaced() -> Result<()> {
    let mut world = World::start().await?;
    world.apply("back", |_| {}).await?;
    let status = world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    assert_eq!(world.server.done("back"), once(&ALL));
    let previous = status.previous.context("nothing was kept")?;
    assert_eq!(world.server.databases(), [previous.name.as_str(), DATABASE]);
    let times: Vec<_> = status.phases.iter().map(|times| times.phase.as_str()).collect();
    assert_eq!(
        times,
        ["Planning", "Quiescing", "Restoring", "Switching", "Resuming", "Checking", "Succeeded"]
    );

    // All that it asked for, the chart allows.
    let asked = world.api.requests(NAMESPACE, RELEASE)?;
    assert!(asked.iter().any(|request| request.starts_with("patch deployments api")), "{asked:#?}");
    let (_, metrics) = world.operator.get("/metrics").await?.context("no metrics")?;
    assert!(!metrics.contains("outcome=\"Forbidden\""), "{metrics}");
    let down = format!("gl_restore_workloads_scaled_down{{namespace=\"{SERVED}\",request=\"back\"}} 0");
    assert!(metrics.contains(&down), "{metrics}");

    // The database that was replaced outlives the request, and says so; when its time is over it goes.
    let kept = world.kept().await?.pop().context("nothing remembers it")?;
    world.requests().delete("back", &DeleteParams::default()).await?;
    wait::until("its farewell", LIMIT, async || {
        Ok(world.events("back").await?.contains("PreviousKept").then_some(()))
    })
    .await?;
    let name = kept.name_any();
    world.drop_at_once(&kept).await?;
    assert!(world.events(&name).await?.contains("PreviousDropped"));
    Ok(())
}

/// The next life is cut one write later, until it ends uncut.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_restore_survives_a_kill_before_each_write() -> Result<()> {
    let mut world = World::start().await?;
    let file = world.folder.path().join("cut");
    for writes in 0.. {
        std::fs::write(&file, format!("abort {writes}"))?;
        let name = format!("back-{writes}");
        world.apply(&name, |_| {}).await?;
        let status = world.end(&name).await?;
        ensure!(status.phase == Some(RestorePhase::Succeeded), "{name}: {status:#?}");
        world.at_rest(&name).await.context(name.clone())?;
        assert_eq!(world.server.done(&name), once(&ALL), "{name}");
        assert_eq!(world.kept().await?.len(), writes + 1, "{name}");
        if file.exists() {
            // Lease, place, Job, finalizer, ledger, stop, load, no return, ConfigMap, switch, resume, end, and what lies between.
            ensure!(writes >= 20, "only {writes} writes were cut");
            return Ok(());
        }
    }
    Ok(())
}

#[tokio::test]
async fn before_the_switch_all_is_undone_when_it_is_cancelled_deleted_or_contested() -> Result<()> {
    let mut world = World::start().await?;
    let before = world.server.named(DATABASE);
    for (name, end) in [
        ("cancelled", RestorePhase::Cancelled),
        ("contested", RestorePhase::Failed),
        ("deleted", RestorePhase::Failed),
    ] {
        world.server.hold("load", true);
        world.apply(name, |_| {}).await?;
        world
            .until(name, "it loads", |status| {
                status.phase == Some(RestorePhase::Restoring)
                    && status.active.as_ref().is_some_and(|active| active.job_uid.is_some())
            })
            .await?;
        assert!(world.replicas().await?.starts_with('0'));
        match name {
            "cancelled" => world.change(name, json!({"spec": {"cancel": true}})).await?,
            "deleted" => drop(world.requests().delete(name, &DeleteParams::default()).await?),
            _ => {
                let scale = format!("scale deployment -n {SERVED} api --replicas=5");
                world.api.cluster.kube(&scale).await?;
                world.server.hold("load", false);
            }
        }
        if name == "deleted" {
            wait::until("it is gone", LIMIT, async || {
                Ok(world.requests().get_opt(name).await?.is_none().then_some(()))
            })
            .await?;
        } else {
            let status = world.phase(name, end).await?;
            let failure = status.failure.context("no reason")?;
            let contested = failure.reason == "ScaleContested" && failure.message.contains("kubectl");
            assert_eq!(contested, name == "contested", "{failure:?}");
        }
        world.server.hold("load", false);
        if name == "contested" {
            // Somebody wanted it to run, so it is left to them, with what it had.
            world
                .api
                .cluster
                .kube(&format!("scale deployment -n {SERVED} api --replicas={REPLICAS}"))
                .await?;
        }
        world.at_rest(name).await.context(name)?;
        assert_eq!((world.server.databases().len(), world.server.named(DATABASE)), (1, before), "{name}");
        assert!(world.kept().await?.is_empty(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn one_request_at_a_time_works_on_a_database_and_a_wrong_one_touches_nothing() -> Result<()> {
    let mut world = World::start().await?;
    world.server.hold("load", true);
    world.apply("first", |_| {}).await?;
    world.phase("first", RestorePhase::Restoring).await?;
    world.apply("second", |_| {}).await?;
    let waits = world
        .until("second", "it waits", |status| {
            find(&status.conditions, READY).is_some_and(|ready| ready.reason == "WaitingForOther")
        })
        .await?;
    let ready = find(&waits.conditions, READY).context("no condition")?;
    assert!(ready.message.contains(&format!("{SERVED}/first")), "{}", ready.message);

    world.apply("wrong", |wanted| wanted["spec"]["policyRef"]["name"] = json!("nobody")).await?;
    let wrong = world
        .until("wrong", "it is refused", |status| {
            find(&status.conditions, READY).is_some_and(|ready| ready.reason == "PolicyNotFound")
        })
        .await?;
    assert_eq!((wrong.phase, wrong.active), (Some(RestorePhase::Pending), None));
    assert!(world.server.done("wrong").is_empty() && world.server.done("second").is_empty());

    world.server.hold("load", false);
    world.phase("first", RestorePhase::Succeeded).await?;
    let second = world.phase("second", RestorePhase::Succeeded).await?;
    assert!(find(&second.conditions, RESUMED).is_some_and(|resumed| resumed.status == "True"));
    world.at_rest("second").await?;
    assert_eq!((world.server.done("first"), world.server.done("second")), (once(&ALL), once(&ALL)));
    Ok(())
}

/// An admission policy refuses the stop.
#[tokio::test]
async fn an_application_that_may_not_be_changed_is_named_and_all_is_undone() -> Result<()> {
    let mut world = World::start().await?;
    let name = json!({"name": "nobody-stops"});
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]);
    let refusal = json!({"expression": "object.spec.replicas > 0", "message": format!("not on {}", "Fridays ".repeat(400))});
    let admission = |kind: &str, spec: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": name, "spec": spec})
            .to_string()
    };
    let policy = json!({"matchConstraints": {"resourceRules": rules}, "validations": [refusal]});
    let binding = json!({"policyName": "nobody-stops", "validationActions": ["Deny"]});
    world.api.cluster.apply(&admission("ValidatingAdmissionPolicy", policy)).await?;
    world.api.cluster.apply(&admission("ValidatingAdmissionPolicyBinding", binding)).await?;
    wait::until("the admission policy holds", LIMIT, async || {
        let scale = format!("patch deployment -n {SERVED} api --type=merge --dry-run=server -p {{\"spec\":{{\"replicas\":0}}}}");
        Ok(world.api.cluster.kube(&scale).await.is_err().then_some(()))
    })
    .await?;

    world.apply("back", |_| {}).await?;
    let status = world.phase("back", RestorePhase::Failed).await?;
    let failure = status.failure.context("no reason")?;
    assert_eq!(failure.reason, "WorkloadRefused");
    assert!(
        failure.message.contains("Deployment api") && failure.message.contains("Fridays"),
        "{}",
        failure.message
    );
    assert!(world.server.databases() == [DATABASE] && world.kept().await?.is_empty());
    world.at_rest("back").await
}

/// An autoscaler leaves what has no replicas.
#[tokio::test]
async fn an_application_is_stopped_beside_its_autoscaler() -> Result<()> {
    let mut world = World::start().await?;
    world.api.cluster.apply(&autoscaler(&json!([])).to_string()).await?;
    world.apply("back", |_| {}).await?;
    let status = world.phase("back", RestorePhase::Succeeded).await?;
    assert_eq!(status.quiesced[0].autoscaler.as_deref(), Some("api-by-load"));
    world.at_rest("back").await
}

/// An autoscaler of the application that belongs to these.
pub fn autoscaler(owners: &Value) -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"});
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "api-by-load", "namespace": SERVED, "ownerReferences": owners},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9},
    })
}

#[tokio::test]
async fn a_namespace_goes_with_its_active_restore_within_a_minute() -> Result<()> {
    let mut world = World::start().await?;
    world.server.hold("load", true);
    world.apply("back", |_| {}).await?;
    world.phase("back", RestorePhase::Restoring).await?;
    let _controllers = world.api.start_controllers(&[
        "namespace-controller",
        "garbage-collector-controller",
        "job-controller",
    ])?;
    let namespaces: Api<Namespace> = Api::all(world.api.cluster.client.clone());
    namespaces.delete(SERVED, &DeleteParams::default()).await?;
    wait::until("the namespace is gone", GONE, async || {
        Ok(namespaces.get_opt(SERVED).await?.is_none().then_some(()))
    })
    .await?;
    ensure!(world.operator.runs()?, "it goes on for other namespaces");
    Ok(())
}

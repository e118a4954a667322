//! What the charts render for the values that people set: rights, placement, identities, scraping, network, disruption. Needs helm, and
//! no cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

#[path = "charts/other_tools.rs"]
mod other_tools;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::cluster::program;
use greenlang_backup_tests::command::{self, Output};
use greenlang_backup_tests::operator::{RELEASE, checkout};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::process::Command;

/// Namespace of the release.
const SYSTEM: &str = "system";

async fn helm(subcommand: &[&str], chart: &str, values: &Value) -> Result<Output> {
    let mut helm = Command::new(program("helm")?);
    helm.args(subcommand).arg(checkout().join("charts").join(chart));
    helm.args(["--namespace", SYSTEM, "--values", "-"]);
    command::output(&mut helm, values.to_string()).await
}

/// Every object that the operator's chart makes of these values.
struct Rendered(Vec<Value>);

impl Rendered {
    async fn of(values: Value) -> Result<Self> {
        let answer = helm(&["template", RELEASE], RELEASE, &values).await?;
        anyhow::ensure!(answer.ok, "{values}: {}", answer.quote());
        let documents = serde_yaml::Deserializer::from_str(&answer.stdout).map(Value::deserialize);
        let objects: Vec<Value> = documents.collect::<Result<_, _>>()?;
        Ok(Self(objects.into_iter().filter(|object| !object.is_null()).collect()))
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}: {all:#?}");
        all[0]
    }

    fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]
    }

    /// How many there are of each kind.
    fn kinds(&self) -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for object in &self.0 {
            *kinds.entry(object["kind"].as_str().unwrap()).or_default() += 1;
        }
        kinds
    }

    fn namespaces(&self, kind: &str) -> BTreeSet<&str> {
        self.all(kind).iter().map(|object| object["metadata"]["namespace"].as_str().unwrap()).collect()
    }
}

#[tokio::test]
async fn both_charts_pass_helms_own_reading() -> Result<()> {
    for chart in [RELEASE, "greenlang-backup-crds"] {
        let answer = helm(&["lint", "--strict"], chart, &json!({})).await?;
        assert!(answer.ok, "{}{}", answer.stdout, answer.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn by_default_there_is_one_operator_and_nothing_that_needs_more_than_kubernetes() -> Result<()> {
    let rendered = Rendered::of(json!({})).await?;
    let expected = [
        ("ClusterRole", 3),
        ("ClusterRoleBinding", 1),
        ("Deployment", 1),
        ("Role", 2),
        ("RoleBinding", 2),
        ("Service", 1),
        ("ServiceAccount", 2),
    ];
    assert_eq!(rendered.kinds(), expected.into());
    let deployment = &rendered.one("Deployment")["spec"];
    assert_eq!((&deployment["replicas"], &deployment["strategy"]["type"]), (&json!(1), &json!("Recreate")));
    let pod = &rendered.pod()["spec"];
    let container = &pod["containers"][0];
    let env = |name: &str| {
        container["env"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap()["value"]
            .clone()
    };
    assert_eq!(env("NAMESPACES"), json!(SYSTEM));
    assert_eq!((env("LEASE_NAME"), env("RUNNER_SERVICE_ACCOUNT")), (json!(RELEASE), json!("backup-runner")));
    assert_eq!(env("MAX_CONCURRENT_RUNS"), json!("20"));
    assert_eq!(env("RUNNER_IMAGE"), container["image"]);
    assert_eq!(
        container["resources"],
        json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}})
    );
    for unset in ["nodeSelector", "tolerations", "affinity", "priorityClassName"] {
        assert_eq!(pod.get(unset), None, "{unset}");
    }
    // The `restricted` Pod Security level.
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault"));
    assert_eq!(
        container["securityContext"],
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
    );
    Ok(())
}

#[tokio::test]
async fn placement_and_identity_go_where_they_belong() -> Result<()> {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}});
    let tolerations =
        json!([{"key": "dedicated", "operator": "Equal", "value": "ops", "effect": "NoSchedule"}]);
    let resources =
        json!({"requests": {"cpu": "1", "memory": "100Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}});
    let role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/backup"});
    let operator_role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/none"});
    for replicas in [1, 2] {
        let rendered = Rendered::of(json!({
            "replicas": replicas,
            "namespaces": ["one", "two"],
            "resources": resources,
            "affinity": affinity,
            "tolerations": tolerations,
            "nodeSelector": {"disk": "ssd"},
            "priorityClassName": "high",
            "podAnnotations": {"a/b": "c"},
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccount": {"annotations": operator_role},
            "runner": {"serviceAccount": {"annotations": role}},
        }))
        .await?;
        let pod = rendered.pod();
        assert_eq!(pod["metadata"]["annotations"], json!({"a/b": "c"}));
        let pod = &pod["spec"];
        assert_eq!((&pod["affinity"], &pod["tolerations"]), (&affinity, &tolerations));
        assert_eq!(
            (&pod["nodeSelector"], &pod["priorityClassName"]),
            (&json!({"disk": "ssd"}), &json!("high"))
        );
        assert_eq!(pod["containers"][0]["resources"], resources);
        let accounts: BTreeMap<_, _> = rendered
            .all("ServiceAccount")
            .into_iter()
            .map(|account| {
                assert_eq!(account["imagePullSecrets"], json!([{"name": "registry"}]));
                assert_eq!(account["automountServiceAccountToken"], json!(false));
                let metadata = &account["metadata"];
                let key = (metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap());
                (key, metadata["annotations"].clone())
            })
            .collect();
        let expected = [
            (("one", "backup-runner"), role.clone()),
            (("two", "backup-runner"), role.clone()),
            ((SYSTEM, RELEASE), operator_role.clone()),
        ];
        assert_eq!(accounts, expected.into());
    }
    Ok(())
}

#[tokio::test]
async fn rights_are_in_the_served_namespaces_and_nowhere_else() -> Result<()> {
    let rendered =
        Rendered::of(json!({"namespaces": ["one", "two"], "networkPolicy": {"enabled": true}})).await?;
    // In its own namespace the operator may use its Lease.
    let lease = format!("{RELEASE}-lease");
    let elsewhere = |kind: &str| -> BTreeSet<&str> {
        let all = rendered.all(kind).into_iter().map(|object| &object["metadata"]);
        all.filter(|metadata| {
            metadata["name"] != *lease && metadata["name"] != RELEASE || metadata["namespace"] != SYSTEM
        })
        .map(|metadata| metadata["namespace"].as_str().unwrap())
        .collect()
    };
    for kind in ["Role", "RoleBinding", "ServiceAccount", "NetworkPolicy"] {
        assert_eq!(elsewhere(kind), ["one", "two"].into(), "{kind}");
    }
    assert_eq!(rendered.namespaces("Deployment"), [SYSTEM].into());
    for role in rendered.all("Role").into_iter().chain(rendered.all("ClusterRole")) {
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains('*') && !text.contains("secrets"), "{text}");
        }
    }
    Ok(())
}

/// What a role allows: verbs by resource, with the names that it is limited to.
fn rights(role: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let list = |rule: &Value, field: &str| -> Vec<String> {
        let all = rule[field].as_array().into_iter().flatten();
        all.map(|entry| entry.as_str().unwrap().to_owned()).collect()
    };
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in role["rules"].as_array().unwrap() {
        let names = list(rule, "resourceNames").join(",");
        let names = if names.is_empty() { names } else { format!(" {names}") };
        let resources = [list(rule, "resources"), list(rule, "nonResourceURLs")].concat();
        for resource in resources {
            rights.entry(format!("{resource}{names}")).or_default().extend(list(rule, "verbs"));
        }
    }
    rights
}

fn table(rows: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    let verbs = |verbs: &str| verbs.split(' ').map(str::to_owned).collect();
    rows.iter().map(|(resource, row)| ((*resource).to_owned(), verbs(row))).collect()
}

/// A right more or less than these is a decision, and SECURITY.md tells of it.
#[tokio::test]
async fn the_operator_has_these_rights_and_no_other() -> Result<()> {
    let rendered = Rendered::of(json!({"namespaces": ["one"]})).await?;
    let role = |kind: &str, name: &str| {
        let found = rendered.all(kind).into_iter().find(|role| role["metadata"]["name"] == name);
        rights(found.unwrap())
    };
    let everywhere = [
        ("backuppolicies", "get list watch"),
        ("backuppolicies/status", "patch update"),
        // Patch for the finalizer, also while a namespace and its Roles are being deleted.
        ("restorerequests", "get list watch patch"),
        ("restorerequests/status", "patch update"),
        ("namespaces kube-system,one", "get"),
        ("/openapi/v3/apis/backup.greenlang.io/v1alpha1", "get"),
    ];
    assert_eq!(role("ClusterRole", RELEASE), table(&everywhere));
    let own = [
        (&*format!("leases {RELEASE}"), "get list watch patch update"),
        ("leases", "create get patch update delete"),
    ];
    assert_eq!(role("Role", &format!("{RELEASE}-lease")), table(&own));
    let served = [
        ("jobs", "create delete get list watch"),
        // Watches spare requests; without the right the operator asks more often.
        ("pods", "get list watch"),
        ("pods/log", "get"),
        ("events", "create patch list"),
        ("deployments", "get patch"),
        ("statefulsets", "get patch"),
        ("cronjobs", "get patch"),
        ("horizontalpodautoscalers", "list"),
        ("scaledobjects", "list patch"),
        ("configmaps", "create delete get list update watch"),
    ];
    assert_eq!(role("Role", RELEASE), table(&served));
    Ok(())
}

/// Whoever may make one of our resources can read Secrets by it, so `edit` may not.
#[tokio::test]
async fn users_may_read_our_resources_and_admins_make_them() -> Result<()> {
    let rendered = Rendered::of(json!({})).await?;
    let mut aggregated = BTreeMap::new();
    for role in rendered.all("ClusterRole") {
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let to = labels.keys().filter_map(|key| key.strip_prefix("rbac.authorization.k8s.io/aggregate-to-"));
        aggregated.extend(to.map(|to| (to, rights(role))));
    }
    let change = "create delete deletecollection patch update";
    let expected = [
        ("admin", table(&[("backuppolicies", change), ("restorerequests", change)])),
        // `edit` and `admin` hold what `view` holds.
        ("view", table(&[("backuppolicies", "get list watch"), ("restorerequests", "get list watch")])),
    ];
    assert_eq!(aggregated, expected.into());
    Ok(())
}

#[tokio::test]
async fn only_several_replicas_have_a_disruption_budget() -> Result<()> {
    for (replicas, enabled, there) in
        [(0, true, false), (1, true, false), (2, true, true), (3, true, true), (2, false, false)]
    {
        let values = json!({"replicas": replicas, "podDisruptionBudget": {"enabled": enabled}});
        let rendered = Rendered::of(values).await?;
        let budgets = rendered.all("PodDisruptionBudget");
        assert_eq!(budgets.len(), usize::from(there), "{replicas} {enabled}");
        let deployment = &rendered.one("Deployment")["spec"];
        for budget in budgets {
            assert_eq!(budget["spec"]["maxUnavailable"], json!(1));
            assert_eq!(budget["spec"]["selector"], deployment["selector"]);
        }
        // Several are spread over nodes, unless somebody says otherwise.
        let spread = &deployment["template"]["spec"]["affinity"]["podAntiAffinity"];
        let terms = spread["preferredDuringSchedulingIgnoredDuringExecution"].as_array();
        assert_eq!(terms.is_some(), replicas > 1);
        for term in terms.into_iter().flatten() {
            assert_eq!(term["podAffinityTerm"]["labelSelector"], deployment["selector"]);
        }
        let strategy = if replicas > 1 { "RollingUpdate" } else { "Recreate" };
        assert_eq!(deployment["strategy"]["type"], json!(strategy));
    }
    Ok(())
}

#[tokio::test]
async fn prometheus_scrapes_every_pod_and_keeps_our_labels() -> Result<()> {
    let monitor = |more: Value| {
        let mut values = json!({"metrics": {"serviceMonitor": {"enabled": true}}});
        values["metrics"]["serviceMonitor"]
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        values
    };
    let rendered = Rendered::of(monitor(json!({}))).await?;
    let (found, service) = (rendered.one("ServiceMonitor"), rendered.one("Service"));
    assert_eq!(found["metadata"]["namespace"], json!(SYSTEM));
    assert_eq!(found["spec"]["namespaceSelector"]["matchNames"], json!([SYSTEM]));
    let labels = service["metadata"]["labels"].as_object().unwrap();
    for (key, value) in found["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels.get(key), Some(value), "the Service must be selected");
    }
    let endpoint = &found["spec"]["endpoints"][0];
    assert_eq!(
        endpoint,
        &json!({"port": "http", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s", "honorLabels": true})
    );
    assert_eq!(service["spec"]["ports"][0]["name"], endpoint["port"]);
    assert_eq!(
        service["spec"]["ports"][0]["targetPort"],
        rendered.pod()["spec"]["containers"][0]["ports"][0]["name"]
    );

    let more = json!({"namespace": "monitoring", "labels": {"release": "stack"}, "interval": "1m", "scrapeTimeout": "20s"});
    let rendered = Rendered::of(monitor(more)).await?;
    let found = rendered.one("ServiceMonitor");
    assert_eq!(found["metadata"]["namespace"], json!("monitoring"));
    assert_eq!(found["metadata"]["labels"]["release"], json!("stack"));
    assert_eq!(found["spec"]["endpoints"][0]["interval"], json!("1m"));
    Ok(())
}

#[tokio::test]
async fn network_policies_let_through_what_is_needed() -> Result<()> {
    let rendered = Rendered::of(json!({"namespaces": ["one"], "networkPolicy": {"enabled": true}})).await?;
    let of = |rendered: &Rendered, namespace: &str| {
        let all = rendered.all("NetworkPolicy");
        all.into_iter().find(|policy| policy["metadata"]["namespace"] == namespace).unwrap()["spec"].clone()
    };
    let operator = of(&rendered, SYSTEM);
    assert_eq!(operator["podSelector"], rendered.one("Deployment")["spec"]["selector"]);
    assert_eq!((&operator["policyTypes"], &operator["ingress"]), (&json!(["Ingress", "Egress"]), &json!([])));
    let ports = |rule: &Value| -> Vec<u64> {
        rule["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let egress = operator["egress"].as_array().unwrap();
    assert_eq!(egress.iter().map(ports).collect::<Vec<_>>(), [vec![53, 53], vec![443, 6443]]);
    // The labels that the operator puts on Pods.
    let runner = of(&rendered, "one");
    assert_eq!(
        runner["podSelector"]["matchLabels"],
        json!({"app.kubernetes.io/managed-by": greenlang_backup_api::labels::MANAGED_BY, "app.kubernetes.io/component": "runner"})
    );
    assert_eq!((&runner["policyTypes"], &runner["ingress"]), (&json!(["Ingress"]), &json!([])));

    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let rendered = Rendered::of(json!({"networkPolicy": {"enabled": true, "metricsFrom": from,
        "apiServer": {"ports": [8443], "cidrs": ["10.0.0.1/32", "fd00::1/128"]}}}))
    .await?;
    let all = rendered.all("NetworkPolicy");
    let operator = &all.iter().find(|policy| policy["metadata"]["name"] == RELEASE).unwrap()["spec"];
    assert_eq!(operator["ingress"], json!([{"from": from, "ports": [{"port": "http", "protocol": "TCP"}]}]));
    assert_eq!(
        operator["egress"][1],
        json!({"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}, {"ipBlock": {"cidr": "fd00::1/128"}}]})
    );
    Ok(())
}

#[tokio::test]
async fn a_limit_is_handed_over_as_a_plain_number_and_an_upgrade_without_it_has_the_default() -> Result<()> {
    for (limit, expected) in [(json!(1), "1"), (json!(100_000), "100000"), (json!(null), "20")] {
        let rendered = Rendered::of(json!({"maxConcurrentRuns": limit})).await?;
        let env = &rendered.pod()["spec"]["containers"][0]["env"];
        let given = env.as_array().unwrap().iter().find(|entry| entry["name"] == "MAX_CONCURRENT_RUNS");
        assert_eq!(given.unwrap()["value"], json!(expected));
    }
    Ok(())
}

#[tokio::test]
async fn values_that_cannot_work_are_refused_by_name() -> Result<()> {
    for (values, named) in [
        (json!({"nonsense": 1}), "nonsense"),
        (json!({"replicas": "many"}), "replicas"),
        (json!({"maxConcurrentRuns": 0}), "maxConcurrentRuns"),
        (json!({"maxConcurrentRuns": "20"}), "maxConcurrentRuns"),
        (json!({"namespaces": "text"}), "namespaces"),
        (json!({"namespaces": ["Upper"]}), "namespaces"),
        (json!({"resources": {"limit": {}}}), "limit"),
        (json!({"affinity": {"nodeAfinity": {}}}), "nodeAfinity"),
        (json!({"tolerations": [{"keys": "a"}]}), "keys"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"metrics": {"serviceMonitor": {"honorLabels": false}}}), "honorLabels"),
        (json!({"metrics": {"serviceMonitor": {"interval": "often"}}}), "interval"),
        (json!({"networkPolicy": {"metricsFrom": [{}]}}), "metricsFrom"),
        (json!({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}), "cidrs"),
        (json!({"podDisruptionBudget": {"minAvailable": 1}}), "minAvailable"),
        (json!({"runner": {"serviceAccount": {"annotations": {"a": 1}}}}), "annotations"),
    ] {
        let answer = helm(&["template", RELEASE], RELEASE, &values).await?;
        assert!(!answer.ok && answer.stderr.contains(named), "{values}: {}", answer.quote());
    }
    Ok(())
}

/// What the notes say can be pasted into a shell as it stands, and is a policy of the first served namespace.
#[tokio::test]
async fn the_notes_first_policy_can_be_pasted() -> Result<()> {
    let values = json!({"namespaces": ["one", "two"]});
    let answer = helm(&["install", "--dry-run=client", RELEASE], RELEASE, &values).await?;
    assert!(answer.ok, "{}", answer.quote());
    let (_, notes) = answer.stdout.split_once("\nNOTES:\n").context("notes")?;
    let command = notes.find("kubectl apply").context("the command")?;
    let paste = notes[command..].split_once("\n\n").context("its end")?.0;
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("kubectl() {{ cat; }}; age-keygen() {{ echo \"age1$2\"; }}\n{paste}")]);
    let pasted = command::output(&mut shell, String::new()).await?;
    assert_eq!((pasted.ok, pasted.stderr.as_str()), (true, ""));
    let policy: BackupPolicy = serde_yaml::from_str(&pasted.stdout)?;
    assert_eq!(policy.metadata.namespace.as_deref(), Some("one"));
    assert_eq!(policy.spec.encryption.age.recipients, ["age1backup-1.txt", "age1backup-2.txt"]);
    Ok(())
}

/// Paths of all settings below a place of the schema.
fn settings(schema: &Value, path: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        paths.extend(settings(property, &path));
        paths.insert(path);
    }
    paths
}

#[tokio::test]
async fn every_setting_stands_in_values_yaml_with_a_comment() -> Result<()> {
    let folder = checkout().join("charts").join(RELEASE);
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("values.schema.json"))?)?;
    let text = std::fs::read_to_string(folder.join("values.yaml"))?;
    let values: Value = serde_yaml::from_str(&text)?;
    for path in settings(&schema, "") {
        // What Helm sets itself, and what the default leaves to the Pod's own rules.
        let free = ["global", "affinity.nodeAffinity", "affinity.podAffinity", "affinity.podAntiAffinity"];
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(free.contains(&&*path) || values.pointer(&pointer).is_some(), "{path} is not in values.yaml");
    }
    let (mut documented, mut count) = (false, 0);
    for line in text.lines() {
        let line = line.trim();
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else {
            documented = line.starts_with('#');
            continue;
        };
        // A group is explained by its parts; requests and limits by the comment before them.
        let is_group = value.trim().is_empty();
        let is_known = ["cpu", "memory"].contains(&key);
        assert!(documented || is_group || is_known, "{line}: no comment before it");
        documented = false;
        count += 1;
    }
    assert!(count > 30, "{count} settings");
    let files =
        std::fs::read_dir(folder.join("templates"))?.map(|file| Ok(std::fs::read_to_string(file?.path())?));
    let templates: String = files.collect::<Result<Vec<_>>>()?.concat();
    for name in values.as_object().context("values")?.keys() {
        assert!(templates.contains(&format!(".Values.{name}")), "{name} is used by no template");
    }
    Ok(())
}

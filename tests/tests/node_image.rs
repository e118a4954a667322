//! The image as Kubernetes runs it: not as root, on a read-only root file system, with both programs and every client.

use anyhow::Result;
use greenlang_backup_tests::{suite, wait};
use serde_json::json;

const NAMES: &[&str] = &["image"];

const SCRIPT: &str = r#"
echo "user $(id -u):$(id -g)"
if touch /here 2>/dev/null; then echo "root file system: writable"; else echo "root file system: read-only"; fi
echo "operator: $(/usr/local/bin/greenlang-backup-operator --version)"
echo "runner: $(/usr/local/bin/greenlang-backup-runner 2>&1)"
for program in pg_dump pg_dumpall pg_restore psql; do
  for major in 15 17; do /usr/lib/postgresql/$major/bin/$program --version; done
done
echo "limit of the allocator: $MALLOC_MMAP_THRESHOLD_"
echo "public CAs: $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt)"
"#;

#[tokio::test]
async fn the_image_has_all_that_a_job_needs_and_runs_as_nobody() -> Result<()> {
    let (cluster, namespace) = suite::enter(NAMES, "image").await?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look", "namespace": namespace}, "spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        // Only what the `restricted` level asks for: the user is the image's own.
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "look", "image": cluster.image, "imagePullPolicy": "IfNotPresent", "command": ["bash", "-c", SCRIPT],
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        }],
    }});
    cluster.apply(&pod.to_string()).await?;
    let question = format!("get pod -n {namespace} look -o jsonpath={{.status.phase}}");
    wait::until_in(
        &cluster,
        &namespace,
        "the Pod has ended",
        greenlang_backup_tests::parts::START,
        async || Ok(["Succeeded", "Failed"].contains(&&*cluster.kube(&question).await?).then_some(())),
    )
    .await?;
    let said = cluster.kube(&format!("logs -n {namespace} look")).await?;
    let version = env!("CARGO_PKG_VERSION");
    for wanted in [
        "user 65532:",
        "root file system: read-only",
        &format!("operator: greenlang-backup-operator {version}"),
        // The runner takes its task from the environment, and here there is none.
        "GREENLANG_TASK",
        "limit of the allocator: 1048576",
        "pg_dump (PostgreSQL) 15.",
        "pg_dump (PostgreSQL) 17.",
        "pg_dumpall (PostgreSQL) 15.",
        "pg_dumpall (PostgreSQL) 17.",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    assert!(!said.contains("public CAs: 0"), "{said}");
    Ok(())
}

//! Searches everything that people and programs can see for values that must stay secret.

use std::collections::BTreeSet;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use greenlang_backup_api::manifest::FILE_NAME;

use crate::cluster::Cluster;
use crate::jobs::Recorder;
use crate::parts::Parts;
use crate::{bucket, operator};

/// All texts about a namespace, each with a name: what was recorded, what the API server has now, all logs, all manifests.
pub async fn gather(cluster: &Cluster, parts: &Parts, recorder: &Recorder) -> Result<Vec<(String, String)>> {
    let mut texts = recorder.texts();
    for namespace in [&*parts.namespace, operator::NAMESPACE] {
        // Every kind but Secrets, which are the one place for secrets.
        let kinds = "events,events.events.k8s.io,jobs,pods,configmaps,deployments,replicasets,leases,backuppolicies,restorerequests,serviceaccounts";
        let question = format!("get {kinds} -n {namespace} -o yaml --show-managed-fields");
        texts.push((question.clone(), cluster.kube(&question).await?));
        for pod in cluster.kube(&format!("get pods -n {namespace} -o name")).await?.lines() {
            let question = format!("logs -n {namespace} {pod} --all-containers");
            // A Pod that is just starting or going has none.
            texts.push((question.clone(), cluster.kube(&question).await.unwrap_or_default()));
        }
    }
    for object in bucket::objects(cluster, parts, "").await? {
        if object.key.ends_with(FILE_NAME) {
            texts.push((object.key.clone(), bucket::read(cluster, parts, &object.key).await?));
        }
    }
    Ok(texts)
}

/// Where a secret was found, without the secret itself. Also looks into everything that is base64, such as tasks.
pub fn find(texts: &[(String, String)], secrets: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, text) in texts {
        let decoded = decoded(text);
        for (number, secret) in secrets.iter().enumerate() {
            if text.contains(secret) || decoded.iter().any(|text| text.contains(secret)) {
                found.insert(format!("secret {number} ({} characters) in {name}", secret.len()));
            }
        }
    }
    found
}

/// What the words of a text decode to, where they are base64 of either alphabet.
fn decoded(text: &str) -> Vec<String> {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    text.split(|c| !is_base64(c))
        .filter(|word| word.len() >= 8)
        .filter_map(|word| URL_SAFE_NO_PAD.decode(word).or_else(|_| STANDARD_NO_PAD.decode(word)).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn secrets_are_found_plain_and_within_base64() {
        let task = URL_SAFE_NO_PAD.encode(r#"{"password":"hunter2hunter2"}"#);
        let data = STANDARD.encode("hunter2hunter2");
        let texts = [
            ("a".to_owned(), "postgres://u:hunter2hunter2@db".to_owned()),
            ("b".to_owned(), format!("value: {task}\n")),
            ("c".to_owned(), format!("password: {data}")),
            ("d".to_owned(), "nothing".to_owned()),
        ];
        let found = find(&texts, &["hunter2hunter2"]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|place| !place.contains("hunter2")));
    }
}

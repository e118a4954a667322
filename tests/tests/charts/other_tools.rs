//! Rights to KEDA and Argo CD.

use anyhow::Result;
use greenlang_backup_tests::operator::RELEASE;
use serde_json::{Value, json};

use super::{Rendered, SYSTEM, helm, rights, table};

/// A patch of an Application can have Argo CD apply anything, so nobody gets that right unasked.
#[tokio::test]
async fn rights_to_other_tools_are_as_the_values_say() -> Result<()> {
    let argo_cd = format!("{RELEASE}-argo-cd");
    let of = |rendered: &Rendered, kind: &str| -> Vec<Value> {
        let all = rendered.all(kind).into_iter();
        all.filter(|object| object["metadata"]["name"] == *argo_cd).cloned().collect()
    };
    let home = |rendered: &Rendered| {
        let mut env = rendered.pod()["spec"]["containers"][0]["env"].as_array().unwrap().iter();
        env.find(|entry| entry["name"] == "ARGO_CD_NAMESPACE").unwrap()["value"].clone()
    };
    // As after an upgrade with --reuse-values.
    for quiesce in [json!({}), json!(null)] {
        let rendered = Rendered::of(json!({"quiesce": quiesce})).await?;
        assert!(of(&rendered, "Role").is_empty() && of(&rendered, "RoleBinding").is_empty());
        assert_eq!(home(&rendered), json!("argocd"));
        let served = rendered.all("Role").into_iter().find(|role| role["metadata"]["name"] == RELEASE);
        assert!(rights(served.unwrap()).contains_key("scaledobjects"));
    }
    let applications = json!([{"namespace": "argocd", "names": ["shop", "api"]}, {"namespace": "team-a"}]);
    let values = json!({"keda": false, "argoCD": {"namespace": "gitops", "applications": applications}});
    let rendered = Rendered::of(json!({"quiesce": values})).await?;
    assert_eq!(home(&rendered), json!("gitops"));
    let served = rendered.all("Role").into_iter().find(|role| role["metadata"]["name"] == RELEASE);
    assert!(!rights(served.unwrap()).contains_key("scaledobjects"));
    let roles = of(&rendered, "Role");
    let expected = [
        ("argocd", table(&[("applications shop,api", "get patch")])),
        ("team-a", table(&[("applications", "get patch")])),
    ];
    let found: Vec<_> =
        roles.iter().map(|role| (role["metadata"]["namespace"].as_str().unwrap(), rights(role))).collect();
    assert_eq!(found, expected);
    for (role, binding) in roles.iter().zip(of(&rendered, "RoleBinding")) {
        assert_eq!(binding["metadata"]["namespace"], role["metadata"]["namespace"]);
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["namespace"], json!(SYSTEM));
    }
    for refused in [
        json!({"keda": "yes"}),
        json!({"argoCD": {"applications": [{"names": ["shop"]}]}}),
        json!({"argoCD": {"applications": ["argocd"]}}),
        json!({"argoCD": {"applications": [{"namespace": "a", "names": ["b"]}, {"namespace": "a", "names": ["c"]}]}}),
    ] {
        let answer = helm(&["template", RELEASE], RELEASE, &json!({"quiesce": refused})).await?;
        assert!(!answer.ok, "{refused}");
    }
    Ok(())
}

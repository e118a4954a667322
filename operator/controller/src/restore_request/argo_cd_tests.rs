//! Tests of [`super`]: what Argo CD writes is read as Argo CD reads it.

use serde_json::json;

use super::*;

fn api() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "api".into() }
}

fn marked(annotation: Option<&str>, label: Option<&str>) -> Option<(String, bool)> {
    let mut metadata = ObjectMeta { namespace: Some("greenlang".into()), ..ObjectMeta::default() };
    metadata.annotations = annotation.map(|mark| [(ARGO_CD_TRACKING_ID.to_owned(), mark.to_owned())].into());
    metadata.labels = label.map(|name| [(INSTANCE.to_owned(), name.to_owned())].into());
    let found = part_of(&api(), &metadata, "argocd")?;
    Some((found.application.to_string(), found.by_annotation))
}

#[test]
fn a_mark_names_the_application_and_counts_for_its_own_object_only() {
    let mark = "shop:apps/Deployment:greenlang/api";
    assert_eq!(marked(Some(mark), None), Some(("argocd/shop".into(), true)));
    assert_eq!(marked(Some(mark), Some("other")), Some(("argocd/shop".into(), true)));
    let elsewhere = "team-a_shop:apps/Deployment:greenlang/api";
    assert_eq!(marked(Some(elsewhere), None), Some(("team-a/shop".into(), true)));
    assert_eq!(marked(None, Some("shop")), Some(("argocd/shop".into(), false)));
    for copied in [
        "shop:apps/Deployment:greenlang/web",
        "shop:apps/Deployment:other/api",
        "shop:apps/StatefulSet:greenlang/api",
        "shop",
        ":apps/Deployment:greenlang/api",
    ] {
        assert_eq!(marked(Some(copied), None), None, "{copied}");
    }
    assert_eq!(marked(None, Some("")), None);
}

/// Whoever may annotate a workload could otherwise have every pass over a request fail.
#[test]
fn a_mark_whose_names_no_object_can_have_counts_for_nothing() {
    let mark = |application: &str| format!("{application}:apps/Deployment:greenlang/api");
    let long = |bytes| "s".repeat(bytes);
    for names in
        ["argocd_", "_", "_shop", "a b", "a/b", "a?x", "a%2fb", "..", "shop.", "-shop", "Shop", "a_b_c"]
    {
        assert_eq!(marked(Some(&mark(names)), None), None, "{names}");
    }
    for (bytes, read) in [(253, true), (254, false), (300, false)] {
        assert_eq!(marked(Some(&mark(&long(bytes))), None).is_some(), read, "{bytes}");
        assert_eq!(marked(Some(&mark(&format!("{}_shop", long(bytes)))), None).is_some(), read, "{bytes}");
    }
    let dotted = mark("team-a_shop.v1");
    assert_eq!(marked(Some(&dotted), None), Some(("team-a/shop.v1".into(), true)));
}

/// As a merge patch changes an object.
fn merge(object: &mut Value, change: &Value) {
    let Some(fields) = change.as_object() else {
        object.clone_from(change);
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}

fn application(change: &Value) -> ApplicationState {
    let resource = |group: &str, kind: &str, namespace: &str, name: &str| json!({"group": group, "version": "v1", "kind": kind, "namespace": namespace, "name": name});
    let mut object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "shop", "namespace": "argocd", "uid": "u", "resourceVersion": "7"},
        "spec": {"syncPolicy": {"automated": {"selfHeal": true}}},
        "status": {"resources": [
            resource("apps", "Deployment", "greenlang", "api"), resource("batch", "CronJob", "greenlang", "nightly"),
            resource("apps", "Deployment", "other", "web"), resource("", "Service", "greenlang", "api"),
        ]},
    });
    merge(&mut object, change);
    state(&serde_json::from_value(object).unwrap(), "greenlang")
}

fn healed(change: &Value) -> Vec<String> {
    application(change).heals.iter().map(ToString::to_string).collect()
}

#[test]
fn what_it_starts_again_is_what_it_has_unless_it_leaves_that_to_others() {
    let ignoring = |rule: Value| json!({"spec": {"ignoreDifferences": [rule]}});
    let both = vec!["Deployment api", "CronJob nightly"];
    let rule = |more: Value| {
        let mut rule = json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]});
        merge(&mut rule, &more);
        ignoring(rule)
    };
    for (change, expected) in [
        (json!({}), both.clone()),
        (json!({"spec": {"syncPolicy": {"automated": {"enabled": false}}}}), vec![]),
        (json!({"spec": {"syncPolicy": {"automated": {"selfHeal": false}}}}), vec![]),
        (json!({"spec": {"syncPolicy": {"automated": null}}}), vec![]),
        (json!({"status": null}), vec![]),
        (rule(json!({})), vec!["CronJob nightly"]),
        (rule(json!({"name": "api", "namespace": "greenlang"})), vec!["CronJob nightly"]),
        (rule(json!({"kind": "*", "group": "*"})), vec!["CronJob nightly"]),
        (
            rule(json!({"jsonPointers": null, "jqPathExpressions": [".spec.replicas"]})),
            vec!["CronJob nightly"],
        ),
        (rule(json!({"name": "web"})), both.clone()),
        (rule(json!({"namespace": "other"})), both.clone()),
        (rule(json!({"jsonPointers": ["/spec/template"]})), both.clone()),
        (
            ignoring(json!({"group": "batch", "kind": "CronJob", "jsonPointers": ["/spec/suspend"]})),
            vec!["Deployment api"],
        ),
    ] {
        assert_eq!(healed(&change), expected, "{change}");
    }
}

#[test]
fn its_annotation_its_maker_and_an_operation_are_seen() {
    let seen = application(&json!({}));
    assert_eq!((seen.skip_reconcile, seen.made_by, seen.operating), (None, None, false));
    let fields = json!([{"manager": "kubectl-annotate", "operation": "Update", "time": "2025-11-07T02:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:annotations": {"f:argocd.argoproj.io/skip-reconcile": {}}}}}]);
    let owner =
        json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "all", "uid": "s"}]);
    let annotations = json!({"argocd.argoproj.io/skip-reconcile": "false",
        "backup.greenlang.io/quiesced": r#"{"request": "back", "requestUid": "u-1"}"#});
    let seen = application(&json!({
        "metadata": {"annotations": annotations, "managedFields": fields, "ownerReferences": owner},
        "status": {"operationState": {"phase": "Running"}},
    }));
    assert_eq!(seen.skip_reconcile.as_deref(), Some("false"));
    assert_eq!(seen.skipped_by.as_deref(), Some("kubectl-annotate"));
    assert_eq!((seen.made_by.as_deref(), seen.operating), (Some("all"), true));
    assert_eq!(seen.ledger.unwrap().request_uid, "u-1");
    assert!(application(&json!({"operation": {"sync": {}}})).operating, "one that is about to begin");
    assert!(!application(&json!({"status": {"operationState": {"phase": "Succeeded"}}})).operating);
}

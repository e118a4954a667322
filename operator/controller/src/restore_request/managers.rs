//! Who has written the replicas of a workload, whether it is suspended, or an annotation, last, from the managed fields. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

/// The field manager, by the newest entry that owns `spec.replicas`.
pub fn replicas_manager(fields: &[ManagedFieldsEntry]) -> Option<String> {
    newest(fields, &["f:spec", "f:replicas"]).map(|(manager, _)| manager)
}

/// The field manager, by the newest entry that owns `spec.suspend`.
pub fn suspend_manager(fields: &[ManagedFieldsEntry]) -> Option<String> {
    newest(fields, &["f:spec", "f:suspend"]).map(|(manager, _)| manager)
}

/// The field manager by the newest entry that owns an annotation, and its time. One that was removed is owned by nobody.
pub fn annotation_manager(
    fields: &[ManagedFieldsEntry],
    annotation: &str,
) -> Option<(String, Option<Timestamp>)> {
    newest(fields, &["f:metadata", "f:annotations", &format!("f:{annotation}")])
}

fn newest(fields: &[ManagedFieldsEntry], path: &[&str]) -> Option<(String, Option<Timestamp>)> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let all = entry.fields_v1.as_ref().map(|fields| &fields.0);
        path.iter().fold(all, |fields, part| fields?.get(part)).is_some()
    };
    let time = |entry: &ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
    let newest = fields.iter().filter(owns).max_by_key(|entry| time(entry))?;
    let manager = newest.manager.clone()?;
    let manager = match &newest.subresource {
        Some(subresource) => format!("{manager} ({subresource})"),
        None => manager,
    };
    Some((manager, time(newest)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_owner_of_the_replicas_is_named() {
        let entry = |manager: &str, time: &str, subresource: Option<&str>, fields: serde_json::Value| {
            serde_json::from_value::<ManagedFieldsEntry>(json!({
                "manager": manager, "operation": "Update", "time": time, "subresource": subresource,
                "fieldsType": "FieldsV1", "fieldsV1": fields,
            }))
            .unwrap()
        };
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let fields = [
            entry("argocd", "2025-11-07T02:00:00Z", None, replicas.clone()),
            entry("kubectl", "2025-11-07T03:00:00Z", Some("scale"), replicas),
            entry("kubectl-edit", "2025-11-07T04:00:00Z", None, json!({"f:spec": {"f:template": {}}})),
        ];
        assert_eq!(replicas_manager(&fields).as_deref(), Some("kubectl (scale)"));
        assert_eq!(replicas_manager(&fields[..1]).as_deref(), Some("argocd"));
        assert_eq!(replicas_manager(&fields[2..]), None);
        let resumed =
            entry("kubectl-patch", "2025-11-07T02:00:00Z", None, json!({"f:spec": {"f:suspend": {}}}));
        assert_eq!(suspend_manager(&fields), None);
        assert_eq!(suspend_manager(&[resumed]).as_deref(), Some("kubectl-patch"));
        let annotated = entry(
            "kubectl-annotate",
            "2025-11-07T05:00:00Z",
            None,
            json!({"f:metadata": {"f:annotations": {".": {}, "f:a/b": {}}}}),
        );
        let time = "2025-11-07T05:00:00Z".parse().unwrap();
        let known = Some(("kubectl-annotate".to_owned(), Some(time)));
        assert_eq!(annotation_manager(std::slice::from_ref(&annotated), "a/b"), known);
        assert_eq!(annotation_manager(&[annotated], "a/c"), None);
        assert_eq!(annotation_manager(&fields, "a/b"), None);
    }
}

//! Who has written the replicas of a workload last, from its managed fields. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

/// The field manager, by the newest entry that owns `spec.replicas`.
pub fn replicas_manager(fields: &[ManagedFieldsEntry]) -> Option<String> {
    let owns = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    };
    let newest = fields.iter().filter(owns).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    let manager = newest.manager.clone()?;
    Some(match &newest.subresource {
        Some(subresource) => format!("{manager} ({subresource})"),
        None => manager,
    })
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
    }
}

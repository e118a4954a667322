//! The definition of RestoreRequest without a cluster: its CEL rules on the table of cases, its documentation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

mod explain;

use explain::{assert_choices_are_explained, fields};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest};
use kube::CustomResourceExt as _;
use serde_json::Value;

fn table() -> Value {
    let file = "tests/restore_cases.yaml";
    serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn request(table: &Value, change: &Value) -> RestoreRequest {
    let mut request = table["base"].clone();
    json_patch::merge(&mut request, change);
    serde_json::from_value(request).unwrap()
}

fn schema() -> Value {
    let crd = serde_json::to_value(RestoreRequest::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn rules_judge_as_the_table_says() {
    let table = table();
    for case in table["accepted"].as_array().unwrap() {
        let judged = request(&table, &case["change"]).validate_cel();
        judged.unwrap_or_else(|errors| panic!("{}: {errors:?}", case["name"]));
    }
    let refused = table["refused"].as_array().unwrap();
    let by_rule: Vec<_> = refused.iter().filter(|case| case["by"] == "rule").collect();
    assert!(by_rule.len() >= 20, "the table has lost its rules");
    for case in by_rule {
        let errors =
            request(&table, &case["change"]).validate_cel().expect_err(case["name"].as_str().unwrap());
        assert!(
            format!("{errors:?}").contains(case["message"].as_str().unwrap()),
            "{}: {errors:?}",
            case["name"]
        );
    }
}

#[test]
fn an_update_may_cancel_and_nothing_else() {
    let table = table();
    for case in table["updates"].as_array().unwrap() {
        let (before, after) = (request(&table, &case["before"]), request(&table, &case["after"]));
        match (case["message"].as_str(), after.validate_cel_update(&before)) {
            (None, judged) => judged.unwrap_or_else(|errors| panic!("{}: {errors:?}", case["name"])),
            (Some(message), Err(errors)) => {
                assert!(format!("{errors:?}").contains(message), "{}: {errors:?}", case["name"]);
            }
            (Some(_), Ok(())) => panic!("{}: was accepted", case["name"]),
        }
    }
}

/// A field that is new in the spec has a rule that keeps it as it is.
#[test]
fn every_field_but_cancel_is_immutable() {
    let schema = schema();
    let spec = &schema["properties"]["spec"];
    let rules: Vec<&str> = spec["x-kubernetes-validations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    for field in spec["properties"].as_object().unwrap().keys().filter(|field| *field != "cancel") {
        let rule = format!("has(self.{field}) == has(oldSelf.{field})");
        assert!(rules.iter().any(|known| known.starts_with(&rule)), "{field} can be changed");
    }
}

/// `kubectl explain` has a word on every field; of a choice in the spec it says what each value does, and which one counts where
/// the field is left out.
#[test]
fn every_field_is_explained() {
    let schema = schema();
    let spec = fields("spec", &schema["properties"]["spec"]);
    let status = fields("status", &schema["properties"]["status"]);
    for (path, field) in spec.iter().chain(&status).filter(|(path, _)| !path.contains(".conditions.")) {
        assert!(field["description"].as_str().is_some_and(|text| text.len() >= 7), "{path} is not explained");
    }
    assert_choices_are_explained(&spec, 9);
}

/// What a plan refuses a user for, `kubectl explain` has said before.
#[test]
fn the_rights_that_a_plan_asks_for_are_explained() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    let field = &spec["database"]["properties"]["credentialsSecretRef"];
    let said = field["description"].as_str().unwrap();
    for right in ["CREATEDB", "CREATEROLE", "pg_signal_backend", "WITH INHERIT TRUE, SET TRUE"] {
        assert!(said.contains(right), "{right}: {said}");
    }
}

#[test]
fn phases_are_called_as_they_are_written() {
    for phase in schema()["properties"]["status"]["properties"]["phase"]["enum"].as_array().unwrap() {
        let Ok(known) = serde_json::from_value::<RestorePhase>(phase.clone()) else {
            assert!(phase.is_null());
            continue;
        };
        assert_eq!(phase, known.as_str());
    }
}

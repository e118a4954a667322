//! The definition without a cluster: its CEL rules on the table of cases, the generated file, its size, its documentation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

mod explain;

use explain::{assert_choices_are_explained, fields};
use greenlang_backup_api::v1alpha1::{BackupPolicy, RestoreRequest};
use greenlang_backup_api::{conditions, reasons};
use kube::CustomResourceExt as _;
use serde_json::Value;

/// From the package, in which cargo runs its tests.
const ROOT: &str = "../..";

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

fn cases(list: &str) -> Vec<(String, BackupPolicy, Value)> {
    let table: Value = serde_yaml::from_str(&read("operator/api/tests/cases.yaml")).unwrap();
    let policy = |case: &Value| {
        let mut policy = table["base"].clone();
        json_patch::merge(&mut policy, &case["change"]);
        policy
    };
    let cases = table[list].as_array().unwrap().iter().filter(|case| case["by"] != "schema");
    cases
        .map(|case| {
            (
                case["name"].as_str().unwrap().to_owned(),
                serde_json::from_value(policy(case)).unwrap(),
                case.clone(),
            )
        })
        .collect()
}

#[test]
fn rules_accept_what_is_right() {
    for (name, policy, _) in cases("accepted") {
        policy.validate_cel().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    }
}

#[test]
fn rules_refuse_what_is_wrong_and_say_what() {
    let cases = cases("refused");
    assert!(cases.len() >= 8, "the table has lost its rules");
    for (name, policy, case) in cases {
        let errors = format!("{:?}", policy.validate_cel().expect_err(&name));
        assert!(errors.contains(case["message"].as_str().unwrap()), "{name}: {errors}");
    }
}

#[test]
fn the_generated_definitions_are_up_to_date() {
    let kinds = [
        (BackupPolicy::CRD_FILE, BackupPolicy::crd(), BackupPolicy::API_VERSION, BackupPolicy::KIND),
        (RestoreRequest::CRD_FILE, RestoreRequest::crd(), RestoreRequest::API_VERSION, RestoreRequest::KIND),
    ];
    for (file, crd, api_version, kind) in &kinds {
        let generated = serde_yaml::to_string(crd).unwrap();
        assert!(read(&format!("crds/{file}")) == generated, "crds/{file} is stale: run `make generate`");
        assert!(generated.len() < 200 * 1024, "{file} has {} bytes", generated.len());
        assert_eq!(format!("{}/{}", crd.spec.group, crd.spec.versions[0].name), *api_version);
        assert_eq!(crd.spec.names.kind, *kind);
    }
    let files = std::fs::read_dir(format!("{ROOT}/crds")).unwrap().map(|file| file.unwrap().file_name());
    let files: std::collections::BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(files, kinds.iter().map(|(file, ..)| (*file).to_owned()).collect());
}

/// Every kind of the union stands in the rule that allows exactly one of them.
#[test]
fn every_kind_is_in_the_union_rule() {
    let crd = serde_json::to_value(BackupPolicy::crd()).unwrap();
    let backup = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/backups/items")
        .unwrap();
    let rule = backup["x-kubernetes-validations"][0]["rule"].as_str().unwrap();
    let kinds = backup["properties"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| !["name", "path", "schedules"].contains(&key.as_str()));
    for kind in kinds {
        assert!(rule.contains(&format!("has(self.{kind})")), "{kind} is missing in {rule}");
    }
}

/// Every field of the spec, by its path.
fn fields_of_the_spec() -> Vec<(String, Value)> {
    let crd = serde_json::to_value(BackupPolicy::crd()).unwrap();
    fields("spec", crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap())
}

/// `kubectl explain` has a word on every field of the spec.
#[test]
fn every_field_is_documented() {
    for (path, field) in fields_of_the_spec() {
        assert!(field["description"].as_str().is_some_and(|text| text.len() >= 10), "{path}");
    }
}

/// Of a field with a choice it says what each value does, and which one counts where the field is left out.
#[test]
fn every_choice_is_explained() {
    assert_choices_are_explained(&fields_of_the_spec(), 7);
}

/// What stands in code style in the first column of every table with this heading.
fn documented(file: &str, heading: &str) -> Vec<String> {
    let (mut found, mut inside) = (Vec::new(), false);
    for line in read(file).lines() {
        let first = line.strip_prefix("| ").and_then(|line| line.split_once(" |")).map(|(first, _)| first);
        inside = first.is_some_and(|first| inside || first == heading) || (inside && line.starts_with('|'));
        let names =
            first.into_iter().filter(|_| inside).flat_map(|first| first.split('`').skip(1).step_by(2));
        found.extend(names.map(str::to_owned));
    }
    found
}

/// `docs/operations.md` explains every reason once, and no other.
#[test]
fn every_reason_is_documented() {
    let mut found = documented("docs/operations.md", "reason");
    let mut known: Vec<_> = [reasons::ALL, reasons::restore::ALL].concat();
    found.sort();
    known.sort_unstable();
    assert_eq!(found, known);
}

/// Every condition of a policy has a line in `docs/concepts.md`, every one of a request in `docs/operations.md`, and no other has.
#[test]
fn every_condition_is_documented() {
    assert_eq!(documented("docs/concepts.md", "condition"), conditions::OF_POLICIES);
    assert_eq!(documented("docs/operations.md", "condition"), conditions::OF_RESTORES);
}

/// Server-side apply of a list entry that the server fills up never settles: the same manifest again would be a change.
#[test]
fn no_field_has_a_default_but_status() {
    fn defaults(schema: &Value, path: &str, found: &mut Vec<String>) {
        if schema.get("default").is_some() {
            found.push(path.to_owned());
        }
        let below = ["properties", "items", "additionalProperties"].iter().filter_map(|key| schema.get(*key));
        for part in below {
            if part.get("type").is_some() {
                defaults(part, &format!("{path}[]"), found);
            } else {
                for (name, property) in part.as_object().into_iter().flatten() {
                    defaults(property, &format!("{path}.{name}"), found);
                }
            }
        }
    }
    for file in [BackupPolicy::CRD_FILE, RestoreRequest::CRD_FILE] {
        let crd: Value = serde_yaml::from_str(&read(&format!("crds/{file}"))).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        defaults(&schema["properties"]["spec"], "spec", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{file}");
        assert_eq!(schema["properties"]["status"]["default"]["observedGeneration"], -1, "{file}");
    }
}

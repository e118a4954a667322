//! What `kubectl explain` must say, of any definition.

use serde_json::Value;

/// Every field below a schema, by its path.
pub fn fields(path: &str, schema: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.push((path.clone(), field.clone()));
        found.extend(fields(&path, field));
        found.extend(fields(&path, &field["items"]));
    }
    found
}

/// Of a field with a choice it says what each value does, and which one counts where the field is left out. There are so many at least.
pub fn assert_choices_are_explained(fields: &[(String, Value)], least: usize) {
    let choices: Vec<_> = fields.iter().filter(|(_, field)| field["enum"].is_array()).collect();
    assert!(choices.len() >= least, "{choices:?}");
    for (path, field) in choices {
        let description = field["description"].as_str().unwrap();
        for value in field["enum"].as_array().unwrap().iter().filter_map(Value::as_str) {
            assert!(
                description.contains(&format!("`{value}`")),
                "{path} does not explain {value}: {description}"
            );
        }
        if field["nullable"] == true {
            assert!(description.contains("Default: `"), "{path} has no default: {description}");
        }
    }
}

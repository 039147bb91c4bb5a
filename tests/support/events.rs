//! Every line that `--json` prints, held against the schema that is checked in.

use std::{collections::BTreeMap, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

/// A validator for each type of event. Readers must bear fields that they don't know; a test must not: whatever is
/// printed is to be documented.
static SCHEMAS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let mut schema: Value = serde_json::from_str(include_str!("../../host/schema/events.json")).unwrap();
    close(&mut schema);
    let names = schema["oneOf"].as_array().unwrap().iter().map(|event| event["$ref"].as_str().unwrap());
    let of = |reference: &str| {
        let one = json!({"$schema": schema["$schema"], "$ref": reference, "$defs": schema["$defs"]});
        (reference.replace("#/$defs/", ""), jsonschema::validator_for(&one).unwrap())
    };
    names.map(of).collect()
});

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.contains_key("properties") {
                object.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Panics where a line of these isn't as the schema says. What isn't an event is none of its business.
pub fn check(stdout: &str) {
    for line in stdout.lines().filter(|line| line.starts_with(r#"{"v":1,"ts":"#)) {
        // The last line of a program that was killed is torn.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let kind = event["type"].as_str().unwrap();
        let schema = SCHEMAS.get(kind).unwrap_or_else(|| panic!("the schema has no event `{kind}`"));
        let wrong: Vec<_> = schema
            .iter_errors(&event)
            .map(|error| format!("{} at `{}`", error, error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{event:#}\nisn't as host/schema/events.json says: {wrong:#?}");
    }
}

//! Holds documents against the schemas that the project publishes.

use serde_json::Value;

/// Fails unless a receipt is as its schema says.
pub(crate) fn assert_is_receipt(receipt: &Value) {
    let schema = include_str!("../../schemas/receipt.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let validator =
        jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let faults: Vec<String> = validator
        .iter_errors(receipt)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?} in {receipt:#}");
}

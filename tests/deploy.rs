//! What `deploy/` says against `template.yaml`: the variables of the Terraform module are the
//! parameters of the template, with the same defaults.
//!
//! The policies of `deploy/policies/` are tried in `tests/cloud/policies.rs`.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

const VARIABLES: &str = "deploy/terraform/variables.tf";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

/// `Target1Bucket` as `target1_bucket`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut previous_is_small = false;
    for sign in name.chars() {
        if sign.is_ascii_uppercase() && previous_is_small {
            snake.push('_');
        }
        previous_is_small = !sign.is_ascii_uppercase();
        snake.push(sign.to_ascii_lowercase());
    }
    snake
}

/// A string of Terraform's language.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{}\"", text.replace("${", "$${").replace("%{", "%%{"))
}

/// A value of the template as Terraform writes it.
fn literal(value: &Yaml<'_>, kind: &str) -> String {
    let text = match value {
        Yaml::Value(Scalar::Integer(number)) => number.to_string(),
        Yaml::Value(Scalar::String(text)) | Yaml::Representation(text, ..) => text.to_string(),
        _ => panic!("not expected as a value of a parameter: {value:?}"),
    };
    if kind == "string" { quoted(&text) } else { text }
}

/// `variables.tf` as `template.yaml` demands it.
fn variables() -> String {
    let template = read("template.yaml");
    let documents = Yaml::load_from_str(&template).expect("YAML");
    let parameters = documents[0]["Parameters"].as_mapping().expect("parameters");
    let mut text = "# Written by `make terraform` from the parameters of template.yaml. Do not edit.\n".to_owned();
    let mut map = String::new();
    let names: Vec<&str> = parameters.keys().filter_map(|name| name.as_str()).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or_default();
    for (name, (_, parameter)) in names.iter().zip(parameters) {
        let field = |name: &str| parameter.as_mapping_get(name);
        let allowed: Vec<&Yaml<'_>> =
            field("AllowedValues").and_then(Yaml::as_sequence).into_iter().flatten().collect();
        let words: Vec<String> = allowed.iter().map(|value| literal(value, "number")).collect();
        let kind = match field("Type").and_then(Yaml::as_str) {
            Some("Number") => "number",
            _ if words == ["true", "false"] => "bool",
            _ => "string",
        };
        let variable = snake_case(name);
        let description = field("Description").and_then(Yaml::as_str).unwrap_or_default();
        let mut rows = vec![("type", kind.to_owned())];
        rows.extend(field("Default").map(|value| ("default", literal(value, kind))));
        rows.push(("description", quoted(description)));
        rows.push(("nullable", "false".to_owned()));
        rows.extend(field("NoEcho").map(|_| ("sensitive", "true".to_owned())));
        let _ = writeln!(text, "\nvariable \"{variable}\" {{");
        for (key, value) in rows {
            let _ = writeln!(text, "  {key:11} = {value}");
        }
        if kind != "bool" && !allowed.is_empty() {
            let values: Vec<String> = allowed.iter().map(|value| literal(value, kind)).collect();
            let _ = writeln!(
                text,
                "\n  validation {{\n    condition     = contains([{}], var.{variable})\n    \
                 error_message = \"Must be one of the values that the template allows.\"\n  }}",
                values.join(", ")
            );
        }
        text.push_str("}\n");
        let _ = writeln!(map, "    {name:width$} = var.{variable}");
    }
    let _ = write!(text, "\nlocals {{\n  parameters = {{\n{map}  }}\n}}\n");
    text
}

#[test]
fn terraform_variables_are_the_parameters_of_the_template() {
    assert!(
        read(VARIABLES) == variables(),
        "{VARIABLES} differs from template.yaml: write it again with make terraform"
    );
}

#[test]
#[ignore = "writes deploy/terraform/variables.tf: make terraform"]
fn write_variables() {
    fs::write(path(VARIABLES), variables()).expect("write the variables");
}

/// With HashiCorp's own parser: the module is valid, and its variables have the template's names and
/// defaults.
#[test]
#[ignore = "needs Node.js and @cdktf/hcl2json: make deployments"]
fn terraform_module_is_valid() {
    let script = "const { convertFiles } = require('@cdktf/hcl2json');\
        convertFiles(process.argv[1]).then(found => console.log(JSON.stringify(found)))";
    let folder = path(".local/hcl2json-0.21.0");
    let mut node = Command::new("node");
    node.current_dir(folder).args(["-e", script]).arg(path("deploy/terraform"));
    let output = node.output().expect("Node.js");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let module: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let template = read("template.yaml");
    let documents = Yaml::load_from_str(&template).expect("YAML");
    let mut expected = BTreeMap::new();
    for (name, parameter) in documents[0]["Parameters"].as_mapping().expect("parameters") {
        let default = parameter.as_mapping_get("Default").map(|value| literal(value, "number"));
        expected.insert(snake_case(name.as_str().unwrap_or_default()), default);
    }
    let mut found = BTreeMap::new();
    for (name, variable) in module["variable"].as_object().expect("variables") {
        let default = variable[0].get("default").map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        found.insert(name.clone(), default);
    }
    for own in ["release", "stack_name", "code_bucket"] {
        assert!(found.remove(own).is_some(), "{own} in {module}");
    }
    assert_eq!(found, expected);
}

//! What `deploy/` says against `template.yaml`: the variables of the Terraform module are the
//! parameters of the template, with the same defaults.
//!
//! The policies of `deploy/policies/` are tried in `tests/cloud/policies.rs`.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr::{LoadableYamlNode, Yaml};
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
    let number = value.as_integer().map(|number| number.to_string());
    let text = number.or_else(|| value.as_str().map(str::to_owned));
    let text = text.unwrap_or_else(|| panic!("expected text or a number, found {value:?}"));
    if kind == "string" { quoted(&text) } else { text }
}

/// `variables.tf` as `template.yaml` demands it.
fn variables() -> String {
    let template = read("template.yaml");
    let documents = Yaml::load_from_str(&template).expect("YAML");
    let parameters = documents[0]["Parameters"].as_mapping().expect("parameters");
    let parameters: Vec<(&str, &Yaml<'_>)> =
        parameters.iter().filter_map(|(name, about)| Some((name.as_str()?, about))).collect();
    let width = parameters.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let blocks: String = parameters.iter().map(|(name, about)| variable(name, about)).collect();
    let map: String = parameters
        .iter()
        .map(|(name, _)| format!("    {name:width$} = var.{}\n", snake_case(name)))
        .collect();
    format!(
        "# Written by `make terraform` from the parameters of template.yaml. Do not edit.\n{blocks}\n\
         locals {{\n  parameters = {{\n{map}  }}\n}}\n"
    )
}

/// The variable of a parameter.
fn variable(name: &str, parameter: &Yaml<'_>) -> String {
    let field = |name: &str| parameter.as_mapping_get(name);
    let allowed: Vec<&Yaml<'_>> =
        field("AllowedValues").and_then(Yaml::as_sequence).into_iter().flatten().collect();
    let values =
        |kind: &str| allowed.iter().map(|it| literal(it, kind)).collect::<Vec<_>>().join(", ");
    let kind = match field("Type").and_then(Yaml::as_str) {
        Some("Number") => "number",
        _ if values("bool") == "true, false" => "bool",
        _ => "string",
    };
    let description = field("Description").and_then(Yaml::as_str).unwrap_or_default();
    let mut rows = vec![("type", kind.to_owned())];
    rows.extend(field("Default").map(|value| ("default", literal(value, kind))));
    rows.push(("description", quoted(description)));
    rows.push(("nullable", "false".to_owned()));
    rows.extend(field("NoEcho").map(|_| ("sensitive", "true".to_owned())));
    let rows: String =
        rows.into_iter().map(|(key, value)| format!("  {key:11} = {value}\n")).collect();
    let name = snake_case(name);
    let validation = if kind == "bool" || allowed.is_empty() {
        String::new()
    } else {
        format!(
            "\n  validation {{\n    condition     = contains([{}], var.{name})\n    \
             error_message = \"Must be one of the values that the template allows.\"\n  }}\n",
            values(kind)
        )
    };
    format!("\nvariable \"{name}\" {{\n{rows}{validation}}}\n")
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

/// With Terraform's own parser: the module is valid, and its variables have the template's names and
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
        let default = variable[0].get("default");
        let default = default.map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned));
        found.insert(name.clone(), default);
    }
    for own in ["release", "stack_name", "code_bucket"] {
        assert!(found.remove(own).is_some(), "{own} in {module}");
    }
    assert_eq!(found, expected);
}

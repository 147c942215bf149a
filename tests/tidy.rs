//! What no compiler sees: who may import whom, and who may log.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A source file without its comments and unit tests.
fn code(file: &str) -> String {
    let text = read(file);
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// All source files, as paths from the project's folder.
fn source_files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a source folder") {
            let entry = entry.expect("a readable folder");
            let path = folder.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    files
}

/// The layers, from the top. A file imports from its own folder and from lower layers, never from
/// its own layer or above.
const LAYERS: [&[&str]; 7] = [
    &["main"],
    &["lambda", "aws"],
    &["message"],
    &["erasure"],
    &["limiter", "config"],
    &["ports"],
    &["target", "deadline"],
];

/// The folder of a file below `src`, or the name of a file that has none.
fn module_of(file: &str) -> &str {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or(path)
}

fn layer_of(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is in no layer: add it to LAYERS"))
}

/// The file that a path of modules names, if it names one: `erasure::split::Sample` is in
/// `src/erasure/split.rs`.
fn file_of(path: &str, files: &BTreeSet<String>) -> Option<String> {
    let mut names = path.split("::").collect::<Vec<_>>();
    while !names.is_empty() {
        let stem = format!("src/{}", names.join("/"));
        let found = [format!("{stem}.rs"), format!("{stem}/mod.rs")]
            .into_iter()
            .find(|file| files.contains(file));
        if found.is_some() {
            return found;
        }
        names.pop();
    }
    None
}

/// The files of this crate that a file imports from.
fn imports_of(file: &str, files: &BTreeSet<String>) -> BTreeSet<String> {
    let text = code(file);
    let folder = file.trim_start_matches("src/").rsplit_once('/').map_or("", |(folder, _)| folder);
    let own_path = |rest: &str| format!("{}::{rest}", folder.replace('/', "::"));
    let paths =
        ["crate::", "erase_user_files::", "super::", "self::"].into_iter().flat_map(|prefix| {
            text.split(prefix).skip(1).map(move |rest| {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                    .unwrap_or(rest.len());
                (prefix, rest[..end].trim_end_matches(':'))
            })
        });
    let paths = paths.map(|(prefix, rest)| {
        if ["super::", "self::"].contains(&prefix) { own_path(rest) } else { rest.to_owned() }
    });
    paths.filter_map(|path| file_of(&path, files)).filter(|imported| imported != file).collect()
}

#[test]
fn imports_follow_the_layers() {
    let files = source_files();
    for file in files.iter().filter(|file| *file != "src/lib.rs") {
        for imported in imports_of(file, &files) {
            let (from, to) = (module_of(file), module_of(&imported));
            assert!(
                from == to || layer_of(from) < layer_of(to),
                "{file} imports {imported}, which is not below it"
            );
        }
    }
}

#[test]
fn imports_have_no_cycles() {
    let files = source_files();
    let mut left: BTreeMap<_, _> =
        files.iter().map(|file| (file.clone(), imports_of(file, &files))).collect();
    left.remove("src/lib.rs");
    // Files that import none of the rest are taken away until there is no rest.
    while let Some(file) = left
        .iter()
        .find(|(_, imports)| imports.iter().all(|it| !left.contains_key(it)))
        .map(|(f, _)| f.clone())
    {
        left.remove(&file);
    }
    assert!(
        left.is_empty(),
        "a circle among these files, or files that import from one: {left:#?}"
    );
}

#[test]
fn only_aws_and_main_import_the_sdk_and_only_lambda_and_main_log() {
    for file in source_files() {
        let text = code(&file);
        let is_adapter = ["aws", "main"].contains(&module_of(&file));
        assert!(is_adapter || !text.contains("aws_sdk"), "{file} knows the AWS SDK");
        let is_logger = ["lambda", "main"].contains(&module_of(&file));
        assert!(is_logger || !text.contains("tracing"), "{file} logs");
    }
}

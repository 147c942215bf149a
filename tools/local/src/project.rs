use std::path::{Path, PathBuf};

use crate::Error;

/// The project's folder: where `template.yaml` is.
pub fn project_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}

/// The ignored folder for everything that is installed or written while the local cloud runs.
pub(crate) fn local_folder() -> PathBuf {
    project_root().join(".local")
}

/// The function's binary, built together with the example that asks (not for tests, which have
/// `CARGO_BIN_EXE_…`).
pub fn function_binary() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(Error::file("find", "this program"))?;
    // target/debug/examples/local and target/debug/erase-user-files
    let folder = program.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let binary = folder.join("erase-user-files");
    if binary.is_file() {
        return Ok(binary);
    }
    Err(Error::Missing {
        what: format!("the function's binary {}", binary.display()),
        remedy: "Build it with: make function".to_owned(),
    })
}

use std::path::{Path, PathBuf};

use crate::Error;

/// The project's folder: where `template.yaml` is.
pub fn project_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The ignored folder for everything that is installed or written while the local cloud runs.
pub(crate) fn local_folder() -> PathBuf {
    project_root().join(".local")
}

/// The function's binary, built beside the program that asks (not for tests, which have `CARGO_BIN_EXE_…`).
pub fn function_binary() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(Error::file("find", "this program"))?;
    let binary = program.with_file_name("erase-user-files");
    if binary.is_file() {
        return Ok(binary);
    }
    Err(Error::Missing {
        what: format!("the function's binary {}", binary.display()),
        remedy: "Build it with: cargo build -p erase-user-files -p local".to_owned(),
    })
}

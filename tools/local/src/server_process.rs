//! A server process that cannot outlive this one, and the folder that goes with it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::install::last_lines;
use crate::project::local_folder;

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Between the choice of a free port and the server's listening on it, another process may take it.
const START_ATTEMPTS: usize = 5;

/// The server takes the shell's place and leads the process group. Standard input is a pipe whose
/// other end we hold: when it closes, for whatever reason (even SIGKILL), the watcher ends the
/// whole group, with everything the server started.
const WATCHED: &str = r#"
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } &
exec 3<&-
exec "$@"
"#;

/// A running server process in its own process group, with a folder of its own. Dropping it ends
/// both.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    child: Child,
    folder: RunFolder,
}

impl ServerProcess {
    /// Starts a program in the folder, with nothing of our environment except what `environment`
    /// holds and `PATH`.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
    ) -> Result<Self, Error> {
        let folder = RunFolder::new(name)?;
        let log = File::create(folder.log()).map_err(Error::file("write", folder.log()))?;
        let same_log = log.try_clone().map_err(Error::file("write", folder.log()))?;
        let child = Command::new("sh")
            .args(["-c", WATCHED, "watched"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LANG"))
            // Whatever the server or a function writes or looks for "at home" or in /tmp is in the
            // folder.
            .env("HOME", &folder.path)
            .env("TMPDIR", &folder.path)
            .envs(environment.iter().cloned())
            .current_dir(&folder.path)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(same_log)
            .process_group(0)
            .spawn()
            .map_err(Error::file("start", program))?;
        Ok(Self { name: name.to_owned(), child, folder })
    }

    /// Starts a server that takes its ports as arguments, and waits until it is ready. Returns the
    /// first port.
    pub(crate) async fn start_ready<const N: usize, F: Future<Output = bool> + Send>(
        name: &str,
        program: &Path,
        command: impl Fn([u16; N]) -> (Vec<String>, Vec<(&'static str, String)>),
        is_ready: impl Fn(u16) -> F,
    ) -> Result<(u16, Self), Error> {
        let mut attempt = 1;
        loop {
            let ports = free_ports()?;
            let (arguments, environment) = command(ports);
            let mut process = Self::start(name, program, &arguments, &environment)?;
            let deadline = Instant::now() + START_TIMEOUT;
            while process.is_running() && Instant::now() < deadline {
                // If another process took the port before, ours has ended.
                if is_ready(ports[0]).await && process.is_running() {
                    return Ok((ports[0], process));
                }
                sleep(Duration::from_millis(50)).await;
            }
            if attempt == START_ATTEMPTS {
                return Err(process.failure("it is not ready"));
            }
            attempt += 1;
        }
    }

    /// Whether the server is running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The folder in which it runs; it goes when the server goes.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Everything that it printed.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.log()).unwrap_or_default()).into_owned()
    }

    /// The end of what it printed.
    pub fn last_words(&self) -> String {
        last_lines(&self.words(), 30)
    }

    pub(crate) fn failure(&self, message: &str) -> Error {
        Error::Command {
            doing: format!("start {}: {message}", self.name),
            output: self.last_words(),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Closing the pipe wakes the watcher, which ends the group; killing the leader only makes
        // it certain.
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A folder that lives as long as its lock is held, so that a later process finds what a killed
/// one left.
#[derive(Debug)]
struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    fn new(name: &str) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let all = local_folder().join("run");
        fs::create_dir_all(&all).map_err(Error::file("make", &all))?;
        // One at a time: a folder that is not locked yet looks abandoned.
        let turn = File::create(all.join("turn")).map_err(Error::file("write", &all))?;
        turn.lock().map_err(Error::file("lock", &all))?;
        remove_abandoned(&all);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = all.join(format!("{name}-{}-{number}", std::process::id()));
        // Left by a killed process that had our process id.
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).map_err(Error::file("make", &path))?;
        let lock = File::create(path.join("lock")).map_err(Error::file("write", &path))?;
        lock.lock().map_err(Error::file("lock", &path))?;
        Ok(Self { path, _lock: lock })
    }

    fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

fn remove_abandoned(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        // A live process holds the lock of its folder.
        if File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Ports of the loopback interface that no process listens on at this moment.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let failed = |error: std::io::Error| Error::service("find a free port", error.to_string());
    // All are open together, so that no port comes twice.
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().map_err(failed)?.port();
    }
    Ok(ports)
}

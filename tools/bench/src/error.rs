use std::path::PathBuf;

/// Why a run could not be made, fit for "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is not understood.
    #[error("read the settings: {0}")]
    Setting(String),
    /// A file could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// A verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system does not tell what a process uses.
    #[error(
        "read what a process uses: only Linux tells it, in /proc, and every check of CPU and memory needs it"
    )]
    NoUsage,
    /// A port could not be opened.
    #[error("listen on the loopback interface: {0}")]
    Listen(std::io::Error),
    /// A certificate could not be made.
    #[error("make a certificate: {0}")]
    Tls(String),
    /// The function ended, did not answer in time, or answered nonsense.
    #[error("run the function: {0}")]
    Function(String),
    /// Another tool could not be measured.
    #[error("measure another tool: {0}")]
    Peer(String),
}

impl Error {
    /// An error of the file system.
    pub fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing, path: path.into(), source }
    }
}

use std::path::PathBuf;

/// Why the local cloud is not there, fit for "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that this machine must have is missing; the second text says how to get it.
    #[error("find {what}.\n{remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A program ended with an error; its last lines are in `output`.
    #[error("{doing}:\n{output}")]
    Command {
        /// What it was run for.
        doing: String,
        /// The end of what it printed.
        output: String,
    },
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
    /// A local service refused, or did not answer.
    #[error("{doing}: {message}")]
    Service {
        /// What was asked of it.
        doing: String,
        /// What it answered.
        message: String,
    },
}

impl Error {
    /// An answer that is not what was hoped for.
    pub fn service(doing: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Service { doing: doing.into(), message: message.into() }
    }

    pub(crate) fn sdk<E: std::error::Error>(doing: impl Into<String>, error: E) -> Self {
        Self::service(doing, aws_sdk_s3::error::DisplayErrorContext(error).to_string())
    }

    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing, path: path.into(), source }
    }
}

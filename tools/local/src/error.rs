use std::path::PathBuf;

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};

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
    /// A service answered with an error, or did not answer.
    #[error("{doing}: {message}")]
    Service {
        /// What was asked of it.
        doing: String,
        /// What it answered.
        message: String,
        /// The code of the error, if the answer had one.
        code: Option<String>,
    },
}

impl Error {
    /// An answer that is not what was hoped for.
    pub fn service(doing: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Service { doing: doing.into(), message: message.into(), code: None }
    }

    /// A request that a client of the SDK could not complete.
    pub fn sdk<E: std::error::Error + ProvideErrorMetadata>(
        doing: impl Into<String>,
        error: E,
    ) -> Self {
        let code = error.code().map(str::to_owned);
        Self::Service { doing: doing.into(), message: DisplayErrorContext(error).to_string(), code }
    }

    /// The body of an answer that did not come to its end.
    pub(crate) fn body<E: std::error::Error>(doing: impl Into<String>, error: E) -> Self {
        Self::service(doing, DisplayErrorContext(error).to_string())
    }

    /// The code with which a service answered, if it answered with one.
    pub fn code(&self) -> Option<&str> {
        let Self::Service { code, .. } = self else {
            return None;
        };
        code.as_deref()
    }

    /// An error of the file system.
    pub fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing, path: path.into(), source }
    }
}

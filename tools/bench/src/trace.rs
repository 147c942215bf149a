//! What the model of S3 was asked, and when.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    List,
    Delete,
    Put,
    Other,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) begin: Instant,
    /// `None`: the client hung up before the answer.
    pub(crate) end: Option<Instant>,
    /// Keys that it listed or took away.
    pub(crate) keys: u64,
    /// Whether S3 throttled it, or it failed at random as a whole.
    pub(crate) is_refused: bool,
    /// What it put: the key.
    pub(crate) key: Option<String>,
}

/// Every request so far, in the order in which they ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<Request>>>);

/// A request that is being answered. Dropped before [`Pending::answered`], it counts as hung up.
#[derive(Debug)]
pub(crate) struct Pending {
    trace: Trace,
    request: Option<Request>,
}

impl Trace {
    pub(crate) fn begin(&self, operation: Operation) -> Pending {
        let begin = Instant::now();
        let request =
            Request { operation, begin, end: None, keys: 0, is_refused: false, key: None };
        Pending { trace: self.clone(), request: Some(request) }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, request: Request) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}

impl Pending {
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Request)) {
        if let Some(request) = &mut self.request {
            change(request);
        }
    }

    pub(crate) fn answered(mut self) {
        if let Some(request) = self.request.take() {
            self.trace.push(Request { end: Some(Instant::now()), ..request });
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.trace.push(request);
        }
    }
}

//! One warm execution environment: the real binary, and the Runtime API that feeds it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::http::{self, Answer};
use crate::process::{Usage, usage_of};
use crate::quota::Quota;
use crate::{Error, Settings, world};

/// What the function says at the end of its share of an erasure: its log line `hop finished`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hop {
    pub(crate) outcome: String,
    pub(crate) erasure: String,
    pub(crate) hop: u64,
    pub(crate) objects: u64,
    pub(crate) requests: u64,
    pub(crate) throttles: u64,
    pub(crate) retries: u64,
    pub(crate) span: Span,
}

/// Where a log line belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Span {
    /// The invocation's id.
    pub(crate) request_id: String,
}

/// What became of an invocation.
#[derive(Debug)]
pub(crate) struct Reply {
    /// When the function took the event.
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    /// What it answered; its error, if it failed.
    pub(crate) body: Result<String, String>,
}

/// An event on its way.
#[derive(Debug)]
struct Task {
    id: String,
    event: String,
    reply: oneshot::Sender<Reply>,
}

/// What the Runtime API knows.
#[derive(Debug)]
struct Runtime {
    timeout: Duration,
    tasks: tokio::sync::Mutex<mpsc::Receiver<Task>>,
    /// When the function asked for its first event.
    first_poll: OnceLock<Instant>,
    open: Mutex<Option<(String, Instant, oneshot::Sender<Reply>)>>,
}

/// A running function. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Environment {
    child: Child,
    timeout: Duration,
    tasks: mpsc::Sender<Task>,
    /// When the process was started.
    begin: Instant,
    runtime: Arc<Runtime>,
    hops: Arc<Mutex<Vec<Hop>>>,
    _servers: JoinSet<()>,
    _quota: Option<Quota>,
}

impl Environment {
    /// Starts the binary with these variables and no others; what it prints goes to a file.
    pub(crate) async fn start(
        settings: &Settings,
        variables: &[(String, String)],
        log: PathBuf,
    ) -> Result<Self, Error> {
        let (binary, timeout) = (&settings.binary, settings.timeout);
        let (listener, address) = http::listen().await?;
        let (tasks, receiver) = mpsc::channel(1);
        let tasks_to_come = tokio::sync::Mutex::new(receiver);
        let first_poll = OnceLock::new();
        let runtime =
            Arc::new(Runtime { timeout, tasks: tasks_to_come, first_poll, open: Mutex::default() });
        let answering = Arc::clone(&runtime);
        let mut servers = JoinSet::new();
        servers.spawn(async move {
            let service = service_fn(move |request| Arc::clone(&answering).answer(request));
            match http::serve(listener, None, service).await {}
        });
        let file = File::create(&log).map_err(Error::file("write", &log))?;
        let errors = file.try_clone().map_err(Error::file("write", &log))?;
        let begin = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::file("start", binary))?;
        let quota = settings.core_percent.map(Quota::of).transpose()?;
        if let (Some(quota), Some(id)) = (&quota, child.id()) {
            quota.hold(id)?;
        }
        let hops = Arc::default();
        if let Some(output) = child.stdout.take() {
            servers.spawn(read_log(output, file, Arc::clone(&hops)));
        }
        Ok(Self { child, timeout, tasks, begin, runtime, hops, _servers: servers, _quota: quota })
    }

    /// Has the function work on an event. Lambda would end it at its timeout; here that is the end
    /// of the run.
    pub(crate) async fn invoke(&mut self, id: &str, event: String) -> Result<Reply, Error> {
        let (reply, answered) = oneshot::channel();
        let task = Task { id: id.to_owned(), event, reply };
        let fail = |what: &str| Error::Function(format!("invocation {id}: {what}"));
        self.tasks.send(task).await.map_err(|_closed| fail("its Runtime API is gone"))?;
        tokio::select! {
            answer = timeout(self.timeout + world::START_LIMIT, answered) => match answer {
                Ok(Ok(reply)) if reply.end - reply.begin <= self.timeout => Ok(reply),
                Ok(Ok(_)) | Err(_) => Err(fail(&format!("no answer in {:?}", self.timeout))),
                Ok(Err(_)) => Err(fail("it took the next event without an answer")),
            },
            ended = self.child.wait() => Err(fail(&format!("it ended by itself: {ended:?}"))),
        }
    }

    /// What the process has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.child.id().map(usage_of).unwrap_or_default()
    }

    /// The cold start: from the start of the process until it asked for its first event.
    pub(crate) fn cold_start(&self) -> Option<Duration> {
        self.runtime.first_poll.get().map(|poll| *poll - self.begin)
    }

    /// The shares of erasures that it has worked on so far.
    pub(crate) fn hops(&self) -> Vec<Hop> {
        self.hops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Runtime {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let path = request.uri().path().to_owned();
        Ok(match path.strip_prefix("/2018-06-01/runtime/invocation/") {
            Some("next") => self.next().await,
            Some(rest) => {
                let body = http::text_of(request).await;
                let (id, what) = rest.split_once('/').unwrap_or_default();
                self.done(id, if what == "response" { Ok(body) } else { Err(body) });
                http::json(StatusCode::ACCEPTED, "{}".to_owned())
            }
            None => http::json(StatusCode::ACCEPTED, "{}".to_owned()),
        })
    }

    async fn next(&self) -> Answer {
        self.first_poll.get_or_init(Instant::now);
        let Some(Task { id, event, reply }) = self.tasks.lock().await.recv().await else {
            return http::json(StatusCode::GONE, "{}".to_owned());
        };
        let deadline = epoch_ms() + u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        *self.locked() = Some((id.clone(), Instant::now(), reply));
        let mut answer = http::json(StatusCode::OK, event);
        let headers = [
            ("lambda-runtime-aws-request-id", id),
            ("lambda-runtime-deadline-ms", deadline.to_string()),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:000000000000:function:bench".to_owned(),
            ),
        ];
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                answer.headers_mut().insert(name, value);
            }
        }
        answer
    }

    fn done(&self, id: &str, body: Result<String, String>) {
        let end = Instant::now();
        if let Some((_, begin, reply)) = self.locked().take_if(|(open, _, _)| open == id) {
            // Nobody waits for it any more: the run is over.
            drop(reply.send(Reply { begin, end, body }));
        }
    }

    fn locked(
        &self,
    ) -> std::sync::MutexGuard<'_, Option<(String, Instant, oneshot::Sender<Reply>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_log(output: ChildStdout, mut file: File, hops: Arc<Mutex<Vec<Hop>>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        drop(writeln!(file, "{line}"));
        if line.contains(r#""message":"hop finished""#)
            && let Ok(hop) = serde_json::from_str(&line)
        {
            hops.lock().unwrap_or_else(PoisonError::into_inner).push(hop);
        }
    }
}

/// The wall clock, in milliseconds since 1970, as Lambda and SQS tell it.
#[expect(clippy::disallowed_methods, reason = "here is where Lambda's clock is")]
pub(crate) fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

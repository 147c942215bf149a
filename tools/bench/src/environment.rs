//! One warm execution environment: the real binary, and the Runtime API that feeds it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::convert::Infallible;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use local::Hop;
use local::http::{Answer, Server, answer, text_of};
use time::UtcDateTime;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::cgroup::Cgroup;
use crate::process::{Usage, usage_of};
use crate::{Error, Settings, world};

const JSON: &str = "application/json";

/// How an invocation ended.
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
    log: PathBuf,
    _server: Server,
    _quota: Option<Cgroup>,
}

impl Environment {
    /// Starts the binary with these variables and no others; what it prints is written to a file.
    pub(crate) async fn start(
        settings: &Settings,
        variables: &[(String, String)],
        log: PathBuf,
    ) -> Result<Self, Error> {
        let (binary, timeout) = (&settings.binary, settings.timeout);
        let (tasks, receiver) = mpsc::channel(1);
        let tasks_to_come = tokio::sync::Mutex::new(receiver);
        let first_poll = OnceLock::new();
        let runtime =
            Arc::new(Runtime { timeout, tasks: tasks_to_come, first_poll, open: Mutex::default() });
        let answering = Arc::clone(&runtime);
        let service = service_fn(move |request| Arc::clone(&answering).answer(request));
        let server = Server::start(None, service).await?;
        let file = File::create(&log).map_err(Error::file("write", &log))?;
        let errors = file.try_clone().map_err(Error::file("write", &log))?;
        let begin = Instant::now();
        let child = Command::new(binary)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", server.address().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::file("start", binary))?;
        let quota = settings.core_percent.map(Cgroup::of).transpose()?;
        if let (Some(quota), Some(id)) = (&quota, child.id()) {
            quota.hold(id)?;
        }
        Ok(Self { child, timeout, tasks, begin, runtime, log, _server: server, _quota: quota })
    }

    /// Has the function work on an event. Lambda would end it at its timeout; here that is the end
    /// of the run.
    pub(crate) async fn invoke(&mut self, id: &str, event: String) -> Result<Reply, Error> {
        let (reply, answered) = oneshot::channel();
        let task = Task { id: id.to_owned(), event, reply };
        let fail =
            |what: &str| Error::service("run the function", format!("invocation {id}: {what}"));
        self.tasks.send(task).await.map_err(|_closed| fail("its Runtime API has ended"))?;
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
    pub(crate) fn hops(&self) -> Result<Vec<Hop>, Error> {
        let text = fs::read(&self.log).map_err(Error::file("read", &self.log))?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(Hop::parse).collect())
    }
}

impl Runtime {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let path = request.uri().path().to_owned();
        Ok(match path.strip_prefix("/2018-06-01/runtime/invocation/") {
            Some("next") => self.next().await,
            Some(rest) => {
                let body = text_of(request).await;
                let (id, what) = rest.split_once('/').unwrap_or_default();
                self.done(id, if what == "response" { Ok(body) } else { Err(body) });
                answer(202, JSON, "{}")
            }
            None => answer(202, JSON, "{}"),
        })
    }

    async fn next(&self) -> Answer {
        self.first_poll.get_or_init(Instant::now);
        let Some(Task { id, event, reply }) = self.tasks.lock().await.recv().await else {
            return answer(410, JSON, "{}");
        };
        let deadline = epoch_ms() + u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        *self.locked() = Some((id.clone(), Instant::now(), reply));
        let mut answer = answer(200, JSON, event);
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
            // This fails if the run is over.
            drop(reply.send(Reply { begin, end, body }));
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<(String, Instant, oneshot::Sender<Reply>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock, in milliseconds since 1970, as Lambda and SQS report it.
pub(crate) fn epoch_ms() -> u64 {
    u64::try_from(UtcDateTime::now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

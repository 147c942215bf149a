//! One run's world: the models, the function's environments, and the wait until all is done.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use hyper::service::service_fn;
use local::Hop;
use local::http::{self, Server};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::environment::Environment;
use crate::event_source_mapping::{Invocation, Invocations, feed};
use crate::limit::{Limit, Partitions};
use crate::model::{InjectedFault, Latency, Model};
use crate::noise::Noise;
use crate::process::{self, Usage};
use crate::queue::Queue;
use crate::store::Store;
use crate::trace::{Request, Trace};
use crate::{Error, Report};

/// Where the users' files are, each user's folder at the bucket's root.
pub(crate) const PHOTOS: &str = "photos";
/// Where receipts go.
pub(crate) const RECEIPTS: &str = "receipts";
/// The time that a cold start may take.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(10);

pub(crate) const KEY: &str = "test";
/// The keys of each request of a second client.
pub(crate) const RIVAL_KEYS: usize = 100;
/// The time between two looks at the queue.
const POLL: Duration = Duration::from_millis(50);
/// The time between two lines about how far it is.
const TELL: Duration = Duration::from_secs(60);

/// What is the same for every run.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The function's binary.
    pub binary: PathBuf,
    /// Where reports and logs go.
    pub folder: PathBuf,
    /// The function's timeout.
    pub timeout: Duration,
    /// `MAX_DELETES_PER_SECOND`; `None` is the function's default.
    pub rate: Option<u32>,
    /// `MAX_IN_FLIGHT_BATCHES`; `None` is the function's default.
    pub in_flight: Option<u32>,
    /// `MaximumConcurrency`: environments, each of them with its own process.
    pub concurrency: usize,
    /// What S3 takes.
    pub latency: Latency,
    /// What S3 lets a partition take; `None`: as many keys as come.
    pub limit: Option<Limit>,
    /// What fails at random; `None`: nothing does.
    pub noise: Option<Noise>,
    /// Whether the users' bucket has versioning.
    pub has_versions: bool,
    /// A fault of S3 that the run's checks must find.
    pub injected_fault: InjectedFault,
    /// How much of a core the function gets, in percent; `None`: as much as it can.
    pub core_percent: Option<f64>,
    /// Whether the function speaks TLS with S3.
    pub has_tls: bool,
    /// Decides what is left to chance here.
    pub seed: u64,
}

impl Settings {
    /// What the function keeps to, unless S3 takes less. 0 is no limit.
    pub(crate) fn keys_per_second(&self) -> u32 {
        self.rate.unwrap_or(3_500)
    }
}

/// What a run left to look at.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// When the environments began to take messages.
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    /// In the order of their ends.
    pub(crate) invocations: Vec<Invocation>,
    /// By invocation.
    pub(crate) hops: HashMap<String, Vec<Hop>>,
    pub(crate) requests: Vec<Request>,
    /// Messages that are left: in the queue, and in the dead-letter queue.
    pub(crate) depth: (usize, usize),
}

impl Outcome {
    pub(crate) fn check_deliveries(&self, report: &mut Report) {
        let failed: usize = self.invocations.iter().map(|it| it.failed_messages).sum();
        let is_met = self.depth == (0, 0) && failed == 0;
        report.check(is_met, "every message was done at its first delivery");
    }
}

/// Models and environments. Dropping it ends them all.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) trace: Trace,
    /// Where S3 listens.
    pub(crate) s3_address: String,
    partitions: Arc<Partitions>,
    queue: Queue,
    variables: Vec<(String, String)>,
    environments: Vec<Environment>,
    rivals: JoinSet<()>,
    _servers: [Server; 2],
}

impl World {
    /// Models and environments.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, Error> {
        let mut world = Self::open(settings).await?;
        world.start_environments(settings).await?;
        Ok(world)
    }

    /// The models alone.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Error> {
        process::check()?;
        // Six times the timeout, as in `template.yaml`.
        let queue = Queue::new(settings.timeout * 6, settings.seed);
        let model = Model::new(settings, &[PHOTOS, RECEIPTS]);
        let (store, trace) = (Arc::clone(&model.store), model.trace.clone());
        let partitions = Arc::clone(&model.partitions);
        let mut s3 = S3ServiceBuilder::new(model);
        s3.set_auth(SimpleAuth::from_single(KEY, KEY));
        let s3 = s3.build();
        fs::create_dir_all(&settings.folder).map_err(Error::file("make", &settings.folder))?;
        let (tls, authority) = settings.has_tls.then(http::certify).transpose()?.unzip();
        let s3 = Server::start(tls, s3).await?;
        let answering = queue.clone();
        let sqs = service_fn(move |request| answering.clone().answer(request));
        let sqs = Server::start(None, sqs).await?;
        let s3_address = s3.address().to_string();
        let mut variables = variables(settings, &s3_address, &sqs.address().to_string());
        if let Some(authority) = authority {
            let path = settings.folder.join(format!("certificate-{}.pem", std::process::id()));
            fs::write(&path, authority).map_err(Error::file("write", &path))?;
            variables.push(("AWS_ENDPOINT_URL_S3".to_owned(), format!("https://{s3_address}")));
            variables.push(("SSL_CERT_FILE".to_owned(), path.display().to_string()));
        }
        Ok(Self {
            store,
            trace,
            s3_address,
            partitions,
            queue,
            variables,
            environments: Vec::new(),
            rivals: JoinSet::new(),
            _servers: [s3, sqs],
        })
    }

    /// Starts as many of the function's processes as there are to be.
    pub(crate) async fn start_environments(&mut self, settings: &Settings) -> Result<(), Error> {
        for number in 0..settings.concurrency {
            let log = settings.folder.join(format!("function-{}-{number}.log", std::process::id()));
            let start = Environment::start(settings, &self.variables, log);
            self.environments.push(start.await?);
        }
        Ok(())
    }

    /// Has a second client take keys of the users' partition from now on, so many a second,
    /// whatever the responses are.
    pub(crate) fn add_rival(&mut self, keys_per_second: u32) -> Rival {
        let rival = Rival::default();
        let (partitions, passed) = (Arc::clone(&self.partitions), rival.clone());
        self.rivals.spawn(async move { passed.go_on(&partitions, keys_per_second).await });
        rival
    }

    /// How long the first environment took to start.
    pub(crate) fn cold_start(&self) -> Option<Duration> {
        self.environments.first().and_then(Environment::cold_start)
    }

    /// What the first environment has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.environments.first().map(Environment::usage).unwrap_or_default()
    }

    /// Sends the message that a user has withdrawn. The request's id must not hold the user's: logs
    /// would hide it.
    pub(crate) fn withdraw(&self, user: &str, request: &str) {
        let message = json!({ "type": "user-withdrawn", "userId": user, "requestId": request });
        self.queue.send(message.to_string(), Duration::ZERO);
    }

    /// Feeds all environments until the queue is empty.
    pub(crate) async fn run(&mut self) -> Result<Outcome, Error> {
        let begin = Instant::now();
        let invocations = Invocations::default();
        let (queue, store) = (&self.queue, &self.store);
        let lanes = self.environments.iter_mut().enumerate();
        let lanes = try_join_all(
            lanes.map(|(lane, environment)| feed(queue, lane, environment, &invocations)),
        );
        tokio::select! {
            failed = lanes => failed.map(|_| ())?,
            () = until_empty(queue, store, begin) => {}
        }
        let end = Instant::now();
        let mut hops: HashMap<String, Vec<Hop>> = HashMap::new();
        for environment in &self.environments {
            for hop in environment.hops()? {
                hops.entry(hop.span.request_id.clone()).or_default().push(hop);
            }
        }
        let invocations = invocations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Outcome {
            begin,
            end,
            invocations,
            hops,
            requests: self.trace.requests(),
            depth: self.queue.depth(),
        })
    }

    /// The receipt that proves the end of a user's files.
    pub(crate) fn receipt(&self, request: &str) -> Option<Value> {
        serde_json::from_slice(&self.store.get(RECEIPTS, &receipt_key(request))?).ok()
    }
}

/// A second client of the partition that the users are in: constant, and not impressed by anything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rival(Arc<Mutex<Vec<(Instant, usize)>>>);

impl Rival {
    /// When it asked, and how many of its keys were taken.
    pub(crate) fn asked(&self) -> Vec<(Instant, usize)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn go_on(self, partitions: &Partitions, keys_per_second: u32) {
        let mut ticks = interval(
            Duration::from_secs(1).mul_f64(RIVAL_KEYS as f64 / f64::from(keys_per_second)),
        );
        loop {
            let _due = ticks.tick().await;
            let now = Instant::now();
            let taken = partitions.take(PHOTOS, RIVAL_KEYS, now);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((now, taken));
        }
    }
}

/// The key of a request's receipt.
pub(crate) fn receipt_key(request: &str) -> String {
    format!("{request}/erased.json")
}

#[expect(clippy::print_stderr, reason = "progress of a run of hours")]
async fn until_empty(queue: &Queue, store: &Store, begin: Instant) {
    let mut told = begin;
    while queue.depth().0 > 0 {
        sleep(POLL).await;
        if told.elapsed() >= TELL {
            told = Instant::now();
            let (waiting, dead) = queue.depth();
            let left = store.count(PHOTOS, "");
            eprintln!(
                "{:>6} s: {left} objects left, {waiting} messages, {dead} dead",
                begin.elapsed().as_secs()
            );
        }
    }
}

/// What Lambda and the template would set.
fn variables(settings: &Settings, s3_address: &str, sqs_address: &str) -> Vec<(String, String)> {
    let variables = [
        ("AWS_LAMBDA_FUNCTION_NAME", "bench".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", settings.timeout.as_secs().to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "bench".to_owned()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ("AWS_ENDPOINT_URL_S3", format!("http://{s3_address}")),
        ("AWS_ENDPOINT_URL_SQS", format!("http://{sqs_address}")),
        ("S3_FORCE_PATH_STYLE", "true".to_owned()),
        ("ERASE_TARGETS", format!("s3://{PHOTOS}/{{user_id}}/")),
        ("CONTINUATION_QUEUE_URL", format!("http://{sqs_address}/000000000000/erase")),
        ("RECEIPTS_URI", format!("s3://{RECEIPTS}/")),
        ("RECEIPT_HASH_KEY", "no-secret-in-a-benchmark".to_owned()),
    ];
    let ceilings =
        [("MAX_DELETES_PER_SECOND", settings.rate), ("MAX_IN_FLIGHT_BATCHES", settings.in_flight)];
    let ceilings =
        ceilings.into_iter().filter_map(|(name, value)| Some((name, value?.to_string())));
    variables.into_iter().chain(ceilings).map(|(name, value)| (name.to_owned(), value)).collect()
}

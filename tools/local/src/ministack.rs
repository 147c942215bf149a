use std::sync::atomic::{AtomicU32, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal};

use crate::buckets::create_bucket;
use crate::client::{self, Call, Plain};
use crate::install::{Package, install};
use crate::processes::{children, signal};
use crate::s3_server::endpoint;
use crate::server_process::ServerProcess;
use crate::{Error, FaultProxy, Hop, Stack, logs};

/// More do not make it faster: it works on one request at a time.
const PUTS_AT_ONCE: usize = 8;
/// What need not be encoded in the path of an object.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// S3, SQS, Lambda and `CloudFormation` in one local process, with IAM policies enforced. Dropping
/// it ends everything.
#[derive(Debug)]
pub struct Ministack {
    endpoint: String,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    plain: Plain,
    stacks: AtomicU32,
    process: Option<ServerProcess>,
}

impl Ministack {
    /// Installs it if need be, and starts it on a free port of the loopback interface.
    ///
    /// Its policies' wildcards do not match a newline: a function there may not touch a key that
    /// has one.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(true, None).await
    }

    /// The same, but every caller may do everything.
    pub async fn start_without_policies() -> Result<Self, Error> {
        Self::start_with(false, None).await
    }

    /// As [`Self::start`], with a fault proxy between its functions and everything that they ask
    /// for. Its own clients speak with it directly.
    pub async fn start_behind(proxy: &FaultProxy) -> Result<Self, Error> {
        let cloud = Self::start_with(true, Some(proxy.endpoint())).await?;
        proxy.forward_to(cloud.endpoint());
        Ok(cloud)
    }

    async fn start_with(policies: bool, functions_endpoint: Option<&str>) -> Result<Self, Error> {
        let python = install(Package::Ministack).await?.join("python");
        let command = |[port]: [u16; 1]| {
            let endpoint = functions_endpoint.map_or_else(|| endpoint(port), str::to_owned);
            (["-m", "ministack"].map(str::to_owned).into(), environment(port, policies, endpoint))
        };
        let (port, process) =
            ServerProcess::start_ready("ministack", &python, command, is_ready).await?;
        Ok(Self { process: Some(process), ..Self::at(&endpoint(port)) })
    }

    /// One that runs already, because another process started it.
    pub fn at(endpoint: &str) -> Self {
        let (s3, sqs) = (client::s3(endpoint), client::sqs(endpoint));
        let plain = Plain::new(endpoint);
        Self {
            endpoint: endpoint.to_owned(),
            s3,
            sqs,
            plain,
            stacks: AtomicU32::new(0),
            process: None,
        }
    }

    /// Its URL, for every service.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of its S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        self.s3.clone()
    }

    /// A client of its SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        self.sqs.clone()
    }

    /// Makes an empty bucket that was never versioned.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), Error> {
        create_bucket(&self.s3, bucket).await
    }

    /// Puts many objects, and calls `done` after each. Much faster than with a client of the SDK.
    pub async fn put_objects(
        &self,
        bucket: &str,
        objects: impl IntoIterator<Item = (String, Vec<u8>)>,
        mut done: impl FnMut(),
    ) -> Result<(), Error> {
        let puts = objects.into_iter().map(|(key, body)| async move {
            let path = format!("/{bucket}/{}", utf8_percent_encode(&key, IN_PATH));
            let call = Call { method: "PUT", service: "s3", path: &path, body, ..Call::default() };
            self.plain.send(call).await
        });
        let mut results = stream::iter(puts).buffer_unordered(PUTS_AT_ONCE);
        while results.try_next().await?.is_some() {
            done();
        }
        Ok(())
    }

    /// Deletes many keys as [`crate::delete_plainly`] does, and as fast as [`Self::put_objects`]
    /// puts them.
    pub async fn delete_plainly(
        &self,
        bucket: &str,
        keys: impl IntoIterator<Item = String>,
    ) -> Result<(), Error> {
        let deletes = keys.into_iter().map(|key| async move {
            let path = format!("/{bucket}/{}", utf8_percent_encode(&key, IN_PATH));
            self.plain
                .send(Call { method: "DELETE", service: "s3", path: &path, ..Call::default() })
                .await
        });
        stream::iter(deletes)
            .buffer_unordered(PUTS_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Puts a message into a queue and returns its id.
    pub async fn send_message(&self, queue_url: &str, body: &str) -> Result<String, Error> {
        let sent = self.sqs.send_message().queue_url(queue_url).message_body(body).send().await;
        let sent = sent.map_err(|error| Error::sdk("send a message", error))?;
        Ok(sent.message_id.unwrap_or_default())
    }

    /// How many messages a queue holds: visible, being worked on and delayed.
    pub async fn queue_depth(&self, queue_url: &str) -> Result<u64, Error> {
        use aws_sdk_sqs::types::QueueAttributeName;
        let request = self.sqs.get_queue_attributes().queue_url(queue_url);
        let answer = request.attribute_names(QueueAttributeName::All).send().await;
        let attributes = answer
            .map_err(|error| Error::sdk("look into a queue", error))?
            .attributes
            .unwrap_or_default();
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        Ok(counts.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum())
    }

    /// Every line that the function of a stack wrote so far, in order. They come when an invocation
    /// ends.
    pub async fn function_log_lines(&self, stack: &Stack) -> Result<Vec<String>, Error> {
        logs::lines(&self.plain, &stack.log_group).await
    }

    /// The finished hops of a stack's function so far, in order.
    pub async fn hops(&self, stack: &Stack) -> Result<Vec<Hop>, Error> {
        let lines = self.function_log_lines(stack).await?;
        Ok(lines.iter().filter_map(|line| Hop::parse(line)).collect())
    }

    /// The end of what ministack itself printed, for a failure's message.
    pub fn last_words(&self) -> String {
        self.process.as_ref().map(ServerProcess::last_words).unwrap_or_default()
    }

    /// Everything that ministack itself printed: among other things, how invocations ended that had
    /// no answer.
    pub fn words(&self) -> String {
        self.process.as_ref().map(ServerProcess::words).unwrap_or_default()
    }

    /// The processes in which functions run at this moment, busy or not. Only on Linux.
    pub fn function_processes(&self) -> Result<Vec<Pid>, Error> {
        self.process.as_ref().map_or(Ok(Vec::new()), |process| children(process.id(), "bootstrap"))
    }

    /// Pauses all of it except its functions, or resumes it. Requests during the pause wait.
    pub fn send_signal(&self, what: Signal) -> Result<(), Error> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        if signal(process.id(), what)? { Ok(()) } else { Err(process.failure("it has ended")) }
    }

    pub(crate) fn plain(&self) -> &Plain {
        &self.plain
    }

    pub(crate) fn next_stack_number(&self) -> u32 {
        self.stacks.fetch_add(1, Ordering::Relaxed)
    }
}

fn environment(
    port: u16,
    policies: bool,
    functions_endpoint: String,
) -> Vec<(&'static str, String)> {
    vec![
        ("GATEWAY_PORT", port.to_string()),
        // Its default is every interface.
        ("BIND_HOST", "127.0.0.1".to_owned()),
        ("MINISTACK_HOST", "127.0.0.1".to_owned()),
        ("LOG_LEVEL", "WARNING".to_owned()),
        // Distinguishes our server from another one that took the port before it.
        ("MINISTACK_EDITION", edition(port)),
        // With policies, the function may do what the template's role allows, and no more.
        ("AUTH", policies.to_string()),
        // What follows is for the functions, which inherit it.
        ("AWS_ENDPOINT_URL", functions_endpoint),
        // Lambda sets these from the template's LoggingConfig; ministack does not.
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO".to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
    ]
}

fn edition(port: u16) -> String {
    format!("erase-user-files-{}-{port}", std::process::id())
}

async fn is_ready(port: u16) -> bool {
    let path = "/_ministack/health";
    let call = Call { method: "GET", service: "health", path, ..Call::default() };
    let health = Plain::new(&endpoint(port)).send(call).await;
    health.is_ok_and(|health| health.contains(&edition(port)))
}

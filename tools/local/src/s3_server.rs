use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::server_process::{ServerProcess, free_ports};
use crate::{Error, client};

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Between the choice of a free port and the server's listening on it, another process may take it.
const START_ATTEMPTS: usize = 5;

/// A server that is an S3 and nothing else. Dropping it ends it.
#[derive(Debug)]
pub struct S3Server {
    endpoint: String,
    s3: aws_sdk_s3::Client,
    _process: ServerProcess,
}

impl S3Server {
    /// Starts a program that takes its port as an argument, and waits until it answers.
    pub(crate) async fn start(
        name: &str,
        program: &Path,
        arguments: fn(u16) -> Vec<String>,
    ) -> Result<Self, Error> {
        let mut failure = None;
        for _ in 0..START_ATTEMPTS {
            let [port] = free_ports()?;
            let mut process = ServerProcess::start(name, program, &arguments(port), &[])?;
            if wait_until_ready(&mut process, port).await {
                return Ok(Self::new(port, process));
            }
            failure = Some(process.failure("it is not ready"));
        }
        Err(failure
            .unwrap_or_else(|| Error::service(format!("start {name}"), "no attempt was made")))
    }

    /// One that is ready, on this port.
    pub(crate) fn new(port: u16, process: ServerProcess) -> Self {
        let endpoint = endpoint(port);
        Self { s3: client::s3(&endpoint), endpoint, _process: process }
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of its S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        self.s3.clone()
    }

    /// Makes an empty bucket that was never versioned.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), Error> {
        let created = self.s3.create_bucket().bucket(bucket).send().await;
        created.map(|_| ()).map_err(|error| Error::sdk(format!("make bucket {bucket}"), error))
    }
}

/// Where a server listens.
pub(crate) fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

async fn wait_until_ready(process: &mut ServerProcess, port: u16) -> bool {
    let deadline = Instant::now() + START_TIMEOUT;
    let s3 = client::s3(&endpoint(port));
    while process.is_running() && Instant::now() < deadline {
        // The client would wait long before it tries a closed port again.
        let is_open = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        if is_open && s3.list_buckets().send().await.is_ok() {
            // If another process took the port before, ours has ended.
            return process.is_running();
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

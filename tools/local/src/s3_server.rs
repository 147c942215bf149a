use std::path::Path;

use tokio::net::TcpStream;

use crate::server_process::ServerProcess;
use crate::{Error, client};

/// A server that is an S3 and nothing else. Dropping it ends it.
#[derive(Debug)]
pub struct S3Server {
    endpoint: String,
    s3: aws_sdk_s3::Client,
    _process: ServerProcess,
}

impl S3Server {
    /// Starts a program that takes its ports as arguments, and waits until it is ready. The first
    /// port is that of S3.
    pub(crate) async fn start<const N: usize, F: Future<Output = bool> + Send>(
        name: &str,
        program: &Path,
        arguments: fn([u16; N]) -> Vec<String>,
        is_ready: fn(aws_sdk_s3::Client) -> F,
    ) -> Result<Self, Error> {
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let command = |ports| (arguments(ports), keys.map(|name| (name, "test".to_owned())).into());
        let ready = async |port| {
            // The client would wait long before it tries a closed port again.
            let is_open = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            is_open && is_ready(client::s3(&endpoint(port))).await
        };
        let (port, process) = ServerProcess::start_ready(name, program, command, ready).await?;
        let endpoint = endpoint(port);
        Ok(Self { s3: client::s3(&endpoint), endpoint, _process: process })
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
        crate::buckets::create_bucket(&self.s3, bucket).await
    }
}

/// The URL of a server on loopback.
pub(crate) fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Whether an S3 lists its buckets.
pub(crate) async fn lists_buckets(s3: aws_sdk_s3::Client) -> bool {
    s3.list_buckets().send().await.is_ok()
}

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;
use crate::client;
use crate::install::{Package, install};
use crate::s3_server::{S3Server, endpoint};
use crate::vessel::{Vessel, free_ports};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_ATTEMPTS: usize = 5;

/// Two answers of moto 5.2.5 have a root element of another name than S3's, which the AWS SDK for Rust does not take.
const PROGRAM: &str = r#"
import sys
from moto.core.serialize import S3Serializer
from moto.server import main

NAMES = {"GetBucketVersioningResponse": "VersioningConfiguration", "ListPartsResponse": "ListPartsResult"}
serialize = S3Serializer._serialize_body
S3Serializer._serialize_body = lambda self, body: serialize(self, {NAMES.get(n, n): v for n, v in body.items()})
main(sys.argv[1:])
"#;

/// Moto: a third S3 server. Of the three, only this one refuses single keys of a `DeleteObjects` when a bucket's policy
/// denies them, as S3 does.
///
/// What it does not do as S3 does: in a `DeleteObjects`, a policy on `s3:DeleteObject` counts for versions, too, and one
/// on `s3:DeleteObjectVersion` for nothing; a refused version comes without its id; a listing of versions that resumes
/// behind one that is gone is empty; suspended buckets lose versions.
#[derive(Debug)]
pub struct Moto;

impl Moto {
    /// Installs it if need be, and starts it on a free port of the loopback interface.
    pub async fn start() -> Result<S3Server, Error> {
        let python = install(Package::Moto).await?.join("python");
        let mut failure = None;
        for _ in 0..START_ATTEMPTS {
            let [port] = free_ports()?;
            let arguments = ["-c", PROGRAM, "-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
            let mut vessel = Vessel::start("moto", &python, &arguments, &[])?;
            let s3 = client::s3(&endpoint(port));
            if wait_until_ready(&mut vessel, port, &s3).await {
                return Ok(S3Server::new(port, vessel));
            }
            failure = Some(vessel.failure("it is not ready"));
        }
        Err(failure.unwrap_or_else(|| Error::service("start moto", "no attempt was made")))
    }
}

async fn wait_until_ready(vessel: &mut Vessel, port: u16, s3: &aws_sdk_s3::Client) -> bool {
    let deadline = Instant::now() + START_TIMEOUT;
    while vessel.is_running() && Instant::now() < deadline {
        // The client would wait long before it tries a closed port again.
        let is_open = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        if is_open && s3.list_buckets().send().await.is_ok() {
            // If somebody else took the port before, ours has ended.
            return vessel.is_running();
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

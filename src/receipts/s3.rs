//! [`Receipts`] over the AWS SDK: one object for each.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tokio::time::{Instant, timeout_at};

use super::{ReceiptFault, Receipts, Stored};
use crate::bucket::Fault;
use crate::bucket::s3::codes::{sort, within};
use crate::target::Folder;

/// The most that is read of a receipt, in bytes. Ours are far smaller; what is larger is none of ours.
const MAX_RECEIPT_BYTES: usize = 1_048_576;

/// A folder of a bucket, through one client that is shared by all requests.
#[derive(Debug)]
pub struct S3Receipts {
    client: Client,
    folder: Folder,
    expected_bucket_owner: Option<String>,
}

impl S3Receipts {
    /// The client must not retry by itself: we retry within the time that is left.
    pub fn new(client: &Client, folder: Folder, expected_bucket_owner: Option<String>) -> Self {
        Self { client: client.clone(), folder, expected_bucket_owner }
    }

    async fn get(&self, name: &str, limit: Duration) -> Result<Option<String>, ReceiptFault> {
        let answer = self
            .client
            .get_object()
            .bucket(self.folder.bucket())
            .key(self.folder.key(name))
            .set_expected_bucket_owner(self.expected_bucket_owner.clone())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        match answer {
            Ok(answer) => text_of(answer.body).await.map(Some),
            // Without s3:ListBucket, S3 does not say that there is nothing: it answers 403.
            // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
            Err(error) => match sort("GetObject", "s3:GetObject (and s3:ListBucket on the bucket)", &error) {
                (code, _) if code == "NoSuchKey" => Ok(None),
                (_, fault) => Err(receipt_fault(fault)),
            },
        }
    }
}

impl Receipts for S3Receipts {
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
    async fn store(&self, name: &str, document: &str, limit: Duration) -> Result<Stored, ReceiptFault> {
        let answer = self
            .client
            .put_object()
            .bucket(self.folder.bucket())
            .key(self.folder.key(name))
            .if_none_match("*")
            .content_type("application/json")
            .body(ByteStream::from(document.as_bytes().to_vec()))
            .set_expected_bucket_owner(self.expected_bucket_owner.clone())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let Err(error) = answer else { return Ok(Stored::Now) };
        match sort("PutObject", "s3:PutObject", &error) {
            (code, _) if code == "PreconditionFailed" => Ok(Stored::Before),
            // Somebody else writes or deletes there right now: who came first is not decided yet.
            (code, Fault::Refused(text)) if code == "ConditionalRequestConflict" => {
                Err(ReceiptFault::Unavailable(text))
            }
            (_, fault) => Err(receipt_fault(fault)),
        }
    }

    async fn read(&self, name: &str, limit: Duration) -> Result<Option<String>, ReceiptFault> {
        // The SDK's own time limit ends where the body begins.
        let answer = timeout_at(Instant::now() + limit, self.get(name, limit)).await;
        answer.unwrap_or_else(|_elapsed| Err(ReceiptFault::Unavailable("GetObject: NoAnswerInTime".to_owned())))
    }
}

async fn text_of(mut body: ByteStream) -> Result<String, ReceiptFault> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let broken = |error| ReceiptFault::Unavailable(format!("GetObject: BrokenAnswer ({error})"));
        bytes.extend_from_slice(&chunk.map_err(broken)?);
        if bytes.len() > MAX_RECEIPT_BYTES {
            let text = format!("GetObject: what stands there has more than {MAX_RECEIPT_BYTES} bytes: no receipt");
            return Err(ReceiptFault::Refused(text));
        }
    }
    String::from_utf8(bytes).map_err(|_error| ReceiptFault::Refused("GetObject: what stands there is no text".into()))
}

fn receipt_fault(fault: Fault) -> ReceiptFault {
    match fault {
        Fault::Throttled(text) | Fault::Unavailable(text) | Fault::Untrustworthy(text) => {
            ReceiptFault::Unavailable(text)
        }
        Fault::TokenRefused(text) | Fault::Malformed(text) | Fault::Refused(text) => ReceiptFault::Refused(text),
    }
}

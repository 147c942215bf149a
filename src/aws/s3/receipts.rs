//! [`Receipts`], implemented with the AWS SDK: one object for each receipt.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use tokio::time::{Instant, timeout_at};

use crate::aws::s3::errors::{Failed, OwnRegion, classify, within};
use crate::config::{Encryption, ReceiptSettings};
use crate::ports::receipts::{PutResult, ReceiptError, Receipts};
use crate::ports::store::StoreError;
use crate::target::{AccountId, S3Folder};

/// The largest document that is read, in bytes. Our receipts are far smaller, so a larger document
/// is not one of them.
const MAX_RECEIPT_BYTES: usize = 1_048_576;

/// A folder of a bucket, through one client that all requests share.
#[derive(Debug)]
pub struct S3Receipts {
    client: Client,
    folder: S3Folder,
    expected_bucket_owner: Option<String>,
    encryption: Option<Encryption>,
}

impl S3Receipts {
    /// Creates the adapter. The client must not retry: the handler retries within the remaining
    /// time.
    pub fn new(client: &Client, settings: ReceiptSettings) -> Self {
        let ReceiptSettings { folder, expected_owner, encryption } = settings;
        let client = Client::from_conf(client.config().to_builder().interceptor(OwnRegion).build());
        let expected_bucket_owner =
            expected_owner.map(|owner: AccountId| owner.as_str().to_owned());
        Self { client, folder, expected_bucket_owner, encryption }
    }

    async fn get(&self, name: &str, limit: Duration) -> Result<Option<String>, ReceiptError> {
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
            // Without s3:ListBucket, S3 returns 403 for a missing object.
            // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
            Err(error) => {
                const PERMISSION: &str = "s3:GetObject (and s3:ListBucket on the bucket)";
                match classify("GetObject", PERMISSION, &self.folder.key(name), &error) {
                    failed if failed.code == "NoSuchKey" => Ok(None),
                    failed => Err(receipt_fault(failed.fault)),
                }
            }
        }
    }
}

impl Receipts for S3Receipts {
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
    async fn store(
        &self,
        name: &str,
        document: &str,
        limit: Duration,
    ) -> Result<PutResult, ReceiptError> {
        const PERMISSION: &str = "s3:PutObject (or does a policy of the bucket demand an encryption header, see RECEIPTS_SSE)";
        let (encryption, kms_key) = match &self.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key_id }) => {
                (Some(ServerSideEncryption::AwsKms), key_id.clone())
            }
        };
        let answer = self
            .client
            .put_object()
            .bucket(self.folder.bucket())
            .key(self.folder.key(name))
            .if_none_match("*")
            .content_type("application/json")
            .body(ByteStream::from(document.as_bytes().to_vec()))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .set_expected_bucket_owner(self.expected_bucket_owner.clone())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let error = match answer {
            // S3 returns the ETag of every object that it stored.
            Ok(answer) if answer.e_tag().is_some_and(|tag| !tag.is_empty()) => {
                return Ok(PutResult::Created);
            }
            Ok(_) => {
                return Err(ReceiptError::Unavailable(
                    "PutObject: the answer has no ETag".to_owned(),
                ));
            }
            Err(error) => error,
        };
        match classify("PutObject", PERMISSION, &self.folder.key(name), &error) {
            failed if failed.code == "PreconditionFailed" => Ok(PutResult::AlreadyExists),
            // Another client is writing or deleting the same object, and S3 has not yet decided
            // which request was first.
            Failed {
                code,
                fault: StoreError::Permanent(text) | StoreError::Malformed(text),
                ..
            } if code == "ConditionalRequestConflict" => Err(ReceiptError::Unavailable(text)),
            failed => Err(receipt_fault(failed.fault)),
        }
    }

    async fn read(&self, name: &str, limit: Duration) -> Result<Option<String>, ReceiptError> {
        // The SDK's own timeout ends where the body begins.
        let answer = timeout_at(Instant::now() + limit, self.get(name, limit)).await;
        answer.unwrap_or_else(|_elapsed| {
            Err(ReceiptError::NoAnswer("GetObject: NoAnswerInTime".to_owned()))
        })
    }
}

async fn text_of(mut body: ByteStream) -> Result<String, ReceiptError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let broken =
            |error| ReceiptError::Unavailable(format!("GetObject: BrokenAnswer ({error})"));
        bytes.extend_from_slice(&chunk.map_err(broken)?);
        if bytes.len() > MAX_RECEIPT_BYTES {
            let text = format!(
                "GetObject: what stands there has more than {MAX_RECEIPT_BYTES} bytes: no receipt"
            );
            return Err(ReceiptError::Permanent(text));
        }
    }
    String::from_utf8(bytes)
        .map_err(|_error| ReceiptError::Permanent("GetObject: what stands there is no text".into()))
}

fn receipt_fault(fault: StoreError) -> ReceiptError {
    match fault {
        StoreError::NoAnswer(text) => ReceiptError::NoAnswer(text),
        StoreError::Throttled(text)
        | StoreError::Unavailable(text)
        | StoreError::Inconsistent(text) => ReceiptError::Unavailable(text),
        StoreError::TokenRejected(text)
        | StoreError::Malformed(text)
        | StoreError::Permanent(text) => ReceiptError::Permanent(text),
    }
}

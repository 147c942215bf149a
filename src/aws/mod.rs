//! The adapters: S3 and SQS by the AWS SDK. Nothing else but `main.rs` imports the SDK.

pub mod s3;
pub mod sqs;

//! The adapters for S3 and SQS. Besides `main.rs`, only this module imports the AWS SDK.

pub mod s3;
pub mod sqs;
mod timeouts;

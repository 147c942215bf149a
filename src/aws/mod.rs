//! The adapters for S3, SQS and Secrets Manager. Besides `main.rs`, only this module imports the AWS SDK.

pub mod s3;
pub mod secrets;
pub mod sqs;
mod timeouts;

//! The adapters against real HTTP: recorded answers of S3 and SQS, good and bad, from a scripted
//! server.

mod aborting;
mod deleting;
mod erasing;
mod faults;
mod listing;
mod locks;
mod receipts;
mod regions;
mod secrets;
mod server;
mod sqs;
mod versioning;

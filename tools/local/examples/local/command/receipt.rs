//! What the function has certified of a user's erasures: here or on AWS, as the environment says.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder};
use local::{Error, ReceiptsFolder, user_hash};

use super::Failure;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// `local receipt USER_ID`
pub(crate) async fn receipt(user: &str) -> Result<(), Failure> {
    let missing = |what: &str, remedy: &str| Error::Missing {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    };
    let example =
        format!("For example: make receipt USER={user} RECEIPTS_URI=s3://BUCKET/receipts/");
    let uri = setting("RECEIPTS_URI");
    let uri = uri.ok_or_else(|| missing("the receipts: RECEIPTS_URI is not set", &example))?;
    let folder = ReceiptsFolder::parse(&uri)?;
    let hash_key = setting("RECEIPT_HASH_KEY");
    if hash_key.is_none() {
        eprintln!("RECEIPT_HASH_KEY is not set: looking for receipts of a function without a key.");
    }
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    let config =
        aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts).load().await;
    if config.region().is_none() {
        return Err(missing("the bucket's region", "Please set AWS_REGION.").into());
    }
    // Local servers do not know a bucket by its host name.
    let is_path_style = setting("S3_FORCE_PATH_STYLE").is_some_and(|value| value == "true");
    let s3 = aws_sdk_s3::Client::from_conf(
        Builder::from(&config).force_path_style(is_path_style).build(),
    );

    let hash = user_hash(hash_key.as_deref().unwrap_or_default(), user);
    let found = folder.of_user(&s3, &hash).await?;
    if found.strange > 0 {
        eprintln!("{} objects in {folder} are called like receipts, but are none.", found.strange);
    }
    if found.receipts.is_empty() {
        return Err(Failure::Nothing(format!(
            "No receipt of {user} among the {} in {folder}.\n\
             Receipts have {hash} for this user, if RECEIPT_HASH_KEY is the function's.",
            found.read,
        )));
    }
    for receipt in found.receipts {
        println!("{}\n{}", receipt.key, receipt.pretty());
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "make hands its variables over in the environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

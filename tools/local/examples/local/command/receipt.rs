//! The receipts of a user: of a deployed stack, as the environment says, or of the local cloud.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder};
use local::{Error, Receipt, ReceiptsFolder, project_root, user_hash};

use super::{Failure, HASH_KEY, RECEIPTS_URI, running_cloud};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// `local receipt USER_ID`
pub(crate) async fn receipt(user: &str) -> Result<(), Failure> {
    let (s3, folder, hash_key) = place().await?;
    let hash = user_hash(&hash_key, user);
    let found = folder.of_user(&s3, &hash).await?;
    if found.strange > 0 {
        eprintln!(
            "{} objects in {folder} are named like receipts, but are not receipts.",
            found.strange
        );
    }
    if found.receipts.is_empty() {
        return Err(Failure::Nothing(format!(
            "No receipt of {user} among the {} in {folder}.\n\
             Receipts of this user contain {hash}, if RECEIPT_HASH_KEY is the function's.",
            found.read,
        )));
    }
    for receipt in found.receipts {
        println!("{}\n{}", receipt.key, receipt.pretty());
        println!("as a page to print or to file: {}\n", write_files(&receipt)?.display());
    }
    Ok(())
}

/// Where the receipts are, and the key of the hash that replaces user ids there.
async fn place() -> Result<(Client, ReceiptsFolder, String), Failure> {
    let missing = |what: &str, remedy: &str| Error::Missing {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(uri) = setting("RECEIPTS_URI") else {
        let cloud = running_cloud().map_err(|_not_running| {
            missing(
                "the receipts",
                "Start `make local`, or name a stack: make receipt USER_ID=u-123 STACK=erase-user-files,\n\
                 or a folder: make receipt USER_ID=u-123 RECEIPTS_URI=s3://BUCKET/receipts/",
            )
        })?;
        return Ok((cloud.s3(), ReceiptsFolder::parse(RECEIPTS_URI)?, HASH_KEY.to_owned()));
    };
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
    let s3 = Client::from_conf(Builder::from(&config).force_path_style(is_path_style).build());
    Ok((s3, folder, hash_key.unwrap_or_default()))
}

/// Writes the document as it is stored, and a page of it for people next to it; returns the page's
/// path. The names come from another system: only what is harmless in a file name is kept.
fn write_files(receipt: &Receipt) -> Result<PathBuf, Failure> {
    let names: Vec<&str> = receipt.key.rsplit('/').take(2).collect();
    let name = names.into_iter().rev().collect::<Vec<_>>().join("-");
    let name = name.trim_end_matches(".json");
    let is_harmless = |sign: char| sign.is_ascii_alphanumeric() || "._-".contains(sign);
    let name: String =
        name.chars().map(|sign| if is_harmless(sign) { sign } else { '_' }).collect();
    let folder = project_root().join("target/receipts");
    fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let [document, page] = ["json", "html"].map(|ending| folder.join(format!("{name}.{ending}")));
    fs::write(&document, &receipt.text).map_err(Error::file("write", &document))?;
    fs::write(&page, receipt.certificate()).map_err(Error::file("write", &page))?;
    Ok(page)
}

#[expect(clippy::disallowed_methods, reason = "make hands its variables over in the environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

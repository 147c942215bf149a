use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use futures::stream::{self, StreamExt, TryStreamExt};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::certificate::certificate;
use crate::{Error, list_keys};

/// More concurrent reads would only make a shared bucket wait.
const READS_AT_ONCE: usize = 16;
/// No receipt is that long; what is, is something else.
const MOST_BYTES: i64 = 1 << 20;

/// The function's name for a user in receipts and logs: HMAC-SHA256 of the id with
/// `RECEIPT_HASH_KEY`, in hexadecimal.
pub fn user_hash(hash_key: &str, user: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(hash_key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(user.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where receipts are: `RECEIPTS_URI`, as in `s3://BUCKET/PREFIX/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptsFolder {
    bucket: String,
    prefix: String,
}

impl ReceiptsFolder {
    /// Reads `s3://BUCKET/PREFIX/`; the prefix may be missing, the slash may not.
    pub fn parse(uri: &str) -> Result<Self, Error> {
        let place = uri.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let place = place.filter(|(bucket, prefix)| {
            !bucket.is_empty() && (prefix.is_empty() || prefix.ends_with('/'))
        });
        let (bucket, prefix) = place.ok_or_else(|| Error::Missing {
            what: "the receipts".to_owned(),
            remedy: format!(
                "RECEIPTS_URI is {uri:?}: expected s3://BUCKET/PREFIX/, with a slash at the end"
            ),
        })?;
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The receipts of one user, named by [`user_hash`], the oldest first.
    pub async fn of_user(&self, s3: &Client, user_hash: &str) -> Result<ReceiptsFound, Error> {
        let mut found = self.of_everybody(s3).await?;
        found.receipts.retain(|receipt| receipt.user == user_hash);
        Ok(found)
    }

    /// All receipts, the oldest first.
    pub async fn of_everybody(&self, s3: &Client) -> Result<ReceiptsFound, Error> {
        let mut keys = list_keys(s3, &self.bucket, &self.prefix).await?;
        keys.retain(|key| key.ends_with(".json"));
        let count = keys.len();
        let reads = keys.into_iter().map(|key| self.read(s3, key));
        let read: Vec<Option<Receipt>> =
            stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        let mut receipts: Vec<Receipt> = read.into_iter().flatten().collect();
        let read = receipts.len();
        receipts.sort_by(|one, other| {
            (one.finished_at, &one.key).cmp(&(other.finished_at, &other.key))
        });
        Ok(ReceiptsFound { receipts, read, strange: count - read })
    }

    /// Reads one object; `None` if it is no receipt.
    async fn read(&self, s3: &Client, key: String) -> Result<Option<Receipt>, Error> {
        let doing = || format!("read s3://{}/{key}", self.bucket);
        let answer = s3.get_object().bucket(&self.bucket).key(&key).send().await;
        let answer = answer.map_err(|error| Error::sdk(doing(), error))?;
        if answer.content_length.is_none_or(|length| length > MOST_BYTES) {
            return Ok(None);
        }
        let body = answer.body.collect().await.map_err(|error| Error::body(doing(), error))?;
        let text = String::from_utf8_lossy(&body.to_vec()).into_owned();
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        let Some(user) = document["user"].as_str().map(str::to_owned) else {
            return Ok(None);
        };
        let finished_at = document["finishedAt"].as_str();
        let finished_at =
            finished_at.and_then(|time| DateTime::from_str(time, DateTimeFormat::DateTime).ok());
        let finished_at = finished_at.or(answer.last_modified);
        Ok(Some(Receipt { key: format!("s3://{}/{key}", self.bucket), user, finished_at, text }))
    }
}

impl fmt::Display for ReceiptsFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// What was found in a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptsFound {
    /// Those that were asked for, the oldest first.
    pub receipts: Vec<Receipt>,
    /// How many of all users were read.
    pub read: usize,
    /// How many objects are called like a receipt and are none.
    pub strange: usize,
}

/// One receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Its address: `s3://BUCKET/KEY`.
    pub key: String,
    /// The hash of the user id: see [`user_hash`].
    pub user: String,
    /// When the erasure came to this outcome.
    pub finished_at: Option<DateTime>,
    /// The document, as it is stored.
    pub text: String,
}

impl Receipt {
    /// The document with a line for each field, in its own order.
    pub fn pretty(&self) -> String {
        pretty(&self.text)
    }

    /// The document as an HTML page, to print or to file.
    pub fn certificate(&self) -> String {
        certificate(&self.key, &self.text, &hex(&Sha256::digest(self.text.as_bytes())))
    }
}

/// Parsing JSON and writing it again would sort the fields by name.
fn pretty(json: &str) -> String {
    let mut text = String::new();
    let mut depth = 0_usize;
    // Inside a string nothing is touched; everything else is a sign of its own, a number, a word or
    // white space.
    let (mut is_string, mut is_escaped) = (false, false);
    for sign in json.chars() {
        if is_string {
            text.push(sign);
            is_string = sign != '"' || is_escaped;
            is_escaped = sign == '\\' && !is_escaped;
            continue;
        }
        match sign {
            '{' | '[' => {
                depth += 1;
                text.push(sign);
                break_line(&mut text, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                let is_empty = text.trim_end().ends_with(['{', '[']);
                text.truncate(text.trim_end().len());
                if !is_empty {
                    break_line(&mut text, depth);
                }
                text.push(sign);
            }
            ',' => {
                text.push(sign);
                break_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ if sign.is_whitespace() => {}
            _ => {
                is_string = sign == '"';
                text.push(sign);
            }
        }
    }
    text
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::{ReceiptsFolder, pretty, user_hash};

    #[test]
    fn hashes_as_the_function_does() {
        // printf %s u-123 | openssl dgst -sha256 -hmac key
        let hash = "6225c0ef3430b66069d361b69d6cb605b21fa10f8f1c7bbe05f6247b4361e225";
        assert_eq!(user_hash("key", "u-123"), hash);
        let without_key = "55fffc629d175655999bc7970473108f69d9cfe85e401a045b4cc91097fa2584";
        assert_eq!(user_hash("", "u-123"), without_key);
    }

    #[test]
    fn folders_end_in_a_slash() {
        assert!(ReceiptsFolder::parse("s3://receipts/").is_ok());
        assert!(ReceiptsFolder::parse("s3://receipts/of/erasures/").is_ok());
        for uri in ["", "receipts/", "s3://receipts", "s3://receipts/of", "s3:///of/"] {
            assert!(ReceiptsFolder::parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn pretty_keeps_the_order_and_every_string() {
        let json = r#"{"z":1,"a":[{"b":"x, {\"}\\"},true],"e":[],"f":{}, "g": -1.5}"#;
        let lines = [
            "{",
            "  \"z\": 1,",
            "  \"a\": [",
            "    {",
            r#"      "b": "x, {\"}\\""#,
            "    },",
            "    true",
            "  ],",
            "  \"e\": [],",
            "  \"f\": {},",
            "  \"g\": -1.5",
            "}",
        ];
        assert_eq!(pretty(json), lines.join("\n"));
        assert_eq!(pretty(&pretty(json)), lines.join("\n"));
    }
}

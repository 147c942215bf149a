//! The hash key, read from Secrets Manager at the cold start.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{Builder, http::HttpResponse};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::RequestId;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;

use crate::deadline::CONNECT_TIMEOUT;
use crate::target::HashKey;

/// How often the secret is asked for, all attempts together within [`READ_TIMEOUT`].
const MAX_ATTEMPTS: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Lambda gives the start 10 s.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// A shorter key could be found by trial.
const LEAST_CHARACTERS: usize = 16;

/// Why the secret is not the key.
#[derive(Debug, thiserror::Error)]
#[error("RECEIPT_HASH_KEY_SECRET is {name:?}: {reason}")]
pub struct SecretError {
    name: String,
    reason: String,
}

/// Reads the hash key from the secret with this name or ARN. Failures that may pass are tried again
/// a few times.
pub async fn read_hash_key(aws: &SdkConfig, name: &str) -> Result<HashKey, SecretError> {
    let text = read(aws, name).await.and_then(|text| check(text.as_deref()).map(HashKey::new));
    text.map_err(|reason| SecretError { name: name.to_owned(), reason })
}

/// The text of the secret; `None` if the secret is binary.
async fn read(aws: &SdkConfig, name: &str) -> Result<Option<String>, String> {
    let retries =
        RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(FIRST_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(READ_TIMEOUT);
    let config = Builder::from(aws).retry_config(retries).timeout_config(timeouts.build()).build();
    let answer = Client::from_conf(config).get_secret_value().secret_id(name).send().await;
    answer.map(|secret| secret.secret_string).map_err(|error| reason(&error))
}

/// Checks that the text can be a key. The reason never repeats the text.
fn check(text: Option<&str>) -> Result<String, String> {
    let is_wrong = |what: &str| {
        Err(format!(
            "the secret {what}: expected a text of at least {LEAST_CHARACTERS} characters, without white space at \
             its beginning and end"
        ))
    };
    match text {
        None => is_wrong("is binary or empty"),
        Some("") => is_wrong("is empty"),
        Some(text) if text.trim() != text => is_wrong("begins or ends with white space"),
        Some(text) if text.chars().count() < LEAST_CHARACTERS => is_wrong("is too short"),
        Some(text) => Ok(text.to_owned()),
    }
}

/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>
fn reason(error: &SdkError<GetSecretValueError, HttpResponse>) -> String {
    let Some(response) = error.raw_response() else {
        let is_timeout = matches!(error, SdkError::TimeoutError(_));
        let kind = if is_timeout { "NoAnswerInTime" } else { "NoConnection" };
        return format!(
            "GetSecretValue: {kind}; can the function reach Secrets Manager? In a VPC, it needs a route or an \
             interface endpoint"
        );
    };
    let code = error.code().unwrap_or("NoCode");
    let hint = match code {
        "AccessDeniedException" => {
            "; is secretsmanager:GetSecretValue granted on this secret, and kms:Decrypt on its key?"
        }
        "DecryptionFailure" => {
            "; is the secret's KMS key enabled, and is kms:Decrypt granted on it?"
        }
        "ResourceNotFoundException" => {
            "; expected the name of a secret in the function's region and account, or an ARN, with a current value"
        }
        "InvalidRequestException" => "; is the secret scheduled for deletion?",
        _ => "",
    };
    let status = response.status().as_u16();
    let request_id = error.request_id().unwrap_or("none");
    format!("GetSecretValue: {code} (HTTP {status}, request id {request_id}){hint}")
}

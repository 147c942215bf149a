//! S3's errors, sorted by what to do about them; shared with the receipts.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::Config;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use crate::bucket::{Fault, KeyFailure, MAX_CODE_BYTES};
use crate::deadline::CONNECT_TIMEOUT;

/// Codes of a key, in an answer of 200, that another try may cure.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const RETRYABLE_CODES: [&str; 5] =
    ["InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"];

/// Codes that ask for less, of a key or of a request.
const THROTTLE_CODES: [&str; 5] =
    ["RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "ThrottlingException", "TooManyRequests"];

/// Sorts an SDK error by what the caller does about it; returns S3's code too. The text never names keys.
pub(crate) fn sort<E>(operation: &str, permission: &str, error: &SdkError<E, HttpResponse>) -> (String, Fault)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = status(error);
    let (code, fault): (&str, fn(String) -> Fault) = match error {
        SdkError::ServiceError(service) => {
            let code = plain_code(service.err().code());
            (code, sort_by_code(code, status.unwrap_or(0)))
        }
        SdkError::TimeoutError(_) => ("NoAnswerInTime", Fault::Unavailable),
        SdkError::DispatchFailure(_) => ("NoConnection", Fault::Unavailable),
        SdkError::ResponseError(_) => ("BrokenAnswer", Fault::Unavailable),
        SdkError::ConstructionFailure(_) => ("NoRequest", Fault::Refused),
        _ => ("Unknown", Fault::Unavailable),
    };
    let details = match (status, root_cause(error)) {
        (Some(status), _) => format!(" (HTTP {status}, request id {})", error.request_id().unwrap_or("none")),
        (None, Some(cause)) => format!(" ({cause})"),
        (None, None) => String::new(),
    };
    let hint = match status {
        Some(403) => format!("; is {permission} granted, and is the bucket's owner the expected one?"),
        Some(404) => "; does the bucket exist?".to_owned(),
        Some(300..400) => "; is the bucket in another region?".to_owned(),
        _ => String::new(),
    };
    (code.to_owned(), fault(format!("{operation}: {code}{details}{hint}")))
}

/// The HTTP status of an answer that is an error; `None`: there was no answer.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// For requests that have no smaller form: what S3 cannot take as it is, it never will.
pub(super) fn not_malformed(fault: Fault) -> Fault {
    match fault {
        Fault::Malformed(text) => Fault::Refused(text),
        fault @ (Fault::Throttled(_)
        | Fault::Unavailable(_)
        | Fault::Untrustworthy(_)
        | Fault::TokenRefused(_)
        | Fault::Refused(_)) => fault,
    }
}

/// The failure of one item, by the code that the answer to many has for it.
pub(super) fn key_failure(index: usize, code: &str) -> KeyFailure {
    // S3 says so of single keys when it has too many at once.
    let is_throttle = THROTTLE_CODES.contains(&code) || code == "InternalError";
    let is_retryable = is_throttle || RETRYABLE_CODES.contains(&code);
    KeyFailure { index, code: code.to_owned(), is_retryable, is_throttle }
}

/// The failure of one item that had a request of its own, unless it holds for all items.
pub(super) fn own_failure(index: usize, (code, fault): (String, Fault)) -> Result<KeyFailure, Fault> {
    let (is_retryable, is_throttle) = match fault {
        Fault::Throttled(_) => (true, true),
        Fault::Unavailable(_) => (true, false),
        // A policy may deny single keys; without the permission itself, all of them fail like this.
        Fault::Refused(_) if code == "AccessDenied" => (false, false),
        Fault::Malformed(_) => (false, false),
        fault @ (Fault::Refused(_) | Fault::Untrustworthy(_) | Fault::TokenRefused(_)) => return Err(fault),
    };
    Ok(KeyFailure { index, code, is_retryable, is_throttle })
}

/// S3's codes are single words. Anything else could be anything, and has no place in logs.
pub(super) fn plain_code(code: Option<&str>) -> &str {
    match code {
        Some(code) if is_plain(code) => code,
        Some(_) => "OddCode",
        None => "NoCode",
    }
}

fn is_plain(code: &str) -> bool {
    (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn sort_by_code(code: &str, status: u16) -> fn(String) -> Fault {
    match (code, status) {
        (code, status) if THROTTLE_CODES.contains(&code) || status == 429 || status == 503 => Fault::Throttled,
        // A store of fewer operations than S3 says so with HTTP 501, and will not learn them by another try.
        ("NotImplemented", _) => Fault::Refused,
        // 300: the bucket is in another region, and no redirect is followed.
        (code, status) if RETRYABLE_CODES.contains(&code) || !(300..500).contains(&status) => Fault::Unavailable,
        ("MalformedXML" | "InvalidArgument" | "InvalidRequest" | "KeyTooLongError", _) => Fault::Malformed,
        _ => Fault::Refused,
    }
}

/// The innermost reason why there is no answer. Only for errors without one: those of the service may name keys.
fn root_cause(error: &dyn Error) -> Option<String> {
    let mut innermost = error.source()?;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Some(innermost.to_string())
}

/// Ends a request in time; see [`CONNECT_TIMEOUT`] for the part that must not vary.
pub(crate) fn within(limit: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(limit)
        .operation_timeout(limit)
        .build();
    Config::builder().timeout_config(timeouts)
}

//! S3's errors, classified by how the caller handles them. The receipts adapter uses them, too.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::Config;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use super::redact::scrub;
use crate::aws::timeouts::timeouts;
use crate::ports::store::{FailureKind, KeyFailure, MAX_CODE_BYTES, StoreError};

/// Codes of the store's internal errors.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const INTERNAL_CODES: [&str; 3] = ["InternalError", "InternalFailure", "InternalServerError"];

/// Other codes after which another attempt may succeed.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const RETRYABLE_CODES: [&str; 2] = ["OperationAborted", "RequestTimeout"];

/// Substrings of the codes that ask the client to slow down. Stores have many such codes:
/// `SlowDownWrite`, `Throttling`, `ThrottlingException`, `TooManyRequestsException`.
const THROTTLE_CODES: [&str; 5] =
    ["RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "Throttl", "TooManyRequests"];

/// Codes about the bucket, the account or the credentials. Every other request would get the same.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const BUCKET_CODES: [&str; 25] = [
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
    "InvalidAccessKeyId",
    "InvalidAccessPoint",
    "InvalidBucketName",
    "InvalidBucketState",
    "InvalidPayer",
    "InvalidSecurity",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingSecurityHeader",
    "NoSuchBucket",
    "NotImplemented",
    "NotSignedUp",
    "PermanentRedirect",
    "Redirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TemporaryRedirect",
    "TokenRefreshRequired",
    "UserSuspended",
];

/// Codes about the bucket's region.
const REGION_CODES: [&str; 5] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
    "PermanentRedirect",
    "TemporaryRedirect",
];

/// Codes of an item that does not exist. `NotFound` is the SDK's own code for HTTP 404 without a
/// body.
const NOT_FOUND_CODES: [&str; 4] = ["NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound"];

/// Our own code for a successful response that belongs to another operation.
const OTHER_ANSWER: &str = "OtherAnswer";

/// A failed request, classified.
#[derive(Debug)]
pub(crate) struct Failed {
    /// S3's code, or our own if S3 sent none.
    pub(crate) code: String,
    /// The HTTP status; `None` if no response came.
    pub(crate) status: Option<u16>,
    /// Whether S3 says that the bucket is in another region.
    pub(crate) is_about_region: bool,
    /// The error by which the caller decides. Its text names the operation and never a key.
    pub(crate) fault: StoreError,
}

/// Classifies an SDK error. `permission` is what S3 requires for this operation. `secret` is the
/// key or prefix of the request, of which no part may reach the text.
pub(crate) fn classify<E>(
    operation: &str,
    permission: &str,
    secret: &str,
    error: &SdkError<E, HttpResponse>,
) -> Failed
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let response = error.raw_response();
    let status = response.map(|response| response.status().as_u16());
    let body = response.and_then(|response| response.body().bytes()).unwrap_or_default();
    let root = root_of(body).filter(|root| *root != "Error");
    let is_success = status.is_some_and(|status| (200..300).contains(&status));
    let (code, fault): (&str, fn(String) -> StoreError) = match error {
        _ if is_success
            && error.code().is_none()
            && root.is_some()
            && !is_answer_to(operation, root) =>
        {
            (OTHER_ANSWER, StoreError::Inconsistent)
        }
        SdkError::ServiceError(service) => {
            let code = plain_code(service.err().code());
            (code, fault_of(code, status.unwrap_or(0)))
        }
        SdkError::TimeoutError(_) => ("NoAnswerInTime", StoreError::NoAnswer),
        SdkError::DispatchFailure(_) => ("NoConnection", StoreError::NoAnswer),
        SdkError::ResponseError(_) if status.is_none() => ("BrokenAnswer", StoreError::NoAnswer),
        SdkError::ResponseError(_) => ("BrokenAnswer", StoreError::Unavailable),
        SdkError::ConstructionFailure(_) => ("NoRequest", StoreError::Permanent),
        _ => ("Unknown", StoreError::Unavailable),
    };
    let details = match (status, root_cause(error)) {
        (Some(status), _) => {
            format!(" (HTTP {status}, request id {})", error.request_id().unwrap_or("none"))
        }
        (None, Some(cause)) => format!(" ({cause})"),
        (None, None) => String::new(),
    };
    let sentence = error.as_service_error().and_then(ProvideErrorMetadata::message);
    let sentence = sentence.and_then(|message| scrub(message, secret));
    let sentence = sentence.map_or_else(String::new, |sentence| format!(": {sentence}"));
    let region = response.and_then(region_of);
    let hint = hint(code, status, permission, region, root);
    Failed {
        code: code.to_owned(),
        status,
        is_about_region: region.is_some() || REGION_CODES.contains(&code),
        fault: fault(format!("{operation}: {code}{details}{sentence}{hint}")),
    }
}

/// Returns a hint at what the operator should check first.
fn hint(
    code: &str,
    status: Option<u16>,
    permission: &str,
    region: Option<&str>,
    root: Option<&str>,
) -> String {
    let is_redirect = status.is_some_and(|status| (300..400).contains(&status));
    let of_code = match code {
        OTHER_ANSWER => format!(
            "; the answer is a {}: are the endpoint and S3_FORCE_PATH_STYLE right?",
            root.unwrap_or("document of another operation")
        ),
        "AccessDenied" => {
            format!("; is {permission} granted, and is the bucket's owner the expected one?")
        }
        "NoSuchBucket" => "; does the bucket exist?".to_owned(),
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            "; are the credentials those of this store?".to_owned()
        }
        _ => String::new(),
    };
    match region {
        Some(region) => format!("{of_code}; the bucket is in region {region}"),
        None if is_redirect || REGION_CODES.contains(&code) => {
            "; is the bucket in another region?".to_owned()
        }
        None => of_code,
    }
}

/// The header in which S3 names the bucket's region, in any response.
const REGION_HEADER: &str = "x-amz-bucket-region";

/// Removes the region header from responses that name the client's own region, so that any
/// remaining header names another region.
#[derive(Debug)]
pub(crate) struct OwnRegion;

impl Intercept for OwnRegion {
    fn name(&self) -> &'static str {
        "OwnRegion"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        let own = config.load::<Region>().map(AsRef::as_ref);
        if headers.get(REGION_HEADER).is_some_and(|named| Some(named) == own) {
            headers.remove(REGION_HEADER);
        }
        Ok(())
    }
}

/// The region that a response names in its header or body.
pub(super) fn region_of(response: &HttpResponse) -> Option<&str> {
    let in_body = || {
        let body = std::str::from_utf8(response.body().bytes()?).ok()?;
        let (_, rest) = body.split_once("<Region>")?;
        rest.split_once("</Region>").map(|(region, _)| region)
    };
    let is_region = |region: &&str| {
        (1..=32).contains(&region.len())
            && region
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    response.headers().get(REGION_HEADER).or_else(in_body).filter(is_region)
}

/// The name of a document's root element, if it can be a name of S3.
fn root_of(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body.get(..body.len().min(512))?).ok()?;
    let mut tags = text.split('<').skip(1).filter(|tag| !tag.starts_with(['?', '!']));
    let name = tags.next()?.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next()?;
    is_plain(name).then_some(name)
}

/// Whether a root element belongs to an operation. It is called only for operations whose response
/// has one.
fn is_answer_to(operation: &str, root: Option<&str>) -> bool {
    let expected = match operation {
        "ListObjectsV2" => "ListBucketResult",
        "ListObjectVersions" => "ListVersionsResult",
        "ListMultipartUploads" => "ListMultipartUploadsResult",
        "ListParts" => "ListPartsResult",
        "GetBucketVersioning" => "VersioningConfiguration",
        "DeleteObjects" => "DeleteResult",
        _ => return true,
    };
    root == Some(expected)
}

/// Turns `Malformed` into `Permanent`, for requests that have no smaller form: S3 will always
/// reject them.
pub(super) fn not_malformed(fault: StoreError) -> StoreError {
    match fault {
        StoreError::Malformed(text) => StoreError::Permanent(text),
        fault @ (StoreError::Throttled(_)
        | StoreError::NoAnswer(_)
        | StoreError::Unavailable(_)
        | StoreError::Inconsistent(_)
        | StoreError::TokenRejected(_)
        | StoreError::Permanent(_)) => fault,
    }
}

/// Classifies a code by itself, whether it is about an item or a request.
fn kind_of(code: &str) -> FailureKind {
    match code {
        code if THROTTLE_CODES.iter().any(|part| code.contains(part)) => FailureKind::Throttled,
        code if INTERNAL_CODES.contains(&code) || RETRYABLE_CODES.contains(&code) => {
            FailureKind::Transient
        }
        code if NOT_FOUND_CODES.contains(&code) => FailureKind::NotFound,
        "AccessDenied" => FailureKind::Denied,
        _ => FailureKind::Other,
    }
}

/// The failure of one item, from its code in the response of a batch.
pub(super) fn key_failure(index: usize, code: &str) -> KeyFailure {
    // S3 returns these codes for single keys when it has too many of them.
    let kind = if INTERNAL_CODES.contains(&code) { FailureKind::Throttled } else { kind_of(code) };
    KeyFailure { index, code: code.to_owned(), kind }
}

/// The failure of one item that had its own request. Returns `Err` if the error is not about this
/// item: all other items would get the same.
pub(super) fn own_failure(index: usize, failed: Failed) -> Result<KeyFailure, StoreError> {
    let kind = match &failed.fault {
        StoreError::Throttled(_) => FailureKind::Throttled,
        StoreError::NoAnswer(_) | StoreError::Unavailable(_) => FailureKind::Transient,
        StoreError::Permanent(_) | StoreError::Malformed(_)
            if NOT_FOUND_CODES.contains(&&*failed.code) =>
        {
            FailureKind::NotFound
        }
        // A policy may deny single keys.
        StoreError::Permanent(_) if failed.code == "AccessDenied" => FailureKind::Denied,
        StoreError::Permanent(_)
            if !is_about_the_bucket(&failed.code, failed.status.unwrap_or(0)) =>
        {
            FailureKind::Other
        }
        StoreError::Malformed(_) => FailureKind::Other,
        StoreError::Permanent(_) | StoreError::Inconsistent(_) | StoreError::TokenRejected(_) => {
            return Err(failed.fault);
        }
    };
    Ok(KeyFailure { index, code: failed.code, kind })
}

/// Returns the code if it is a single word, as all of S3's are. Other text could be anything and
/// must not be logged.
pub(super) fn plain_code(code: Option<&str>) -> &str {
    match code {
        Some(code) if is_plain(code) => code,
        Some(_) => "OddCode",
        None => "NoCode",
    }
}

fn is_plain(code: &str) -> bool {
    (1..=MAX_CODE_BYTES).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether an error is about the bucket, the account or the credentials, so that no smaller or
/// other request gets another response. Only this function decides that.
fn is_about_the_bucket(code: &str, status: u16) -> bool {
    BUCKET_CODES.contains(&code)
        || status == 0
        || (300..400).contains(&status)
        || status == 401
        || (status == 404 && code == "NoCode")
}

fn fault_of(code: &str, status: u16) -> fn(String) -> StoreError {
    match (kind_of(code), status) {
        (FailureKind::Throttled, _) | (_, 429 | 503) => StoreError::Throttled,
        (_, status) if is_about_the_bucket(code, status) || status == 403 => StoreError::Permanent,
        (kind, status) if kind == FailureKind::Transient || !(400..500).contains(&status) => {
            StoreError::Unavailable
        }
        // Any other rejection may be about a part of the request.
        _ => StoreError::Malformed,
    }
}

/// The innermost cause of a missing response. It is used only for errors without a response,
/// because the service's own errors may name keys.
fn root_cause(error: &dyn Error) -> Option<String> {
    let mut innermost = error.source()?;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Some(innermost.to_string())
}

/// Limits the time of a request.
pub(crate) fn within(limit: Duration) -> Builder {
    Config::builder().timeout_config(timeouts(limit))
}

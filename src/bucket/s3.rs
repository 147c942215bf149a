//! [`Bucket`] over the AWS SDK: the only place that knows S3's codes, encodings and headers.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::operation::get_bucket_versioning::GetBucketVersioningOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{Delete, EncodingType, Object, ObjectIdentifier};
use aws_sdk_s3::{Client, Config};
use futures::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Bucket, Deletion, Fault, Item, KeyFailure, ListedObject, Page};
use crate::deadline::CONNECT_TIMEOUT;
use crate::target::Prefix;

/// Keys that must go one by one: at once, for each request of `MAX_IN_FLIGHT_BATCHES`. They count against the rate.
const SINGLE_DELETES_AT_ONCE: usize = 8;

/// Codes of a key, in an answer of 200, that another try may cure.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const RETRYABLE_KEY_CODES: [&str; 5] =
    ["InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"];

/// Codes that ask for less, of a key or of a request.
const THROTTLE_CODES: [&str; 5] =
    ["RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "ThrottlingException", "TooManyRequests"];

/// Our own code for a key that the answer names neither as deleted nor as failed.
const UNANSWERED: &str = "Unanswered";
/// Our own code for a key that there was no time to ask for.
const NOT_ASKED: &str = "NotAsked";

/// S3, through one client that is shared by all requests.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    expected_bucket_owner: Option<String>,
}

impl S3 {
    /// The client must not retry by itself: its retry quota is shared by all requests, and ours are counted.
    pub fn new(client: &Client, expected_bucket_owner: Option<String>) -> Self {
        let config = client.config().to_builder().interceptor(WholeDocument).build();
        Self { client: Client::from_conf(config), expected_bucket_owner }
    }

    fn owner(&self) -> Option<String> {
        self.expected_bucket_owner.clone()
    }

    async fn delete_batch(
        &self,
        prefix: &Prefix,
        items: &[(usize, &Item)],
        limit: Duration,
    ) -> Result<Vec<KeyFailure>, Fault> {
        let identifiers = items.iter().map(|(_, item)| ObjectIdentifier::builder().key(item.key.as_str()).build());
        let identifiers = identifiers.collect::<Result<Vec<_>, _>>().map_err(|error| unbuilt(&error))?;
        // Not quiet: silence about a key would not be proof of its end.
        let delete = Delete::builder().set_objects(Some(identifiers)).quiet(false).build();
        let answer = self
            .client
            .delete_objects()
            .bucket(prefix.bucket())
            .delete(delete.map_err(|error| unbuilt(&error))?)
            .set_expected_bucket_owner(self.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await
            .map_err(|error| sort("DeleteObjects", "s3:DeleteObject", &error).1)?;
        match_answer(items, &answer)
    }

    /// For keys that XML cannot carry: here the key is in the URL. Segments `.` and `..` stay as they are: the signature
    /// covers the path letter by letter, so whoever folded it on the way would be refused.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    async fn delete_single(
        &self,
        prefix: &Prefix,
        (index, item): (usize, &Item),
        deadline: Instant,
    ) -> Result<Option<KeyFailure>, Fault> {
        let failure = |code: &str, is_retryable, is_throttle| {
            Ok(Some(KeyFailure { index, code: code.to_owned(), is_retryable, is_throttle }))
        };
        let limit = deadline.saturating_duration_since(Instant::now());
        if limit.is_zero() {
            return failure(NOT_ASKED, true, false);
        }
        let answer = self
            .client
            .delete_object()
            .bucket(prefix.bucket())
            .key(item.key.as_str())
            .set_expected_bucket_owner(self.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let Err(error) = answer else { return Ok(None) };
        match sort("DeleteObject", "s3:DeleteObject", &error) {
            (code, _) if code == "NoSuchKey" => Ok(None),
            (code, Fault::Throttled(_)) => failure(&code, true, true),
            (code, Fault::Unavailable(_)) => failure(&code, true, false),
            // Of this key alone; anything else that is refused holds for all.
            (code, Fault::Malformed(_)) => failure(&code, false, false),
            (code, _) if code == "AccessDenied" => failure(&code, false, false),
            (_, fault) => Err(fault),
        }
    }
}

impl Bucket for S3 {
    async fn check(&self, bucket: &str, limit: Duration) -> Result<(), Fault> {
        let answer = self
            .client
            .get_bucket_versioning()
            .bucket(bucket)
            .set_expected_bucket_owner(self.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        match answer.as_ref().map(GetBucketVersioningOutput::status) {
            Ok(None) => Ok(()),
            // A store that has no versioning at all.
            Err(error) if error.code() == Some("NotImplemented") => Ok(()),
            Err(error) => Err(sort("GetBucketVersioning", "s3:GetBucketVersioning", error).1),
            Ok(Some(status)) => Err(Fault::Refused(format!(
                "its versioning is {status}: a delete would only hide the data, and versions are not supported yet"
            ))),
        }
    }

    async fn list(&self, prefix: &Prefix, token: Option<&str>, limit: Duration) -> Result<Page, Fault> {
        let answer = self
            .client
            .list_objects_v2()
            .bucket(prefix.bucket())
            .prefix(prefix.as_str())
            // Without it a control character in one key would make the whole page unreadable.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token.map(str::to_owned))
            .set_expected_bucket_owner(self.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let error = match answer {
            Ok(answer) => return page(prefix, token, &answer),
            Err(error) => error,
        };
        let is_bad_request = error.raw_response().is_some_and(|response| response.status().as_u16() == 400);
        Err(match sort("ListObjectsV2", "s3:ListBucket", &error).1 {
            // S3 says InvalidArgument; whatever the code, a listing without the token tells what is really wrong.
            Fault::Malformed(text) | Fault::Refused(text) if token.is_some() && is_bad_request => {
                Fault::TokenRefused(text)
            }
            Fault::Malformed(text) | Fault::Refused(text) => Fault::Refused(text),
            fault
            @ (Fault::Throttled(_) | Fault::Unavailable(_) | Fault::Untrustworthy(_) | Fault::TokenRefused(_)) => fault,
        })
    }

    async fn delete(&self, prefix: &Prefix, items: &[Item], limit: Duration) -> Result<Deletion, Fault> {
        // Half of the time for the singles: what they have deleted must be reported, not dropped at the stop time.
        let deadline = Instant::now() + limit / 2;
        let (batch, singles): (Vec<_>, Vec<_>) =
            items.iter().enumerate().partition(|(_, item)| is_xml_text(item.key.as_str()));
        let mut deletion = Deletion::default();
        if !batch.is_empty() {
            deletion.requests += 1;
            deletion.failures = self.delete_batch(prefix, &batch, limit).await?;
        }
        let requests: Vec<_> = singles.into_iter().map(|single| self.delete_single(prefix, single, deadline)).collect();
        let answers = stream::iter(requests).buffer_unordered(SINGLE_DELETES_AT_ONCE);
        let single_failures: Vec<_> = answers.try_collect().await?;
        let was_asked = |single: &Option<KeyFailure>| single.as_ref().is_none_or(|failure| failure.code != NOT_ASKED);
        deletion.requests += single_failures.iter().map(|single| u64::from(was_asked(single))).sum::<u64>();
        deletion.failures.extend(single_failures.into_iter().flatten());
        Ok(deletion)
    }
}

/// Whether XML 1.0 can carry this text: most control characters have no form in it, not even an escaped one.
/// <https://www.w3.org/TR/xml/#charsets>
fn is_xml_text(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}

/// Reads one page, and believes nothing that cannot be true: a page that is empty by mistake would be a false proof.
fn page(prefix: &Prefix, token: Option<&str>, answer: &ListObjectsV2Output) -> Result<Page, Fault> {
    let distrust = |what: &str| Err(Fault::Untrustworthy(format!("ListObjectsV2: {what}")));
    let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let contents = answer.contents();
    if answer.key_count().is_some_and(|count| usize::try_from(count) != Ok(contents.len())) {
        return distrust("it has another number of keys than it says");
    }
    let next = match (answer.is_truncated(), answer.next_continuation_token()) {
        (None, _) => return distrust("it does not say whether more follows"),
        (Some(false), _) => None,
        (Some(true), None | Some("")) => return distrust("more follows, but there is no continuation token"),
        (Some(true), next) if next == token => return distrust("the continuation token did not move"),
        (Some(true), next) => next.map(str::to_owned),
    };
    if let Some(listed) = answer.prefix()
        && decode(listed, is_encoded)? != prefix.as_str()
    {
        return distrust("it is of another prefix");
    }
    let objects = contents.iter().map(|object| listed_object(object, is_encoded)).collect::<Result<_, _>>()?;
    Ok(Page { objects, next })
}

fn listed_object(object: &Object, is_encoded: bool) -> Result<ListedObject, Fault> {
    let key = object.key().ok_or_else(|| Fault::Untrustworthy("ListObjectsV2: an object without a key".to_owned()))?;
    let time_of = |at: &aws_sdk_s3::primitives::DateTime| OffsetDateTime::from_unix_timestamp_nanos(at.as_nanos());
    Ok(ListedObject {
        key: decode(key, is_encoded)?.into_owned(),
        bytes: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        last_modified: object.last_modified().and_then(|at| time_of(at).ok()),
    })
}

/// Undoes `EncodingType=url`: `+` is a space, then `%XX`.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
fn decode(text: &str, is_encoded: bool) -> Result<Cow<'_, str>, Fault> {
    if !is_encoded || !text.contains(['+', '%']) {
        return Ok(Cow::Borrowed(text));
    }
    let distrust = || Fault::Untrustworthy("ListObjectsV2: a key is not URL-encoded as announced".to_owned());
    let is_escape = |rest: &str| rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(is_escape) {
        return Err(distrust());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_error| distrust())?;
    Ok(Cow::Owned(decoded.into_owned()))
}

/// Holds the answer against the request: every key must be accounted for, and no other may appear.
fn match_answer(items: &[(usize, &Item)], answer: &DeleteObjectsOutput) -> Result<Vec<KeyFailure>, Fault> {
    let distrust = |what: &str| Fault::Untrustworthy(format!("DeleteObjects: {what}"));
    let asked: HashMap<&str, usize> = items.iter().map(|(index, item)| (item.key.as_str(), *index)).collect();
    let mut open: HashSet<usize> = asked.values().copied().collect();
    let mut failures = Vec::new();
    for error in answer.errors() {
        let key = error.key().ok_or_else(|| distrust("it has an error without a key"))?;
        let index = *asked.get(key).ok_or_else(|| distrust("it has an error about a key that was not asked"))?;
        let code = plain_code(error.code());
        // A key that is reported twice counts once.
        if open.remove(&index) && code != "NoSuchKey" {
            let is_throttle = THROTTLE_CODES.contains(&code);
            let is_retryable = is_throttle || RETRYABLE_KEY_CODES.contains(&code);
            failures.push(KeyFailure { index, code: code.to_owned(), is_retryable, is_throttle });
        }
    }
    for deleted in answer.deleted() {
        let key = deleted.key().ok_or_else(|| distrust("it has deleted something without a key"))?;
        let index = asked.get(key).ok_or_else(|| distrust("it has deleted a key that was not asked"))?;
        open.remove(index);
    }
    let unanswered = |index| KeyFailure { index, code: UNANSWERED.to_owned(), is_retryable: true, is_throttle: false };
    failures.extend(open.into_iter().map(unanswered));
    Ok(failures)
}

/// Sorts an SDK error by what the caller does about it; returns S3's code too. The text never names keys.
fn sort<E>(operation: &str, permission: &str, error: &SdkError<E, HttpResponse>) -> (String, Fault)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
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

/// S3's codes are single words. Anything else could be anything, and has no place in logs.
fn plain_code(code: Option<&str>) -> &str {
    match code {
        Some(code) if (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) => code,
        Some(_) => "OddCode",
        None => "NoCode",
    }
}

fn sort_by_code(code: &str, status: u16) -> fn(String) -> Fault {
    match (code, status) {
        (code, status) if THROTTLE_CODES.contains(&code) || status == 429 || status == 503 => Fault::Throttled,
        // 300: the bucket is in another region, and no redirect is followed.
        (code, status) if RETRYABLE_KEY_CODES.contains(&code) || !(300..500).contains(&status) => Fault::Unavailable,
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

fn unbuilt(error: &dyn Error) -> Fault {
    Fault::Refused(format!("DeleteObjects: the request could not be built ({error})"))
}

/// Takes an XML answer only if its root element is closed.
///
/// The SDK's parser takes the end of the text for the end of every element: a listing that was cut off somewhere, with
/// intact HTTP around it, would look like a short and last page, and an empty one like a proof.
#[derive(Debug)]
struct WholeDocument;

impl Intercept for WholeDocument {
    fn name(&self) -> &'static str {
        "WholeDocument"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        if context.response().status().is_success() && !is_whole_document(body) {
            return Err("the answer is cut off".into());
        }
        Ok(())
    }
}

/// Whether a body is empty, or an XML document whose last tag closes its first.
fn is_whole_document(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    // The prolog's tags begin with <? and <!.
    let root = body.windows(2).position(|two| two[0] == b'<' && two[1].is_ascii_alphabetic());
    let Some(root) = root.map(|start| &body[start + 1..]) else { return body.is_empty() };
    let name_ends = root.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(root.len());
    let closing = [b"</", &root[..name_ends], b">"].concat();
    let is_single_tag = root.ends_with(b"/>") && root.iter().position(|byte| *byte == b'>') == Some(root.len() - 1);
    body.ends_with(&closing) || is_single_tag
}

/// Ends a request in time; see [`CONNECT_TIMEOUT`] for the part that must not vary.
fn within(limit: Duration) -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(limit)
        .operation_timeout(limit)
        .build();
    Config::builder().timeout_config(timeouts)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_undoes_either_way_to_encode(key in any::<String>()) {
            let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode(&encoded, true).unwrap(), key.as_str());
            let as_form = encoded.replace("%20", "+");
            prop_assert_eq!(decode(&as_form, true).unwrap(), key.as_str());
        }

        #[test]
        fn decoding_takes_any_text_without_a_panic(text in any::<String>()) {
            prop_assert_eq!(decode(&text, false).unwrap(), text.as_str());
            if let Ok(decoded) = decode(&text, true) {
                prop_assert!(decoded.len() <= text.len());
            }
        }

        #[test]
        fn what_is_called_xml_text_has_only_characters_of_xml(text in any::<String>()) {
            let is_allowed = |c| matches!(
                c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}'
            );
            prop_assert_eq!(is_xml_text(&text), text.chars().all(is_allowed));
        }
    }
}

//! Deletes items in batches or one by one, and aborts uploads.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, BuildError, SdkError};
use aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError;
use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{FuturesUnordered, StreamExt};
use md5::{Digest, Md5};
use tokio::time::Instant;

use crate::aws::s3::errors::{Failed, classify, key_failure, own_failure, plain_code};
use crate::aws::s3::store::S3;
use crate::deadline::time_until;
use crate::ports::store::{DeleteResult, FailureKind, Item, KeyFailure, StoreError};
use crate::target::{Key, Prefix};

/// The number of concurrent single-item requests for each of the `MAX_IN_FLIGHT_BATCHES` requests.
/// Their items count against the rate.
const SINGLES_AT_ONCE: usize = 8;

/// Our own code for a key that the response names neither as deleted nor as failed.
const UNANSWERED: &str = "Unanswered";
/// Our own code for an item for which there was no time to send a request.
const NOT_ASKED: &str = "NotAsked";
/// Our own code for an upload that still has parts after it was aborted.
const PARTS_LEFT: &str = "PartsLeft";
/// Our own code for an aborted upload of which S3 does not say whether it has parts.
const PARTS_NOT_READABLE: &str = "PartsNotReadable";
/// Our own code for an object that a plain delete only hid.
const ONLY_HIDDEN: &str = "OnlyHidden";

/// What the requests of one delete have in common.
#[derive(Debug, Clone, Copy)]
struct DeleteContext<'a> {
    prefix: &'a Prefix,
    bypass_governance: bool,
    end: Instant,
}

/// The result of one item that had its own request.
#[derive(Debug, Default)]
struct SingleResult {
    requests: u64,
    failure: Option<KeyFailure>,
}

impl SingleResult {
    /// A failure with one of our own codes. All of them are transient.
    fn failed(requests: u64, index: usize, code: &str) -> Self {
        Self { requests, failure: Some(transient(index, code)) }
    }
}

impl S3 {
    /// Deletes objects by their keys.
    pub(super) async fn delete_objects(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let order = DeleteContext { prefix, bypass_governance: false, end: Instant::now() + limit };
        self.delete(order, items).await
    }

    /// Deletes versions and delete markers by their keys and ids.
    pub(super) async fn delete_versions(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let end = Instant::now() + limit;
        let mut lock_requests = 0;
        // The header is sent only if the bucket has Object Lock, because it needs an additional
        // permission.
        let bypass_governance =
            self.bypass_governance && self.has_object_lock(prefix, end, &mut lock_requests).await?;
        let mut deletion =
            self.delete(DeleteContext { prefix, bypass_governance, end }, items).await?;
        deletion.requests += lock_requests;
        Ok(deletion)
    }

    async fn delete(
        &self,
        order: DeleteContext<'_>,
        items: &[Item],
    ) -> Result<DeleteResult, StoreError> {
        // The single-item requests get half of the time: their results must be reported and not
        // dropped at the stop time.
        let half = DeleteContext { end: half_way_to(order.end), ..order };
        let (batch, singles): (Vec<_>, Vec<_>) =
            items.iter().enumerate().partition(|(_, item)| is_xml_text(item.key.as_str()));
        let mut deletion = DeleteResult::default();
        if !batch.is_empty() {
            deletion.requests += 1;
            deletion.failures = self.delete_batch(order, &batch).await?;
        }
        gather((deletion, items.len()), singles, |single| self.delete_single(half, single)).await
    }

    async fn delete_batch(
        &self,
        order: DeleteContext<'_>,
        items: &[(usize, &Item)],
    ) -> Result<Vec<KeyFailure>, StoreError> {
        let answer = self
            .reader
            .client
            .send(order.prefix.bucket(), time_until(order.end), |client, settings| {
                let request = client
                    .delete_objects()
                    .bucket(order.prefix.bucket())
                    .set_bypass_governance_retention(order.bypass_governance.then_some(true));
                let delete = delete_of(items).map_err(SdkError::construction_failure);
                async {
                    let request = request.delete(delete?).customize().config_override(settings);
                    request.interceptor(ContentMd5).send().await
                }
            })
            .await
            .map_err(|error| {
                classify(
                    "DeleteObjects",
                    permission(items),
                    &secret_of(order.prefix, items),
                    &error,
                )
                .fault
            })?;
        match_answer(items, &answer)
    }

    /// Deletes one item whose key XML cannot carry: here the key is in the URL. Segments `.` and
    /// `..` are not normalized: the signature covers the exact path, so S3 rejects a request whose
    /// path was normalized in transit.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    async fn delete_single(
        &self,
        order: DeleteContext<'_>,
        (index, item): (usize, &Item),
    ) -> Result<SingleResult, StoreError> {
        let limit = time_until(order.end);
        if limit.is_zero() {
            return Ok(SingleResult::failed(0, index, NOT_ASKED));
        }
        let answer = self
            .reader
            .client
            .send(order.prefix.bucket(), limit, |client, settings| {
                client
                    .delete_object()
                    .bucket(order.prefix.bucket())
                    .key(item.key.as_str())
                    .set_version_id(item.id.clone())
                    .set_bypass_governance_retention(order.bypass_governance.then_some(true))
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        let failure = match answer {
            Ok(answer) if item.id.is_none() && answer.delete_marker() == Some(true) => {
                Some(only_hidden(index))
            }
            Ok(answer)
                if item.id.is_some()
                    && answer.version_id().is_some_and(|id| Some(id) != item.id.as_deref()) =>
            {
                return Err(StoreError::Inconsistent(
                    "DeleteObject: OtherVersion; it is about another version".to_owned(),
                ));
            }
            Ok(_) => None,
            Err(error) => {
                let permission = permission(&[(index, item)]);
                Some(own_failure(
                    index,
                    classify("DeleteObject", permission, item.key.as_str(), &error),
                )?)
            }
        };
        Ok(SingleResult { requests: 1, failure })
    }

    /// Aborts uploads. Each upload needs its own request, and another one to check that no part
    /// remains.
    pub(super) async fn abort_uploads(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let order = DeleteContext {
            prefix,
            bypass_governance: false,
            end: half_way_to(Instant::now() + limit),
        };
        let uploads = items.iter().enumerate().collect();
        gather((DeleteResult::default(), items.len()), uploads, |upload| self.abort(order, upload))
            .await
    }

    /// Aborts one upload. Some stores encode keys in this listing without saying so, or say so
    /// without encoding. If an upload was just listed and is not found, the abort is therefore
    /// retried once with the other reading of its key. The upload's id is unique, so that the retry
    /// cannot affect another upload.
    async fn abort(
        &self,
        order: DeleteContext<'_>,
        (index, item): (usize, &Item),
    ) -> Result<SingleResult, StoreError> {
        let single = self.abort_as(order, index, item, &item.key).await?;
        let is_not_found =
            single.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::NotFound);
        match &item.other_key {
            Some(other_key) if is_not_found => {
                let other = self.abort_as(order, index, item, other_key).await?;
                Ok(SingleResult { requests: single.requests + other.requests, ..other })
            }
            Some(_) | None => Ok(single),
        }
    }

    async fn abort_as(
        &self,
        order: DeleteContext<'_>,
        index: usize,
        item: &Item,
        key: &Key,
    ) -> Result<SingleResult, StoreError> {
        let aborted = self.send_abort(order, (index, item), key, 0).await?;
        if aborted.failure.is_some() {
            return Ok(aborted);
        }
        self.check_parts(order, index, item, key).await
    }

    /// Sends a request to abort an upload, after so many requests about it.
    async fn send_abort(
        &self,
        order: DeleteContext<'_>,
        (index, item): (usize, &Item),
        key: &Key,
        requests: u64,
    ) -> Result<SingleResult, StoreError> {
        let limit = time_until(order.end);
        if limit.is_zero() {
            return Ok(SingleResult::failed(requests, index, NOT_ASKED));
        }
        let answer = self
            .reader
            .client
            .send(order.prefix.bucket(), limit, |client, settings| {
                client
                    .abort_multipart_upload()
                    .bucket(order.prefix.bucket())
                    .key(key.as_str())
                    .set_upload_id(item.id.clone())
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        let failure = match answer {
            Ok(_) => None,
            Err(error) => Some(own_failure(index, abort_fault(key, &error))?),
        };
        Ok(SingleResult { requests: requests + 1, failure })
    }

    /// Checks that an aborted upload has no parts. A part that is being uploaded during the abort
    /// may still arrive; S3's documentation asks the caller to list the parts and to abort again.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
    async fn check_parts(
        &self,
        order: DeleteContext<'_>,
        index: usize,
        item: &Item,
        key: &Key,
    ) -> Result<SingleResult, StoreError> {
        /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>
        const PERMISSION: &str =
            "s3:ListMultipartUploadParts (and kms:Decrypt, for uploads encrypted with SSE-KMS)";
        let limit = time_until(order.end);
        if limit.is_zero() {
            return Ok(SingleResult::failed(1, index, NOT_ASKED));
        }
        let answer = self
            .reader
            .client
            .send(order.prefix.bucket(), limit, |client, settings| {
                client
                    .list_parts()
                    .bucket(order.prefix.bucket())
                    .key(key.as_str())
                    .set_upload_id(item.id.clone())
                    .max_parts(1)
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        let failure = match answer {
            Ok(answer) if answer.parts().is_empty() => None,
            Ok(_) => return Ok(SingleResult::failed(2, index, PARTS_LEFT)),
            Err(error) => match classify("ListParts", PERMISSION, key.as_str(), &error) {
                failed if failed.code == "AccessDenied" => {
                    return self.abort_again(order, index, item, key).await;
                }
                // The abort was confirmed before: "not found" means that nothing remains of the
                // upload.
                failed => Some(own_failure(index, failed)?)
                    .filter(|failure| failure.kind != FailureKind::NotFound),
            },
        };
        Ok(SingleResult { requests: 2, failure })
    }

    /// Aborts an upload whose parts S3 does not show, once more. S3 denies to list the parts of an
    /// upload with SSE-KMS without `kms:Decrypt`, but only while the upload exists. If S3 does not
    /// find the upload any more, no part remains. Otherwise the upload is tried again, and is left
    /// for this round if nothing shows that it is deleted.
    async fn abort_again(
        &self,
        order: DeleteContext<'_>,
        index: usize,
        item: &Item,
        key: &Key,
    ) -> Result<SingleResult, StoreError> {
        let again = self.send_abort(order, (index, item), key, 2).await?;
        let failure = match again.failure {
            None => Some(transient(index, PARTS_NOT_READABLE)),
            failure => failure.filter(|failure| failure.kind != FailureKind::NotFound),
        };
        Ok(SingleResult { failure, ..again })
    }
}

/// What a DeleteObjects request asks for. Quiet mode is off: the absence of a key from the response
/// would not prove its deletion.
fn delete_of(items: &[(usize, &Item)]) -> Result<Delete, BuildError> {
    let identifiers = items.iter().map(|(_, item)| {
        ObjectIdentifier::builder().key(item.key.as_str()).set_version_id(item.id.clone()).build()
    });
    let identifiers = identifiers.collect::<Result<Vec<_>, _>>()?;
    Delete::builder().set_objects(Some(identifiers)).quiet(false).build()
}

/// Adds the `Content-MD5` header. Some stores require it for DeleteObjects and reject the checksum
/// that the SDK sends instead. S3 accepts both together.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
#[derive(Debug)]
struct ContentMd5;

impl Intercept for ContentMd5 {
    fn name(&self) -> &'static str {
        "ContentMd5"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().ok_or("the body of DeleteObjects is not in memory")?;
        let digest = aws_smithy_types::base64::encode(Md5::digest(body));
        request.headers_mut().insert("content-md5", digest);
        Ok(())
    }
}

/// Adds the results of items that each have their own request, which is created when its turn
/// comes. `all` is the number of items of the delete, including those of a common request.
///
/// Confirmed deletions must be reported. So an item's error makes the delete fail only if nothing
/// was deleted. Otherwise the item is reported as transient, to be tried again; a delete in which
/// nothing else succeeds then returns the error.
async fn gather<'i, Request>(
    (mut deletion, all): (DeleteResult, usize),
    items: Vec<(usize, &'i Item)>,
    request: impl Fn((usize, &'i Item)) -> Request,
) -> Result<DeleteResult, StoreError>
where
    Request: Future<Output = Result<SingleResult, StoreError>>,
{
    let ask = move |item: (usize, &'i Item)| {
        let request = request(item);
        async move { (item.0, request.await) }
    };
    let mut items = items.into_iter();
    let mut open: FuturesUnordered<_> = items.by_ref().take(SINGLES_AT_ONCE).map(&ask).collect();
    let mut faults = Vec::new();
    while let Some((index, answer)) = open.next().await {
        match answer {
            Ok(SingleResult { requests, failure }) => {
                deletion.requests += requests;
                deletion.failures.extend(failure);
            }
            Err(fault) => {
                deletion.requests += 1;
                faults.push((index, fault));
            }
        }
        // After one error, the other requests would most likely fail in the same way.
        if faults.is_empty() {
            open.extend(items.next().map(&ask));
        }
    }
    deletion.failures.extend(items.map(|(index, _)| transient(index, NOT_ASKED)));
    let is_any_deleted = deletion.failures.len() + faults.len() < all;
    deletion.failures.extend(faults.iter().map(|(index, fault)| transient(*index, fault.code())));
    let first_fault = faults.into_iter().next().filter(|_| !is_any_deleted).map(|(_, fault)| fault);
    first_fault.map_or(Ok(deletion), Err)
}

fn abort_fault(key: &Key, error: &SdkError<AbortMultipartUploadError, HttpResponse>) -> Failed {
    classify("AbortMultipartUpload", "s3:AbortMultipartUpload", key.as_str(), error)
}

/// The failure of an item that another attempt may delete.
fn transient(index: usize, code: &str) -> KeyFailure {
    KeyFailure { index, code: code.to_owned(), kind: FailureKind::Transient }
}

/// The prefix and all keys, which no error text may contain.
fn secret_of(prefix: &Prefix, items: &[(usize, &Item)]) -> String {
    let keys = items.iter().flat_map(|(_, item)| ["/", item.key.as_str()]);
    [prefix.as_str()].into_iter().chain(keys).collect()
}

fn half_way_to(end: Instant) -> Instant {
    Instant::now() + time_until(end) / 2
}

fn permission(items: &[(usize, &Item)]) -> &'static str {
    let is_of_versions = items.first().is_some_and(|(_, item)| item.id.is_some());
    if is_of_versions { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" }
}

/// Whether XML 1.0 can carry this text. XML cannot represent most control characters, not even
/// escaped.
/// <https://www.w3.org/TR/xml/#charsets>
fn is_xml_text(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}

/// The failure of an object that a plain delete only hid. Versioning was switched on since the
/// bucket was checked: the data still exists, and now only a listing of versions shows it. Another
/// attempt would only add another delete marker.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
fn only_hidden(index: usize) -> KeyFailure {
    KeyFailure { index, code: ONLY_HIDDEN.to_owned(), kind: FailureKind::HiddenByMarker }
}

/// The requested items, in request order. Positions in this list identify them.
struct RequestedItems<'a> {
    items: &'a [(usize, &'a Item)],
    /// The position that the next entry of the response is expected to be about.
    next: usize,
    /// The positions by key, for a response in another order. One key may have many versions in a
    /// batch.
    by_key: OnceCell<HashMap<&'a str, Vec<usize>>>,
}

impl<'a> RequestedItems<'a> {
    fn new(items: &'a [(usize, &'a Item)]) -> Self {
        Self { items, next: 0, by_key: OnceCell::new() }
    }

    /// Returns the item that an entry of the response is about. For an object, the entry may have
    /// an id that was not requested, such as that of a new delete marker. An entry without an id
    /// matches a key that was requested exactly once.
    fn find(&mut self, key: Option<&str>, id: Option<&str>) -> Option<usize> {
        let is_it = |(_, item): &&(usize, &Item)| {
            Some(item.key.as_str()) == key && item.id.as_deref() == id
        };
        // S3 keeps the order of the request and names every key, so that a map of the keys, which
        // would cost more than everything else here, is seldom needed.
        let position = if self.items.get(self.next).filter(is_it).is_some() {
            self.next
        } else {
            self.search(key?, id)?
        };
        self.next = position + 1;
        Some(position)
    }

    fn search(&self, key: &str, id: Option<&str>) -> Option<usize> {
        let by_key = self.by_key.get_or_init(|| {
            let mut by_key: HashMap<&str, Vec<usize>> = HashMap::new();
            for (position, (_, item)) in self.items.iter().enumerate() {
                by_key.entry(item.key.as_str()).or_default().push(position);
            }
            by_key
        });
        let positions = by_key.get(key)?;
        let with = |id: Option<&str>| {
            positions.iter().find(|position| self.items[**position].1.id.as_deref() == id)
        };
        let only = || positions.first().filter(|_| id.is_none() && positions.len() == 1);
        with(id).or_else(|| with(None)).or_else(only).copied()
    }
}

/// Compares the response with the request: it must account for every item and name no other.
fn match_answer(
    items: &[(usize, &Item)],
    answer: &DeleteObjectsOutput,
) -> Result<Vec<KeyFailure>, StoreError> {
    let distrust = |what: &str| StoreError::Inconsistent(format!("DeleteObjects: {what}"));
    let mut asked = RequestedItems::new(items);
    let mut is_open = vec![true; items.len()];
    let mut failures = Vec::new();
    for error in answer.errors() {
        let position = asked.find(error.key(), error.version_id());
        let position = position
            .ok_or_else(|| distrust("it has an error about something that was not asked"))?;
        let code = plain_code(error.code());
        // An item that is reported twice counts once.
        if std::mem::take(&mut is_open[position]) {
            failures.push(key_failure(items[position].0, code));
        }
    }
    let is_object = items.first().is_some_and(|(_, item)| item.id.is_none());
    asked.next = 0;
    for deleted in answer.deleted() {
        // For a deleted delete marker, some stores return its id only as that of the delete marker.
        let id = deleted.version_id().or(deleted.delete_marker_version_id());
        let position = asked.find(deleted.key(), id);
        let position =
            position.ok_or_else(|| distrust("it has deleted something that was not asked"))?;
        if std::mem::take(&mut is_open[position])
            && is_object
            && deleted.delete_marker() == Some(true)
        {
            failures.push(only_hidden(items[position].0));
        }
    }
    let open = items.iter().zip(is_open).filter(|(_, is_open)| *is_open);
    failures.extend(open.map(|((index, _), _)| transient(*index, UNANSWERED)));
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_called_xml_text_has_only_characters_of_xml(text in any::<String>()) {
            let is_allowed = |c| matches!(
                c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}'
            );
            prop_assert_eq!(is_xml_text(&text), text.chars().all(is_allowed));
        }
    }
}

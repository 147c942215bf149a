//! Deleting in batches and one by one, and aborting uploads.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{FuturesUnordered, StreamExt};
use md5::{Digest, Md5};
use tokio::time::Instant;

use crate::aws::s3::errors::{classify, key_failure, own_failure, plain_code, within};
use crate::aws::s3::store::S3;
use crate::deadline::time_until;
use crate::ports::store::{DeleteResult, FailureKind, Item, KeyFailure, StoreError};
use crate::target::{Key, Prefix};

/// Items that need a request of their own: so many concurrently for each request of
/// `MAX_IN_FLIGHT_BATCHES`. They count against the rate.
const SINGLES_AT_ONCE: usize = 8;

/// Our own code for a key that the answer names neither as deleted nor as failed.
const UNANSWERED: &str = "Unanswered";
/// Our own code for an item that there was no time to ask for.
const NOT_ASKED: &str = "NotAsked";
/// Our own code for an upload that has parts after it was aborted.
const PARTS_LEFT: &str = "PartsLeft";
/// Our own code for an object that a plain delete has only hidden.
const ONLY_HIDDEN: &str = "OnlyHidden";

/// What the requests of one delete have in common.
#[derive(Debug, Clone, Copy)]
struct DeleteContext<'a> {
    prefix: &'a Prefix,
    bypass_governance: bool,
    end: Instant,
}

/// What became of one item that had a request of its own.
#[derive(Debug, Default)]
struct SingleResult {
    requests: u64,
    failure: Option<KeyFailure>,
    /// What fails the delete as a whole, when all of its items were tried.
    fault: Option<StoreError>,
}

impl SingleResult {
    /// Another attempt may cure all that has a code of ours.
    fn failed(requests: u64, index: usize, code: &str) -> Self {
        Self { requests, failure: Some(transient(index, code)), fault: None }
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
        // Only where there is a lock: the header needs a permission of its own.
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
        // Half of the time for the singles: what they have deleted must be reported, not dropped at
        // the stop time.
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
        let identifiers = items.iter().map(|(_, item)| {
            ObjectIdentifier::builder()
                .key(item.key.as_str())
                .set_version_id(item.id.clone())
                .build()
        });
        let identifiers =
            identifiers.collect::<Result<Vec<_>, _>>().map_err(|error| unbuilt(&error))?;
        // Not quiet: silence about a key would not be proof of its deletion.
        let delete = Delete::builder().set_objects(Some(identifiers)).quiet(false).build();
        let answer = self
            .reader
            .client
            .delete_objects()
            .bucket(order.prefix.bucket())
            .delete(delete.map_err(|error| unbuilt(&error))?)
            .set_bypass_governance_retention(order.bypass_governance.then_some(true))
            .set_expected_bucket_owner(self.reader.owner())
            .customize()
            .config_override(within(time_until(order.end)))
            .interceptor(ContentMd5)
            .send()
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

    /// For keys that XML cannot carry: here the key is in the URL. Segments `.` and `..` stay as
    /// they are: the signature covers the path letter by letter, so S3 rejects a request whose path
    /// was normalized on the way.
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
            .delete_object()
            .bucket(order.prefix.bucket())
            .key(item.key.as_str())
            .set_version_id(item.id.clone())
            .set_bypass_governance_retention(order.bypass_governance.then_some(true))
            .set_expected_bucket_owner(self.reader.owner())
            .customize()
            .config_override(within(limit))
            .send()
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
        Ok(SingleResult { requests: 1, failure, fault: None })
    }

    /// Aborts uploads; each of them takes a request of its own, and one to see that no part is
    /// left.
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
    /// without encoding: an upload that was just listed and is not found is tried once more under
    /// the other reading of its key. Its id is unique, so that no other upload can be meant.
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
        let limit = time_until(order.end);
        if limit.is_zero() {
            return Ok(SingleResult::failed(0, index, NOT_ASKED));
        }
        let answer = self
            .reader
            .client
            .abort_multipart_upload()
            .bucket(order.prefix.bucket())
            .key(key.as_str())
            .set_upload_id(item.id.clone())
            .set_expected_bucket_owner(self.reader.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let Err(error) = answer else {
            return self.check_parts(order, index, item, key).await;
        };
        let failed =
            classify("AbortMultipartUpload", "s3:AbortMultipartUpload", key.as_str(), &error);
        Ok(SingleResult { requests: 1, failure: Some(own_failure(index, failed)?), fault: None })
    }

    /// A part that is being uploaded during the abort may still arrive: S3 asks to look, and to
    /// abort again.
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
            .list_parts()
            .bucket(order.prefix.bucket())
            .key(key.as_str())
            .set_upload_id(item.id.clone())
            .max_parts(1)
            .set_expected_bucket_owner(self.reader.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let failure = match answer {
            Ok(answer) if answer.parts().is_empty() => None,
            Ok(_) => return Ok(SingleResult::failed(2, index, PARTS_LEFT)),
            Err(error) => match classify("ListParts", PERMISSION, key.as_str(), &error) {
                // It holds for all uploads: nothing is proven of what nobody may look at. But all
                // are aborted first.
                failed if failed.code == "AccessDenied" => {
                    return Ok(SingleResult {
                        requests: 2,
                        failure: None,
                        fault: Some(failed.fault),
                    });
                }
                // The abort was confirmed before: nothing is left of the upload.
                failed => Some(own_failure(index, failed)?)
                    .filter(|failure| failure.kind != FailureKind::NotFound),
            },
        };
        Ok(SingleResult { requests: 2, failure, fault: None })
    }
}

/// Some stores demand this header of a DeleteObjects, and reject the checksum that the SDK sends in
/// its place. S3 accepts both together.
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

/// Adds what becomes of items that each have a request of their own, which is made when its turn
/// comes. `all`: how many items the delete has, with those that had a common request.
///
/// What is confirmed must be reported. So the fault of one item fails the delete only where nothing
/// was deleted. Otherwise the item is to be tried again: a delete in which nothing else succeeds
/// then returns the fault.
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
    let (mut fault_of_all, mut faults) = (None, Vec::new());
    while let Some((index, answer)) = open.next().await {
        match answer {
            Ok(SingleResult { requests, failure, fault }) => {
                deletion.requests += requests;
                deletion.failures.extend(failure);
                fault_of_all = fault_of_all.or(fault);
            }
            Err(fault) => {
                deletion.requests += 1;
                faults.push((index, fault));
            }
        }
        // Behind a fault, all others would most likely get the same.
        if faults.is_empty() {
            open.extend(items.next().map(&ask));
        }
    }
    deletion.failures.extend(items.map(|(index, _)| transient(index, NOT_ASKED)));
    let is_any_deleted = deletion.failures.len() + faults.len() < all;
    deletion.failures.extend(faults.iter().map(|(index, fault)| transient(*index, fault.code())));
    let first_fault = faults.into_iter().next().filter(|_| !is_any_deleted).map(|(_, fault)| fault);
    fault_of_all.or(first_fault).map_or(Ok(deletion), Err)
}

/// The failure of an item that another attempt may delete.
fn transient(index: usize, code: &str) -> KeyFailure {
    KeyFailure { index, code: code.to_owned(), kind: FailureKind::Transient }
}

/// The prefix and all keys: what no text may show.
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

/// Whether XML 1.0 can carry this text: most control characters have no form in it, not even an
/// escaped one.
/// <https://www.w3.org/TR/xml/#charsets>
fn is_xml_text(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}

/// The bucket has versioning after all, switched on since it was asked: the data is still there,
/// and now in a listing of versions alone. Another try would only add another delete marker.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
fn only_hidden(index: usize) -> KeyFailure {
    KeyFailure { index, code: ONLY_HIDDEN.to_owned(), kind: FailureKind::HiddenByMarker }
}

/// What was asked, in its order. Positions in it stand for its items.
struct RequestedItems<'a> {
    items: &'a [(usize, &'a Item)],
    /// Where the answer is expected to go on.
    next: usize,
    /// By key, where the answer has another order: one key may have many versions in one batch.
    by_key: OnceCell<HashMap<&'a str, Vec<usize>>>,
}

impl<'a> RequestedItems<'a> {
    fn new(items: &'a [(usize, &'a Item)]) -> Self {
        Self { items, next: 0, by_key: OnceCell::new() }
    }

    /// The item that an answer is about. Of an object, the answer may name an id that nobody asked
    /// for, such as that of a new delete marker; where it names none, a key that was asked once
    /// needs none.
    fn find(&mut self, key: Option<&str>, id: Option<&str>) -> Option<usize> {
        let is_it = |(_, item): &&(usize, &Item)| {
            Some(item.key.as_str()) == key && item.id.as_deref() == id
        };
        // S3 keeps the order of the request, and names every key: a map of them would cost more
        // than all else here.
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

/// Holds the answer against the request: every item must be accounted for, and no other may appear.
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
        // What is reported twice counts once.
        if std::mem::take(&mut is_open[position]) {
            failures.push(key_failure(items[position].0, code));
        }
    }
    let is_object = items.first().is_some_and(|(_, item)| item.id.is_none());
    asked.next = 0;
    for deleted in answer.deleted() {
        // Of a delete marker that was deleted, some stores give the id as that of the delete marker
        // alone.
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

fn unbuilt(error: &dyn Error) -> StoreError {
    StoreError::Permanent(format!("DeleteObjects: the request could not be built ({error})"))
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

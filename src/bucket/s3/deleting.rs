//! Deleting in batches and one by one, and aborting uploads.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::bucket::s3::S3;
use crate::bucket::s3::codes::{key_failure, own_failure, plain_code, sort, within};
use crate::bucket::{Deletion, Fault, Item, KeyFailure, ONLY_HIDDEN};
use crate::deadline::left_until;
use crate::target::Prefix;

/// What must go one by one: at once, for each request of `MAX_IN_FLIGHT_BATCHES`. It counts against the rate.
const SINGLES_AT_ONCE: usize = 8;

/// Codes of what is not there any more.
const GONE_CODES: [&str; 3] = ["NoSuchKey", "NoSuchUpload", "NoSuchVersion"];

/// Our own code for a key that the answer names neither as deleted nor as failed.
const UNANSWERED: &str = "Unanswered";
/// Our own code for what there was no time to ask for.
const NOT_ASKED: &str = "NotAsked";
/// Our own code for an upload that has parts after it was aborted.
const PARTS_LEFT: &str = "PartsLeft";

/// What the requests for one delete have in common.
#[derive(Debug, Clone, Copy)]
struct Order<'a> {
    prefix: &'a Prefix,
    bypass_governance: bool,
    end: Instant,
}

/// What became of one item that went by itself.
#[derive(Debug, Default)]
struct Single {
    requests: u64,
    failure: Option<KeyFailure>,
}

impl Single {
    /// Our own codes are all of what another try may cure.
    fn failed(requests: u64, index: usize, code: &str) -> Self {
        let failure = KeyFailure { index, code: code.to_owned(), is_retryable: true, is_throttle: false };
        Self { requests, failure: Some(failure) }
    }
}

impl S3 {
    /// Deletes objects by their keys.
    pub(super) async fn delete_items(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<Deletion, Fault> {
        let order = Order { prefix, bypass_governance: false, end: Instant::now() + limit };
        self.delete(order, items).await
    }

    /// Deletes versions or delete markers by their keys and ids.
    pub(super) async fn delete_versions(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<Deletion, Fault> {
        let end = Instant::now() + limit;
        let mut lock_requests = 0;
        // Only where there is a lock: the header needs a permission of its own.
        let bypass_governance =
            self.bypass_governance && self.has_object_lock(prefix.bucket(), end, &mut lock_requests).await?;
        let mut deletion = self.delete(Order { prefix, bypass_governance, end }, items).await?;
        deletion.requests += lock_requests;
        Ok(deletion)
    }

    async fn delete(&self, order: Order<'_>, items: &[Item]) -> Result<Deletion, Fault> {
        // Half of the time for the singles: what they have deleted must be reported, not dropped at the stop time.
        let half = Order { end: half_way_to(order.end), ..order };
        let (batch, singles): (Vec<_>, Vec<_>) =
            items.iter().enumerate().partition(|(_, item)| is_xml_text(item.key.as_str()));
        let mut deletion = Deletion::default();
        if !batch.is_empty() {
            deletion.requests += 1;
            deletion.failures = self.delete_batch(order, &batch).await?;
        }
        let requests: Vec<_> = singles.into_iter().map(|single| self.delete_single(half, single)).collect();
        gather(deletion, requests).await
    }

    async fn delete_batch(&self, order: Order<'_>, items: &[(usize, &Item)]) -> Result<Vec<KeyFailure>, Fault> {
        let identifiers = items.iter().map(|(_, item)| {
            ObjectIdentifier::builder().key(item.key.as_str()).set_version_id(item.id.clone()).build()
        });
        let identifiers = identifiers.collect::<Result<Vec<_>, _>>().map_err(|error| unbuilt(&error))?;
        // Not quiet: silence about a key would not be proof of its end.
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
            .config_override(within(left_until(order.end)))
            .send()
            .await
            .map_err(|error| sort("DeleteObjects", permission(items), &error).1)?;
        match_answer(items, &answer)
    }

    /// For keys that XML cannot carry: here the key is in the URL. Segments `.` and `..` stay as they are: the signature
    /// covers the path letter by letter, so whoever folded it on the way would be refused.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    async fn delete_single(&self, order: Order<'_>, (index, item): (usize, &Item)) -> Result<Single, Fault> {
        let limit = left_until(order.end);
        if limit.is_zero() {
            return Ok(Single::failed(0, index, NOT_ASKED));
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
            Ok(answer) if item.id.is_none() && answer.delete_marker() == Some(true) => Some(only_hidden(index)),
            Ok(answer) if item.id.is_some() && answer.version_id().is_some_and(|id| Some(id) != item.id.as_deref()) => {
                return Err(Fault::Untrustworthy("DeleteObject: it is about another version".to_owned()));
            }
            Ok(_) => None,
            Err(error) => match sort("DeleteObject", permission(&[(index, item)]), &error) {
                (code, _) if GONE_CODES.contains(&code.as_str()) => None,
                failed => Some(own_failure(index, failed)?),
            },
        };
        Ok(Single { requests: 1, failure })
    }

    /// Aborts uploads; each of them takes a request of its own, and one to see that nothing is left.
    pub(super) async fn abort_uploads(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<Deletion, Fault> {
        let order = Order { prefix, bypass_governance: false, end: half_way_to(Instant::now() + limit) };
        let requests: Vec<_> = items.iter().enumerate().map(|upload| self.abort(order, upload)).collect();
        gather(Deletion::default(), requests).await
    }

    async fn abort(&self, order: Order<'_>, (index, item): (usize, &Item)) -> Result<Single, Fault> {
        let limit = left_until(order.end);
        if limit.is_zero() {
            return Ok(Single::failed(0, index, NOT_ASKED));
        }
        let answer = self
            .reader
            .client
            .abort_multipart_upload()
            .bucket(order.prefix.bucket())
            .key(item.key.as_str())
            .set_upload_id(item.id.clone())
            .set_expected_bucket_owner(self.reader.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let Err(error) = answer else { return self.check_parts(order, (index, item)).await };
        let failure = match sort("AbortMultipartUpload", "s3:AbortMultipartUpload", &error) {
            (code, _) if GONE_CODES.contains(&code.as_str()) => None,
            failed => Some(own_failure(index, failed)?),
        };
        Ok(Single { requests: 1, failure })
    }

    /// A part that is being uploaded during the abort may still arrive: S3 asks to look, and to abort again.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
    async fn check_parts(&self, order: Order<'_>, (index, item): (usize, &Item)) -> Result<Single, Fault> {
        let limit = left_until(order.end);
        if limit.is_zero() {
            return Ok(Single::failed(1, index, NOT_ASKED));
        }
        let answer = self
            .reader
            .client
            .list_parts()
            .bucket(order.prefix.bucket())
            .key(item.key.as_str())
            .set_upload_id(item.id.clone())
            .max_parts(1)
            .set_expected_bucket_owner(self.reader.owner())
            .customize()
            .config_override(within(limit))
            .send()
            .await;
        let failure = match answer {
            Ok(answer) if answer.parts().is_empty() => None,
            Ok(_) => return Ok(Single::failed(2, index, PARTS_LEFT)),
            Err(error) => match sort("ListParts", "s3:ListMultipartUploadParts", &error) {
                (code, _) if GONE_CODES.contains(&code.as_str()) => None,
                // Here it holds for all uploads: whoever may abort and not look can prove nothing.
                (code, fault) if code == "AccessDenied" => return Err(fault),
                failed => Some(own_failure(index, failed)?),
            },
        };
        Ok(Single { requests: 2, failure })
    }
}

/// Sends what goes one by one, some at once, and adds up what became of it.
async fn gather(
    mut deletion: Deletion,
    requests: Vec<impl Future<Output = Result<Single, Fault>>>,
) -> Result<Deletion, Fault> {
    let singles: Vec<_> = stream::iter(requests).buffer_unordered(SINGLES_AT_ONCE).try_collect().await?;
    deletion.requests += singles.iter().map(|single| single.requests).sum::<u64>();
    deletion.failures.extend(singles.into_iter().filter_map(|single| single.failure));
    Ok(deletion)
}

fn half_way_to(end: Instant) -> Instant {
    Instant::now() + left_until(end) / 2
}

fn permission(items: &[(usize, &Item)]) -> &'static str {
    let is_of_versions = items.first().is_some_and(|(_, item)| item.id.is_some());
    if is_of_versions { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" }
}

/// Whether XML 1.0 can carry this text: most control characters have no form in it, not even an escaped one.
/// <https://www.w3.org/TR/xml/#charsets>
fn is_xml_text(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}

/// The bucket has versioning after all, switched on since it was asked: the data is still there, and now in a listing
/// of versions alone. Another try would only add another delete marker.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
fn only_hidden(index: usize) -> KeyFailure {
    KeyFailure { index, code: ONLY_HIDDEN.to_owned(), is_retryable: false, is_throttle: false }
}

/// What was asked, in its order. Positions in it stand for its items.
struct Asked<'a> {
    items: &'a [(usize, &'a Item)],
    /// Where the answer is expected to go on.
    next: usize,
    /// By key, where the answer has another order: one key may have many versions in one batch.
    by_key: OnceCell<HashMap<&'a str, Vec<usize>>>,
}

impl<'a> Asked<'a> {
    fn new(items: &'a [(usize, &'a Item)]) -> Self {
        Self { items, next: 0, by_key: OnceCell::new() }
    }

    /// The item that an answer is about. Of an object, the answer may name an id that nobody asked for, such as that
    /// of a new delete marker; where it names none, a key that was asked once needs none.
    fn find(&mut self, key: Option<&str>, id: Option<&str>) -> Option<usize> {
        let is_it = |(_, item): &&(usize, &Item)| Some(item.key.as_str()) == key && item.id.as_deref() == id;
        // S3 keeps the order of the request, and names every key: a map of them would cost more than all else here.
        let position =
            if self.items.get(self.next).filter(is_it).is_some() { self.next } else { self.search(key?, id)? };
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
        let with = |id: Option<&str>| positions.iter().find(|position| self.items[**position].1.id.as_deref() == id);
        let only = || positions.first().filter(|_| id.is_none() && positions.len() == 1);
        with(id).or_else(|| with(None)).or_else(only).copied()
    }
}

/// Holds the answer against the request: every item must be accounted for, and no other may appear.
fn match_answer(items: &[(usize, &Item)], answer: &DeleteObjectsOutput) -> Result<Vec<KeyFailure>, Fault> {
    let distrust = |what: &str| Fault::Untrustworthy(format!("DeleteObjects: {what}"));
    let mut asked = Asked::new(items);
    let mut is_open = vec![true; items.len()];
    let mut failures = Vec::new();
    for error in answer.errors() {
        let position = asked.find(error.key(), error.version_id());
        let position = position.ok_or_else(|| distrust("it has an error about something that was not asked"))?;
        let code = plain_code(error.code());
        // What is reported twice counts once.
        if std::mem::take(&mut is_open[position]) && !GONE_CODES.contains(&code) {
            failures.push(key_failure(items[position].0, code));
        }
    }
    let is_object = items.first().is_some_and(|(_, item)| item.id.is_none());
    asked.next = 0;
    for deleted in answer.deleted() {
        // Of a delete marker that was deleted, some stores give the id as that of the delete marker alone.
        let id = deleted.version_id().or(deleted.delete_marker_version_id());
        let position = asked.find(deleted.key(), id);
        let position = position.ok_or_else(|| distrust("it has deleted something that was not asked"))?;
        if std::mem::take(&mut is_open[position]) && is_object && deleted.delete_marker() == Some(true) {
            failures.push(only_hidden(items[position].0));
        }
    }
    let unanswered = |index| KeyFailure { index, code: UNANSWERED.to_owned(), is_retryable: true, is_throttle: false };
    let open = items.iter().zip(is_open).filter(|(_, is_open)| *is_open);
    failures.extend(open.map(|((index, _), _)| unanswered(*index)));
    Ok(failures)
}

fn unbuilt(error: &dyn Error) -> Fault {
    Fault::Refused(format!("DeleteObjects: the request could not be built ({error})"))
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

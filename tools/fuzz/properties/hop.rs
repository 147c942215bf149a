//! The whole function, given any message, over a store with two users: whatever position the
//! message contains, it touches no other user's files, and ends in a receipt only when nothing is
//! left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::message::erasure::Erasure;
use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};
use tokio::runtime::Builder;

use super::fake::handle::Fake;
use super::fake::model::Versioning;

/// More hops than any message of ours needs here.
const MAX_HOPS: usize = 20;

/// A queue and a place for receipts that never fail.
#[derive(Debug, Clone, Default)]
struct Office(Arc<Mutex<Papers>>);

#[derive(Debug, Default)]
struct Papers {
    letters: Vec<OutgoingMessage>,
    receipts: BTreeMap<String, String>,
}

impl Office {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue for Office {
    async fn send(
        &self,
        continuation: &OutgoingMessage,
        _limit: Duration,
    ) -> Result<(), QueueError> {
        self.papers().letters.push(continuation.clone());
        Ok(())
    }

    async fn set_visibility(
        &self,
        _: &ReceiptHandle,
        _: Duration,
        _limit: Duration,
    ) -> Result<(), QueueError> {
        Ok(())
    }
}

impl Receipts for Office {
    async fn store(
        &self,
        name: &str,
        document: &str,
        _limit: Duration,
    ) -> Result<PutResult, ReceiptError> {
        let before = self.papers().receipts.insert(name.to_owned(), document.to_owned());
        assert!(before.is_none(), "one erasure has one receipt");
        Ok(PutResult::Created)
    }

    async fn read(&self, _name: &str, _limit: Duration) -> Result<Option<String>, ReceiptError> {
        Ok(None)
    }
}

/// Two buckets, the second with versions, and what the user and another user have in them.
fn store(users: &[&str]) -> Fake {
    let mut fake = Fake::new(&["photos", "videos"]);
    fake.page_size = 2;
    let mut store = fake.store();
    store.set_versioning("videos", Versioning::Enabled);
    for user in users {
        for bucket in ["photos", "videos"] {
            for name in ["a", "b/c", "d"] {
                store.put(bucket, &format!("{user}/{name}"), 1);
            }
            store.start_upload(bucket, &format!("{user}/e"));
        }
        store.delete_plain("videos", &format!("{user}/a"));
    }
    drop(store);
    fake
}

/// Gives a message to the function, and every continuation after it, until there is none.
pub(crate) fn check(body: &str) {
    let setting = |name: &str| match name {
        "ERASE_TARGETS" => Some("s3://photos/{user_id}/,s3://videos/{user_id}/"),
        "CONTINUATION_QUEUE_URL" => {
            Some("https://sqs.eu-central-1.amazonaws.com/123456789012/erase")
        }
        "RECEIPTS_URI" => Some("s3://receipts/"),
        "MAX_DELETES_PER_SECOND" => Some("0"),
        _ => None,
    };
    let config =
        || Config::from_vars(|name| setting(name).map(str::to_owned)).expect("right settings");
    let Ok(erasure) = Erasure::parse(body, Some("message-1"), &config()) else {
        return;
    };
    let user = format!("{}/", erasure.user.id().as_str());
    let other = if user == "u10/" { "u1" } else { "u10" };
    let fake = store(&[erasure.user.id().as_str(), other]);
    let of =
        |prefix: &str| ["photos", "videos"].map(|bucket| fake.store().inventory(bucket, prefix));
    let (before, others_before) = (of(&user), of(&format!("{other}/")));
    let office = Office::default();
    let handler =
        Handler::new(config(), Eraser(fake.clone()), office.clone(), Some(office.clone()), 1);
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let is_given_back = runtime.block_on(go_through(&handler, &office, body));

    assert_eq!(of(&format!("{other}/")), others_before, "somebody else's files were touched");
    let kept = |at| erasure.erase_before.is_some_and(|limit| at >= limit);
    let is_gone = of(&user).iter().all(|left| {
        left.data.iter().chain(&left.markers).all(|(_, version)| kept(version.last_modified))
            && left.uploads.iter().all(|(_, upload)| kept(upload.initiated))
    });
    let papers = office.papers();
    let is_done = papers
        .receipts
        .keys()
        .any(|name| name.ends_with("/erased.json") || name.ends_with("/swept.json"));
    assert!(!is_done || is_gone, "a receipt for what is still there: {papers:?}");
    assert_ne!(is_done, is_given_back, "neither proven nor given back: {papers:?}");
    assert!(!erasure.is_dry_run || of(&user) == before, "a dry run deleted something");
}

/// Whether the function returned a message to the queue: its continuations arrive immediately.
async fn go_through(
    handler: &Handler<Eraser<Fake>, Office, Office>,
    office: &Office,
    body: &str,
) -> bool {
    let mut body = body.to_owned();
    for hop in 0..MAX_HOPS {
        let mut record = SqsMessage::default();
        record.message_id = Some("message-1".to_owned());
        record.body = Some(body);
        let mut event = SqsEvent::default();
        event.records = vec![record];
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let fallback = Duration::from_secs(60);
        let announced = AnnouncedDeadline { deadline_epoch_ms: 1_800_000_060_000, now, fallback };
        let answer = handler.handle_until(event, announced).await.expect("an answer");
        let letter = office.papers().letters.pop();
        match letter {
            None => return !answer.batch_item_failures.is_empty(),
            // What waits for a sweep may wait for years.
            Some(letter) if !letter.delay.is_zero() => return true,
            Some(letter) => body = letter.body,
        }
        assert!(hop + 1 < MAX_HOPS, "a chain without an end");
    }
    true
}

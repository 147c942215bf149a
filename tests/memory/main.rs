//! How much memory an invocation takes at most, whatever a user has stored: bytes are counted by
//! the allocator.

#[path = "../fake/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod fake;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};
use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, Item, Kind, ListedEntry, LockKind, Page, ReadStore, Retention,
    StoreError,
};
use erase_user_files::target::Prefix;
use fake::handle::Fake;
use fake::model::Versioning;
use tokio::time::sleep;

const MIB: u64 = 1_048_576;

/// One key with delete markers and nothing else, the newest with the lowest number. The model of S3
/// would take too long.
#[derive(Debug)]
struct OneKey {
    key: String,
    markers: Arc<Mutex<BTreeSet<u32>>>,
}

impl ReadStore for OneKey {
    async fn is_versioned(&self, _prefix: &Prefix, _limit: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn list(
        &self,
        _prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        _limit: Duration,
    ) -> Result<Page, StoreError> {
        sleep(Duration::from_millis(60)).await;
        let markers = self.markers.lock().expect("no panic");
        let from = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        let mut rest = markers.range(from..).filter(|_| kind == Kind::Versions);
        let listed: Vec<u32> = rest.by_ref().take(1_000).copied().collect();
        let next = rest.next().map(u32::to_string);
        let entry = |number: u32| ListedEntry {
            kind: Kind::DeleteMarkers,
            key: self.key.clone(),
            other_key: None,
            id: Some(format!("{number:032}")),
            bytes: 0,
            last_modified: None,
        };
        let cut_at = next.as_ref().map(|_| self.key.clone());
        Ok(Page { entries: listed.into_iter().map(entry).collect(), next, cut_at })
    }

    fn token_after(&self, _kind: Kind, _key: &str) -> Option<String> {
        None
    }
}

impl DeleteStore for OneKey {
    async fn delete(
        &self,
        _prefix: &Prefix,
        items: &[Item],
        _limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        sleep(Duration::from_millis(250)).await;
        let mut markers = self.markers.lock().expect("no panic");
        for id in items.iter().filter_map(|item| item.id.as_ref()) {
            markers.remove(&id.parse().expect("a number"));
        }
        Ok(DeleteResult { requests: 1, failures: Vec::new() })
    }

    async fn retention(
        &self,
        _prefix: &Prefix,
        _item: &Item,
        _limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        Ok(None)
    }
}

/// The model of S3, with the time that requests take: many of them are in flight together.
#[derive(Debug)]
struct Slow(Fake);

impl ReadStore for Slow {
    async fn is_versioned(&self, prefix: &Prefix, limit: Duration) -> Result<bool, StoreError> {
        self.0.is_versioned(prefix, limit).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        sleep(Duration::from_millis(60)).await;
        self.0.list(prefix, kind, token, limit).await
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        self.0.token_after(kind, key)
    }
}

impl DeleteStore for Slow {
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        sleep(Duration::from_millis(250)).await;
        self.0.delete(prefix, items, limit).await
    }

    async fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        sleep(Duration::from_millis(40)).await;
        self.0.retention(prefix, item, limit).await
    }
}

/// A queue and a place for receipts that take everything and keep nothing.
#[derive(Debug)]
struct Sink;

impl Queue for Sink {
    async fn send(
        &self,
        _continuation: &OutgoingMessage,
        _limit: Duration,
    ) -> Result<(), QueueError> {
        Ok(())
    }

    async fn set_visibility(
        &self,
        _to: &ReceiptHandle,
        _time: Duration,
        _limit: Duration,
    ) -> Result<(), QueueError> {
        Ok(())
    }
}

impl Receipts for Sink {
    async fn store(
        &self,
        _name: &str,
        _document: &str,
        _limit: Duration,
    ) -> Result<PutResult, ReceiptError> {
        Ok(PutResult::Created)
    }

    async fn read(&self, _name: &str, _limit: Duration) -> Result<Option<String>, ReceiptError> {
        Ok(None)
    }
}

/// The most bytes that one invocation of five minutes holds, for these users.
fn peak(store: impl DeleteStore, users: &[String]) -> u64 {
    let lookup = |name: &str| match name {
        "ERASE_TARGETS" => Some("s3://photos/{user_id}/".to_owned()),
        "CONTINUATION_QUEUE_URL" => {
            Some("https://sqs.eu-central-1.amazonaws.com/123456789012/erase".to_owned())
        }
        "RECEIPTS_URI" => Some("s3://receipts/".to_owned()),
        _ => None,
    };
    let config = Config::from_vars(lookup).expect("right settings");
    let mut event = SqsEvent::default();
    event.records = users.iter().map(|user| withdrawal(user)).collect();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let announced = AnnouncedDeadline {
        deadline_epoch_ms: 1_800_000_300_000,
        now,
        fallback: Duration::from_secs(60),
    };
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            let handler = Handler::new(config, Eraser(store), Sink, Some(Sink), 1);
            handler.handle_until(event, announced).await.expect("an answer");
        });
    });
    counted.bytes_max
}

fn withdrawal(user: &str) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(user.to_owned());
    record.body = Some(format!(r#"{{"type":"user-withdrawn","userId":"{user}"}}"#));
    record
}

/// A name of so many bytes in a user's folder.
fn key(user: &str, number: usize, bytes: usize) -> String {
    let name = format!("{user}/{number:06}");
    format!("{name}{}", "x".repeat(bytes.saturating_sub(name.len())))
}

#[test]
fn delete_markers_of_one_key_take_no_more_memory_than_those_of_many() {
    for bytes in [30, 1_024] {
        let markers = Arc::new(Mutex::new((0..100_000).collect()));
        let store = OneKey { key: key("u1", 7, bytes), markers: Arc::clone(&markers) };
        let peak = peak(store, &["u1".to_owned()]);
        assert!(markers.lock().expect("no panic").is_empty());
        assert!(peak < 16 * MIB, "{} MiB with keys of {bytes} bytes", peak / MIB);
    }
}

#[test]
fn locked_versions_of_ten_users_take_bounded_memory_whatever_the_length_of_their_keys() {
    for bytes in [60, 1_024] {
        let fake = Fake::new(&["photos"]);
        fake.store().set_versioning("photos", Versioning::Enabled);
        let users: Vec<String> = (0..10).map(|number| format!("user-{number}")).collect();
        for (user, number) in
            users.iter().flat_map(|user| (0..12_000).map(move |number| (user, number)))
        {
            let key = key(user, number, bytes);
            fake.store().put("photos", &key, 1);
            let id = fake.store().versions("photos", &key)[0].id.clone();
            fake.store().lock(
                "photos",
                &key,
                &id,
                Retention { hold: LockKind::LegalHold, until: None },
            );
        }
        let peak = peak(Slow(fake), &users);
        assert!(peak < 40 * MIB, "{} MiB with keys of {bytes} bytes", peak / MIB);
    }
}

#[test]
fn many_objects_of_ten_users_take_bounded_memory_whatever_the_length_of_their_keys() {
    for bytes in [60, 1_024] {
        let fake = Fake::new(&["photos"]);
        let users: Vec<String> = (0..10).map(|number| format!("user-{number}")).collect();
        for (user, number) in
            users.iter().flat_map(|user| (0..10_000).map(move |number| (user, number)))
        {
            fake.store().put("photos", &key(user, number, bytes), 1);
        }
        let store = fake.clone();
        let peak = peak(Slow(fake), &users);
        assert!(store.store().inventory("photos", "").is_empty());
        assert!(peak < 40 * MIB, "{} MiB with keys of {bytes} bytes", peak / MIB);
    }
}

#[test]
fn the_allocator_counts() {
    let counted = allocation_counter::measure(|| drop(vec![0_u8; 5_000_000]));
    assert!(counted.bytes_max >= 5_000_000 && counted.bytes_current == 0, "{counted:?}");
    assert!(NonZero::new(counted.count_total).is_some());
}

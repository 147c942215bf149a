//! How much memory an invocation takes at most, whatever a user has stored: bytes are counted by
//! the allocator.

#[path = "../fake/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod fake;
#[path = "../fake/faults.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod faults;

use std::num::NonZero;
use std::time::{Duration, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};
use erase_user_files::ports::store::{LockKind, Retention, StoreError};
use fake::handle::Fake;
use fake::model::Versioning;
use faults::{Asks, Faults, Request, Shared};
use tokio::time::sleep;

const MIB: u64 = 1_048_576;

/// The model of S3 with latency: many requests are in flight at the same time.
#[derive(Debug)]
struct Slow(Fake);

impl Faults for Slow {
    fn model(&self) -> &Fake {
        &self.0
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        let milliseconds = match request.asks {
            Asks::Versioning => return Ok(()),
            Asks::Listing(_) => 60,
            Asks::Deleting(_) => 250,
            Asks::Retention(_) => 40,
        };
        sleep(Duration::from_millis(milliseconds)).await;
        Ok(())
    }
}

/// A queue and a receipt store that take everything and keep nothing.
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
fn peak(fake: Fake, users: &[String]) -> u64 {
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
            let handler =
                Handler::new(config, Eraser(Shared::new(Slow(fake))), Sink, Some(Sink), 1);
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
fn delete_markers_of_one_key_take_bounded_memory() {
    for bytes in [30, 1_024] {
        let fake = Fake::new(&["photos"]);
        fake.store().set_versioning("photos", Versioning::Enabled);
        let key = key("u1", 7, bytes);
        (0..100_000).for_each(|_| _ = fake.store().delete_plain("photos", &key));
        let peak = peak(fake.clone(), &["u1".to_owned()]);
        assert!(fake.store().inventory("photos", "").is_empty());
        assert!(peak < 16 * MIB, "{} MiB with keys of {bytes} bytes", peak / MIB);
    }
}

/// Whatever the length of their keys.
#[test]
fn objects_and_locked_versions_of_ten_users_take_bounded_memory() {
    for (bytes, is_locked) in [(60, false), (1_024, false), (60, true), (1_024, true)] {
        let fake = Fake::new(&["photos"]);
        if is_locked {
            fake.store().set_versioning("photos", Versioning::Enabled);
        }
        let users: Vec<String> = (0..10).map(|number| format!("user-{number}")).collect();
        for (user, number) in
            users.iter().flat_map(|user| (0..12_000).map(move |number| (user, number)))
        {
            let key = key(user, number, bytes);
            let mut store = fake.store();
            store.put("photos", &key, 1);
            if is_locked {
                let id = store.versions("photos", &key)[0].id.clone();
                let lock = Retention { hold: LockKind::LegalHold, until: None };
                store.lock("photos", &key, &id, lock);
            }
        }
        let peak = peak(fake.clone(), &users);
        assert_eq!(fake.store().inventory("photos", "").is_empty(), !is_locked);
        assert!(peak < 40 * MIB, "{} MiB with keys of {bytes} bytes", peak / MIB);
    }
}

#[test]
fn allocations_are_counted() {
    let counted = allocation_counter::measure(|| drop(vec![0_u8; 5_000_000]));
    assert!(counted.bytes_max >= 5_000_000 && counted.bytes_current == 0, "{counted:?}");
    assert!(NonZero::new(counted.count_total).is_some());
}

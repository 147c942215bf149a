//! A function that stays warm, over a store of three buckets of which one fails.

use std::sync::Mutex;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::ports::queue::OutgoingMessage;
use erase_user_files::ports::store::{FailureKind, Item, Kind, StoreError};
use erase_user_files::target::Prefix;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fake::handle::Fake;
use crate::faults::{Asks, Code, Faults, Request, Shared};
use crate::fixture::{FakeQueue, FakeReceipts, Fixture, Logs, Store, locked, record};
use crate::schema::assert_is_receipt;

pub(crate) const BUCKETS: [&str; 3] = ["photos", "exports", "backups"];

/// The targets in these buckets, as the setting names them.
pub(crate) const TARGETS: [&str; 3] =
    ["s3://photos/{user_id}/", "s3://exports/{user_id}/", "s3://backups/{user_id}/"];

/// The number of uploads in each bucket that has objects.
pub(crate) const UPLOADS: usize = 2;

/// The size of each object.
pub(crate) const BYTES: usize = 7;

/// The request to erase u1.
pub(crate) const REQUEST: &str = r#"{"type":"user-withdrawn","userId":"u1","requestId":"r"}"#;

/// The deliveries of one message before it goes to the dead-letter queue, as `template.yaml` sets
/// it.
const MOST_DELIVERIES: u32 = 5;

/// An operation of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Versioning,
    Listing,
    Deleting,
    Aborting,
}

impl Operation {
    fn of(asks: Asks<'_>) -> Self {
        match asks {
            Asks::Versioning => Self::Versioning,
            Asks::Listing(_) => Self::Listing,
            Asks::Deleting(items) if items.iter().any(|item| item.kind == Kind::Uploads) => {
                Self::Aborting
            }
            Asks::Deleting(_) => Self::Deleting,
            Asks::Retention(_) => unreachable!("the buckets have no versions"),
        }
    }

    /// Its name, and the time that a healthy bucket takes for it.
    fn name_and_time(self) -> (&'static str, Duration) {
        let (name, milliseconds) = match self {
            Self::Versioning => ("GetBucketVersioning", 10),
            Self::Listing => ("ListObjectsV2", 20),
            Self::Deleting => ("DeleteObjects", 50),
            Self::Aborting => ("AbortMultipartUpload", 50),
        };
        (name, Duration::from_millis(milliseconds))
    }
}

/// How a bucket fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failing {
    /// Every request gets this fault and this code.
    Requests(fn(String) -> StoreError, &'static str),
    /// These requests get no answer.
    Hangs(&'static [Operation]),
    /// `DeleteObjects` answers 200, with this code for every key that ends with `end`.
    Keys { code: &'static str, end: &'static str },
    /// `DeleteObjects` takes this time for each key.
    Slow(Duration),
    /// The store confirms the deletion of all things of this kind, and this number of listings
    /// still shows them.
    Ghosts { kind: Kind, listings: usize },
    /// Another client deletes things of these kinds whose keys end with `end`, between their
    /// listing and their deletion.
    Missing { kinds: &'static [Kind], end: &'static str },
}

/// Three buckets without versions. One of them may fail.
#[derive(Debug)]
pub(crate) struct Faulty {
    model: Fake,
    failing: Mutex<Option<(&'static str, Failing)>>,
    /// What is deleted and still listed, and how many listings have shown it.
    ghosts: Mutex<(Vec<Item>, usize)>,
}

impl Faulty {
    /// From now on this bucket fails, and no other.
    pub(crate) fn fail(&self, bucket: &'static str, failing: Failing) {
        *locked(&self.failing) = Some((bucket, failing));
    }

    /// From now on no bucket fails.
    pub(crate) fn heal(&self) {
        *locked(&self.failing) = None;
    }

    fn failing(&self, prefix: &Prefix) -> Option<Failing> {
        let failing = *locked(&self.failing);
        failing.filter(|(bucket, _)| *bucket == prefix.bucket()).map(|(_, failing)| failing)
    }

    fn remove(&self, prefix: &Prefix, item: &Item) {
        self.model
            .store()
            .delete(prefix.bucket(), item, false)
            .expect("a bucket without versions deletes everything");
    }

    /// Deletes key by key, each in this time. When the caller stops waiting, the first keys are
    /// deleted.
    async fn delete_slowly(
        &self,
        request: Request<'_>,
        items: &[Item],
        time: Duration,
    ) -> Result<(), StoreError> {
        let end = Instant::now() + request.limit - Operation::Deleting.name_and_time().1;
        for item in items {
            if Instant::now() + time > end {
                sleep_until(end).await;
                return Err(StoreError::NoAnswer("DeleteObjects: NoAnswerInTime".to_owned()));
            }
            sleep(time).await;
            self.remove(request.prefix, item);
        }
        Ok(())
    }
}

impl Faults for Faulty {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        let operation = Operation::of(request.asks);
        let (name, time) = operation.name_and_time();
        match (self.failing(request.prefix), request.asks) {
            (Some(Failing::Requests(fault, code)), _) => {
                sleep(time).await;
                Err(fault(format!("{name}: {code}")))
            }
            (Some(Failing::Hangs(hanging)), _) if hanging.contains(&operation) => {
                sleep(request.limit).await;
                Err(StoreError::NoAnswer(format!("{name}: NoAnswerInTime")))
            }
            (Some(Failing::Slow(of_key)), Asks::Deleting(items))
                if operation == Operation::Deleting =>
            {
                sleep(time).await;
                self.delete_slowly(request, items, of_key).await
            }
            _ => {
                sleep(time).await;
                Ok(())
            }
        }
    }

    fn kept(
        &self,
        request: Request<'_>,
        items: &[Item],
    ) -> Result<Vec<(usize, Option<Code>)>, StoreError> {
        let code_of = |item: &Item| {
            let ends_with = |end: &str| item.key.as_str().ends_with(end);
            match self.failing(request.prefix)? {
                // The adapter classifies both codes that the tests use, InternalError and SlowDown,
                // as throttled.
                Failing::Keys { code, end } if item.kind != Kind::Uploads && ends_with(end) => {
                    Some(Some((code, FailureKind::Throttled)))
                }
                Failing::Ghosts { kind, .. } if kind == item.kind => {
                    locked(&self.ghosts).0.push(item.clone());
                    Some(None)
                }
                Failing::Missing { kinds, end } if kinds.contains(&item.kind) && ends_with(end) => {
                    self.remove(request.prefix, item);
                    let is_upload = item.kind == Kind::Uploads;
                    let code = if is_upload { "NoSuchUpload" } else { "NoSuchKey" };
                    Some(Some((code, FailureKind::NotFound)))
                }
                Failing::Requests(..)
                | Failing::Hangs(_)
                | Failing::Keys { .. }
                | Failing::Slow(_)
                | Failing::Ghosts { .. }
                | Failing::Missing { .. } => None,
            }
        };
        let kept = items.iter().enumerate();
        Ok(kept.filter_map(|(index, item)| Some((index, code_of(item)?))).collect())
    }

    /// Counts the listings that show deleted items. After the last one, the items are absent.
    async fn after(&self, request: Request<'_>) {
        let (Asks::Listing(listed), Some(Failing::Ghosts { kind, listings })) =
            (request.asks, self.failing(request.prefix))
        else {
            return;
        };
        let mut ghosts = locked(&self.ghosts);
        let (items, shown) = &mut *ghosts;
        if listed != kind || items.is_empty() {
            return;
        }
        *shown += 1;
        if *shown >= listings {
            items.drain(..).for_each(|item| self.remove(request.prefix, &item));
        }
    }
}

/// One execution environment: what it learns in an invocation it knows in the next one.
pub(crate) struct Function {
    pub(crate) store: Shared<Faulty>,
    fixture: Fixture,
    handler: Handler<Eraser<Shared<Faulty>>, Shared<FakeQueue>, Shared<FakeReceipts>>,
    logs: Logs,
}

/// What one delivery has come to.
#[derive(Debug)]
pub(crate) struct Hop {
    /// The outcome and its reason, as the log has them.
    pub(crate) outcome: String,
    pub(crate) reason: String,
    /// Whether the answer names the message as a batch item failure.
    pub(crate) is_redelivered: bool,
    /// The continuation.
    pub(crate) sent: Option<OutgoingMessage>,
    /// How many objects and uploads u1 has afterwards in each bucket.
    pub(crate) left: [usize; 3],
}

impl Function {
    /// With this number of objects in each bucket; a bucket that has some has uploads, too.
    pub(crate) fn new(objects: [usize; 3], settings: &[(&str, &str)]) -> Self {
        let fake = Fake::new(&BUCKETS);
        for (bucket, objects) in BUCKETS.into_iter().zip(objects) {
            let mut store = fake.store();
            (0..objects)
                .for_each(|number| store.put(bucket, &format!("u1/{number:05}"), BYTES as u64));
            let uploads = if objects > 0 { UPLOADS } else { 0 };
            (0..uploads)
                .for_each(|number| _ = store.start_upload(bucket, &format!("u1/upload-{number}")));
        }
        let (failing, ghosts) = (Mutex::default(), Mutex::default());
        let store = Shared::new(Faulty { model: fake, failing, ghosts });
        let targets = TARGETS.join(",");
        let settings: Vec<(&str, &str)> =
            settings.iter().copied().chain([("ERASE_TARGETS", &*targets)]).collect();
        let fixture = Fixture::new(Store::default(), &settings);
        let (queue, receipt_store) = (fixture.queue.clone(), Some(fixture.receipt_store.clone()));
        let handler =
            Handler::new(fixture.config(), Eraser(store.clone()), queue, receipt_store, 1);
        Self { store, fixture, handler, logs: Logs::default() }
    }

    /// Delivers one message to an invocation that may take so many seconds.
    pub(crate) async fn deliver(&self, body: &str, delivery: u32, seconds: u64) -> Hop {
        let mut message = record("m", body);
        message.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.to_string());
        message.attributes.insert("SentTimestamp".to_owned(), "1799999940000".to_owned());
        let mut event = SqsEvent::default();
        event.records = vec![message];
        let (start, timeout) = (Instant::now(), Duration::from_secs(seconds));
        let response = {
            let _listening = self.logs.listen();
            self.handler
                .handle_until(event, self.fixture.announced(timeout))
                .await
                .expect("an answer")
        };
        assert!(
            start.elapsed() < timeout,
            "the answer came after {:?} of {timeout:?}",
            start.elapsed()
        );
        let log = self.logs.take();
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let line =
            lines.find(|line| line["message"] == "hop finished").expect("a line for the hop");
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let sent = locked(&self.fixture.queue.sent).pop();
        let is_redelivered = !response.batch_item_failures.is_empty();
        Hop {
            outcome: text("outcome"),
            reason: text("reason"),
            is_redelivered,
            sent,
            left: self.left(),
        }
    }

    /// Delivers a message and every continuation until nothing follows, and a message that is given
    /// back once more, but no message more often than SQS does.
    pub(crate) async fn follow(&self, body: &str, seconds: u64) -> Vec<Hop> {
        let (mut body, mut delivery, mut hops) = (body.to_owned(), 1, Vec::<Hop>::new());
        loop {
            let hop = self.deliver(&body, delivery, seconds).await;
            let wait = if hop.is_redelivered {
                delivery += 1;
                let seconds = locked(&self.fixture.queue.visibilities)["m"];
                Some(Duration::from_secs(seconds))
            } else if let Some(next) = &hop.sent {
                delivery = 1;
                body.clone_from(&next.body);
                Some(next.delay)
            } else {
                None
            };
            hops.push(hop);
            let Some(wait) = wait else { return hops };
            assert!(delivery <= MOST_DELIVERIES && hops.len() < 50, "{hops:#?}");
            sleep(wait).await;
        }
    }

    fn left(&self) -> [usize; 3] {
        BUCKETS.map(|bucket| {
            let left = self.store.model.store().inventory(bucket, "u1/");
            left.data.len() + left.uploads.len()
        })
    }

    /// A receipt of the request.
    pub(crate) fn receipt(&self, name: &str) -> Value {
        let documents = locked(&self.fixture.receipt_store.documents);
        let text = documents.get(&format!("r/{name}.json")).expect("a receipt of this name");
        let receipt = serde_json::from_str(text).expect("a receipt is JSON");
        assert_is_receipt(&receipt);
        receipt
    }
}

/// How many objects, uploads and bytes a receipt, or one target in it, counts.
pub(crate) fn counts(receipt: &Value) -> [usize; 3] {
    ["objects", "uploads", "bytes"].map(|name| {
        let count = receipt[name].as_u64().expect("a number");
        usize::try_from(count).expect("a small number")
    })
}

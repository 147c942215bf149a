//! A function that stays warm, over a store of three buckets of which one fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::ports::queue::OutgoingMessage;
use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, FailureKind, Item, KeyFailure, Kind, Page, ReadStore, Retention,
    StoreError,
};
use erase_user_files::target::Prefix;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fake::handle::Fake;
use crate::scene::{Letters, Logs, Scene, Shared, Shelf, Store, locked, record};
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

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    Versioning,
    Listing,
    Deleting,
    Aborting,
}

impl Asks {
    /// The name of the operation, and the time that a healthy bucket takes for it.
    fn operation(self) -> (&'static str, Duration) {
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
    Hangs(&'static [Asks]),
    /// `DeleteObjects` answers 200, with this code for every key that ends with `end`.
    Keys { code: &'static str, end: &'static str },
    /// `DeleteObjects` takes this time for each key.
    Slow(Duration),
    /// The store confirms the deletion of all things of this kind, and this number of listings
    /// still shows them.
    Ghosts { kind: Kind, listings: usize },
    /// Somebody else deletes things of these kinds whose keys end with `end`, between their listing
    /// and their deletion.
    Missing { kinds: &'static [Kind], end: &'static str },
}

/// Three buckets without versions. One of them may fail.
#[derive(Debug)]
pub(crate) struct Faulty {
    fake: Fake,
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

    /// Takes the time of a request, and fails as the bucket does.
    async fn answer(&self, prefix: &Prefix, asks: Asks, limit: Duration) -> Result<(), StoreError> {
        let (name, time) = asks.operation();
        match self.failing(prefix) {
            Some(Failing::Requests(fault, code)) => {
                sleep(time).await;
                Err(fault(format!("{name}: {code}")))
            }
            Some(Failing::Hangs(hanging)) if hanging.contains(&asks) => {
                sleep(limit).await;
                Err(StoreError::NoAnswer(format!("{name}: NoAnswerInTime")))
            }
            Some(_) | None => {
                sleep(time).await;
                Ok(())
            }
        }
    }

    /// Deletes one item, or returns why it is not deleted.
    fn delete_item(&self, prefix: &Prefix, item: &Item) -> Option<(&'static str, FailureKind)> {
        let ends_with = |end: &str| item.key.as_str().ends_with(end);
        match self.failing(prefix) {
            // The adapter says so of both codes that the tests use, InternalError and SlowDown.
            Some(Failing::Keys { code, end }) if item.kind != Kind::Uploads && ends_with(end) => {
                return Some((code, FailureKind::Throttled));
            }
            Some(Failing::Ghosts { kind, .. }) if kind == item.kind => {
                locked(&self.ghosts).0.push(item.clone());
                return None;
            }
            Some(Failing::Missing { kinds, end })
                if kinds.contains(&item.kind) && ends_with(end) =>
            {
                self.remove(prefix, item);
                let code = if item.kind == Kind::Uploads { "NoSuchUpload" } else { "NoSuchKey" };
                return Some((code, FailureKind::NotFound));
            }
            Some(_) | None => {}
        }
        self.remove(prefix, item);
        None
    }

    fn remove(&self, prefix: &Prefix, item: &Item) {
        self.fake
            .store()
            .delete(prefix.bucket(), item, false)
            .expect("a bucket without versions deletes everything");
    }

    /// Notes a listing of one kind. After the last one that shows deleted things, they are gone.
    fn note_listing(&self, prefix: &Prefix, kind: Kind) {
        let Some(Failing::Ghosts { kind: ghost, listings }) = self.failing(prefix) else {
            return;
        };
        let mut ghosts = locked(&self.ghosts);
        let (items, shown) = &mut *ghosts;
        if ghost != kind || items.is_empty() {
            return;
        }
        *shown += 1;
        if *shown >= listings {
            items.drain(..).for_each(|item| self.remove(prefix, &item));
        }
    }
}

impl ReadStore for Shared<Faulty> {
    async fn is_versioned(&self, prefix: &Prefix, limit: Duration) -> Result<bool, StoreError> {
        self.answer(prefix, Asks::Versioning, limit).await?;
        self.fake.is_versioned(prefix, limit).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        self.answer(prefix, Asks::Listing, limit).await?;
        let page = self.fake.list(prefix, kind, token, limit).await;
        self.note_listing(prefix, kind);
        page
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        self.fake.token_after(kind, key)
    }
}

impl DeleteStore for Shared<Faulty> {
    /// Deletes key by key. A slow bucket has deleted the first ones when the caller waits no
    /// longer.
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let end = Instant::now() + limit;
        let is_of_uploads = items.iter().any(|item| item.kind == Kind::Uploads);
        let asks = if is_of_uploads { Asks::Aborting } else { Asks::Deleting };
        self.answer(prefix, asks, limit).await?;
        let mut failures = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(Failing::Slow(time)) = self.failing(prefix)
                && !is_of_uploads
            {
                if Instant::now() + time > end {
                    sleep_until(end).await;
                    return Err(StoreError::NoAnswer("DeleteObjects: NoAnswerInTime".to_owned()));
                }
                sleep(time).await;
            }
            let failure = self.delete_item(prefix, item);
            failures.extend(failure.map(|(code, kind)| KeyFailure {
                index,
                code: code.to_owned(),
                kind,
            }));
        }
        let requests = if is_of_uploads { items.len() as u64 } else { 1 };
        Ok(DeleteResult { requests, failures })
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

/// One execution environment: what it learns in an invocation it knows in the next one.
pub(crate) struct Function {
    pub(crate) store: Shared<Faulty>,
    scene: Scene,
    handler: Handler<Eraser<Shared<Faulty>>, Shared<Letters>, Shared<Shelf>>,
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
        let store =
            Shared(Arc::new(Faulty { fake, failing: Mutex::default(), ghosts: Mutex::default() }));
        let targets = TARGETS.join(",");
        let settings: Vec<(&str, &str)> =
            settings.iter().copied().chain([("ERASE_TARGETS", &*targets)]).collect();
        let scene = Scene::new(Store::default(), Letters::default(), &settings);
        let (queue, shelf) = (scene.letters.clone(), Some(scene.shelf.clone()));
        let handler = Handler::new(scene.config(), Eraser(store.clone()), queue, shelf, 1);
        Self { store, scene, handler, logs: Logs::default() }
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
                .handle_until(event, self.scene.announced(timeout))
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
        let sent = locked(&self.scene.letters.sent).pop();
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
                let seconds = locked(&self.scene.letters.visibilities)["m"];
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
            let left = self.store.fake.store().inventory(bucket, "u1/");
            left.data.len() + left.uploads.len()
        })
    }

    /// A receipt of the request.
    pub(crate) fn receipt(&self, name: &str) -> Value {
        let documents = locked(&self.scene.shelf.documents);
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

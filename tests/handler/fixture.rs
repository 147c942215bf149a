//! A world of one function, its store, its queue and its receipts' bucket, in virtual time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::event::EventError;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::lambda::metrics::Metrics;
use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};
use erase_user_files::ports::store::{FailureKind, Item, Kind, ListedEntry, Page, StoreError};
use erase_user_files::target::Prefix;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use crate::fake::handle::Fake;
use crate::fake::listing::token_after;
use crate::fake::model::Versioning;
use crate::faults::{Asks, Code, Faults, Request, Shared};

/// The model of S3 with latency: 60 ms for a listing, 250 ms for a delete request. Faults are as the
/// fields say.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) model: Fake,
    pub(crate) log: Mutex<Vec<(Instant, Event)>>,
    /// Every item of a delete request is denied.
    pub(crate) denies_deletes: bool,
    /// No listing is answered.
    pub(crate) hangs: bool,
    pub(crate) denies_uploads: bool,
    /// It lists an upload of another user.
    pub(crate) lists_a_stray: bool,
    /// It throttles every second delete request.
    pub(crate) throttles_half: bool,
    /// The number of zeros that make its tokens longer.
    pub(crate) zeros: usize,
    /// It can begin a listing only where another one ended.
    pub(crate) has_no_order: bool,
    /// It deletes when the request arrives, and takes 175 to 325 ms for the answer.
    pub(crate) is_uneven: bool,
    /// Delete requests hang whose first key has this number.
    pub(crate) hangs_from: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Listed(String),
    Deleting(usize),
    Deleted(usize),
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bucket of the only target, unless a test sets another one.
pub(crate) const BUCKET: &str = "photos";

/// The key of a user's object. The objects have numbers, and each is written one second after the
/// one before, from 1970 on.
fn key(user: &str, number: u32) -> String {
    format!("{user}/{number:09}")
}

/// The token of the page of u1's objects that begins with this number.
pub(crate) fn token(number: u32) -> String {
    format!("Objects:1:{}", key("u1", number - 1))
}

/// The number of a key.
fn number(prefix: &Prefix, item: &Item) -> u32 {
    item.key.as_str()[prefix.as_str().len()..].parse().expect("a number")
}

impl Default for Store {
    fn default() -> Self {
        Self {
            model: Fake::new(&[BUCKET, "exports"]),
            log: Mutex::default(),
            denies_deletes: false,
            hangs: false,
            denies_uploads: false,
            lists_a_stray: false,
            throttles_half: false,
            zeros: 0,
            has_no_order: false,
            is_uneven: false,
            hangs_from: None,
        }
    }
}

impl Store {
    /// So many objects of each user.
    pub(crate) fn of(users: &[(&str, u32)]) -> Self {
        let store = Self::default();
        users.iter().for_each(|(user, count)| store.put(BUCKET, user, 0..*count));
        store
    }

    /// The same in a bucket with versioning.
    pub(crate) fn versioned(users: &[(&str, u32)]) -> Self {
        let store = Self::default();
        store.model.store().set_versioning(BUCKET, Versioning::Enabled);
        users.iter().for_each(|(user, count)| store.put(BUCKET, user, 0..*count));
        store
    }

    pub(crate) fn put(&self, bucket: &str, user: &str, numbers: impl IntoIterator<Item = u32>) {
        let mut model = self.model.store();
        for number in numbers {
            model.set_now(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(number.into()));
            model.put(bucket, &key(user, number), 1);
        }
    }

    pub(crate) fn left(&self, user: &str) -> usize {
        self.model.store().versions_under(BUCKET, &format!("{user}/")).count()
    }

    fn note(&self, event: Event) {
        locked(&self.log).push((Instant::now(), event));
    }

    /// How many requests have listed objects or versions.
    pub(crate) fn listings(&self) -> usize {
        let log = locked(&self.log);
        log.iter().filter(|(_, event)| matches!(event, Event::Listed(_))).count()
    }
}

impl Faults for Store {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        let wait = |milliseconds| sleep(Duration::from_millis(milliseconds));
        match request.asks {
            Asks::Versioning => {}
            Asks::Listing(_) if self.hangs => {
                sleep(request.limit).await;
                return Err(StoreError::NoAnswer("ListObjects: NoAnswerInTime".to_owned()));
            }
            Asks::Listing(kind) => {
                let prefix = request.prefix.as_str();
                assert!(!prefix.starts_with("panic"), "this one panics on purpose");
                wait(60).await;
                if self.denies_uploads && kind == Kind::Uploads {
                    return Err(StoreError::Permanent("AccessDenied".to_owned()));
                }
                if kind != Kind::Uploads {
                    self.note(Event::Listed(prefix.to_owned()));
                }
            }
            Asks::Deleting(items) => {
                self.note(Event::Deleting(items.len()));
                let is_first =
                    |from| items.first().map(|item| number(request.prefix, item)) == Some(from);
                if self.hangs_from.is_some_and(is_first) {
                    std::future::pending::<()>().await;
                }
                let is_deleting = |(_, event): &&_| matches!(event, Event::Deleting(_));
                let requests = locked(&self.log).iter().filter(is_deleting).count();
                if self.throttles_half && requests.is_multiple_of(2) {
                    wait(20).await;
                    return Err(StoreError::Throttled("SlowDown".to_owned()));
                }
                if !self.is_uneven {
                    wait(250).await;
                }
            }
            Asks::Retention(_) => wait(2).await,
        }
        Ok(())
    }

    fn kept(
        &self,
        _: Request<'_>,
        items: &[Item],
    ) -> Result<Vec<(usize, Option<Code>)>, StoreError> {
        let denied = if self.denies_deletes { items.len() } else { 0 };
        Ok((0..denied).map(|index| (index, Some(("AccessDenied", FailureKind::Denied)))).collect())
    }

    async fn after(&self, request: Request<'_>) {
        if let Asks::Deleting(items) = request.asks
            && !self.denies_deletes
        {
            if self.is_uneven {
                let first = items.first().map_or(0, |item| number(request.prefix, item));
                sleep(Duration::from_millis(175 + u64::from(first / 1_000 * 61 % 150))).await;
            }
            self.note(Event::Deleted(items.len()));
        }
    }

    fn page(&self, kind: Kind, mut page: Page) -> Page {
        if self.lists_a_stray && kind == Kind::Uploads {
            let (key, id) = ("somebody-else/a".to_owned(), Some("upload".to_owned()));
            let stray =
                ListedEntry { kind, key, other_key: None, id, bytes: 0, last_modified: None };
            page.entries.push(stray);
        }
        page.next =
            page.next.map(|token| token.replacen(':', &format!(":{}", "0".repeat(self.zeros)), 1));
        page
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        token_after(kind, key).filter(|_| !self.has_no_order)
    }
}

/// SQS: remembers what it was asked.
#[derive(Debug, Default)]
pub(crate) struct FakeQueue {
    pub(crate) sent: Mutex<Vec<OutgoingMessage>>,
    pub(crate) visibilities: Mutex<BTreeMap<String, u64>>,
    pub(crate) fails: bool,
    pub(crate) hangs: bool,
}

impl FakeQueue {
    async fn answer(&self, limit: Duration) -> Result<(), QueueError> {
        sleep(if self.hangs { limit } else { Duration::from_millis(20) }).await;
        if self.fails || self.hangs {
            Err(QueueError::Unavailable("simulated".to_owned()))
        } else {
            Ok(())
        }
    }

    /// The only continuation, as JSON.
    pub(crate) fn continuation(&self) -> Value {
        let sent = locked(&self.sent);
        assert_eq!(sent.len(), 1, "{sent:?}");
        serde_json::from_str(&sent[0].body).expect("a continuation is JSON")
    }
}

impl Queue for Shared<FakeQueue> {
    async fn send(
        &self,
        continuation: &OutgoingMessage,
        limit: Duration,
    ) -> Result<(), QueueError> {
        self.answer(limit).await?;
        locked(&self.sent).push(continuation.clone());
        Ok(())
    }

    async fn set_visibility(
        &self,
        to: &ReceiptHandle,
        visibility: Duration,
        limit: Duration,
    ) -> Result<(), QueueError> {
        self.answer(limit).await?;
        locked(&self.visibilities).insert(to.receipt_handle.clone(), visibility.as_secs());
        Ok(())
    }
}

/// How long the receipt store takes for a receipt.
pub(crate) const STORING: Duration = Duration::from_millis(30);

/// A receipt store that fails as often as a test asks for.
#[derive(Debug, Default)]
pub(crate) struct FakeReceipts {
    pub(crate) documents: Mutex<BTreeMap<String, String>>,
    pub(crate) fails: AtomicU32,
    pub(crate) loses_answers: AtomicU32,
    pub(crate) refuses: bool,
    pub(crate) hangs: bool,
}

impl FakeReceipts {
    /// The only receipt, its name and its text.
    pub(crate) fn receipt(&self) -> (String, Value) {
        let documents = locked(&self.documents);
        assert_eq!(documents.len(), 1, "{documents:?}");
        let (name, text) = documents.first_key_value().expect("one");
        (name.clone(), serde_json::from_str(text).expect("a receipt is JSON"))
    }
}

/// Takes one of a number, if one is left.
fn take(from: &AtomicU32) -> bool {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl Receipts for Shared<FakeReceipts> {
    async fn store(
        &self,
        name: &str,
        document: &str,
        limit: Duration,
    ) -> Result<PutResult, ReceiptError> {
        sleep(if self.hangs { limit } else { STORING }).await;
        if self.hangs {
            return Err(ReceiptError::Unavailable("no answer in time".to_owned()));
        }
        if self.refuses {
            return Err(ReceiptError::Permanent("AccessDenied".to_owned()));
        }
        if take(&self.fails) {
            return Err(ReceiptError::Unavailable("simulated".to_owned()));
        }
        let stored = match locked(&self.documents).entry(name.to_owned()) {
            Place::Occupied(_) => PutResult::AlreadyExists,
            Place::Vacant(place) => {
                place.insert(document.to_owned());
                PutResult::Created
            }
        };
        if take(&self.loses_answers) {
            return Err(ReceiptError::Unavailable("simulated".to_owned()));
        }
        Ok(stored)
    }

    async fn read(&self, name: &str, _limit: Duration) -> Result<Option<String>, ReceiptError> {
        Ok(locked(&self.documents).get(name).cloned())
    }
}

/// A world of one function, its store, its queue and its receipts.
pub(crate) struct Fixture {
    pub(crate) store: Shared<Store>,
    pub(crate) queue: Shared<FakeQueue>,
    pub(crate) receipt_store: Shared<FakeReceipts>,
    /// The lines of numbers.
    pub(crate) metrics: Shared<Mutex<Vec<String>>>,
    settings: Vec<(String, String)>,
    /// Since the beginning, so that one invocation comes after the other.
    start: Instant,
}

/// What a fixture's function may do.
type Answer = Result<SqsBatchResponse, EventError>;

impl Fixture {
    pub(crate) fn new(store: Store, settings: &[(&str, &str)]) -> Self {
        let required = [
            ("ERASE_TARGETS", "s3://photos/{user_id}/"),
            ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase"),
            ("RECEIPTS_URI", "s3://receipts/erasures/"),
            ("RECEIPT_HASH_KEY", "a key"),
        ];
        let settings = settings
            .iter()
            .chain(&required)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            store: Shared::new(store),
            queue: Shared(Arc::default()),
            receipt_store: Shared(Arc::default()),
            metrics: Shared(Arc::default()),
            settings: settings.collect(),
            start: Instant::now(),
        }
    }

    pub(crate) fn with_queue(self, queue: FakeQueue) -> Self {
        Self { queue: Shared::new(queue), ..self }
    }

    pub(crate) fn with_receipt_store(self, receipt_store: FakeReceipts) -> Self {
        Self { receipt_store: Shared::new(receipt_store), ..self }
    }

    /// The same world under other settings, as after a deployment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(0, (name.to_owned(), value.to_owned()));
    }

    pub(crate) fn config(&self) -> Config {
        let lookup = |name: &str| {
            let found = self.settings.iter().find(|(setting, _)| setting == name);
            found.map(|(_, value)| value.clone())
        };
        Config::from_vars(lookup).expect("right settings")
    }

    /// The time of day, which goes on with the virtual time.
    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.start.elapsed()
    }

    /// As main.rs does it: the setting decides what the function can do.
    pub(crate) async fn handle_until(
        &self,
        event: SqsEvent,
        announced: AnnouncedDeadline,
    ) -> Answer {
        let (config, store) = (self.config(), self.store.clone());
        let receipt_store = config.receipts.is_some().then(|| self.receipt_store.clone());
        let lines = self.metrics.clone();
        let metrics = Metrics::new("erase".to_owned(), Some("warn"), move |line| {
            locked(&lines).push(line.to_owned());
        });
        if config.dry_run {
            let handler = Handler::new(config, DryRun(store), self.queue.clone(), receipt_store, 1);
            handler.with_metrics(metrics).handle_until(event, announced).await
        } else {
            let handler = Handler::new(config, Eraser(store), self.queue.clone(), receipt_store, 1);
            handler.with_metrics(metrics).handle_until(event, announced).await
        }
    }

    pub(crate) async fn handle(&self, event: Value, deadline_epoch_ms: u64) -> Answer {
        let receipt_store = Some(self.receipt_store.clone());
        let handler = Handler::new(
            self.config(),
            Eraser(self.store.clone()),
            self.queue.clone(),
            receipt_store,
            1,
        );
        handler.handle(event, deadline_epoch_ms).await
    }

    /// What Lambda announces of an invocation that begins now.
    pub(crate) fn announced(&self, timeout: Duration) -> AnnouncedDeadline {
        let now = self.now();
        let end = now.duration_since(UNIX_EPOCH).expect("after 1970") + timeout;
        let deadline_epoch_ms =
            u64::try_from(end.as_millis()).expect("before the year 584 million");
        AnnouncedDeadline { deadline_epoch_ms, now, fallback: Duration::from_secs(60) }
    }

    pub(crate) async fn invoke(
        &self,
        timeout: Duration,
        records: Vec<SqsMessage>,
    ) -> Result<Vec<String>, EventError> {
        let announced = self.announced(timeout);
        let mut event = SqsEvent::default();
        event.records = records;
        let start = Instant::now();
        let response = self.handle_until(event, announced).await;
        assert!(
            start.elapsed() < timeout,
            "the answer came after {:?} of {timeout:?}",
            start.elapsed()
        );
        Ok(response?
            .batch_item_failures
            .into_iter()
            .map(|failure| failure.item_identifier)
            .collect())
    }

    /// Invokes the function, and asserts that it reports no failed message.
    pub(crate) async fn succeed(&self, timeout: Duration, records: Vec<SqsMessage>) {
        assert_eq!(self.invoke(timeout, records).await, Ok(NO_FAILURES));
    }

    /// Takes the continuation that the function has sent, if it has.
    pub(crate) fn take_continuation(&self) -> Option<OutgoingMessage> {
        locked(&self.queue.sent).pop()
    }

    /// Erases u1 in invocations of this length, from a message on, until nothing follows. Calls a
    /// function with every continuation, and returns the number of hops.
    pub(crate) async fn follow(
        &self,
        timeout: Duration,
        mut message: SqsMessage,
        mut each: impl FnMut(&OutgoingMessage),
    ) -> u32 {
        for hop in 1..60 {
            self.succeed(timeout, vec![message]).await;
            let Some(next) = self.take_continuation() else { return hop };
            each(&next);
            message = record("m", &next.body);
        }
        unreachable!("the erasure does not end");
    }
}

pub(crate) fn record(name: &str, body: &str) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(name.to_owned());
    record.receipt_handle = Some(name.to_owned());
    record.body = Some(body.to_owned());
    record
}

pub(crate) fn withdrawal(user: &str) -> SqsMessage {
    record(user, &json!({"type": "user-withdrawn", "userId": user}).to_string())
}

/// A continuation of u1's erasure that points into the middle of a target.
pub(crate) fn bookmarked(target: &str, token: &str, round: u32) -> SqsMessage {
    let checkpoint = json!({"round": round, "target": target, "kind": "objects", "token": token});
    continuation(&json!({"bookmark": checkpoint}))
}

/// A continuation of u1's erasure with these fields.
pub(crate) fn continuation(fields: &Value) -> SqsMessage {
    let mut body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1});
    for (name, value) in fields.as_object().expect("fields") {
        body[name] = value.clone();
    }
    record("m", &body.to_string())
}

pub(crate) const NO_FAILURES: Vec<String> = Vec::new();

/// What the function logs while a test listens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .without_time()
            .with_writer(self.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *locked(&self.0))).expect("logs are UTF-8")
    }
}

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        locked(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

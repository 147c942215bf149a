//! A world of one function, its store, its queue and its receipts' bucket, in virtual time.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
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
use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, FailureKind, Item, KeyFailure, Kind, ListedEntry, Page, ReadStore,
    Retention, StoreError,
};
use erase_user_files::target::Prefix;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// What the test and the function both hold.
#[derive(Debug)]
pub(crate) struct Shared<T>(pub(crate) Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// S3 as far as these tests need it: 60 ms a page of 1,000, 250 ms a delete, and what the test
/// wishes.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// How many objects each user has; their keys are numbers. Deleted ones are gone from the set.
    pub(crate) objects: Mutex<BTreeMap<String, BTreeSet<u32>>>,
    pub(crate) log: Mutex<Vec<(Instant, Event)>>,
    pub(crate) refuses: bool,
    pub(crate) hangs: bool,
    pub(crate) denies_uploads: bool,
    /// It lists an upload of somebody else.
    pub(crate) lists_a_stray: bool,
    /// Each second delete request, whatever the pace.
    pub(crate) throttles_half: bool,
    /// How many zeros its tokens begin with.
    pub(crate) zeros: usize,
    /// It can begin a listing nowhere but where another one ended.
    pub(crate) has_no_order: bool,
    /// Each object is the one version of its key.
    pub(crate) is_versioned: bool,
    /// It deletes when the request arrives, and takes 175 to 325 ms for the answer.
    pub(crate) is_uneven: bool,
    /// The page, by its first key, whose deletes never end.
    pub(crate) stuck_from: Option<u32>,
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

impl Store {
    pub(crate) fn of(users: &[(&str, u32)]) -> Self {
        let objects =
            users.iter().map(|(user, count)| (format!("{user}/"), (0..*count).collect())).collect();
        Self { objects: Mutex::new(objects), ..Self::default() }
    }

    fn remove(&self, folder: &str, numbers: impl Iterator<Item = u32>) {
        let mut objects = locked(&self.objects);
        let all = objects.get_mut(folder).expect("a listed user");
        numbers.for_each(|number| _ = all.remove(&number));
    }

    pub(crate) fn left(&self, user: &str) -> usize {
        locked(&self.objects).get(&format!("{user}/")).map_or(0, BTreeSet::len)
    }

    pub(crate) fn note(&self, event: Event) {
        locked(&self.log).push((Instant::now(), event));
    }
}

impl ReadStore for Shared<Store> {
    async fn is_versioned(&self, _prefix: &Prefix, _limit: Duration) -> Result<bool, StoreError> {
        Ok(self.is_versioned)
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        if self.hangs {
            sleep(limit).await;
            return Err(StoreError::NoAnswer("ListObjects: NoAnswerInTime".to_owned()));
        }
        assert!(!prefix.as_str().starts_with("panic"), "this one panics on purpose");
        sleep(Duration::from_millis(60)).await;
        if self.denies_uploads && kind == Kind::Uploads {
            return Err(StoreError::Permanent("AccessDenied".to_owned()));
        }
        if self.lists_a_stray && kind == Kind::Uploads {
            let (key, id) = ("somebody-else/a".to_owned(), Some("upload".to_owned()));
            let stray =
                ListedEntry { kind, key, other_key: None, id, bytes: 0, last_modified: None };
            return Ok(Page { entries: vec![stray], next: None, cut_at: None });
        }
        if kind == Kind::Uploads {
            return Ok(Page { entries: Vec::new(), next: None, cut_at: None });
        }
        self.note(Event::Listed(prefix.as_str().to_owned()));
        let Ok(from) = token.map_or(Ok(0), str::parse) else {
            return Err(StoreError::TokenRejected("InvalidArgument".to_owned()));
        };
        let objects = locked(&self.objects);
        let mut rest = objects.get(prefix.as_str()).into_iter().flat_map(|all| all.range(from..));
        let page: Vec<u32> = rest.by_ref().take(1_000).copied().collect();
        let next = rest.next().map(|number| format!("{}{number}", "0".repeat(self.zeros)));
        let kind = if self.is_versioned { Kind::Versions } else { Kind::Objects };
        let listed = |number: &u32| ListedEntry {
            kind,
            key: format!("{}{number:09}", prefix.as_str()),
            other_key: None,
            id: self.is_versioned.then(|| "v1".to_owned()),
            bytes: 1,
            last_modified: UNIX_EPOCH
                .checked_add(Duration::from_secs((*number).into()))
                .map(Into::into),
        };
        Ok(Page { entries: page.iter().map(listed).collect(), next, cut_at: None })
    }

    /// The number of the first key behind this one.
    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        let (_, name) =
            key.split_once('/').filter(|_| kind != Kind::Uploads && !self.has_no_order)?;
        let (mut low, mut high) = (0, 1_000_000_000_u32);
        while low < high {
            let middle = low.midpoint(high);
            (low, high) = if format!("{middle:09}").as_str() > name {
                (low, middle)
            } else {
                (middle + 1, high)
            };
        }
        Some(low.to_string())
    }
}

impl DeleteStore for Shared<Store> {
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        _limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        self.note(Event::Deleting(items.len()));
        let number = |item: &Item| {
            item.key.as_str()[prefix.as_str().len()..].parse::<u32>().expect("a number")
        };
        if self.stuck_from == items.first().map(number) {
            std::future::pending::<()>().await;
        }
        let is_even = locked(&self.log)
            .iter()
            .filter(|(_, event)| matches!(event, Event::Deleting(_)))
            .count()
            % 2
            == 0;
        if self.throttles_half && is_even {
            sleep(Duration::from_millis(20)).await;
            return Err(StoreError::Throttled("SlowDown".to_owned()));
        }
        if !self.is_uneven {
            sleep(Duration::from_millis(250)).await;
        }
        if self.refuses {
            let failure = |index| KeyFailure {
                index,
                code: "AccessDenied".to_owned(),
                kind: FailureKind::Denied,
            };
            return Ok(DeleteResult {
                requests: 1,
                failures: (0..items.len()).map(failure).collect(),
            });
        }
        self.remove(prefix.as_str(), items.iter().map(number));
        if self.is_uneven {
            let spread = items.first().map_or(0, number) / 1_000 * 61 % 150;
            sleep(Duration::from_millis(175 + u64::from(spread))).await;
        }
        self.note(Event::Deleted(items.len()));
        Ok(DeleteResult { requests: 1, failures: Vec::new() })
    }

    async fn retention(
        &self,
        _prefix: &Prefix,
        _item: &Item,
        _limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        sleep(Duration::from_millis(2)).await;
        Ok(None)
    }
}

/// SQS: remembers what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    pub(crate) sent: Mutex<Vec<OutgoingMessage>>,
    pub(crate) visibilities: Mutex<BTreeMap<String, u64>>,
    pub(crate) fails: bool,
    pub(crate) hangs: bool,
}

impl Letters {
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

impl Queue for Shared<Letters> {
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

/// What the shelf takes for a receipt.
pub(crate) const STORING: Duration = Duration::from_millis(30);

/// A place for receipts that fails as often as it is told.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) documents: Mutex<BTreeMap<String, String>>,
    pub(crate) fails: AtomicU32,
    pub(crate) loses_answers: AtomicU32,
    pub(crate) refuses: bool,
    pub(crate) hangs: bool,
}

impl Shelf {
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

impl Receipts for Shared<Shelf> {
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
pub(crate) struct Scene {
    pub(crate) store: Shared<Store>,
    pub(crate) letters: Shared<Letters>,
    pub(crate) shelf: Shared<Shelf>,
    /// The lines of numbers.
    pub(crate) metrics: Shared<Mutex<Vec<String>>>,
    settings: Vec<(String, String)>,
    /// Since the beginning, so that one invocation comes after the other.
    start: Instant,
}

/// What a scene's function may do.
type Answer = Result<SqsBatchResponse, EventError>;

impl Scene {
    pub(crate) fn new(store: Store, letters: Letters, settings: &[(&str, &str)]) -> Self {
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
            store: Shared(Arc::new(store)),
            letters: Shared(Arc::new(letters)),
            shelf: Shared(Arc::default()),
            metrics: Shared(Arc::default()),
            settings: settings.collect(),
            start: Instant::now(),
        }
    }

    pub(crate) fn with_shelf(self, shelf: Shelf) -> Self {
        Self { shelf: Shared(Arc::new(shelf)), ..self }
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
        let shelf = config.receipts.is_some().then(|| self.shelf.clone());
        let lines = self.metrics.clone();
        let metrics = Metrics::new("erase".to_owned(), Some("warn"), move |line| {
            locked(&lines).push(line.to_owned());
        });
        if config.dry_run {
            let handler = Handler::new(config, DryRun(store), self.letters.clone(), shelf, 1);
            handler.with_metrics(metrics).handle_until(event, announced).await
        } else {
            let handler = Handler::new(config, Eraser(store), self.letters.clone(), shelf, 1);
            handler.with_metrics(metrics).handle_until(event, announced).await
        }
    }

    pub(crate) async fn handle(&self, event: Value, deadline_epoch_ms: u64) -> Answer {
        let shelf = Some(self.shelf.clone());
        let handler =
            Handler::new(self.config(), Eraser(self.store.clone()), self.letters.clone(), shelf, 1);
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
    let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1, "bookmark": checkpoint});
    record("m", &body.to_string())
}

pub(crate) const NOBODY: Vec<String> = Vec::new();

/// What the function logs while somebody listens.
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

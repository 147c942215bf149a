//! The simulated S3: the model with the latency and the faults of its world.

use std::time::Duration;

use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, FailureKind, Item, KeyFailure, Kind, ListedEntry, Page, ReadStore,
    Retention, StoreError,
};
use erase_user_files::target::Prefix;
use tokio::time::{Instant, sleep, timeout};

use crate::checks::check_delete;
use crate::fake::handle::refusal;
use crate::fake::listing::token_after;
use crate::fake::model::Versioning;
use crate::faults::{Faults, Outage};
use crate::late_writes::{late_write, switch_versioning, switch_versioning_and_hide};
use crate::users::{BUCKETS, owner};
use crate::world::{Shared, World, locked};

/// The store as the function sees it.
#[derive(Debug)]
pub(crate) struct Store(pub(crate) Shared);

fn unavailable() -> StoreError {
    StoreError::Unavailable("simulated".to_owned())
}

impl Store {
    /// Takes a request's time, and sometimes more than there is.
    async fn latency(
        &self,
        limit: Duration,
        hangs_percent: u32,
        what: &'static str,
    ) -> Result<(), StoreError> {
        let hangs = locked(&self.0).happens(hangs_percent, what);
        let took = locked(&self.0).latency(5..300);
        let took = if hangs { Duration::MAX } else { took };
        let answered = timeout(limit, sleep(took)).await;
        answered.map_err(|_elapsed| StoreError::NoAnswer("Simulated: NoAnswerInTime".to_owned()))
    }

    /// Fails as the bucket's outage does, if it concerns this request.
    async fn outage(
        &self,
        prefix: &Prefix,
        limit: Duration,
        is_hit: impl Fn(Outage) -> bool,
    ) -> Result<(), StoreError> {
        let outage =
            locked(&self.0).faults.outage.filter(|(bucket, _)| BUCKETS[*bucket] == prefix.bucket());
        let Some((_, outage)) = outage.filter(|(_, outage)| is_hit(*outage)) else {
            return Ok(());
        };
        locked(&self.0).reach("outage of a bucket");
        sleep(if outage == Outage::Hanging { limit } else { Duration::from_millis(20) }).await;
        Err(match outage {
            Outage::Busy => StoreError::Throttled("Simulated: SlowDown".to_owned()),
            Outage::Hanging => StoreError::NoAnswer("Simulated: NoAnswerInTime".to_owned()),
            Outage::Failing | Outage::NoUploads | Outage::NoDeletions => {
                StoreError::Unavailable("Simulated: InternalError".to_owned())
            }
        })
    }

    fn faults(&self) -> Faults {
        locked(&self.0).faults.clone()
    }
}

impl ReadStore for Store {
    async fn is_versioned(&self, prefix: &Prefix, limit: Duration) -> Result<bool, StoreError> {
        let bucket = prefix.bucket();
        self.outage(prefix, limit, |outage| {
            outage != Outage::NoUploads && outage != Outage::NoDeletions
        })
        .await?;
        if !BUCKETS.contains(&bucket) {
            locked(&self.0)
                .broken(format!("a bucket was asked for that no target names: {bucket}"));
        }
        let faults = self.faults();
        self.latency(limit, faults.list_hangs, "question for versioning hung").await?;
        let mut world = locked(&self.0);
        switch_versioning(&mut world);
        if world.happens(faults.list_fails, "list failed") {
            return Err(unavailable());
        }
        Ok(world.s3.versioning(bucket).is_some_and(Versioning::has_versions))
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        self.outage(prefix, limit, |outage| match outage {
            Outage::NoUploads => kind == Kind::Uploads,
            Outage::NoDeletions => false,
            Outage::Busy | Outage::Failing | Outage::Hanging => true,
        })
        .await?;
        let faults = self.faults();
        self.latency(limit, faults.list_hangs, "list hung").await?;
        let mut world = locked(&self.0);
        late_write(&mut world);
        if kind == Kind::Objects {
            switch_versioning_and_hide(&mut world, prefix.bucket(), prefix.as_str());
        }
        switch_versioning(&mut world);
        if world.happens(faults.list_fails, "list failed") {
            return Err(unavailable());
        }
        if world.happens(faults.throttled / 4, "list throttled") {
            return Err(StoreError::Throttled("simulated".to_owned()));
        }
        if token.is_some() && world.happens(faults.tokens_refused, "token refused") {
            return Err(StoreError::TokenRejected("simulated".to_owned()));
        }
        list_now(&mut world, prefix, kind, token)
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        token_after(kind, key).map(|token| format!("0|{token}"))
    }
}

/// One page, whose token is never used twice, and whose entries have no order.
fn list_now(
    world: &mut World,
    prefix: &Prefix,
    kind: Kind,
    token: Option<&str>,
) -> Result<Page, StoreError> {
    let (bucket, prefix) = (prefix.bucket(), prefix.as_str());
    if owner(bucket, prefix).is_none() {
        world.broken("a folder was listed that nobody asked to erase".to_owned());
    }
    let (short_pages, foreign_keys) = (world.faults.short_pages, world.faults.foreign_keys);
    let mut most = world.page_size;
    if world.happens(short_pages, "short page") {
        most = world.dice.usize(0..=most);
    }
    if token.is_some_and(|token| token.starts_with("0|")) {
        world.reach("listing split into lanes");
    }
    let token = token.map(|token| token.split_once('|').map_or("", |(_, token)| token));
    let mut page = world.s3.list((bucket, prefix), kind, token, most).inspect_err(|_refused| {
        world.broken("a token was used for another listing than its own".to_owned());
    })?;
    if page.entries.is_empty() && page.next.is_some() {
        world.reach("empty page");
    }
    let is_open = |entry: &&ListedEntry| {
        Some(&entry.key) == page.cut_at.as_ref() && entry.kind == Kind::DeleteMarkers
    };
    if kind == Kind::Versions && page.entries.iter().any(|entry| is_open(&entry)) {
        world.reach("page cut behind a marker");
    }
    world.tokens += 1;
    page.next = page.next.map(|token| format!("{}|{token}", world.tokens));
    if !page.entries.is_empty() && world.happens(foreign_keys, "key outside the prefix listed") {
        let foreign =
            ListedEntry { key: "u1-zebra0/secret-0000".to_owned(), ..page.entries[0].clone() };
        page.entries.push(foreign);
    }
    shuffle_keys(&mut world.dice, &mut page.entries);
    world.event(format_args!(
        "listed {} {kind:?} of {bucket}, more: {}",
        page.entries.len(),
        page.next.is_some()
    ));
    Ok(page)
}

/// Puts the keys of a page into any order. The versions of one key stay in theirs.
fn shuffle_keys(dice: &mut fastrand::Rng, entries: &mut [ListedEntry]) {
    let mut keys: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    keys.dedup();
    dice.shuffle(&mut keys);
    entries.sort_by_cached_key(|entry| keys.iter().position(|key| *key == entry.key));
}

impl DeleteStore for Store {
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let start = Instant::now();
        self.outage(prefix, limit, |outage| outage != Outage::NoUploads).await?;
        let faults = self.faults();
        check_delete(&mut locked(&self.0), prefix, items);
        let answer = || delete_or_refuse(&mut locked(&self.0), prefix, items);
        let is_early = locked(&self.0).setup.deletes_at_once;
        let early = is_early.then(answer);
        self.latency(limit, faults.list_hangs / 2, "delete hung").await?;
        let failures = early.unwrap_or_else(answer)?;
        if locked(&self.0).happens(faults.delete_answer_lost, "delete's answer lost") {
            // Reset soon, or never answered.
            let left = limit.saturating_sub(start.elapsed());
            let is_reset = locked(&self.0).dice.bool();
            sleep(if is_reset { left.min(Duration::from_millis(200)) } else { left }).await;
            return Err(unavailable());
        }
        let answer_takes = Duration::from_millis(locked(&self.0).dice.u64(0..100));
        sleep(answer_takes).await;
        let is_of_uploads = items.iter().any(|item| item.kind == Kind::Uploads);
        let requests = if is_of_uploads { items.len() as u64 } else { 1 };
        Ok(DeleteResult { requests, failures })
    }

    async fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        let faults = self.faults();
        self.latency(limit, faults.list_hangs / 2, "question for a lock hung").await?;
        let mut world = locked(&self.0);
        if world.happens(faults.retention_fails, "retention not told") {
            return Err(unavailable());
        }
        if faults.is_retention_secret {
            world.reach("retention secret");
            return Err(StoreError::Permanent("simulated".to_owned()));
        }
        Ok(world.s3.retention(
            prefix.bucket(),
            item.key.as_str(),
            item.id.as_deref().unwrap_or_default(),
        ))
    }
}

/// The partition has had enough of keys for now.
fn slow_down(index: usize) -> KeyFailure {
    KeyFailure { index, code: "SlowDown".to_owned(), kind: FailureKind::Throttled }
}

impl World {
    /// How many of these keys the bucket's partition takes now; `None`: it throttles the whole
    /// request.
    fn keys_taken(&mut self, bucket: &str, keys: usize) -> Option<usize> {
        /// An idle partition takes one whole page.
        const BURST: u32 = 25;
        let limit = self.faults.partition_limit;
        let bucket = BUCKETS.into_iter().find(|name| limit > 0 && *name == bucket);
        let Some(bucket) = bucket else {
            return Some(keys);
        };
        let (now, most) = (Instant::now(), f64::from(limit.max(BURST)));
        let (left, since) = self.partitions.get(bucket).copied().unwrap_or((most, now));
        let left = (left + (now - since).as_secs_f64() * f64::from(limit)).min(most);
        let taken = (0..keys).take_while(|taken| (*taken as f64) < left.floor()).count();
        let is_refused = taken < keys && self.dice.bool();
        let spent = if is_refused { 0.0 } else { taken as f64 };
        self.partitions.insert(bucket, (left - spent, now));
        if taken < keys {
            self.reach(if is_refused {
                "partition refuses a request"
            } else {
                "partition refuses keys"
            });
        }
        (!is_refused).then_some(taken)
    }

    fn is_malformed(&mut self, prefix: &Prefix, items: &[Item]) -> bool {
        let key = |item: &Item| (prefix.bucket().to_owned(), item.key.as_str().to_owned());
        let is_malformed = !self.poison_keys.is_empty()
            && items.iter().any(|item| self.poison_keys.contains(&key(item)));
        if is_malformed {
            self.reach("key not understood");
        }
        is_malformed
    }
}

/// A plain delete that a slow invocation of a doubled message sent before the versioning was
/// switched on, and that comes after the proof, leaves a marker: a late write, of our own.
fn note_a_late_marker(world: &mut World, prefix: &Prefix, code: &str) {
    let user = owner(prefix.bucket(), prefix.as_str()).filter(|_| code != "AccessDenied");
    if let Some(user) = user.filter(|user| world.is_done(user)) {
        world.rewritten.insert(user);
    }
}

/// What becomes of a delete request, and which of its keys stay.
fn delete_or_refuse(
    world: &mut World,
    prefix: &Prefix,
    items: &[Item],
) -> Result<Vec<KeyFailure>, StoreError> {
    if world.happens(world.faults.throttled, "throttled") {
        return Err(StoreError::Throttled("simulated".to_owned()));
    }
    if world.happens(world.faults.delete_fails, "delete failed") {
        return Err(unavailable());
    }
    if world.is_malformed(prefix, items) {
        return Err(StoreError::Malformed("simulated".to_owned()));
    }
    let Some(taken) = world.keys_taken(prefix.bucket(), items.len()) else {
        return Err(StoreError::Throttled("simulated".to_owned()));
    };
    let mut failures = delete_now(world, prefix, &items[..taken]);
    failures.extend((taken..items.len()).map(slow_down));
    Ok(failures)
}

fn delete_now(world: &mut World, prefix: &Prefix, items: &[Item]) -> Vec<KeyFailure> {
    let (throttled, outlive) = (world.faults.keys_throttled, world.faults.uploads_outlive);
    let bucket = prefix.bucket();
    if let Some(bucket) = BUCKETS.into_iter().find(|name| *name == bucket) {
        // A plain delete may write a delete marker.
        world.note_if_empty(bucket, prefix.as_str());
    }
    let mut failures = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if world.refused_keys.contains(&(bucket.to_owned(), item.key.as_str().to_owned())) {
            world.reach_silently("key refused");
            failures.push(refusal(index, "AccessDenied"));
        } else if world.happens(throttled, "key throttled") {
            failures.push(slow_down(index));
        } else if world.faults.is_liar {
            world.reach_silently("deletion only said");
        } else if item.kind != Kind::Uploads || !world.happens(outlive, "upload outlived its abort")
        {
            let bypasses_governance = world.setup.bypasses_governance;
            match world.s3.delete(bucket, item, bypasses_governance) {
                Ok(()) => world.reach_silently(match item.kind {
                    Kind::Uploads => "upload aborted",
                    Kind::Objects => "object deleted",
                    Kind::Versions => "version deleted",
                    Kind::DeleteMarkers => "marker deleted",
                }),
                Err(code) => {
                    world.reach_silently(if code == "AccessDenied" {
                        "version locked"
                    } else {
                        "object only hidden"
                    });
                    note_a_late_marker(world, prefix, code);
                    failures.push(refusal(index, code));
                }
            }
        }
    }
    world.event(format_args!("deleted {} of {} items", items.len() - failures.len(), items.len()));
    failures
}

//! The simulated S3: strongly consistent, slow, and as faulty as the weather says.

use std::time::Duration;

use erase_user_files::bucket::{Bucket, Deletion, Fault, Item, KeyFailure, ListedObject, Page};
use erase_user_files::target::Prefix;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{BUCKETS, Shared, WITHDRAWN, World, locked, prefixes};

#[derive(Debug)]
pub(crate) struct Store(pub(crate) Shared);

impl Store {
    /// Takes a request's time, and sometimes more than there is.
    async fn latency(&self, limit: Duration, hangs_percent: u32, what: &'static str) -> Result<(), Fault> {
        let hangs = locked(&self.0).happens(hangs_percent, what);
        let took = Duration::from_millis(locked(&self.0).dice.u64(5..300));
        let took = if hangs { Duration::MAX } else { took };
        let answered = timeout(limit, sleep(took)).await;
        answered.map_err(|_elapsed| Fault::Unavailable("no answer in time".to_owned()))
    }
}

impl Bucket for Store {
    async fn check(&self, bucket: &str, limit: Duration) -> Result<(), Fault> {
        let is_known = BUCKETS.contains(&bucket);
        if !is_known {
            locked(&self.0).broken(format!("a bucket was asked for that no target names: {bucket}"));
        }
        let (hangs, fails) = {
            let world = locked(&self.0);
            (world.weather.list_hangs, world.weather.list_fails)
        };
        self.latency(limit, hangs, "list hung").await?;
        if locked(&self.0).happens(fails, "list failed") {
            return Err(Fault::Unavailable("simulated".to_owned()));
        }
        Ok(())
    }

    async fn list(&self, prefix: &Prefix, token: Option<&str>, limit: Duration) -> Result<Page, Fault> {
        let hangs = locked(&self.0).weather.list_hangs;
        self.latency(limit, hangs, "list hung").await?;
        let mut world = locked(&self.0);
        late_write(&mut world);
        let weather = world.weather.clone();
        if world.happens(weather.list_fails, "list failed") {
            return Err(Fault::Unavailable("simulated".to_owned()));
        }
        if world.happens(weather.throttled / 4, "throttled") {
            return Err(Fault::Throttled("simulated".to_owned()));
        }
        if token.is_some() && world.happens(weather.tokens_refused, "token refused") {
            return Err(Fault::TokenRefused("simulated".to_owned()));
        }
        let mut most = world.page_keys;
        if world.happens(weather.short_pages, "short page") {
            most = world.dice.usize(0..=most);
        }
        // A token is a number that is never used twice and the last key before the page.
        let bucket = prefix.bucket().to_owned();
        let after = token.and_then(|token| token.split_once('|')).map_or("", |(_, after)| after);
        let from = if after.is_empty() { prefix.as_str().to_owned() } else { format!("{after}\0") };
        let rest = world.objects.range((bucket.clone(), from)..).map(|((bucket, key), _)| (bucket, key));
        let is_under_prefix = |(b, key): &(&String, &String)| **b == bucket && key.starts_with(prefix.as_str());
        let mut keys: Vec<String> =
            rest.take_while(is_under_prefix).map(|(_, key)| key.clone()).take(most + 1).collect();
        if most == 0 && !keys.is_empty() {
            world.reach("empty page");
        }
        let has_more = keys.len() > most;
        keys.truncate(most);
        world.tokens += 1;
        let last = keys.last().map_or(after, String::as_str);
        let next = has_more.then(|| format!("{}|{last}", world.tokens));
        if !keys.is_empty() && world.happens(weather.foreign_keys, "key outside the prefix listed") {
            keys.push("u1-zebra0/secret-0000".to_owned());
        }
        let objects = keys.into_iter().map(|key| ListedObject { key, bytes: 10, last_modified: None }).collect();
        world.event(&format!("listed a page of {}, more: {}", prefix.bucket(), next.is_some()));
        Ok(Page { objects, next })
    }

    async fn delete(&self, prefix: &Prefix, items: &[Item], limit: Duration) -> Result<Deletion, Fault> {
        let start = Instant::now();
        let hangs = locked(&self.0).weather.list_hangs / 2;
        check_request(&mut locked(&self.0), prefix, items);
        self.latency(limit, hangs, "list hung").await?;
        let weather = locked(&self.0).weather.clone();
        if locked(&self.0).happens(weather.throttled, "throttled") {
            return Err(Fault::Throttled("simulated".to_owned()));
        }
        if locked(&self.0).happens(weather.delete_fails, "delete failed") {
            return Err(Fault::Unavailable("simulated".to_owned()));
        }
        if locked(&self.0).is_malformed(prefix, items) {
            return Err(Fault::Malformed("simulated".to_owned()));
        }
        let failures = delete_now(&mut locked(&self.0), prefix, items);
        if locked(&self.0).happens(weather.delete_answer_lost, "delete's answer lost") {
            // Reset soon, or never answered.
            let left = limit.saturating_sub(start.elapsed());
            let is_reset = locked(&self.0).dice.bool();
            sleep(if is_reset { left.min(Duration::from_millis(200)) } else { left }).await;
            return Err(Fault::Unavailable("simulated".to_owned()));
        }
        let answer_takes = Duration::from_millis(locked(&self.0).dice.u64(0..100));
        sleep(answer_takes).await;
        Ok(Deletion { requests: 1, failures })
    }
}

impl World {
    fn is_malformed(&mut self, prefix: &Prefix, items: &[Item]) -> bool {
        let key = |item: &Item| (prefix.bucket().to_owned(), item.key.as_str().to_owned());
        let is_malformed = items.iter().any(|item| self.poison_keys.contains(&key(item)));
        if is_malformed {
            self.reach("key not understood");
        }
        is_malformed
    }
}

fn check_request(world: &mut World, prefix: &Prefix, items: &[Item]) {
    if items.is_empty() || items.len() > 1_000 {
        world.broken(format!("a delete request has {} keys", items.len()));
    }
    let allowed = WITHDRAWN.iter().flat_map(|user| prefixes(user));
    let is_asked = allowed.into_iter().any(|(b, p)| b == prefix.bucket() && p == prefix.as_str());
    if !is_asked {
        world.broken("a delete request for a folder that nobody asked to erase".to_owned());
    }
    for item in items {
        let is_foreign = world.is_foreign(prefix.bucket(), item.key.as_str());
        if is_foreign || !item.key.as_str().starts_with(prefix.as_str()) {
            world.broken("a delete request names a neighbour's key".to_owned());
        }
    }
}

fn delete_now(world: &mut World, prefix: &Prefix, items: &[Item]) -> Vec<KeyFailure> {
    let mut failures = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = (prefix.bucket().to_owned(), item.key.as_str().to_owned());
        let throttled = world.weather.keys_throttled;
        if world.refused_keys.contains(&key) {
            world.reach("key refused");
            let code = "AccessDenied".to_owned();
            failures.push(KeyFailure { index, code, is_retryable: false, is_throttle: false });
        } else if world.happens(throttled, "key throttled") {
            let code = "SlowDown".to_owned();
            failures.push(KeyFailure { index, code, is_retryable: true, is_throttle: true });
        } else if world.weather.is_liar {
            world.reach("deletion only said");
        } else {
            world.objects.remove(&key);
        }
    }
    world.event(&format!("deleted {} of {}", items.len() - failures.len(), items.len()));
    failures
}

/// Somebody stores one more file, until the world has had enough of it.
fn late_write(world: &mut World) {
    let percent = world.weather.late_writes;
    if world.writes < 5 && world.happens(percent, "late write") {
        let user = WITHDRAWN[world.dice.usize(0..WITHDRAWN.len())];
        let (bucket, prefix) = prefixes(user)[world.dice.usize(0..2)].clone();
        world.writes += 1;
        let number = world.writes;
        world.note_if_empty(&bucket, &prefix);
        world.objects.insert((bucket, format!("{prefix}secret-late-{number}")), number);
        world.rewritten.insert(user.to_owned());
    }
}

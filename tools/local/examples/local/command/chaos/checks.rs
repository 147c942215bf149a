//! Checks that every user is deleted with a true receipt, or is in the dead-letter queue with a
//! reason.
//! Trusts nothing that the function said.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use local::{Error, Hop, Ministack, Receipt, ReceiptsFolder, user_hash};
use serde::Deserialize;
use serde_json::Value;

use super::super::{Failure, HASH_KEY, RECEIPTS_URI, show};
use super::load::{Load, user_of_request};
use super::report;
use super::users::{Stock, TARGETS};

/// A message of the dead-letter queue. Reading it deletes it there.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) body: String,
    message_id: String,
}

/// How an invocation ended that had no answer, in the local cloud's own log.
const ENDED: &str = ": Runtime exited before returning a response";
const TIMED_OUT: &str = ": Task timed out after";

/// How many invocations had no answer: because their process ended, and because time ran out.
pub(super) fn cut_short(cloud: &Ministack) -> (usize, usize) {
    let words = cloud.words();
    (words.matches(ENDED).count(), words.matches(TIMED_OUT).count())
}

/// Takes everything out of the dead-letter queue.
pub(super) async fn take_dead_letters(
    cloud: &Ministack,
    queue: &str,
) -> Result<Vec<DeadLetter>, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Error::service("read the dead-letter queue", error.to_string())
    };
    let mut letters = Vec::new();
    loop {
        let request = cloud
            .sqs()
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10)
            .visibility_timeout(60);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        let messages =
            request.send().await.map_err(|error| failed(&error))?.messages.unwrap_or_default();
        if messages.is_empty() && cloud.queue_depth(queue).await? == 0 {
            return Ok(letters);
        }
        for message in messages {
            let delete = cloud
                .sqs()
                .delete_message()
                .queue_url(queue)
                .set_receipt_handle(message.receipt_handle);
            delete.send().await.map_err(|error| failed(&error))?;
            letters.push(DeadLetter {
                body: message.body.unwrap_or_default(),
                message_id: message.message_id.unwrap_or_default(),
            });
        }
    }
}

/// All receipts.
pub(super) async fn read_receipts(cloud: &Ministack) -> Result<Vec<Receipt>, Failure> {
    let found = ReceiptsFolder::parse(RECEIPTS_URI)?.of_everybody(&cloud.s3()).await?;
    if found.strange > 0 {
        return Err(Failure::Check(format!("{} receipts cannot be read", found.strange)));
    }
    Ok(found.receipts)
}

/// What happened to every user, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Users with a receipt of the outcome "erased", and how many.
    pub(super) erased: BTreeMap<usize, u64>,
    /// Users named in the dead-letter queue, with the last reason in the log; `None`: every
    /// delivery was cut short.
    pub(super) dead: BTreeMap<usize, Option<String>>,
    /// Receipts of the outcome "incomplete".
    pub(super) incomplete: u64,
    /// What the receipts count, in the order of [`show::kinds`].
    pub(super) counted: [u64; 4],
    /// What must not be.
    pub(super) violations: Vec<String>,
}

impl Checks {
    pub(super) fn of(
        load: &Load<'_>,
        (stored, after): (&Stock, &Stock),
        dead: &[DeadLetter],
        receipts: &[Receipt],
        log: &[String],
    ) -> Self {
        let mut checks = Self::default();
        checks.receipts(load, (stored, after), receipts);
        checks.dead_letters(load, dead, log);
        for (user, person) in load.users.list.iter().enumerate() {
            let left = after.by_user.get(&user).map_or(0, Vec::len);
            let (is_erased, is_dead) =
                (checks.erased.contains_key(&user), checks.dead.contains_key(&user));
            let id = &person.id;
            if !is_erased && !is_dead {
                checks.violations.push(format!(
                    "{id} was lost: no receipt and no dead-letter message, {left} items remain"
                ));
            }
            if left > 0 && !is_dead {
                checks
                    .violations
                    .push(format!("{id} has {left} remaining items, and no dead-letter message"));
            }
        }
        checks
    }

    /// Reads all receipts. Each must be of a requested user, and each that says "erased" must be
    /// true.
    pub(super) fn receipts(
        &mut self,
        load: &Load<'_>,
        (stored, after): (&Stock, &Stock),
        receipts: &[Receipt],
    ) {
        for receipt in receipts {
            let checked = match serde_json::from_str::<Document>(&receipt.text) {
                Ok(document) => match load.users.by_hash.get(&document.user) {
                    Some(user) => {
                        document.check(receipt, *user, stored, after).map(|()| (document, *user))
                    }
                    None => Err("it is about a user whose erasure was not requested".to_owned()),
                },
                Err(error) => Err(error.to_string()),
            };
            match checked {
                Ok((document, user)) if document.outcome == "erased" => {
                    *self.erased.entry(user).or_default() += 1;
                    for (sum, count) in self.counted.iter_mut().zip(document.counts.kinds()) {
                        *sum += count;
                    }
                }
                Ok(_) => self.incomplete += 1,
                Err(fault) => self
                    .violations
                    .push(format!("the receipt {}: {fault}\n{}", receipt.key, receipt.text)),
            }
        }
    }

    /// Every dead-letter message must be garbage, as it was sent, or name a requested user, and the
    /// log must say why.
    fn dead_letters(&mut self, load: &Load<'_>, dead: &[DeadLetter], log: &[String]) {
        let mut garbage = 0;
        for letter in dead {
            if load.is_garbage(&letter.body) {
                garbage += 1;
                continue;
            }
            let message: Value = serde_json::from_str(&letter.body).unwrap_or_default();
            let Some(user) = message["userId"].as_str().and_then(|id| load.users.number(id)) else {
                self.violations
                    .push(format!("a dead-letter message that was never sent: {}", letter.body));
                continue;
            };
            let hash = user_hash(HASH_KEY, &load.users.list[user].id);
            // Of a request without an id of its own, the message's id is that of the erasure.
            let erasure = message["erasureId"]
                .as_str()
                .or(message["requestId"].as_str())
                .unwrap_or(&letter.message_id);
            let hops = log.iter().filter_map(|line| Hop::parse(line));
            let mut hops = hops
                .filter(|hop| hop.user == hash && hop.erasure == erasure && gives_a_reason(hop));
            let reason = hops.next_back().map(|hop| format!("{}: {}", hop.outcome, hop.reason));
            if reason.is_none() && !log.iter().any(|line| came_again(line, &hash, erasure)) {
                let id = &load.users.list[user].id;
                self.violations
                    .push(format!("the log does not say why {id} is in the dead-letter queue"));
            }
            let known = self.dead.entry(user).or_default();
            *known = reason.or(known.take());
        }
        let sent = load.injected().garbage;
        if garbage != sent {
            self.violations.push(format!(
                "{garbage} of {sent} malformed messages are in the dead-letter queue"
            ));
        }
        let rejected: BTreeSet<_> = log.iter().filter_map(|line| rejected_message(line)).collect();
        for letter in dead.iter().filter(|letter| load.is_garbage(&letter.body)) {
            if !rejected.contains(&letter.message_id) {
                self.violations
                    .push(format!("the log does not say why this is dead: {:?}", letter.body));
            }
        }
    }

    pub(super) fn fail_at_violations(&self, what: &str) -> Result<(), Failure> {
        if self.violations.is_empty() {
            return Ok(());
        }
        Err(Failure::Check(report::list(what, &self.violations)))
    }

    /// Neighbours must have what they had, byte for byte, and nothing more.
    pub(super) fn neighbours(&mut self, before: &Stock, after: &Stock) {
        let old = before.neighbours.iter().zip(&before.contents).collect::<Vec<_>>();
        let new = after.neighbours.iter().zip(&after.contents).collect::<Vec<_>>();
        for (item, _) in old.iter().filter(|item| !new.contains(item)) {
            self.violations
                .push(format!("an item of another user is missing or changed: {item:?}"));
        }
        for (item, _) in new.iter().filter(|item| !old.contains(item)) {
            self.violations.push(format!("this item was not stored by this run: {item:?}"));
        }
    }
}

/// Whether a hop says why SQS redelivers its message.
fn gives_a_reason(hop: &Hop) -> bool {
    matches!(hop.outcome.as_str(), "failed" | "incomplete") && !hop.reason.is_empty()
}

/// Whether a line is about another delivery of this erasure's message: the delivery before it was
/// cut short, or logged a reason.
fn came_again(line: &str, user: &str, erasure: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    line["message"] == "message redelivered" && line["user"] == user && line["erasure"] == erasure
}

/// The message that a log line rejects.
fn rejected_message(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let has_reason = line["reason"].as_str().is_some_and(|reason| !reason.is_empty());
    (line["outcome"] == "rejected" && has_reason)
        .then(|| line["message_id"].as_str().map(str::to_owned))?
}

/// A receipt, with every field that it may have and no other.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    version: u32,
    outcome: String,
    erasure_id: String,
    user: String,
    requested_at: String,
    started_at: String,
    finished_at: String,
    proven_empty_at: Option<String>,
    hops: u64,
    reason: Option<String>,
    #[serde(flatten)]
    counts: Counts,
    targets: Vec<Part>,
}

/// What was counted, of everything or at one target.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    objects: u64,
    versions: u64,
    delete_markers: u64,
    uploads: u64,
    bytes: u64,
    kept_newer: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    bucket: String,
    prefix: String,
    #[serde(flatten)]
    counts: Counts,
    retained: Vec<Value>,
    refused: Vec<Value>,
    markers_kept: u64,
}

impl Counts {
    fn kinds(self) -> [u64; 4] {
        [self.objects, self.versions, self.delete_markers, self.uploads]
    }

    fn all(self) -> [u64; 6] {
        let [objects, versions, delete_markers, uploads] = self.kinds();
        [objects, versions, delete_markers, uploads, self.bytes, self.kept_newer]
    }
}

impl Document {
    /// What is wrong with it, if anything is.
    fn check(
        &self,
        receipt: &Receipt,
        user: usize,
        stored: &Stock,
        after: &Stock,
    ) -> Result<(), String> {
        let ensure = |is_so: bool, what: &str| if is_so { Ok(()) } else { Err(what.to_owned()) };
        ensure(self.version == 1 && self.hops > 0, "no such version or number of hops")?;
        let folder = format!("{RECEIPTS_URI}{}/", self.erasure_id);
        let name = receipt.key.strip_prefix(&folder).unwrap_or_default();
        ensure(
            name.starts_with(&self.outcome) && name.ends_with(".json"),
            "it is in the wrong place",
        )?;
        let asked = user_of_request(&self.erasure_id);
        ensure(
            asked.is_none_or(|asked| asked == user),
            "it names another user than the request of this id",
        )?;

        let times = [
            Some(&self.requested_at),
            Some(&self.started_at),
            self.proven_empty_at.as_ref(),
            Some(&self.finished_at),
        ];
        let times = times
            .into_iter()
            .flatten()
            .map(|time| DateTime::from_str(time, DateTimeFormat::DateTime));
        let times = times.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        ensure(times.is_sorted(), "its times are out of order")?;
        self.check_counts(user, stored)?;
        match self.outcome.as_str() {
            "erased" => {
                ensure(
                    times.len() == 4 && self.reason.is_none(),
                    "a proof has a time and no reason",
                )?;
                let is_clean = |part: &Part| {
                    part.retained.is_empty() && part.refused.is_empty() && part.markers_kept == 0
                };
                ensure(
                    self.targets.iter().all(is_clean) && self.counts.kept_newer == 0,
                    "it says that something is left",
                )?;
                ensure(!after.by_user.contains_key(&user), "the user still has data")
            }
            "incomplete" => {
                ensure(times.len() == 3 && self.reason.is_some(), "it has no reason, or a proof")
            }
            _ => Err("no such outcome is possible here".to_owned()),
        }
    }

    /// Counts are at least: nothing may be counted that was never there, or twice.
    fn check_counts(&self, user: usize, stored: &Stock) -> Result<(), String> {
        let places =
            TARGETS.map(|(bucket, before)| (bucket.to_owned(), format!("{before}{{user_id}}/")));
        let named: Vec<_> =
            self.targets.iter().map(|part| (part.bucket.clone(), part.prefix.clone())).collect();
        if named != places {
            return Err(format!("its targets are {named:?}"));
        }
        let mut sum = [0; 6];
        for part in &self.targets {
            let (kinds, bytes) = stored.of(user, &part.bucket);
            let counted = part.counts.kinds();
            if counted.iter().zip(kinds).any(|(counted, stored)| *counted > stored)
                || part.counts.bytes > bytes
            {
                let (counted, kinds) = (show::kinds(counted), show::kinds(kinds));
                return Err(format!(
                    "more was counted in {} than was stored: {counted} of {kinds}",
                    part.bucket
                ));
            }
            for (sum, count) in sum.iter_mut().zip(part.counts.all()) {
                *sum += count;
            }
        }
        if sum == self.counts.all() {
            Ok(())
        } else {
            Err("its totals are not the sums of its targets".to_owned())
        }
    }
}

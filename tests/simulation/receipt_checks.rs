//! What must be true of every receipt, at the moment when it is to be stored.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use erase_user_files::ports::store::LockKind;
use erase_user_files::target::{HashKey, User};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::fake::model::{S3, Version, Versioning};
use crate::faults::RequestIds;
use crate::lambda::HASH_KEY;
use crate::queue_state::Message;
use crate::users::{BUCKETS, PERSONAL, WITHDRAWN, folders};
use crate::world::World;

/// What receipts call each user.
static HASHES: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    let hash = |user| {
        HashKey::new(HASH_KEY.to_owned()).hash(&User::parse(user).expect("an id of this world"))
    };
    WITHDRAWN.into_iter().map(|user| (user, hash(user))).collect()
});

pub(crate) fn hash(user: &str) -> &'static str {
    HASHES.get(user).map_or("nobody", String::as_str)
}

/// Whether there is a receipt of this outcome for this user.
pub(crate) fn has_receipt(world: &World, erasure: &str, user: &str, outcome: &str) -> bool {
    let document = world.receipts.get(&format!("{erasure}/{outcome}.json"));
    let receipt = document
        .and_then(|document| serde_json::from_str::<Value>(document).ok())
        .unwrap_or_default();
    receipt["outcome"] == outcome && receipt["user"] == hash(user)
}

/// Whether there is a receipt of this outcome for this very message: then an earlier delivery of it
/// has done all of it.
pub(crate) fn has_own_receipt(world: &World, message: &Message, outcome: &str) -> bool {
    let (erasure, user) = (&message.step.erasure, &message.step.user);
    let document = world.receipts.get(&format!("{erasure}/{outcome}.json"));
    let receipt = document
        .and_then(|document| serde_json::from_str::<Value>(document).ok())
        .unwrap_or_default();
    let at =
        receipt["requestedAt"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    message.receives > 1
        && receipt["user"] == hash(user)
        && at.is_some()
        && at == message.requested_at()
}

/// How much there is of each kind in each folder, by the names that receipts have for it.
pub(crate) type StoredCounts = BTreeMap<&'static str, u64>;

impl World {
    /// What of a folder is to be erased, and what is to be kept.
    pub(crate) fn stored_counts(&self, s3: &S3, bucket: &str, prefix: &str) -> StoredCounts {
        let is_versioned = s3.versioning(bucket).is_some_and(Versioning::has_versions);
        let mut stored_counts = StoredCounts::new();
        let mut count = |name, more| *stored_counts.entry(name).or_default() += more;
        for name in ["objects", "versions", "deleteMarkers", "uploads", "bytes", "keptNewer"] {
            count(name, 0);
        }
        for (_, version) in s3.versions_under(bucket, prefix) {
            match version.bytes {
                _ if self.is_newer(version.last_modified) => count("keptNewer", 1),
                None => count("deleteMarkers", 1),
                Some(bytes) => {
                    count(if is_versioned { "versions" } else { "objects" }, 1);
                    count("bytes", bytes);
                }
            }
        }
        for (_, upload) in s3.uploads_under(bucket, prefix) {
            count(if self.is_newer(upload.initiated) { "keptNewer" } else { "uploads" }, 1);
        }
        stored_counts
    }

    /// Versions that Object Lock holds against this function at a moment, by the hold.
    fn retained(
        &self,
        s3: &S3,
        (bucket, prefix): (&str, &str),
        now: OffsetDateTime,
    ) -> BTreeMap<&'static str, u64> {
        let mut retained = BTreeMap::new();
        for (key, version) in s3.versions_under(bucket, prefix) {
            let place = (bucket.to_owned(), key.to_owned());
            let is_asked_for =
                !self.is_newer(version.last_modified) && !self.poison_keys.contains(&place);
            if let Some(lock) =
                version.lock.filter(|_| is_asked_for && self.holds(version, now, &place))
            {
                *retained.entry(lock.hold.name()).or_default() += 1;
            }
        }
        retained
    }

    /// Whether a lock keeps this function from deleting, with its permissions.
    fn holds(&self, version: &Version, now: OffsetDateTime, place: &(String, String)) -> bool {
        let is_governance = version.lock.is_some_and(|lock| lock.hold == LockKind::Governance);
        let is_bypassed =
            self.setup.bypasses_governance && is_governance && !self.refused_keys.contains(place);
        version.is_locked(now) && !is_bypassed
    }

    /// Whether the user has something that no erasure can delete, however often it is tried.
    pub(crate) fn is_held_for_good(&self, user: &str) -> bool {
        let far = self.s3.now() + Duration::from_secs(86_400);
        folders(user)
            .iter()
            .any(|(bucket, prefix)| !self.retained(&self.s3, (bucket, prefix), far).is_empty())
    }

    /// Whether SQS may redeliver a message although there are no faults, and forget what its
    /// previous delivery has counted.
    pub(crate) fn may_be_given_back(&self) -> bool {
        let has_shared_receipts =
            self.setup.request_ids == RequestIds::Shared && self.setup.has_receipts;
        has_shared_receipts || self.setup.has_locks || self.setup.max_objects.is_some()
    }
}

/// Checks a receipt that an invocation, which has run since then, wants to store.
pub(crate) fn check_receipt(world: &mut World, name: &str, document: &str, since: Instant) {
    if let Some(found) = PERSONAL.into_iter().find(|text| document.contains(text)) {
        world.broken(format!("a receipt says {found:?}: {document}"));
    }
    let receipt: Value = serde_json::from_str(document).unwrap_or_default();
    let Some(user) = WITHDRAWN.into_iter().find(|user| receipt["user"] == hash(user)) else {
        world.broken(format!("a receipt is about nobody: {document}"));
        return;
    };
    let outcome = receipt["outcome"].as_str().unwrap_or_default().to_owned();
    let file = name.rsplit('/').next().unwrap_or_default();
    let is_named_so = match outcome.as_str() {
        "incomplete" => file.starts_with("incomplete-") && receipt["reason"].is_string(),
        _ => file == format!("{outcome}.json") && receipt["reason"].is_null(),
    };
    if !is_named_so || receipt["version"] != 1 || name.matches('/').count() != 1 {
        world.broken(format!("a receipt is not as agreed: {name}: {document}"));
    }
    check_times(world, &receipt, since);
    if (outcome == "dry-run") != world.setup.is_dry_run && outcome != "incomplete" {
        world.broken(format!(
            "{outcome} was said in a world with DRY_RUN {}",
            world.setup.is_dry_run
        ));
    }
    let is_proof = ["erased", "swept"].contains(&outcome.as_str());
    if is_proof && !world.was_empty_since(user, since) {
        world.broken(format!(
            "a receipt calls {user} {outcome}, who was not empty at any moment of the invocation"
        ));
    }
    if receipt["targets"].as_array().is_none_or(|targets| targets.len() != BUCKETS.len()) {
        world.broken(format!("a receipt does not name all targets: {document}"));
    }
    check_sums(world, &receipt);
    for (bucket, prefix) in folders(user) {
        let mut targets = receipt["targets"].as_array().into_iter().flatten();
        let target = targets.find(|target| target["bucket"] == *bucket).unwrap_or(&Value::Null);
        if target["prefix"].as_str().is_none_or(|text| !text.contains("{user_id}")) {
            world.broken(format!("a receipt does not name the prefix of a target: {document}"));
        }
        match outcome.as_str() {
            "dry-run" => check_survey(world, (bucket, prefix), target),
            "incomplete" => check_retained(world, (bucket, prefix), target, &receipt, since),
            _ => check_erased(world, (bucket, prefix), user, target, &receipt),
        }
    }
}

/// The request, the start, the proof and the end come one after the other, and the proof in this
/// invocation.
fn check_times(world: &mut World, receipt: &Value, since: Instant) {
    let time = |name: &str| {
        receipt[name].as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
    };
    // SQS reports the time of the request, the function's clock the other times.
    let now = OffsetDateTime::from(world.clock_of_the_function());
    let begun = now - since.elapsed();
    let (requested, started, finished) =
        (time("requestedAt"), time("startedAt"), time("finishedAt"));
    // Between two hops the clock may have been repaired.
    let longest = world.initial_faults.skew();
    let is_after_request = requested <= started.map(|started| started + longest);
    let is_in_order =
        is_after_request && started <= finished.map(|at| at + longest) && finished <= Some(now);
    let is_complete = requested.is_some() && receipt["withdrawnAt"] == "2027-01-01T00:00:00Z";
    let has_limit = time("eraseBefore") == world.setup.erase_before;
    let proven = time("provenEmptyAt");
    let is_proven_now = proven.is_none_or(|proven| begun <= proven && Some(proven) <= finished);
    if !(is_in_order && is_complete && has_limit && is_proven_now) {
        world.broken(format!("the times of a receipt cannot be: {receipt}"));
    }
}

/// What is said of the targets adds up to what is said of all.
fn check_sums(world: &mut World, receipt: &Value) {
    for name in ["objects", "versions", "deleteMarkers", "uploads", "bytes", "keptNewer"] {
        let targets = receipt["targets"].as_array().map_or(&[][..], Vec::as_slice);
        let sum: Option<u64> = targets.iter().map(|target| target[name].as_u64()).sum();
        let is_right = if world.knew_first_release() {
            sum <= receipt[name].as_u64()
        } else {
            sum == receipt[name].as_u64()
        };
        if sum.is_none() || !is_right {
            world.broken(format!("the {name} of a receipt do not add up: {receipt}"));
        }
    }
}

/// A dry run counts exactly what is there.
fn check_survey(world: &mut World, (bucket, prefix): (&str, &str), target: &Value) {
    if !world.is_quiet() {
        return;
    }
    for (name, count) in world.stored_counts(&world.s3, bucket, prefix) {
        if target[name] != count {
            world.broken(format!("a dry run counted {} {name}, there are {count}", target[name]));
        }
    }
}

/// An erasure leaves nothing, keeps what is newer, and counts no more than there was.
fn check_erased(
    world: &mut World,
    (bucket, prefix): (&str, &str),
    user: &str,
    target: &Value,
    receipt: &Value,
) {
    if target["retained"] != Value::Array(vec![])
        || target["refused"] != Value::Array(vec![])
        || target["markersKept"] != 0
    {
        world.broken(format!("a receipt of an erasure tells of something left: {receipt}"));
    }
    // Who believes a liar counts the same things in every round.
    if !world.is_quiet() || world.initial_faults.is_liar {
        return;
    }
    let at_first = world.stored_counts(&world.s3_at_first, bucket, prefix);
    // What one request deletes in one hop, undisturbed, is all counted, and counted once.
    let is_undisturbed = world.initial_faults.is_calm()
        && !world.is_repaired
        && world.requests.get(user) == Some(&1);
    let is_exact = is_undisturbed && receipt["hops"] == 1 && !world.may_be_given_back();
    for (name, count) in at_first {
        let counted = target[name].as_u64().unwrap_or(u64::MAX);
        let is_swept = receipt["outcome"] == "swept";
        let is_right = match name {
            // Each abort of an upload was confirmed.
            "uploads" if world.initial_faults.uploads_outlive > 0 => true,
            "keptNewer" => counted == count,
            _ if is_exact && !is_swept => counted == count,
            _ => counted <= count,
        };
        if !is_right {
            world.broken(format!(
                "a receipt of {user} counts {counted} {name} in {bucket}, there were {count}"
            ));
        }
    }
}

/// What an incomplete erasure says to be retained is what is locked.
fn check_retained(
    world: &mut World,
    (bucket, prefix): (&str, &str),
    target: &Value,
    receipt: &Value,
    since: Instant,
) {
    let mut said: BTreeMap<String, u64> = BTreeMap::new();
    for retained in target["retained"].as_array().into_iter().flatten() {
        let reason = retained["reason"].as_str().unwrap_or_default().to_owned();
        said.insert(reason, retained["count"].as_u64().unwrap_or(0));
    }
    if target["markersKept"].as_u64().is_some_and(|kept| kept > 0) {
        world.reach("marker kept");
    }
    // Only a whole round has seen everything, and only the store knows what it does not list.
    let is_whole = receipt["reason"]
        .as_str()
        .is_some_and(|reason| reason.starts_with("what is left cannot be deleted"));
    if !is_whole
        || !world.is_quiet()
        || world.faults.is_retention_secret
        || world.faults.retention_fails > 0
    {
        return;
    }
    let now = world.s3.now();
    // A lock may have ended since, and another invocation have deleted what it held.
    let most = world.retained(&world.s3_at_first, (bucket, prefix), now - since.elapsed());
    let least = world.retained(&world.s3, (bucket, prefix), now);
    // Where S3 fails for the moment, what holds a version may stay open.
    let is_traced = world.faults.is_calm();
    let is_right =
        said.iter().all(|(hold, count)| most.get(hold.as_str()).is_some_and(|most| count <= most))
            && (!is_traced
                || least
                    .iter()
                    .all(|(hold, least)| said.get(*hold).is_some_and(|count| count >= least)));
    if !is_right {
        world.broken(format!(
            "a receipt says that {said:?} are retained, there were {most:?}, there are {least:?}"
        ));
    }
}

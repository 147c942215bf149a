//! What must be true at every delete, every continuation, every acknowledgement and every line of
//! the log.

use std::time::Duration;

use erase_user_files::ports::store::{Item, Kind};
use erase_user_files::target::Prefix;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::fake::model::Version;
use crate::queue_state::{Message, Step};
use crate::receipt_checks::{has_own_receipt, has_receipt, hash};
use crate::users::{PERSONAL, WITHDRAWN, owner};
use crate::world::{MOST_DOUBLINGS, World};

/// A delete request: only what was asked to be erased, as what it is, and none that makes data
/// current again.
pub(crate) fn check_delete(world: &mut World, prefix: &Prefix, items: &[Item]) {
    if items.is_empty() || items.len() > 1_000 {
        world.broken(format!("a delete request has {} items", items.len()));
    }
    if owner(prefix.bucket(), prefix.as_str()).is_none() {
        world.broken("a delete request for a folder that nobody asked to erase".to_owned());
    }
    if world.setup.is_dry_run {
        world.broken("a delete request in a dry run".to_owned());
    }
    for item in items {
        if !item.key.as_str().starts_with(prefix.as_str()) {
            world.broken("a delete request names a neighbour's key".to_owned());
        }
        if let Some(wrong) = wrong_with(world, prefix.bucket(), item, items) {
            world.broken(wrong);
        }
    }
}

/// Why this item must not be deleted now, if so.
fn wrong_with(world: &World, bucket: &str, item: &Item, items: &[Item]) -> Option<String> {
    let (key, kind) = (item.key.as_str(), item.kind);
    let versions = world.s3.versions(bucket, key);
    let Some(id) = item.id.as_deref() else {
        // What is newest may have been written after it was listed.
        let newest = versions.front().filter(|newest| newest.bytes.is_some() && world.writes == 0);
        let is_newer = newest.is_some_and(|newest| world.is_newer(newest.last_modified));
        return match kind {
            Kind::Objects if is_newer => {
                Some("an object newer than eraseBefore is deleted".to_owned())
            }
            Kind::Objects => None,
            Kind::Uploads | Kind::Versions | Kind::DeleteMarkers => {
                Some(format!("{kind:?} are deleted without an id"))
            }
        };
    };
    if kind == Kind::Uploads {
        let mut uploads =
            world.s3.uploads_under(bucket, key).filter(|(k, upload)| *k == key && upload.id == id);
        let is_newer = uploads.any(|(_, upload)| world.is_newer(upload.initiated));
        return is_newer.then(|| "an upload newer than eraseBefore is aborted".to_owned());
    }
    let version = versions.iter().find(|version| version.id == id)?;
    if id == "null" && world.writes > 0 {
        // Another one may be in its place since it was listed.
        return None;
    }
    if version.kind() != kind {
        return Some(format!("{:?} are deleted as {kind:?}", version.kind()));
    }
    if world.is_newer(version.last_modified) {
        return Some(format!("{kind:?} newer than eraseBefore are deleted"));
    }
    // S3 may carry out one request in any order: all that is newer than the data below may be
    // deleted before it.
    let is_requested = |other: &&Version| {
        let is_it =
            |item: &Item| item.key.as_str() == key && item.id.as_deref() == Some(&*other.id);
        items.iter().any(is_it)
    };
    let newest_that_stays =
        versions.iter().find(|other| !is_requested(other) || other.sequence < version.sequence);
    let becomes_current = newest_that_stays.is_some_and(|other| {
        other.bytes.is_some()
            && other.sequence < version.sequence
            && !world.is_newer(other.last_modified)
    });
    // Who believes a store that only says "deleted" cannot know what is left.
    let is_uncovered = kind == Kind::DeleteMarkers && becomes_current && !world.faults.is_liar;
    is_uncovered.then(|| "a delete marker is deleted, and data becomes current again".to_owned())
}

/// A sweep on its way: it follows a proof, and its receipt.
pub(crate) fn check_sweep(world: &mut World, message: &Message, since: Instant) {
    let Step { erasure, user, hop, is_sweep, sweep_at, .. } = message.step.clone();
    if !is_sweep {
        return;
    }
    world.reach("sweep arranged");
    let latest = OffsetDateTime::from(world.clock_of_the_function())
        + Duration::from_secs(world.setup.sweep_seconds);
    // A sweep that was in the dead-letter queue is due by the clock of then.
    let latest = if world.is_repaired { latest + world.initial_faults.skew() } else { latest };
    if sweep_at.is_none_or(|due| due > latest) || world.setup.sweep_seconds == 0 {
        world.broken(format!(
            "a sweep is due at another time than the setting says: {}",
            message.body
        ));
    }
    if world.setup.has_receipts && !has_receipt(world, &erasure, &user, "erased") {
        world
            .broken("a sweep was arranged before the receipt of the erasure was stored".to_owned());
    }
    // The first hop of an erasure asks for no sweep.
    let is_first =
        !world.continued.contains(&(erasure.clone(), user.clone(), hop.saturating_sub(1), true));
    // A delivery that finds the receipt of an earlier one arranges the sweep that may be missing.
    if is_first
        && !world.was_empty_since(&user, since)
        && !has_receipt(world, &erasure, &user, "erased")
    {
        world.broken(format!(
            "a sweep was arranged for {user}, who was not empty at any moment of the invocation"
        ));
    }
    if !is_first {
        world.reach("sweep passed on");
    }
}

/// The function says that this message is done: it must be proven done, or its continuation in the
/// queue.
pub(crate) fn acknowledge(world: &mut World, message: &Message, start: Instant) {
    let Step { erasure, user: id, hop, is_sweep, sweep_at, .. } = message.step.clone();
    let user = WITHDRAWN.into_iter().find(|user| message.is_about(user));
    let Some(user) = user.filter(|_| !message.is_garbage) else {
        world.broken(format!(
            "a message that nobody may understand was acknowledged: {}",
            message.body
        ));
        world.queue_state.delete(message.id);
        return;
    };
    let is_continued =
        |is_sweep| world.continued.contains(&(erasure.clone(), id.clone(), hop + 1, is_sweep));
    if is_continued(true) || is_continued(false) {
        world.queue_state.delete(message.id);
        return;
    }
    let outcome = match (world.setup.is_dry_run, is_sweep) {
        (true, _) => "dry-run",
        (false, true) => "swept",
        (false, false) => "erased",
    };
    if outcome != "dry-run" && has_own_receipt(world, message, outcome) {
        world.reach("done by an earlier delivery");
        let is_swept = is_sweep
            || world.setup.sweep_seconds == 0
            || has_receipt(world, &erasure, user, "swept");
        if !is_swept {
            world.broken(format!("{user} was called erased without a sweep to follow"));
        }
        world.proven.insert((erasure, id));
        world.queue_state.delete(message.id);
        return;
    }
    let is_due = !is_sweep || sweep_at.is_some_and(|due| due <= world.clock_of_the_function());
    let needs_sweep = outcome == "erased" && world.setup.sweep_seconds > 0;
    if !world.setup.is_dry_run && !world.was_empty_since(user, start) {
        world.broken(format!(
            "{user} was called {outcome}, but was not empty at any moment of the invocation"
        ));
    } else if world.setup.has_receipts && !has_receipt(world, &erasure, user, outcome) {
        world.broken(format!("{user} was called {outcome} without a receipt"));
    } else if !is_due {
        world.broken(format!("{user} was swept too early"));
    } else if needs_sweep {
        world.broken(format!("{user} was called erased without a sweep to follow"));
    } else {
        if world.is_repaired {
            world.reach("done after a redrive");
        }
        world.proven.insert((erasure, id));
    }
    world.queue_state.delete(message.id);
}

/// A line of the log, of an invocation that began then or later: it is true, and nothing personal
/// is in it.
pub(crate) fn check_log(world: &mut World, line: &str, since: Instant) {
    world.event(format_args!("log: {line}"));
    let fields: Value = serde_json::from_str(line).unwrap_or_default();
    let (outcome, reason) =
        (fields["outcome"].as_str(), fields["reason"].as_str().unwrap_or_default());
    let count = |name: &str| fields[name].as_u64().unwrap_or(0);
    let user = WITHDRAWN.into_iter().find(|user| fields["user"] == hash(user));
    let is_claim = matches!(outcome, Some("erased" | "swept"))
        && !reason.contains("an earlier delivery stored the receipt");
    if is_claim && !user.is_some_and(|user| world.was_empty_since(user, since)) {
        world.broken(format!("the log says what is not true of {user:?}: {line}"));
    }
    match outcome {
        Some("erased") => world.reach("outcome erased"),
        Some("swept") => world.reach("outcome swept"),
        Some("dry-run") => world.reach("outcome dry-run"),
        Some("continued") => world.reach("outcome continued"),
        Some("incomplete") => world.reach("outcome incomplete"),
        Some("failed") => world.reach("outcome failed"),
        Some("rejected") => world.reach("outcome rejected"),
        Some(other) => world.broken(format!("the log has an outcome that nobody knows: {other}")),
        None => {}
    }
    let phrases = [
        ("rounds found something", "too many rounds"),
        ("the object limit is reached", "fuse blown"),
        ("hops in a row deleted nothing", "too many idle hops"),
        ("failed to store the receipt", "receipt given up"),
        ("a receipt of another user already exists", "receipt of another user"),
        ("DRY_RUN is on", "erasure met a dry run"),
        ("DRY_RUN is off", "dry run met an erasure"),
        ("what is left cannot be deleted", "nothing more can be deleted"),
        ("the continuation has format version 3", "format of a later release"),
    ];
    for (_, what) in phrases.into_iter().filter(|(phrase, _)| reason.contains(phrase)) {
        world.reach(what);
    }
    if outcome == Some("continued")
        && !world.setup.is_dry_run
        && ["objects", "versions"].map(count) == [0; 2]
    {
        world.reach("hop without a deletion continued");
    }
    if fields["foundNothing"] == true {
        world.reach("nothing found");
        // The second of two requests finds what the first has left, and the second of two
        // deliveries of one message, too. A late writer may delete as well.
        let is_alone = !world.is_repaired
            && world.doublings_left == MOST_DOUBLINGS
            && world.faults.late_writes == 0;
        let is_first = |user| is_alone && world.requests.get(user) == Some(&1);
        if user.is_some_and(|user| is_first(user) && world.had_something_at_first(user)) {
            world.broken(format!(
                "the log says that nothing was found, and there was something: {line}"
            ));
        }
    }
    if count("retained") > 0 {
        world.reach("version retained");
    }
    if count("kept_newer") > 0 {
        world.reach("newer kept");
    }
    if outcome == Some("swept") && count("total_objects") + count("total_versions") > 0 {
        world.reach("late write swept");
    }
    let data = count("total_objects") + count("total_versions");
    if world.setup.max_objects.is_some_and(|max| !world.setup.is_dry_run && data > max) {
        world.broken(format!("{data} objects and versions were deleted, more than MAX_OBJECTS"));
    }
    if let Some(found) = PERSONAL.into_iter().find(|text| line.contains(text)) {
        world.broken(format!("the log says {found:?}: {line}"));
    }
}

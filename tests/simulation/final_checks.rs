//! What must be true when a world has ended.

use crate::fake::model::S3;
use crate::faults::RequestIds;
use crate::receipt_checks::StoredCounts;
use crate::releases::Release;
use crate::users::{WITHDRAWN, folders};
use crate::world::{LONGEST_WORLD, World};

pub(crate) fn check_the_end(world: &mut World) {
    for user in WITHDRAWN {
        let is_told_of = world.queue_state.everywhere().any(|message| message.is_about(user));
        let is_done = world.is_done(user);
        let may_have_more = world.setup.is_dry_run || world.rewritten.contains(user);
        if world.has_something(user) && !is_told_of && !(is_done && may_have_more) {
            world.broken(format!("{user} has something left, and no message tells of it"));
        }
        if !is_done && !is_told_of {
            world.broken(format!("{user} was never done, and no message tells of it"));
        }
        check_calm(world, user, is_told_of);
        check_outage(world, user);
    }
    if !world.queue_state.queue().is_empty() && !world.is_given_up {
        world.broken(format!(
            "the world is wedged: messages are still on their way after {LONGEST_WORLD:?}"
        ));
    }
}

/// Where one bucket alone has an outage, a user whose message has failed has nothing left in the
/// others.
fn check_outage(world: &mut World, user: &str) {
    let Some((bucket, outage)) = world.initial_faults.outage.filter(|_| !world.is_repaired) else {
        return;
    };
    let has_more_to_hold =
        world.setup.has_locks || world.setup.max_objects.is_some() || world.setup.is_dry_run;
    let has_shared_receipts = world.setup.request_ids == RequestIds::Shared;
    let is_dead = world.queue_state.dead_letters().iter().any(|message| message.is_about(user));
    if has_more_to_hold || has_shared_receipts || world.setup.deployment.is_some() || !is_dead {
        return;
    }
    for (index, (name, prefix)) in
        folders(user).iter().enumerate().filter(|(index, _)| *index != bucket)
    {
        let stored_counts = world.stored_counts(&world.s3, name, prefix);
        let left =
            ["objects", "versions", "deleteMarkers", "uploads"].map(|kind| stored_counts[kind]);
        if left.iter().sum::<u64>() > 0 {
            world.broken(format!(
                "{outage:?} of target {bucket} has kept {left:?} of target {index} for {user}"
            ));
        }
    }
}

/// Where there are no faults, or all faults were repaired, every user is erased whom Object Lock
/// and the object limit allow.
fn check_calm(world: &mut World, user: &str, is_told_of: bool) {
    let has_shared_receipts =
        world.setup.request_ids == RequestIds::Shared && world.setup.has_receipts;
    let is_rolled_back =
        world.setup.deployment.is_some_and(|it| it.from == Release::Later) && !world.is_repaired;
    if !world.faults.is_calm() || has_shared_receipts || is_rolled_back {
        return;
    }
    let is_held = world.is_held_for_good(user) && !world.setup.is_dry_run;
    let count = |s3: &S3| {
        folders(user).each_ref().map(|(bucket, prefix)| world.stored_counts(s3, bucket, prefix))
    };
    let (censuses, at_the_end) = (count(&world.s3_at_first), count(&world.s3));
    let data: u64 = censuses
        .iter()
        .map(|stored_counts| stored_counts["objects"] + stored_counts["versions"])
        .sum();
    let is_undisturbed =
        world.initial_faults.is_calm() && world.is_quiet() && world.requests.get(user) == Some(&1);
    let has_too_much =
        world.setup.max_objects.is_some_and(|max| data > max) && !world.setup.is_dry_run;
    if is_undisturbed && has_too_much && world.is_done(user) {
        world.broken(format!(
            "{user} was erased, who had {data} objects and versions, more than MAX_OBJECTS"
        ));
    }
    let is_blown = |max| data > max || !world.is_quiet() || world.initial_faults.is_liar;
    let has_fuse_in_the_way =
        world.setup.max_objects.is_some_and(is_blown) && !world.setup.is_dry_run;
    let is_done = world.is_done(user);
    // A proof has to list all that is kept within one invocation; what is hidden in the middle is
    // kept, too.
    let kept = |censuses: &[StoredCounts]| {
        censuses.iter().map(|stored_counts| stored_counts["keptNewer"]).sum::<u64>()
    };
    let has_much_to_keep = kept(&censuses).max(kept(&at_the_end)) > world.page_size as u64;
    // A pass over data deletes none of the delete markers. A hop has time for ten pages of them,
    // and may be the only one.
    let markers: u64 = at_the_end.iter().map(|stored_counts| stored_counts["deleteMarkers"]).sum();
    let has_many_markers = markers > 10 * world.page_size as u64;
    // A dry run that has to restart its count has no hop to lose, if it has only one.
    let is_another = world.initial_faults.switches_versioning;
    let is_another = is_another || world.setup.deployment.is_some_and(|it| it.turns_targets);
    let counts_anew = world.setup.is_dry_run && is_another;
    // A lock that ends may have ended in time, and a second request may find few enough items for
    // the object limit.
    let is_undecided = has_fuse_in_the_way || has_much_to_keep || has_many_markers || counts_anew;
    let is_undecided = is_undecided || world.setup.locks_end;
    if !is_undecided && is_done == is_held {
        world.broken(format!(
            "{user} is done: {is_done}, is held: {is_held}, in a world where nothing goes wrong"
        ));
    }
    if !is_undecided && is_told_of != is_held {
        world.broken(format!(
            "{user} is in the dead-letter queue: {is_told_of}, is held: {is_held}"
        ));
    }
}

//! What must be true when a world has ended.

use crate::fake::model::{Inventory, S3};
use crate::people::{BUCKETS, WITHDRAWN, folders};
use crate::weather::RequestIds;
use crate::world::{LONGEST_WORLD, World};

pub(crate) fn check_the_end(world: &mut World) {
    if neighbours(&world.s3) != neighbours(&world.s3_at_first) {
        world.broken("something of a neighbour is gone or changed".to_owned());
    }
    if world.scene.is_dry_run && world.writes == 0 && everything(&world.s3) != everything(&world.s3_at_first) {
        world.broken("a dry run has changed something".to_owned());
    }
    check_locks(world);
    for user in WITHDRAWN {
        let mut told = world.queue.iter().chain(&world.dead_letters);
        let is_told_of = told.any(|message| message.is_about(user));
        let is_done = world.done.contains(user);
        let may_have_more = world.scene.is_dry_run || world.rewritten.contains(user);
        if world.has_something(user) && !is_told_of && !(is_done && may_have_more) {
            world.broken(format!("{user} has something left, and no message tells of it"));
        }
        if !is_done && !is_told_of {
            world.broken(format!("{user} was never done, and no message tells of it"));
        }
        check_calm(world, user, is_told_of);
    }
    if !world.queue.is_empty() && !world.is_given_up {
        world.broken(format!("the world is wedged: messages are still on their way after {LONGEST_WORLD:?}"));
    }
}

/// Where nothing goes wrong, everybody is erased whom Object Lock and the fuse let go.
fn check_calm(world: &mut World, user: &str, is_told_of: bool) {
    let has_shared_receipts = world.scene.request_ids == RequestIds::Shared && world.scene.has_receipts;
    if !world.weather.is_calm() || has_shared_receipts {
        return;
    }
    let is_held = world.is_held_for_good(user) && !world.scene.is_dry_run;
    let censuses = folders(user).map(|(bucket, prefix)| world.census(&world.s3_at_first, bucket, &prefix));
    let data: u64 = censuses.iter().map(|census| census["objects"] + census["versions"]).sum();
    let has_fuse_in_the_way = world.scene.max_objects.is_some_and(|max| data > max) && !world.scene.is_dry_run;
    let is_done = world.done.contains(user);
    // A proof has to list all that is kept within one invocation.
    let kept: u64 = censuses.iter().map(|census| census["keptNewer"]).sum();
    let has_much_to_keep = kept > world.page_size as u64 * 3;
    // A lock that ends may have ended in time, and a second request may find little enough for the fuse.
    let is_undecided = has_fuse_in_the_way || has_much_to_keep || world.scene.locks_end;
    if !is_undecided && is_done == is_held {
        world.broken(format!("{user} is done: {is_done}, is held: {is_held}, in a world where nothing goes wrong"));
    }
    if !is_undecided && is_told_of != is_held {
        world.broken(format!("{user} is in the dead-letter queue: {is_told_of}, is held: {is_held}"));
    }
}

/// Versions that are locked until now are there, with their locks as they were.
fn check_locks(world: &mut World) {
    let now = world.s3.now();
    for bucket in BUCKETS {
        for (key, version) in world.s3_at_first.inventory(bucket, "").data {
            let is_kept = world.s3.version(bucket, &key, &version.id).is_some_and(|kept| kept.lock == version.lock);
            let may_be_gone = world.scene.bypasses_governance || !version.is_locked(now);
            if !is_kept && !may_be_gone {
                world.broken("a locked version is gone, or its lock was touched".to_owned());
            }
        }
    }
}

fn everything(s3: &S3) -> Vec<Inventory> {
    BUCKETS.map(|bucket| s3.inventory(bucket, "")).into()
}

/// Everything that is nobody's who is to be erased.
fn neighbours(s3: &S3) -> Vec<Inventory> {
    let mut neighbours = everything(s3);
    for (bucket, inventory) in BUCKETS.into_iter().zip(&mut neighbours) {
        let is_foreign = |key: &str| {
            let mut withdrawn = WITHDRAWN.into_iter().flat_map(folders);
            !withdrawn.any(|(name, prefix)| name == bucket && key.starts_with(&prefix))
        };
        inventory.data.retain(|(key, _)| is_foreign(key));
        inventory.markers.retain(|(key, _)| is_foreign(key));
        inventory.uploads.retain(|(key, _)| is_foreign(key));
    }
    neighbours
}

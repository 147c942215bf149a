//! What must be true after every event.

use erase_user_files::ports::store::LockKind;

use crate::fake::model::{S3, Upload, Version};
use crate::users::{BUCKETS, withdrawn_prefixes};
use crate::world::World;

/// The state that was looked at last.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    s3: u64,
    queue_state: u64,
}

/// Looks at what may have changed since the last event.
pub(crate) fn check(world: &mut World) {
    let (s3, queue_state) = (world.s3.changes(), world.queue_state.changes());
    if world.checked.s3 != s3 {
        world.checked.s3 = s3;
        nobody_else_is_touched(world);
        what_is_locked_stays(world);
        a_dry_run_changes_nothing(world);
    }
    if world.checked.queue_state != queue_state {
        world.checked.queue_state = queue_state;
        no_request_is_lost(world);
    }
}

/// Everything that belongs to no user who is to be erased is unchanged.
fn nobody_else_is_touched(world: &mut World) {
    let is_same = BUCKETS.into_iter().all(|bucket| {
        versions_of_others(&world.s3, bucket).eq(versions_of_others(&world.s3_at_first, bucket))
            && uploads_of_others(&world.s3, bucket)
                .eq(uploads_of_others(&world.s3_at_first, bucket))
    });
    if !is_same {
        world.broken("something of a neighbour is gone or changed".to_owned());
    }
}

fn versions_of_others<'a>(
    s3: &'a S3,
    bucket: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Version)> {
    let withdrawn = withdrawn_prefixes(bucket);
    s3.versions_under(bucket, "")
        .filter(move |(key, _)| !withdrawn.iter().any(|prefix| key.starts_with(prefix)))
}

fn uploads_of_others<'a>(
    s3: &'a S3,
    bucket: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Upload)> {
    let withdrawn = withdrawn_prefixes(bucket);
    s3.uploads_under(bucket, "")
        .filter(move |(key, _)| !withdrawn.iter().any(|prefix| key.starts_with(prefix)))
}

/// Versions that are locked until now are there, with their locks as they were.
fn what_is_locked_stays(world: &mut World) {
    let now = world.s3.now();
    let is_kept = |bucket, key, version: &Version| {
        let is_governance = version.lock.is_some_and(|lock| lock.hold == LockKind::Governance);
        let may_be_gone =
            world.setup.bypasses_governance && is_governance || !version.is_locked(now);
        may_be_gone
            || world
                .s3
                .version(bucket, key, &version.id)
                .is_some_and(|kept| kept.lock == version.lock)
    };
    let mut locked = world.locked_at_first.iter();
    if !locked.all(|(bucket, key, version)| is_kept(bucket, key, version)) {
        world.broken("a locked version is gone, or its lock was touched".to_owned());
    }
}

fn a_dry_run_changes_nothing(world: &mut World) {
    if world.setup.is_dry_run && world.is_quiet() {
        world.broken("a dry run has changed something".to_owned());
    }
}

/// Every erasure that was asked for is proven done, or one of the two queues has a message of it.
fn no_request_is_lost(world: &mut World) {
    let is_in_the_mail = |erasure: &str, user: &str| {
        let mut messages = world.queue_state.everywhere().filter(|message| !message.is_garbage);
        messages.any(|message| message.step.erasure == erasure && message.step.user == user)
    };
    let mut open = world.asked.difference(&world.proven);
    if let Some((erasure, user)) =
        open.find(|(erasure, user)| !is_in_the_mail(erasure, user)).cloned()
    {
        world.broken(format!(
            "the erasure {erasure} of {user} was never done, and no message tells of it"
        ));
    }
}

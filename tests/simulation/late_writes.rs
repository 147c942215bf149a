//! Users who go on while they are erased.

use crate::fake::model::Versioning;
use crate::users::{BUCKETS, WITHDRAWN, folders, owner};
use crate::world::World;

/// The world has enough of it after so many writes.
const MOST_WRITES: u64 = 6;

/// A client may write once more.
pub(crate) fn late_write(world: &mut World) {
    let percent = world.faults.late_writes;
    if world.writes >= MOST_WRITES || !world.happens(percent, "late write") {
        return;
    }
    let user = WITHDRAWN[world.dice.usize(0..WITHDRAWN.len())];
    let (bucket, prefix) = &folders(user)[world.dice.usize(0..BUCKETS.len())];
    world.writes += 1;
    world.rewritten.insert(user);
    world.note_if_empty(bucket, prefix);
    let fresh = format!("{prefix}secret-late-{}", world.writes);
    let known =
        world.s3.versions_under(bucket, prefix).map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    let known = world.dice.choice(&known).cloned();
    let uploads = world.s3.uploads_under(bucket, prefix);
    let uploads =
        uploads.map(|(key, upload)| (key.to_owned(), upload.id.clone())).collect::<Vec<_>>();
    let upload = world.dice.choice(&uploads).cloned();
    let keeps_versions = world.s3.versioning(bucket).is_some_and(Versioning::has_versions);
    let what = match (world.dice.u32(0..6), known, upload) {
        (0 | 1, Some(key), _) => {
            world.s3.put(bucket, &key, 5);
            if keeps_versions { "late version" } else { "late overwrite" }
        }
        (2, Some(key), _) => {
            world.s3.delete_plain(bucket, &key);
            if keeps_versions { "late marker" } else { "late delete" }
        }
        (3 | 4, _, Some((key, id))) => {
            world.s3.complete_upload(bucket, &key, &id, 50);
            "upload completed in the middle"
        }
        (3 | 4, ..) => {
            world.s3.start_upload(bucket, &fresh);
            "late upload"
        }
        _ => {
            world.s3.put(bucket, &fresh, 5);
            "late object"
        }
    };
    world.reach(what);
}

/// An operator enables versioning on a bucket that never had it, once in a world.
pub(crate) fn switch_versioning(world: &mut World) {
    if !world.faults.switches_versioning || world.has_switched || world.dice.u32(0..20) > 0 {
        return;
    }
    let never = |bucket: &&str| world.s3.versioning(bucket) == Some(Versioning::Never);
    if let Some(bucket) = BUCKETS.into_iter().find(never) {
        enable_versioning(world, bucket);
    }
}

fn enable_versioning(world: &mut World, bucket: &str) {
    world.has_switched = true;
    world.s3.set_versioning(bucket, Versioning::Enabled);
    world.reach("versioning switched on");
}

/// The same, just before a listing of objects is answered; and the user deletes everything there,
/// which only hides it.
pub(crate) fn switch_versioning_and_hide(world: &mut World, bucket: &str, prefix: &str) {
    let is_never = world.s3.versioning(bucket) == Some(Versioning::Never);
    let may_switch = world.faults.switches_versioning && !world.has_switched && is_never;
    let (Some(user), Some(bucket)) =
        (owner(bucket, prefix), BUCKETS.into_iter().find(|name| *name == bucket))
    else {
        return;
    };
    if !may_switch || world.dice.u32(0..4) > 0 {
        return;
    }
    enable_versioning(world, bucket);
    world.writes += 1;
    world.rewritten.insert(user);
    world.note_if_empty(bucket, prefix);
    let keys: Vec<String> =
        world.s3.versions_under(bucket, prefix).map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        world.s3.delete_plain(bucket, &key);
        world.reach_silently("everything hidden in the middle");
    }
}

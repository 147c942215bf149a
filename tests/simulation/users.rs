//! Who is in a world, and what they have stored before it begins.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use erase_user_files::ports::store::{LockKind, Retention};
use time::OffsetDateTime;

use crate::fake::model::{S3, Versioning};
use crate::faults::{START, Setup};

pub(crate) const BUCKETS: [&str; 3] = ["photos", "exports", "mails"];
/// A folder, a folder whose name has the id in it, and files whose names begin with the id.
pub(crate) const TARGETS: [&str; 2] =
    ["s3://photos/{user_id}/", "s3://exports/users/user_{user_id}/"];
pub(crate) const KEYS: &str = "s3://mails/{user_id}_*";
/// The id in a file's name ends before the `_`.
pub(crate) const USER_ID_CHARACTERS: &str = "A-Za-z0-9.-";

/// Users that are withdrawn, and neighbours that are not: chosen to be mixed up.
pub(crate) const WITHDRAWN: [&str; 3] = ["u1-zebra", "u1-zebra.bak", "U1-zebra"];
pub(crate) const NEIGHBOURS: [&str; 4] = ["u1-zebra0", "u1", "u1-zebr", "u1-zebra-old"];

/// What must not be in a log or a receipt. Only `u1` may happen to be in a number.
pub(crate) const PERSONAL: [&str; 7] =
    ["u1-zebra", "u1-zebra.bak", "U1-zebra", "u1-zebra0", "u1-zebr", "u1-zebra-old", "secret"];

/// A bucket and a prefix.
pub(crate) type Folder = (&'static str, String);

/// The folders of all users under [`TARGETS`] and [`KEYS`], deliberately written a second time.
static FOLDERS: LazyLock<BTreeMap<&'static str, [Folder; 3]>> = LazyLock::new(|| {
    let users = WITHDRAWN.into_iter().chain(NEIGHBOURS);
    let folders = |user| {
        [
            ("photos", format!("{user}/")),
            ("exports", format!("users/user_{user}/")),
            ("mails", format!("{user}_")),
        ]
    };
    users.map(|user| (user, folders(user))).collect()
});

/// This user's folders.
pub(crate) fn folders(user: &str) -> &'static [Folder; 3] {
    &FOLDERS[user]
}

/// Whose folder this is.
pub(crate) fn owner(bucket: &str, prefix: &str) -> Option<&'static str> {
    WITHDRAWN
        .into_iter()
        .find(|user| folders(user).iter().any(|(b, p)| *b == bucket && p == prefix))
}

/// Whose folders in a bucket are to be erased: looked up once for all of its keys.
pub(crate) fn withdrawn_prefixes(bucket: &str) -> Vec<&'static str> {
    let folders = WITHDRAWN.into_iter().flat_map(folders).filter(|(name, _)| *name == bucket);
    folders.map(|(_, prefix)| prefix.as_str()).collect()
}

/// What a neighbour does at most at each time, in each bucket.
const MOST_OF_NEIGHBOURS: u32 = 5;

/// The time that all these things were stored in.
const PAST: Duration = Duration::from_secs(7_200);

/// Fills the store as its users would: with writes, overwrites, deletes and uploads, before
/// versioning was enabled, while it is, and after it was suspended. `most`: what a user does at
/// most at each of these times, in each bucket.
pub(crate) fn populate(setup: &Setup, most: u32, dice: &mut fastrand::Rng) -> S3 {
    let start = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(START);
    let mut s3 = S3::new(&BUCKETS);
    let users = || WITHDRAWN.into_iter().chain(NEIGHBOURS);
    for (index, (bucket, versioning)) in BUCKETS.into_iter().zip(setup.versioning).enumerate() {
        let history: &[Versioning] = match versioning {
            Versioning::Never => &[],
            Versioning::Enabled => &[Versioning::Enabled],
            Versioning::Suspended => &[Versioning::Enabled, Versioning::Suspended],
        };
        let ages = u32::try_from(history.len()).unwrap_or(0) + 1;
        let mut keys: Vec<Vec<String>> = users().map(|_| Vec::new()).collect();
        for age in 0..ages {
            if let Some(versioning) =
                age.checked_sub(1).and_then(|index| history.get(index as usize))
            {
                s3.set_versioning(bucket, *versioning);
            }
            for (user, keys) in users().zip(&mut keys) {
                // Neighbours only have to be there: most of the time goes to who is erased.
                let writes = dice.u32(
                    0..=if NEIGHBOURS.contains(&user) {
                        most.min(MOST_OF_NEIGHBOURS)
                    } else {
                        most
                    },
                );
                for write in 0..writes {
                    let passed =
                        (f64::from(age) + f64::from(write) / f64::from(writes)) / f64::from(ages);
                    s3.set_now(start - PAST + PAST.mul_f64(passed));
                    write_once(&mut s3, (bucket, &folders(user)[index].1), keys, dice);
                }
            }
        }
    }
    // Keys that belong to no user, and look like a user's.
    for (bucket, key) in [
        ("photos", "u1-zebra"),
        ("exports", "users/user_u1-zebra"),
        ("exports", "users/u1-zebra/secret"),
        ("exports", "users/xuser_u1-zebra/secret"),
        ("exports", "users/user_u1-zebra_/secret"),
        ("mails", "u1-zebra"),
        ("mails", "u1-zebra.secret"),
        ("mails", "mail_u1-zebra_secret"),
    ] {
        s3.put(bucket, key, 1);
        s3.start_upload(bucket, key);
        s3.delete_plain(bucket, key);
        s3.put(bucket, key, 2);
    }
    if setup.has_locks {
        for user in users().filter(|_| dice.bool()).collect::<Vec<_>>() {
            lock_some(&mut s3, user, setup.locks_end, dice);
        }
    }
    s3
}

/// One thing that a user does. `keys` are those that the user has written to.
fn write_once(
    s3: &mut S3,
    (bucket, prefix): (&str, &str),
    keys: &mut Vec<String>,
    dice: &mut fastrand::Rng,
) {
    let number = keys.len();
    let fresh = match dice.u32(0..20) {
        // As the S3 console makes a folder: an empty object that is called like the prefix.
        0 => prefix.to_owned(),
        1 if prefix.ends_with('/') => format!("{prefix}secret-{number:04}/"),
        _ => format!("{prefix}secret-{number:04}"),
    };
    let known =
        if keys.is_empty() { fresh.clone() } else { keys[dice.usize(0..keys.len())].clone() };
    let bytes = dice.u64(0..1_000);
    match dice.u32(0..10) {
        0 | 1 => s3.put(bucket, &known, bytes),
        2 | 3 => _ = s3.delete_plain(bucket, &known),
        // Deleted and never there: a delete marker without anything below it.
        4 if dice.bool() => _ = s3.delete_plain(bucket, &fresh),
        4 => _ = s3.start_upload(bucket, &known),
        _ => {
            s3.put(bucket, &fresh, bytes);
            keys.push(fresh);
        }
    }
}

/// Locks some of a user's versions, where the bucket can.
fn lock_some(s3: &mut S3, user: &str, locks_end: bool, dice: &mut fastrand::Rng) {
    let start = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(START);
    for (bucket, prefix) in folders(user) {
        if s3.versioning(bucket) != Some(Versioning::Enabled) {
            continue;
        }
        for (key, version) in s3.inventory(bucket, prefix).data {
            let holds_for =
                if locks_end { dice.u64(1..120) } else { 315_360_000 + dice.u64(0..100) };
            let until = Some(start + Duration::from_secs(holds_for));
            let lock = match dice.u32(0..20) {
                0 => Retention { hold: LockKind::Compliance, until },
                1 => Retention { hold: LockKind::Governance, until },
                2 => Retention { hold: LockKind::LegalHold, until: None },
                _ => continue,
            };
            s3.lock(bucket, &key, &version.id, lock);
        }
    }
}

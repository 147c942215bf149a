//! Who is there: users that withdraw, from nothing to 20,000 objects, and neighbours whose folders
//! look like theirs.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt, TryStreamExt};
use local::{
    Lock, Ministack, Stored, StoredKind, create_bucket_with_object_lock, inventory,
    lift_legal_hold, lock_version, put_object, start_upload, user_hash,
};

use super::super::{DOCUMENTS, Failure, HASH_KEY, PHOTOS, USERS, seed, show};

/// A bucket with Object Lock.
pub(super) const ARCHIVE: &str = "archive";
/// Users' folders: a bucket, and the text before their id.
pub(super) const TARGETS: [(&str, &str); 3] = [(PHOTOS, ""), (DOCUMENTS, USERS), (ARCHIVE, "")];

const LARGEST: usize = 20_000;
const SECOND: usize = 5_000;
/// These have a version that Object Lock holds: they can only end in the dead-letter queue.
const HELD: usize = 3;
const READS_AT_ONCE: usize = 16;

/// One user that withdraws.
#[derive(Debug)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) objects: usize,
    /// Keys with versions.
    documents: usize,
    uploads: usize,
    pub(super) is_held: bool,
}

/// All users who request erasure.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) list: Vec<User>,
    numbers: HashMap<String, usize>,
    /// Their numbers by [`user_hash`].
    pub(super) by_hash: HashMap<String, usize>,
}

/// What lies in which bucket.
pub(super) type Item = (&'static str, Stored);

/// All that is stored, by our own listings.
#[derive(Debug)]
pub(super) struct Stock {
    /// By the user's number; those that have nothing are missing.
    pub(super) by_user: BTreeMap<usize, Vec<Item>>,
    /// The objects of all other users.
    pub(super) neighbours: Vec<Item>,
    /// What the objects and versions of other users contain, in the same order.
    pub(super) contents: Vec<Option<Vec<u8>>>,
}

impl Users {
    /// The same for the same seed.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let list: Vec<User> = (0..count).map(|number| User::new(number, &mut random)).collect();
        let numbers =
            list.iter().enumerate().map(|(number, user)| (user.id.clone(), number)).collect();
        let by_hash = list.iter().enumerate();
        let by_hash =
            by_hash.map(|(number, user)| (user_hash(HASH_KEY, &user.id), number)).collect();
        Self { list, numbers, by_hash }
    }

    pub(super) fn number(&self, id: &str) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    /// Whose folder a key lies in.
    fn owner(&self, bucket: &str, key: &str) -> Option<usize> {
        let (_, before) = TARGETS.iter().find(|(target, _)| *target == bucket)?;
        let (id, _) = key.strip_prefix(before)?.split_once('/')?;
        self.number(id)
    }

    /// Stores everything, and takes stock of it.
    pub(super) async fn store(&self, cloud: &Ministack) -> Result<Stock, Failure> {
        seed::make_buckets(cloud).await?;
        create_bucket_with_object_lock(&cloud.s3(), ARCHIVE).await?;
        seed::store(cloud, PHOTOS, "objects of other users", neighbours("")).await?;
        seed::store(
            cloud,
            DOCUMENTS,
            "versions of other users",
            [neighbours(USERS), neighbours(USERS)].concat(),
        )
        .await?;
        seed::store(cloud, ARCHIVE, "archives of other users", neighbours("")).await?;
        for (bucket, before) in TARGETS {
            for folder in ["u10000/", "u1.bak/", "U1/"] {
                seed::leave_uploads(cloud, bucket, &format!("{before}{folder}"), 1).await?;
            }
            let hidden =
                ["u1-old/hidden.txt", "u10000/keep-0.txt"].map(|key| format!("{before}{key}"));
            if bucket != PHOTOS {
                cloud.delete_plainly(bucket, hidden).await?;
            }
        }

        let objects: Vec<_> = self.list.iter().flat_map(User::plain_objects).collect();
        let what = format!("{} objects of {} users", objects.len(), self.list.len());
        seed::store(cloud, PHOTOS, &what, objects).await?;
        let keys: Vec<String> = self.list.iter().flat_map(User::document_keys).collect();
        let hidden: Vec<String> = keys.iter().step_by(4).cloned().collect();
        let versions: Vec<_> = (0..3).flat_map(|_| keys.clone()).map(seed::object).collect();
        seed::store(cloud, DOCUMENTS, &format!("{} versions", versions.len()), versions).await?;
        cloud.delete_plainly(DOCUMENTS, hidden).await?;
        self.start_uploads(cloud).await?;
        for user in self.list.iter().filter(|user| user.is_held) {
            user.fill_archive(cloud).await?;
        }
        Stock::take(cloud, self).await
    }

    /// Lifts every legal hold, as an operator has to before the redrive.
    pub(super) async fn lift_holds(&self, cloud: &Ministack) -> Result<(), Failure> {
        let s3 = cloud.s3();
        for user in self.list.iter().filter(|user| user.is_held) {
            for stored in inventory(&s3, ARCHIVE, &format!("{}/", user.id)).await? {
                lift_legal_hold(
                    &s3,
                    ARCHIVE,
                    &stored.key,
                    stored.id.as_deref().unwrap_or_default(),
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn start_uploads(&self, cloud: &Ministack) -> Result<(), Failure> {
        let s3 = &cloud.s3();
        let uploads = self.list.iter().flat_map(|user| {
            let (bucket, before) = TARGETS[user.uploads % 2];
            (0..user.uploads)
                .map(move |n| (bucket, format!("{before}{}/unfinished {n}.mov", user.id)))
        });
        let starts = uploads
            .map(|(bucket, key)| async move { start_upload(s3, bucket, &key, b"a part").await });
        let started =
            stream::iter(starts).buffer_unordered(READS_AT_ONCE).try_collect::<Vec<_>>().await;
        Ok(started.map(|_| ())?)
    }
}

impl User {
    fn new(number: usize, random: &mut fastrand::Rng) -> Self {
        let objects = match number {
            0 => LARGEST,
            1 => SECOND,
            _ => match random.u32(0..10) {
                0 => 0,
                1..5 => random.usize(1..10),
                5..8 => random.usize(10..100),
                _ => random.usize(100..1_000),
            },
        };
        let documents = if random.u32(0..3) == 0 { random.usize(1..30) } else { 0 };
        let uploads = if random.u32(0..4) == 0 { random.usize(1..5) } else { 0 };
        Self {
            id: format!("u{number}"),
            objects,
            documents,
            uploads,
            is_held: (2..2 + HELD).contains(&number),
        }
    }

    fn plain_objects(&self) -> Vec<seed::Object> {
        let odd = if self.objects % 10 == 1 { seed::odd_objects(&self.id) } else { Vec::new() };
        [odd, seed::plain_objects(&self.id, self.objects)].concat()
    }

    fn document_keys(&self) -> Vec<String> {
        (0..self.documents).map(|n| format!("{USERS}{}/{n:04} of +100%.txt", self.id)).collect()
    }

    async fn fill_archive(&self, cloud: &Ministack) -> Result<(), Failure> {
        for n in 0..3 {
            let (key, body) = seed::object(format!("{}/contract {n}.pdf", self.id));
            let version = put_object(&cloud.s3(), ARCHIVE, &key, &body).await?.unwrap_or_default();
            if n == 1 {
                lock_version(&cloud.s3(), ARCHIVE, &key, &version, Lock::LegalHold).await?;
            }
        }
        Ok(())
    }
}

/// Folders that a careless prefix or decoding would take for those of `u1`, `u7` and `u19`.
fn neighbours(before: &str) -> Vec<seed::Object> {
    let around = |id: &str| {
        let upper = id.to_uppercase();
        let folders = [
            format!("{before}{id}0000/"),
            format!("{before}{id}.bak/"),
            format!("{before}{id}-old/"),
            format!("{before}{id}+/"),
            format!("{before} {id}/"),
            format!("{before}{id}%2F"),
            format!("{before}/{id}/"),
            format!("{before}{upper}/"),
            format!("{before}other/{id}/"),
            // The user's folder in another target, not in this one.
            if before.is_empty() { format!("{USERS}{id}/") } else { format!("{id}/") },
        ];
        let mut keys: Vec<String> =
            folders.iter().flat_map(|f| (0..3).map(move |n| format!("{f}keep-{n}.txt"))).collect();
        keys.push(format!("{before}{id}"));
        keys
    };
    ["u1", "u7", "u19"].into_iter().flat_map(around).map(seed::object).collect()
}

impl Stock {
    pub(super) async fn take(cloud: &Ministack, users: &Users) -> Result<Self, Failure> {
        let s3 = cloud.s3();
        let (mut by_user, mut neighbours) = (BTreeMap::<usize, Vec<Item>>::new(), Vec::new());
        for (bucket, _) in TARGETS {
            for stored in inventory(&s3, bucket, "").await? {
                match users.owner(bucket, &stored.key) {
                    Some(user) => by_user.entry(user).or_default().push((bucket, stored)),
                    None => neighbours.push((bucket, stored)),
                }
            }
        }
        let reads = neighbours.iter().map(|(bucket, stored)| read(cloud, bucket, stored));
        let contents = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(Self { by_user, neighbours, contents })
    }

    /// How much of each kind a user has in a bucket, as [`super::super::show::counts`], and how
    /// many bytes.
    pub(super) fn of(&self, user: usize, bucket: &str) -> ([u64; 4], u64) {
        let items = self.by_user.get(&user).into_iter().flatten().filter(|(of, _)| *of == bucket);
        let items: Vec<Stored> = items.map(|(_, stored)| stored.clone()).collect();
        let has_data =
            |item: &&Stored| matches!(item.kind, StoredKind::Object | StoredKind::Version);
        let bytes = |item: &Stored| seed::object(item.key.clone()).1.len() as u64;
        (show::counts(&items), items.iter().filter(has_data).map(bytes).sum())
    }
}

async fn read(
    cloud: &Ministack,
    bucket: &str,
    stored: &Stored,
) -> Result<Option<Vec<u8>>, Failure> {
    match stored.kind {
        StoredKind::Object | StoredKind::Version => {
            let content =
                local::read_version(&cloud.s3(), bucket, &stored.key, stored.id.as_deref()).await?;
            Ok(Some(content))
        }
        StoredKind::DeleteMarker | StoredKind::Upload => Ok(None),
    }
}

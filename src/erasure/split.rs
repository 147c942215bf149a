//! Splits a long listing into key ranges that can be listed concurrently.
//!
//! S3 lists in key order, and one page shows only the next 1,000 keys of a prefix. The function
//! finds out where the keys after a page differ by asking whether any key follows a given one, and
//! the characters in the page's keys determine where to cut. A wrong cut costs an empty listing and
//! some balance, but never a key: together, the key ranges cover the whole listing.

use std::collections::BTreeSet;
use std::future::Future;

use futures::future::join_all;

use crate::erasure::context::{Context, Scope};
use crate::limiter::ReadClass;
use crate::ports::store::{Page, ReadStore};
use crate::target::Prefix;

/// The maximum number of key ranges. At 60 ms per page, they list more than 200,000 keys per
/// second.
pub(super) const MAX_RANGES: usize = 16;

/// The listing is split after this number of pages. Earlier, splitting costs more than it saves; if
/// nothing limits the deletion, it pays off from the second page on.
const HEAD_PAGES: u64 = 1;
const HEAD_PAGES_OF_A_DRY_RUN: u64 = 8;

/// The number of concurrent requests that ask whether keys follow a given one.
const QUESTIONS_AT_ONCE: usize = 15;

/// Returns a sample of the page's keys if the listing is to be split after this page. That is so if
/// it is the last page before a split, more pages follow, and listing could be slower than
/// processing the items.
pub(super) fn sample<S: ReadStore>(
    cx: &Context<'_, S>,
    scope: &Scope<'_>,
    number: u64,
    page: &Page,
) -> Option<KeySample> {
    let head_pages = if cx.is_dry_run { HEAD_PAGES_OF_A_DRY_RUN } else { HEAD_PAGES };
    let is_last_of_head = number + 1 == head_pages && page.next.is_some();
    let is_slower = || cx.is_dry_run || cx.limiter.is_free(scope.prefix.bucket());
    // Of the keys of a file pattern, nobody knows how many of those behind a page are the user's.
    if !is_last_of_head || !scope.prefix.is_folder() || !is_slower() {
        return None;
    }
    KeySample::of(page.entries.iter().map(|entry| entry.key.as_str()))
}

/// The keys at which to cut the rest of the listing, in order, each with the token of the page that
/// begins after it. The result is empty if the store does not list in key order, or if there is
/// nothing to split.
pub(super) async fn cuts<S: ReadStore>(
    cx: &Context<'_, S>,
    scope: &Scope<'_>,
    sample: &KeySample,
) -> Vec<(String, String)> {
    let Scope { kind, prefix, .. } = *scope;
    let token = |key: &str| cx.store.token_after(kind, key);
    if token(&sample.last).is_none() {
        return Vec::new();
    }
    // If the request fails, the key counts as one after which no keys follow: the preceding key
    // range then covers them.
    let is_any_behind = async |key: String| {
        let request = |timeout| cx.store.is_any_behind(prefix, kind, &key, timeout);
        cx.retry_read(scope, ReadClass::Other, request).await.unwrap_or(false)
    };
    let keys = sample.split_points(prefix, is_any_behind).await;
    let cuts: Option<Vec<_>> =
        keys.into_iter().map(|key| token(&key).map(|token| (key, token))).collect();
    cuts.unwrap_or_default()
}

/// What a page shows about the keys after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySample {
    /// The page's last key.
    pub(super) last: String,
    /// The characters by which the page's keys differ.
    alphabet: BTreeSet<char>,
}

impl KeySample {
    /// Creates a sample; returns `None` if there are no keys.
    pub(super) fn of<'k>(keys: impl Iterator<Item = &'k str> + Clone) -> Option<Self> {
        let (first, last) = (keys.clone().min()?, keys.clone().max()?);
        let same = first.chars().zip(last.chars()).take_while(|(one, other)| one == other).count();
        let alphabet = keys.flat_map(|key| key.chars().skip(same).take(4)).collect();
        Some(Self { last: last.to_owned(), alphabet })
    }

    /// The keys at which to cut the rest of the listing, in order. `is_any_behind` returns whether
    /// any keys follow a given one.
    pub(super) async fn split_points<Answer>(
        &self,
        prefix: &Prefix,
        is_any_behind: impl Fn(String) -> Answer,
    ) -> Vec<String>
    where
        Answer: Future<Output = bool>,
    {
        // The longer a prefix of the last key, the fewer keys follow all keys with that prefix. The
        // shortest prefix with keys after it ends just before the character in which they differ.
        let start = prefix.as_str().len();
        let positions = self
            .last
            .char_indices()
            .map(|(position, _)| position)
            .filter(|position| *position >= start);
        let positions: Vec<usize> = positions.collect();
        let beginnings: Vec<&str> =
            positions.iter().filter_map(|position| self.last.get(..*position)).collect();
        let first =
            partition_point(&beginnings, |beginning| is_any_behind(format!("{beginning}~"))).await;
        let Some(same) = beginnings.get(first.saturating_sub(1)) else {
            return Vec::new();
        };
        let here = self.last[same.len()..].chars().next();
        let others: Vec<String> = self
            .alphabet
            .iter()
            .filter(|other| Some(**other) > here)
            .map(|other| format!("{same}{other}"))
            .collect();
        let end = partition_point(&others, |other| {
            let answer = is_any_behind(format!("{other}~"));
            async { !answer.await }
        });
        let end = end.await;
        let blocks =
            self.last.get(..same.len() + here.map_or(0, char::len_utf8)).map(str::to_owned);
        let blocks: Vec<String> =
            blocks.into_iter().chain(others.into_iter().take(end + 1)).collect();
        self.thin_out(&blocks)
    }

    /// Reduces the cuts to one for each key range. The cuts are at the starts of blocks, and also
    /// within them if there are few blocks.
    fn thin_out(&self, blocks: &[String]) -> Vec<String> {
        let within = |block: &String| -> Vec<String> {
            let inner = self.alphabet.iter().map(|other| format!("{block}{other}"));
            if blocks.len() < MAX_RANGES / 2 { inner.collect() } else { vec![block.clone()] }
        };
        let cuts: Vec<String> =
            blocks.iter().flat_map(within).filter(|cut| *cut > self.last).collect();
        let step = cuts.len().div_ceil(MAX_RANGES - 1).max(1);
        cuts.into_iter().step_by(step).collect()
    }
}

/// The position of the first place for which `is_yes` returns true, provided that it does so for
/// all later places, too. If it does so for none, returns the position of the last place.
async fn partition_point<'p, P, Answer>(places: &'p [P], is_yes: impl Fn(&'p P) -> Answer) -> usize
where
    Answer: Future<Output = bool>,
{
    let (mut low, mut high) = (0, places.len().saturating_sub(1));
    while low < high {
        let step = (high - low).div_ceil(QUESTIONS_AT_ONCE);
        let asked: Vec<usize> = (low..high).step_by(step).collect();
        let answers = join_all(asked.iter().map(|place| is_yes(&places[*place]))).await;
        match answers.iter().position(|is_yes| *is_yes) {
            Some(0) => high = low,
            Some(first) => (low, high) = (asked[first - 1] + 1, asked[first]),
            None => low = asked.last().map_or(high, |last| last + 1),
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Target, User};

    /// Splits a listing of these keys after a first page of `page` keys. Returns the number of keys
    /// in each key range, and the number of requests.
    fn lanes(keys: &[String], page: usize) -> (Vec<usize>, usize) {
        let mut keys: Vec<String> = keys.iter().map(|key| format!("u1/{key}")).collect();
        keys.sort_unstable();
        let prefix =
            Target::parse("s3://photos/{user_id}/").unwrap().prefix(&User::parse("u1").unwrap());
        let (first, behind) = keys.split_at(page);
        let sample = KeySample::of(first.iter().map(String::as_str)).unwrap();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let is_any_behind = |key: String| {
            asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::ready(behind.iter().any(|other| *other > key))
        };
        let cuts = futures::executor::block_on(sample.split_points(&prefix, is_any_behind));
        assert!(cuts.is_sorted() && cuts.len() < MAX_RANGES, "{cuts:?}");
        assert!(
            cuts.iter().all(|cut| *cut > first[page - 1] && cut.starts_with("u1/")),
            "{cuts:?}"
        );
        let lane = |key: &String| cuts.iter().position(|cut| key <= cut).unwrap_or(cuts.len());
        let mut sizes = vec![0; cuts.len() + 1];
        behind.iter().for_each(|key| sizes[lane(key)] += 1);
        (sizes, asked.into_inner())
    }

    fn largest_share(keys: &[String], page: usize) -> f64 {
        let (sizes, questions) = lanes(keys, page);
        assert!(questions <= 50, "{questions} questions");
        let (most, all) = (sizes.iter().max().copied().unwrap(), sizes.iter().sum::<usize>());
        most as f64 / all as f64
    }

    #[test]
    fn numbers_hexadecimals_folders_and_dates_are_cut_into_even_lanes() {
        let mut random = fastrand::Rng::with_seed(7);
        let numbers: Vec<String> =
            (0..100_000).map(|number| format!("photo-{number:08}.jpg")).collect();
        let unpadded: Vec<String> = (0..100_000).map(|number| format!("{number}")).collect();
        let two: Vec<String> = (0..200_000).map(|number| format!("{number:09}")).collect();
        let hexadecimals: Vec<String> =
            (0..50_000).map(|_| format!("{:032x}", random.u128(..))).collect();
        let folders: Vec<String> =
            (0..100_000).map(|number| format!("f{:03}/{:05}", number % 100, number)).collect();
        let words: Vec<String> = (0..50_000)
            .map(|_| (0..8).map(|_| random.lowercase()).collect::<String>() + ".png")
            .collect();
        let dates: Vec<String> = (0..60_000)
            .map(|number| {
                format!(
                    "2026/{:02}/{:02}/{number:06}.heic",
                    number / 5_000 + 1,
                    number / 170 % 28 + 1
                )
            })
            .collect();
        for (name, keys, most) in [
            ("numbers", &numbers, 0.15),
            ("unpadded", &unpadded, 0.30),
            ("two", &two, 0.15),
            ("hexadecimals", &hexadecimals, 0.10),
            ("folders", &folders, 0.15),
            ("words", &words, 0.12),
            ("dates", &dates, 0.60),
        ] {
            let share = largest_share(keys, 1_000);
            assert!(
                share <= most,
                "{name}: the largest lane has {share:.3} of the keys: {:?}",
                lanes(keys, 1_000)
            );
        }
    }

    #[test]
    fn eight_blocks_are_lanes_enough_and_fewer_are_cut_within() {
        let random_digits = |digits: &[u8]| -> Vec<String> {
            let mut random = fastrand::Rng::with_seed(7);
            let digits: Vec<char> = digits.iter().map(|digit| char::from(*digit)).collect();
            (0..20_000).map(|_| (0..16).filter_map(|_| random.choice(&digits)).collect()).collect()
        };
        assert_eq!(lanes(&random_digits(b"01234567"), 1_000).0.len(), 8);
        assert!(lanes(&random_digits(b"0123456"), 1_000).0.len() > 8);
        let many = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        assert!(lanes(&random_digits(many), 500).0.len() > 8);
    }

    #[test]
    fn what_cannot_be_cut_has_one_lane() {
        let deep: Vec<String> = (1..40).map(|depth| "a".repeat(depth)).collect();
        assert_eq!(lanes(&deep, 5).0.iter().sum::<usize>(), 34);
        let odd: Vec<String> =
            ["", "a", "b", "\u{e9}", "\u{10ffff}", "~", "~~"].map(str::to_owned).into();
        assert_eq!(lanes(&odd, 2).0.iter().sum::<usize>(), 5);
        assert_eq!(KeySample::of(std::iter::empty()), None);
    }

    #[test]
    fn the_first_place_is_found_by_few_questions() {
        for count in [1_usize, 2, 15, 16, 17, 100, 1_000] {
            let places: Vec<usize> = (0..count).collect();
            for first in 0..count {
                let asked = std::sync::Mutex::new(Vec::new());
                let found = partition_point(&places, |place| {
                    asked.lock().unwrap().push(*place);
                    std::future::ready(*place >= first)
                });
                assert_eq!(futures::executor::block_on(found), first);
                let asked = asked.into_inner().unwrap();
                assert!(asked.len() <= 3 * QUESTIONS_AT_ONCE, "{first} of {count}: {asked:?}");
                assert_eq!(
                    asked.iter().collect::<BTreeSet<_>>().len(),
                    asked.len(),
                    "twice: {asked:?}"
                );
            }
            let none = partition_point(&places, |_| std::future::ready(false));
            assert_eq!(futures::executor::block_on(none), count - 1, "of none, the last one");
        }
    }
}

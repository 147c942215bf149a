//! A cache of facts about buckets, with a lifetime of one hour.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long a fact is valid. A warm execution environment lives for hours, in which another bucket
/// may get the same name.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);

/// One fact for each bucket, with the time when it was learned.
#[derive(Debug, Default)]
pub(super) struct TtlCache<T> {
    facts: RefCell<HashMap<String, (Instant, T)>>,
}

impl<T: Copy> TtlCache<T> {
    /// The fact about this bucket, unless it has expired.
    pub(super) fn get(&self, bucket: &str) -> Option<T> {
        let fact = self.facts().get(bucket).copied();
        fact.filter(|(learnt, _)| learnt.elapsed() < REMEMBERED_FOR).map(|(_, fact)| fact)
    }

    /// Stores a fact about this bucket.
    pub(super) fn put(&self, bucket: &str, fact: T) {
        self.facts().insert(bucket.to_owned(), (Instant::now(), fact));
    }

    fn facts(&self) -> RefMut<'_, HashMap<String, (Instant, T)>> {
        self.facts.borrow_mut()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fact_is_remembered_for_an_hour_from_when_it_was_learnt() {
        let memory = TtlCache::default();
        memory.put("photos", true);
        advance(REMEMBERED_FOR / 2).await;
        memory.put("films", false);
        advance(REMEMBERED_FOR / 2 - Duration::from_millis(1)).await;
        assert_eq!(
            (memory.get("photos"), memory.get("films"), memory.get("music")),
            (Some(true), Some(false), None)
        );
        advance(Duration::from_millis(1)).await;
        assert_eq!((memory.get("photos"), memory.get("films")), (None, Some(false)));
    }
}

//! Items of a batch that are sent in one request, or wait for another attempt.

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::store::Item;

/// The most bytes of keys and ids in one request: 1,000 items with keys of about 230 bytes. Longer
/// keys are sent in smaller requests, which bounds the memory for requests and responses, and stays
/// below what stores accept as a body.
const MAX_REQUEST_BYTES: usize = 262_144;

/// Items that are sent together.
#[derive(Debug)]
pub(super) struct SubBatch {
    pub(super) items: Vec<Item>,
    /// How often they were sent before.
    pub(super) attempt: u32,
    /// When they were sent first.
    pub(super) since: Instant,
    /// When they may be sent again.
    pub(super) due: Instant,
}

impl SubBatch {
    /// Items that were not sent before.
    pub(super) fn new(items: Vec<Item>) -> Self {
        let now = Instant::now();
        Self { items, attempt: 0, since: now, due: now }
    }

    /// These of its items, for the next attempt after a wait.
    pub(super) fn again(&self, items: Vec<Item>, wait: Duration) -> Self {
        let due = Instant::now() + wait;
        Self { items, attempt: self.attempt + 1, since: self.since, due }
    }

    /// How many of the first items fit into one request: at least one.
    pub(super) fn len_of_request(&self) -> usize {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            let key = item.key.as_str();
            // XML writes each of these characters as an entity of up to six.
            let entities = key.bytes().filter(|byte| b"&<>\"'\r\n".contains(byte)).count();
            bytes += key.len() + 5 * entities + item.id.as_ref().map_or(0, String::len);
            bytes <= MAX_REQUEST_BYTES
        };
        self.items.iter().take_while(fits).count().max(1)
    }
}

/// The first and the second half of some items.
pub(super) fn bisect(mut items: Vec<Item>) -> [Vec<Item>; 2] {
    let second = items.split_off(items.len().div_ceil(2));
    [items, second]
}

//! A batch of a pass, and what handles it.

use std::future::Future;

use crate::erasure::context::{Ground, Tour};
use crate::erasure::progress::{Counts, Left};
use crate::erasure::report::Obstacle;
use crate::ports::store::Item;

/// What is done with the batches of a round.
pub(crate) trait Disposal<B>: Sync {
    /// Whether anything is deleted: then delete markers have an order.
    const DELETES: bool;

    /// Sees one batch to its outcome. `found`: its items by kind. `None`: too late, it has none.
    fn dispose(
        &self,
        tour: &Tour<'_, B>,
        ground: &Ground<'_>,
        items: Items,
        found: Counts,
    ) -> impl Future<Output = Result<Option<Outcome>, Obstacle>> + Send;

    /// Whether objects are asked for before it is known whether there may be any.
    fn looks_ahead(&self) -> bool;

    /// Hears that a target is gone over anew, from its start. `None`: everything is, and there may
    /// be other targets now.
    fn begin_again(&self, tour: &Tour<'_, B>, target: Option<&str>);
}

/// The items of one batch.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// What may be deleted in any order.
    pub(crate) items: Vec<Item>,
    /// Delete markers, each of which may be deleted when all data of its key in `items` is deleted.
    pub(crate) after_data: Vec<Item>,
}

/// What a batch leaves to be counted once the low-water mark has passed it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) left: Left,
    /// What was listed, and not found when it was to be deleted.
    pub(crate) missing: u64,
}

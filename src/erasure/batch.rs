//! A batch of a pass, and what handles it.

use std::future::Future;

use crate::erasure::context::{Context, Scope};
use crate::erasure::progress::{Counts, Remaining};
use crate::erasure::report::PassError;
use crate::ports::store::Item;

/// What is done with the batches of a round.
pub(crate) trait BatchSink<B>: Sync {
    /// Whether anything is deleted: then delete markers have an order.
    const DELETES: bool;

    /// Sees one batch to its outcome. `found`: its items by kind. `None`: too late, it has none.
    fn handle_batch(
        &self,
        cx: &Context<'_, B>,
        scope: &Scope<'_>,
        items: Items,
        found: Counts,
    ) -> impl Future<Output = Result<Option<BatchOutcome>, PassError>> + Send;

    /// Whether objects are asked for before it is known whether there may be any.
    fn prefetches_first_page(&self) -> bool;

    /// Hears that a target is gone over anew, from its start. `None`: everything is, and there may
    /// be other targets now.
    fn restart(&self, cx: &Context<'_, B>, target: Option<&str>);
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
pub(crate) struct BatchOutcome {
    pub(crate) left: Remaining,
    /// What was listed, and not found when it was to be deleted.
    pub(crate) missing: u64,
}

//! The model of S3 behind the latency and the faults that a test chooses.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, FailureKind, Item, KeyFailure, Kind, Page, ReadStore, Retention,
    StoreError,
};
use erase_user_files::target::Prefix;

use crate::fake::handle::Fake;
use crate::fake::listing::token_after;

/// The code of an item that is not deleted, and what the caller does about it.
pub(crate) type Code = (&'static str, FailureKind);

/// A request, and how long its caller waits for the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) prefix: &'a Prefix,
    pub(crate) asks: Asks<'a>,
    pub(crate) limit: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Asks<'a> {
    Versioning,
    Listing(Kind),
    Deleting(&'a [Item]),
    Retention(&'a Item),
}

/// What a store does apart from what the model does.
pub(crate) trait Faults: Send + Sync {
    fn model(&self) -> &Fake;

    /// Runs before the model has the request. An error is the answer to the request.
    fn before(&self, _: Request<'_>) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// The items of a request, by index, that the model must not delete. Without a code, the
    /// answer says that the item is deleted.
    fn kept(&self, _: Request<'_>, _: &[Item]) -> Result<Vec<(usize, Option<Code>)>, StoreError> {
        Ok(Vec::new())
    }

    /// Runs after the model has handled the request, and before the caller has the answer.
    fn after(&self, _: Request<'_>) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The page that the caller has in place of the model's page.
    fn page(&self, _: Kind, page: Page) -> Page {
        page
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        token_after(kind, key)
    }
}

/// What the test and the function both hold.
#[derive(Debug)]
pub(crate) struct Shared<T>(pub(crate) Arc<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<F: Faults> ReadStore for Shared<F> {
    async fn is_versioned(&self, prefix: &Prefix, limit: Duration) -> Result<bool, StoreError> {
        let request = Request { prefix, asks: Asks::Versioning, limit };
        self.before(request).await?;
        let is_versioned = self.model().is_versioned(prefix, limit).await;
        self.after(request).await;
        is_versioned
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        let request = Request { prefix, asks: Asks::Listing(kind), limit };
        self.before(request).await?;
        let page = self.model().list(prefix, kind, token, limit).await;
        self.after(request).await;
        page.map(|page| self.page(kind, page))
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        Faults::token_after(&**self, kind, key)
    }
}

impl<F: Faults> DeleteStore for Shared<F> {
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let request = Request { prefix, asks: Asks::Deleting(items), limit };
        self.before(request).await?;
        let kept = self.kept(request, items)?;
        let indices: BTreeSet<usize> = kept.iter().map(|(index, _)| *index).collect();
        let result = self.model().delete_except(prefix, items, &indices);
        self.after(request).await;
        let failure = |(index, code): (usize, Option<Code>)| {
            code.map(|(code, kind)| KeyFailure { index, code: code.to_owned(), kind })
        };
        let failures = kept.into_iter().filter_map(failure).chain(result.failures).collect();
        Ok(DeleteResult { failures, ..result })
    }

    async fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        self.before(Request { prefix, asks: Asks::Retention(item), limit }).await?;
        self.model().retention(prefix, item, limit).await
    }
}

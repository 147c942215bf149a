//! The simulated receipt store, with the latency and the faults of its world.

use std::time::Duration;

use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};
use tokio::time::{Instant, sleep, timeout};

use crate::receipt_checks::check_receipt;
use crate::world::{Shared, locked};

/// The receipts, as one environment sees them.
#[derive(Debug)]
pub(crate) struct ReceiptStore {
    pub(crate) world: Shared,
    pub(crate) environment: usize,
}

fn unavailable() -> ReceiptError {
    ReceiptError::Unavailable("simulated".to_owned())
}

impl ReceiptStore {
    /// Takes a request's time, and fails before it has an effect.
    async fn request(&self, limit: Duration) -> Result<(), ReceiptError> {
        let (took, fails) = {
            let mut world = locked(&self.world);
            let (hangs, fails) = (world.faults.receipts_hang, world.faults.receipts_fail);
            let hangs = world.happens(hangs, "receipt hung");
            (if hangs { Duration::MAX } else { world.latency(5..200) }, fails)
        };
        timeout(limit, sleep(took)).await.map_err(|_elapsed| unavailable())?;
        let mut world = locked(&self.world);
        if world.happens(fails, "receipt failed") {
            let is_refused = world.dice.u32(0..4) == 0;
            return Err(if is_refused {
                ReceiptError::Permanent("simulated".to_owned())
            } else {
                unavailable()
            });
        }
        Ok(())
    }
}

impl Receipts for ReceiptStore {
    async fn store(
        &self,
        name: &str,
        document: &str,
        limit: Duration,
    ) -> Result<PutResult, ReceiptError> {
        // What it says must be true, whether it comes to be stored or not.
        {
            let mut world = locked(&self.world);
            world.event(format_args!("receipt {name}: {document}"));
            let since = world.invocations[self.environment].unwrap_or_else(Instant::now);
            check_receipt(&mut world, name, document, since);
        }
        self.request(limit).await?;
        let mut world = locked(&self.world);
        let loses = world.faults.receipt_answer_lost;
        let stored = if world.receipts.contains_key(name) {
            world.reach("receipt stood before");
            PutResult::AlreadyExists
        } else {
            world.receipts.insert(name.to_owned(), document.to_owned());
            PutResult::Created
        };
        if world.happens(loses, "receipt's answer lost") { Err(unavailable()) } else { Ok(stored) }
    }

    async fn read(&self, name: &str, limit: Duration) -> Result<Option<String>, ReceiptError> {
        self.request(limit).await?;
        Ok(locked(&self.world).receipts.get(name).cloned())
    }
}

//! Noun: says that what was handed on is on the disk. Who owes a device an acknowledgement waits for it.

use tokio_util::sync::CancellationToken;

/// Every clone is the same one. One that is never signed was for something that was never written.
#[derive(Debug, Clone, Default)]
pub struct Receipt(CancellationToken);

impl Receipt {
    /// By intake, once the transaction is synced.
    pub fn sign(&self) {
        self.0.cancel();
    }

    pub fn is_signed(&self) -> bool {
        self.0.is_cancelled()
    }

    pub async fn signed(&self) {
        self.0.cancelled().await;
    }
}

impl PartialEq for Receipt {
    /// It says nothing of what it is for.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

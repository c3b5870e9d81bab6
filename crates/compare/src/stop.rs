//! Ends a comparison before its time.

use tokio::sync::watch;

/// Ends a comparison. Clones end the same one.
///
/// The first call ends the run that is under way, and begins no other; a second one does so at once.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<u32>);

impl Stop {
    /// One that nobody has called yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Ends it.
    pub fn call(&self) {
        self.0.send_modify(|calls| *calls = calls.saturating_add(1));
    }

    /// Whether it was called.
    pub fn is_called(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// How often it was called, once that is more than `known`.
    pub(crate) async fn after(&self, known: u32) -> u32 {
        let mut calls = self.0.subscribe();
        // The sender is alive as long as `self` is.
        match calls.wait_for(|calls| *calls > known).await {
            Ok(calls) => *calls,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

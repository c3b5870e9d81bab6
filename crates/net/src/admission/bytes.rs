//! Limits on the memory of messages that are being received or sent: in total, and per address.

use std::sync::{Arc, OnceLock};

use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Admitted;

/// The bytes that each connection may use without a permit: most messages are shorter.
const FREE_BYTES: usize = 16 << 10;
/// The bytes per permit. Permits are acquired one by one, so that large messages do not block small ones.
const PERMIT_BYTES: usize = 64 << 10;
/// One address may use this fraction of the total: 1/2.
const ADDRESS_SHARE: usize = 2;

/// The permits of all addresses.
pub(super) struct Pool {
    permits: Arc<Semaphore>,
    /// The permits that one address may have.
    of_address: usize,
}

impl Pool {
    pub(super) fn new(bytes: usize) -> Self {
        let permits = bytes / PERMIT_BYTES;
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            of_address: (permits / ADDRESS_SHARE).max(1),
        }
    }
}

/// The permits of one address, for both pools; created on first use.
#[derive(Default)]
pub(super) struct Share {
    pub(super) unauthenticated: OnceLock<Arc<Semaphore>>,
    pub(super) known: OnceLock<Arc<Semaphore>>,
}

/// Memory of one connection that counts as used until this is [cleared](Lease::clear) or dropped.
pub struct Lease {
    total: Arc<Semaphore>,
    of_address: Arc<Semaphore>,
    held: Option<[OwnedSemaphorePermit; 2]>,
    /// Keeps the entry of the address alive.
    _admitted: Arc<Admitted>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({} KiB)", self.permits() * PERMIT_BYTES / 1024)
    }
}

impl Lease {
    pub(super) fn of(
        pool: &Pool,
        share: &OnceLock<Arc<Semaphore>>,
        admitted: Arc<Admitted>,
    ) -> Self {
        let of_address = share.get_or_init(|| Arc::new(Semaphore::new(pool.of_address)));
        Self {
            total: Arc::clone(&pool.permits),
            of_address: Arc::clone(of_address),
            held: None,
            _admitted: admitted,
        }
    }

    fn permits(&self) -> usize {
        self.held.as_ref().map_or(0, |[total, _]| total.num_permits())
    }

    /// How many more permits are needed for this many bytes.
    fn missing(&self, bytes: usize) -> u32 {
        let needed = bytes.saturating_sub(FREE_BYTES).div_ceil(PERMIT_BYTES);
        u32::try_from(needed.saturating_sub(self.permits())).unwrap_or(u32::MAX)
    }

    fn hold(&mut self, more: [OwnedSemaphorePermit; 2]) {
        match &mut self.held {
            Some(held) => held.iter_mut().zip(more).for_each(|(held, more)| held.merge(more)),
            none => *none = Some(more),
        }
    }

    /// Waits until `bytes` in total may be used by this lease. Cancel-safe: may be dropped and called
    /// again.
    pub async fn grow_to(&mut self, bytes: usize) {
        for _ in 0..self.missing(bytes) {
            // Cannot fail: the semaphores are never closed.
            let Ok(of_address) = Arc::clone(&self.of_address).acquire_owned().await else { return };
            let Ok(total) = Arc::clone(&self.total).acquire_owned().await else { return };
            self.hold([total, of_address]);
        }
    }

    /// As [`grow_to`](Self::grow_to), but does not wait.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if too much memory is in use.
    pub fn try_grow_to(&mut self, bytes: usize) -> Result<()> {
        let missing = self.missing(bytes);
        if missing == 0 {
            return Ok(());
        }
        let acquire = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(missing).ok();
        match (acquire(&self.total), acquire(&self.of_address)) {
            (Some(total), Some(of_address)) => {
                self.hold([total, of_address]);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Quota, "too much memory is in use for other messages")),
        }
    }

    /// Releases the memory.
    pub fn clear(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;

    use super::super::{Admission, Limits};
    use super::*;

    fn admission(permits: usize) -> Admission {
        let bytes = permits * PERMIT_BYTES;
        let limits = Limits {
            connections: 100,
            per_address: 50,
            unauthenticated_bytes: bytes,
            authenticated_bytes: 2 * bytes,
        };
        Admission::new(&limits)
    }

    fn admitted(admission: &Admission, last: u8) -> Arc<Admitted> {
        Arc::new(admission.admit(Ipv4Addr::new(10, 0, 0, last).into()).unwrap())
    }

    #[tokio::test]
    async fn one_address_may_use_half_and_memory_is_released() {
        let admission = admission(8);
        let [one, two, three] = [1, 2, 3].map(|last| admitted(&admission, last));
        let mut first = one.lease(false);
        first.grow_to(FREE_BYTES).await;
        assert_eq!(first.permits(), 0, "small messages are free");
        first.grow_to(FREE_BYTES + 3 * PERMIT_BYTES).await;
        let mut second = one.lease(false);
        second.grow_to(FREE_BYTES + 1).await;
        assert!(
            second.grow_to(FREE_BYTES + 2 * PERMIT_BYTES).now_or_never().is_none(),
            "half is in use"
        );
        assert!(second.try_grow_to(FREE_BYTES + 2 * PERMIT_BYTES).is_err());
        let mut others = [two.lease(false), three.lease(false)];
        others[0].grow_to(FREE_BYTES + 4 * PERMIT_BYTES).await;
        assert!(others[1].try_grow_to(FREE_BYTES + 1).is_err(), "all of it is in use");
        assert!(
            one.lease(true).try_grow_to(FREE_BYTES + 8 * PERMIT_BYTES).is_ok(),
            "authenticated connections have their own pool"
        );
        first.clear();
        drop(second);
        others[1].try_grow_to(FREE_BYTES + 4 * PERMIT_BYTES).unwrap();
    }
}

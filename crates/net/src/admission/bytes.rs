//! How many bytes of messages there may be at once: in total, and of one address.

use std::sync::{Arc, OnceLock};

use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Admitted;

/// What each connection has in any case: most messages are shorter.
const FREE: usize = 16 << 10;
/// In pieces of this many bytes: whoever needs much does not stand in the way of those who need little.
const PIECE: usize = 64 << 10;
/// One address may have one of so many parts.
const SHARE: usize = 2;

/// Pieces for all.
pub(super) struct Pool {
    pieces: Arc<Semaphore>,
    /// How many one address may have.
    of_address: usize,
}

impl Pool {
    pub(super) fn new(bytes: usize) -> Self {
        let pieces = bytes / PIECE;
        Self { pieces: Arc::new(Semaphore::new(pieces)), of_address: (pieces / SHARE).max(1) }
    }
}

/// The pieces of one address, of both pools; made when the first of them is needed.
#[derive(Default)]
pub(super) struct Share {
    pub(super) strangers: OnceLock<Arc<Semaphore>>,
    pub(super) known: OnceLock<Arc<Semaphore>>,
}

/// Bytes that are in use, until this is [cleared](Lease::clear) or gone.
pub struct Lease {
    total: Arc<Semaphore>,
    of_address: Arc<Semaphore>,
    held: Option<[OwnedSemaphorePermit; 2]>,
    /// What it belongs to: its address is known for as long.
    _admitted: Arc<Admitted>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({} KiB)", self.pieces() * PIECE / 1024)
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
            total: Arc::clone(&pool.pieces),
            of_address: Arc::clone(of_address),
            held: None,
            _admitted: admitted,
        }
    }

    fn pieces(&self) -> usize {
        self.held.as_ref().map_or(0, |[total, _]| total.num_permits())
    }

    /// How many pieces are missing for so many bytes.
    fn missing(&self, bytes: usize) -> u32 {
        let needed = bytes.saturating_sub(FREE).div_ceil(PIECE);
        u32::try_from(needed.saturating_sub(self.pieces())).unwrap_or(u32::MAX)
    }

    fn hold(&mut self, more: [OwnedSemaphorePermit; 2]) {
        match &mut self.held {
            Some(held) => held.iter_mut().zip(more).for_each(|(held, more)| held.merge(more)),
            none => *none = Some(more),
        }
    }

    /// Waits until so many bytes may be in use, these included that are. May be dropped and called
    /// again.
    pub async fn grow_to(&mut self, bytes: usize) {
        for _ in 0..self.missing(bytes) {
            // Semaphores that are never closed.
            let Ok(of_address) = Arc::clone(&self.of_address).acquire_owned().await else { return };
            let Ok(total) = Arc::clone(&self.total).acquire_owned().await else { return };
            self.hold([total, of_address]);
        }
    }

    /// As [`grow_to`](Self::grow_to), but does not wait.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if others use too much.
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
            _ => Err(Error::new(ErrorKind::Quota, "others use too much memory just now")),
        }
    }

    /// None of them is in use any more.
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

    fn admission(pieces: usize) -> Admission {
        let bytes = pieces * PIECE;
        let limits = Limits {
            connections: 100,
            per_address: 50,
            strangers_bytes: bytes,
            known_bytes: 2 * bytes,
        };
        Admission::new(&limits)
    }

    fn admitted(admission: &Admission, last: u8) -> Arc<Admitted> {
        Arc::new(admission.admit(Ipv4Addr::new(10, 0, 0, last).into()).unwrap())
    }

    #[tokio::test]
    async fn one_address_has_half_and_all_have_all_and_it_is_given_back() {
        let admission = admission(8);
        let [one, two, three] = [1, 2, 3].map(|last| admitted(&admission, last));
        let mut first = one.lease(false);
        first.grow_to(FREE).await;
        assert_eq!(first.pieces(), 0, "small messages are free");
        first.grow_to(FREE + 3 * PIECE).await;
        let mut second = one.lease(false);
        second.grow_to(FREE + 1).await;
        assert!(second.grow_to(FREE + 2 * PIECE).now_or_never().is_none(), "half is in use");
        assert!(second.try_grow_to(FREE + 2 * PIECE).is_err());
        let mut others = [two.lease(false), three.lease(false)];
        others[0].grow_to(FREE + 4 * PIECE).await;
        assert!(others[1].try_grow_to(FREE + 1).is_err(), "all of it is in use");
        assert!(one.lease(true).try_grow_to(FREE + 8 * PIECE).is_ok(), "others have their own");
        first.clear();
        drop(second);
        others[1].try_grow_to(FREE + 4 * PIECE).unwrap();
    }
}

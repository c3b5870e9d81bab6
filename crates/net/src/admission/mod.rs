//! Admission control: how much those who connect to a daemon may use of it, over all of its ports.
//!
//! - Connections: a limit in total and per address. A newcomer beyond it is let in all the same, and the
//!   stranger who was silent for the longest is closed instead: whoever asks at once, as a health probe
//!   does, is served however many half-open connections there are.
//! - Bytes of messages that are incomplete or not processed yet: a [`Lease`].
//! - Proofs that were wrong: logged and slowed down.
//!
//! Who proved to be somebody is not closed for others; and cannot take all places.

mod bytes;
mod failures;
mod table;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;

pub use self::bytes::Lease;
use self::bytes::Pool;
use self::failures::Failures;
use self::table::Table;

/// What all connections of a daemon may use together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Bytes of messages of those who have not proved who they are; half of it from one address.
    pub strangers_bytes: usize,
    /// The same of those who have.
    pub known_bytes: usize,
}

/// More connections are never needed: Spark's clusters have some thousand workers.
const MAX_CONNECTIONS: usize = 50_000;
/// Descriptors that a daemon has for itself, in any case.
const MIN_RESERVE: usize = 32;

impl Limits {
    /// For a process that may have so many descriptors: a quarter of them is kept for itself, at most
    /// 1,024. One address has at most half of the connections.
    pub fn of_descriptors(descriptors: usize) -> Self {
        let reserve = (descriptors / 4).clamp(MIN_RESERVE, 1024);
        let connections = descriptors.saturating_sub(reserve).clamp(8, MAX_CONNECTIONS);
        Self {
            connections,
            per_address: connections / 2,
            strangers_bytes: 32 << 20,
            known_bytes: 256 << 20,
        }
    }
}

/// Three of four places: the others stay for those who have not proved anything yet.
fn provable(places: usize) -> usize {
    places - places / 4
}

/// From where a connection comes: an address, or the network of one where a network is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Source(IpAddr);

impl Source {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let mut segments = address.segments();
                segments[4..].fill(0);
                IpAddr::V6(Ipv6Addr::from(segments))
            }
            address => address,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Decides who is let in, for all ports of a daemon.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    strangers: Pool,
    known: Pool,
    failures: Failures,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({} connections)", self.0.table().total())
    }
}

impl Admission {
    /// With these limits.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::new(Table::new(limits)),
            strangers: Pool::new(limits.strangers_bytes),
            known: Pool::new(limits.known_bytes),
            failures: Failures::default(),
        }))
    }

    /// With what the descriptors of this process allow.
    pub fn of_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let descriptors = limit.map_or(usize::MAX, |limit| limit as usize);
        Self::new(&Limits::of_descriptors(descriptors))
    }

    /// Lets somebody in.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if all places of its address are taken by those who proved who they
    /// are.
    pub fn admit(&self, address: IpAddr) -> Result<Admitted> {
        let source = Source::of(address);
        let evicted = Arc::new(Notify::new());
        let entered = self.0.table().enter(source, &evicted);
        let Some((place, share)) = entered else {
            return Err(Error::new(
                ErrorKind::Quota,
                format!("{source} has as many connections as one address may have"),
            ));
        };
        Ok(Admitted {
            shared: Arc::clone(&self.0),
            source,
            place: Mutex::new(place),
            evicted,
            share,
        })
    }

    /// Closes the stranger who was silent for the longest; whether there is one.
    pub(crate) fn evict(&self) -> bool {
        self.0.table().evict_anybody()
    }
}

/// The place of a connection; with this, it is free again.
pub struct Admitted {
    shared: Arc<Shared>,
    source: Source,
    place: Mutex<table::Place>,
    evicted: Arc<Notify>,
    share: Arc<bytes::Share>,
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admitted({})", self.source)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let place = *self.place();
        self.shared.table().leave(self.source, place);
    }
}

impl Admitted {
    fn place(&self) -> MutexGuard<'_, table::Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It asks for something: others have been silent for longer.
    pub fn is_heard(&self) {
        let mut place = self.place();
        *place = self.shared.table().heard(self.source, *place);
    }

    /// It has proved who it is, or is served for as long as it wishes: it is not closed for others.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if there are as many of these as there may be.
    pub fn prove(&self) -> Result<()> {
        let mut place = self.place();
        match self.shared.table().prove(self.source, *place) {
            Some(proven) => *place = proven,
            None => {
                return Err(Error::new(
                    ErrorKind::Quota,
                    format!("{} has as many connections as it may have, or all have", self.source),
                ));
            }
        }
        Ok(())
    }

    /// Whether it has.
    pub fn is_proven(&self) -> bool {
        *self.place() == table::Place::Proven
    }

    /// Waits until its place is given to somebody else.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// For the bytes of its messages. `is_known`: it has proved who it is.
    pub fn lease(self: &Arc<Self>, is_known: bool) -> Lease {
        let (pool, share) = match is_known {
            true => (&self.shared.known, &self.share.known),
            false => (&self.shared.strangers, &self.share.strangers),
        };
        Lease::of(pool, share, Arc::clone(self))
    }

    /// It has shown a proof that is wrong: this is logged, and waits for as long as the address has
    /// earned, longer each time. Others of that address are not kept waiting.
    pub async fn proved_wrong(&self, what: &str) {
        let delay = self.shared.failures.count(self.source, what);
        tokio::time::sleep(delay).await;
    }
}

/// How long a message of that many bytes may take to arrive or to be read, with `patience` for the first:
/// whoever sends a byte
/// a second does not hold it for ever.
pub fn allowance(patience: Duration, bytes: usize) -> Duration {
    /// Bytes a second.
    const SLOWEST: usize = 16 << 10;
    patience + Duration::from_secs((bytes / SLOWEST) as u64)
}

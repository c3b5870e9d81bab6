//! Admission control: limits on what the clients of a daemon may use, over all of its ports.
//!
//! - Connections: limited in total and per address. At the limit, a new connection is accepted, and the
//!   unauthenticated connection that was idle for the longest is closed. So a health probe, which sends its
//!   request at once, is served however many half-open connections there are.
//! - Memory for messages that are incomplete or not processed yet: a [`Lease`].
//! - Failed authentications: logged and delayed.
//!
//! Authenticated connections are never closed in favour of others, and cannot use up the limits: a quarter
//! is reserved for unauthenticated ones.

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

/// The limits on all connections of a daemon together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The number of connections.
    pub connections: usize,
    /// The number of connections from one address.
    pub per_address: usize,
    /// The bytes of messages of unauthenticated connections; half of it from one address.
    pub unauthenticated_bytes: usize,
    /// The same for authenticated connections.
    pub authenticated_bytes: usize,
}

/// The limit of connections, whatever the limit of file descriptors: Spark's clusters have some thousand
/// workers.
const MAX_CONNECTIONS: usize = 50_000;
/// File descriptors that are always reserved for the daemon itself.
const MIN_RESERVE: usize = 32;

impl Limits {
    /// The limits that follow from the limit of file descriptors of this process.
    pub fn of_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::of_descriptors(limit.map_or(usize::MAX, |limit| limit as usize))
    }

    /// The limits for a process with this limit of file descriptors. A quarter of them, at most 1,024, is
    /// reserved for the process itself. One address may have half of the connections.
    pub fn of_descriptors(descriptors: usize) -> Self {
        let reserve = (descriptors / 4).clamp(MIN_RESERVE, 1024);
        let connections = descriptors.saturating_sub(reserve).clamp(8, MAX_CONNECTIONS);
        Self {
            connections,
            per_address: connections / 2,
            unauthenticated_bytes: 32 << 20,
            authenticated_bytes: 256 << 20,
        }
    }
}

/// How many of these connections may be authenticated: three of four.
fn max_authenticated(places: usize) -> usize {
    places - places / 4
}

/// The origin of a connection: an IPv4 address, or the /64 network of an IPv6 address.
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

/// Admission control for all ports of a daemon. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    unauthenticated: Pool,
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
    /// Creates it with these limits.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::new(Table::new(limits)),
            unauthenticated: Pool::new(limits.unauthenticated_bytes),
            known: Pool::new(limits.authenticated_bytes),
            failures: Failures::default(),
        }))
    }

    /// Creates it with limits that follow from the limit of file descriptors of this process.
    pub fn of_process() -> Self {
        Self::new(&Limits::of_process())
    }

    /// Admits a connection from an address.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if all connections of the address are authenticated.
    pub fn admit(&self, address: IpAddr) -> Result<Admitted> {
        let source = Source::of(address);
        let evicted = Arc::new(Notify::new());
        let entered = self.0.table().enter(source, &evicted);
        let Some((slot, share)) = entered else {
            return Err(Error::new(
                ErrorKind::Quota,
                format!("{source} has reached the limit of connections per address"),
            ));
        };
        Ok(Admitted { shared: Arc::clone(&self.0), source, slot: Mutex::new(slot), evicted, share })
    }

    /// Closes the unauthenticated connection that was idle for the longest. False if there is none.
    pub(crate) fn evict(&self) -> bool {
        self.0.table().evict_any()
    }
}

/// An admitted connection. Dropping this removes it from the counts.
pub struct Admitted {
    shared: Arc<Shared>,
    source: Source,
    slot: Mutex<table::Slot>,
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
        let slot = *self.slot();
        self.shared.table().leave(self.source, slot);
    }
}

impl Admitted {
    fn slot(&self) -> MutexGuard<'_, table::Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the connection as active: others have been idle for longer.
    pub fn touch(&self) {
        let mut slot = self.slot();
        *slot = self.shared.table().touch(self.source, *slot);
    }

    /// Marks the connection as authenticated: it is not closed in favour of others any more.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if the limit of authenticated connections is reached.
    pub fn set_authenticated(&self) -> Result<()> {
        let mut slot = self.slot();
        match self.shared.table().set_authenticated(self.source, *slot) {
            Some(authenticated) => *slot = authenticated,
            None => {
                return Err(Error::new(
                    ErrorKind::Quota,
                    format!(
                        "the limit of authenticated connections is reached, for {} or in total",
                        self.source
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether the connection is authenticated.
    pub fn is_authenticated(&self) -> bool {
        *self.slot() == table::Slot::Authenticated
    }

    /// Waits until the connection is to be closed in favour of another one.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// A lease for the memory of its messages. `is_authenticated`: the connection is authenticated.
    pub fn lease(self: &Arc<Self>, is_authenticated: bool) -> Lease {
        let (pool, share) = match is_authenticated {
            true => (&self.shared.known, &self.share.known),
            false => (&self.shared.unauthenticated, &self.share.unauthenticated),
        };
        Lease::of(pool, share, Arc::clone(self))
    }

    /// Reports a failed authentication: logs it, and waits for a delay that grows with each failure of the
    /// address. Other connections of the address are not delayed.
    pub async fn authentication_failed(&self, what: &str) {
        let delay = self.shared.failures.count(self.source, what);
        tokio::time::sleep(delay).await;
    }
}

/// The time-out for receiving or sending a message of this many bytes: `base`, and a second for each
/// 16 KiB, so that a slow peer cannot hold a connection for ever.
pub fn transfer_timeout(base: Duration, bytes: usize) -> Duration {
    /// Bytes per second.
    const SLOWEST: usize = 16 << 10;
    base + Duration::from_secs((bytes / SLOWEST) as u64)
}

//! Allocates free TCP ports of this machine; no port is allocated twice while it is in use.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::{Error, Result};

/// How often to try again when the kernel offers a port that is already allocated.
const TRIES: u32 = 1000;

/// The allocated ports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    given: Arc<Mutex<HashSet<u16>>>,
}

/// The ports of one process, released on drop.
#[derive(Debug)]
pub(crate) struct Lease {
    ports: Ports,
    held: Vec<u16>,
}

impl Ports {
    pub(crate) fn lease(&self) -> Lease {
        Lease { ports: self.clone(), held: Vec::new() }
    }
}

impl Lease {
    /// Allocates one more port that is free on loopback.
    pub(crate) fn take(&mut self) -> Result<u16> {
        let mut given = self.ports.given.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .map_err(|error| Error::unavailable("no TCP port is free").with_source(error))?
                .port();
            if given.insert(port) {
                self.held.push(port);
                return Ok(port);
            }
        }
        Err(Error::unavailable("no TCP port is free: all are allocated to executors"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut given = self.ports.given.lock().unwrap_or_else(PoisonError::into_inner);
        for port in &self.held {
            given.remove(port);
        }
    }
}

//! Free TCP ports of this machine, none given twice while it is in use.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::{Error, Result};

/// How often the kernel may offer a port that was given already.
const TRIES: u32 = 1000;

/// Hands out ports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    given: Arc<Mutex<HashSet<u16>>>,
}

/// Ports of one process, given back when it ended.
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
    /// One more port that is free on loopback.
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
        Err(Error::unavailable("no TCP port is free: all are given to executors"))
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

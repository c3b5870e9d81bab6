//! Ports for those who have to know them before they listen.

use std::fs::File;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below those that are given out to connections, so that nobody has one by chance.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Files whose locks keep ports from other processes of tests, as long as this one lives.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody has, and no other test gets.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row that nobody has, and no other test gets.
pub fn free_ports(many: u16) -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = std::env::temp_dir().join("anymaster-test-ports");
    std::fs::create_dir_all(&directory).unwrap();
    let blocks = PORTS.step_by(many.into()).filter(|first| first + many <= PORTS.end);
    // Processes begin at different places, so that they seldom meet.
    let from = std::process::id() as usize * 97 % blocks.clone().count();
    let mut blocks = blocks.clone().skip(from).chain(blocks.take(from));
    let take = |first: u16| -> Option<Vec<File>> {
        let locks = (first..first + many).map(|port| {
            let lock = File::create(directory.join(port.to_string())).ok()?;
            lock.try_lock().ok()?;
            TcpListener::bind(("0.0.0.0", port)).ok()?;
            Some(lock)
        });
        locks.collect()
    };
    let (first, locks) = blocks
        .find_map(|first| take(first).map(|locks| (first, locks)))
        .expect("there are free ports");
    taken.extend(locks);
    first
}

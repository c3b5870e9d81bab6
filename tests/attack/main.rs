//! Daemons under attack: every port × every attack, by strangers on loopback. Whatever comes, a daemon goes
//! on to answer within a second or two, takes no more memory than is stated here, closes what it opened, and
//! does not panic.
//!
//! A new port is a line in [`target`], a new attack one in [`strike`]. What may become of stores is in
//! [`stores`]. Ignored unless asked for, as it takes minutes: `tests/all attack`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "../e2e/bytes.rs"]
mod bytes;
#[path = "../e2e/certificates.rs"]
mod certificates;
#[path = "../standalone/cluster.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod cluster;
#[path = "../e2e/daemon.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod daemon;
#[path = "../e2e/home.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod home;
mod matrix;
mod observed;
mod proofs;
mod said;
mod slow;
mod stores;
mod stream;
mod strike;
#[path = "../e2e/submissions.rs"]
mod submissions;
mod target;

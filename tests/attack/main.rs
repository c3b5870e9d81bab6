//! Daemons under attack: every port × every attack, by strangers on loopback. Whatever comes, a daemon goes
//! on to answer within a second or two, takes no more memory than is stated here, closes what it opened, and
//! does not panic.
//!
//! A new port is a line in [`target`], a new attack one in [`strike`]. What may become of stores is for a file
//! of its own. Ignored unless asked for, as it takes a minute: `tests/all attack`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

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
mod strike;
mod target;

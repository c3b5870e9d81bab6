//! Daemons under attack: every port × every attack, by strangers on loopback. Whatever comes, a daemon goes
//! on to answer within a second or two, takes no more memory than is stated here, closes what it opened, and
//! does not panic.
//!
//! A new port is a line in [`target`], a new attack one in [`strike`]. What may become of stores is in
//! [`stores`]. Ignored unless asked for, as it takes minutes: `tests/all attack`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod matrix;
mod observed;
mod proofs;
mod said;
mod slow;
mod stores;
mod stream;
mod strike;
mod target;

//! Applications on a real YARN, of Spark and others: `tests/all yarn` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-cli --test yarn -- --ignored`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod applications;
mod cluster;
mod programs;
mod real_spark;
mod reports;

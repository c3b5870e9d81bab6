//! Standalone clusters beside the real Spark and ZooKeeper, in networks of their own, and under attack:
//! `tests/all standalone` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-cli --test standalone -- --ignored`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod airflow;
mod crashes;
mod drivers;
mod faults;
mod gateway;
mod networks;
mod page;
mod report;
mod rest;
mod several;
mod shuffle;
mod spark;
mod tls;

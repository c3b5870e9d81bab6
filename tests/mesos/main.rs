//! A dispatcher, its drivers and their executors on a real Mesos: `tests/all mesos` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-cli --test mesos -- --ignored`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod client;
mod constraints;
mod containers;
mod faults;
mod gateway;
mod recovery;
mod resources;
mod rest;
mod scene;
mod seeds;
mod spark;
mod supervise;
mod verbs;

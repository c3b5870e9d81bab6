//! A dispatcher, its drivers and their executors on a real Mesos: `tests/all mesos` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-cli --test mesos -- --ignored`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod client;
#[path = "../../crates/mesos/tests/cluster/mod.rs"]
mod cluster;
mod constraints;
mod containers;
#[path = "../e2e/daemon.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod daemon;
#[path = "../e2e/example.rs"]
mod example;
mod faults;
#[path = "../e2e/home.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod home;
mod recovery;
mod resources;
mod rest;
mod scene;
mod seeds;
mod spark;
mod supervise;
mod verbs;

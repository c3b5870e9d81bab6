//! Standalone clusters beside the real Spark and ZooKeeper, in networks of their own, and under attack:
//! `tests/all standalone` brings what they need.
//!
//! Ignored unless asked for: `cargo test -p anymaster-cli --test standalone -- --ignored`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod airflow;
#[path = "../e2e/bytes.rs"]
mod bytes;
#[path = "../e2e/certificates.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod certificates;
mod cluster;
mod crashes;
#[path = "../e2e/daemon.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod daemon;
#[path = "../e2e/example.rs"]
mod example;
mod faults;
#[path = "../e2e/home.rs"]
#[expect(dead_code, reason = "it is more than is needed here")]
mod home;
mod networks;
mod page;
mod rest;
mod several;
mod spark;
#[path = "../e2e/submissions.rs"]
mod submissions;
mod tls;

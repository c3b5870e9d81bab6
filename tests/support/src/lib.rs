//! What the tests of the program share: a home of its own for each, daemons that are ended with the test,
//! clusters, and what is compared or sent.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::new_without_default,
    clippy::print_stderr,
    reason = "it is for tests: what does not work has to end them"
)]

pub mod browser;
pub mod bytes;
pub mod certificates;
pub mod daemon;
pub mod example;
pub mod home;
pub mod mesos;
pub mod objects;
pub mod ports;
pub mod spark;
pub mod standalone;
pub mod submissions;

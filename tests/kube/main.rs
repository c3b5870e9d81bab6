//! The program against a real Kubernetes: `tests/all kube` starts one, or uses that of `KUBECONFIG`.
//!
//! Ignored unless asked for, as they need that cluster: `cargo test -p anymaster-cli --test kube -- --ignored`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod cluster;
mod compare;
mod diagnosis;
mod drivers;
mod executors;
mod faults;
mod gateway;
mod identity;
mod node;
mod operator;
mod parity;
mod programs;
mod proxy;
mod releases;
mod service;
mod spark;
mod staging;
mod uploads;

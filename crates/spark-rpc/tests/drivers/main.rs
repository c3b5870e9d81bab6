//! Gateways and masters over a cluster in memory, called by drivers that repeat what Spark has said.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod gateway;
mod pretend;
mod takeover;

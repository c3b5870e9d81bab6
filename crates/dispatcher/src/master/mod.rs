//! The master of a standalone cluster: workers offer it what they have, applications ask it for
//! executors.

mod agents;
mod amount;
mod clients;
mod cluster;
mod election;
mod lender;
mod news;
mod rest;
mod schedule;
mod seat;
mod serve;
mod shared;
mod store;
mod web;
mod workers;
mod zookeeper;

pub use self::agents::{Agents, Order, Terms};
pub use self::amount::{Amount, Cores};
pub use self::lender::{Demand, Leftover, Lender, Lending, What};
pub use self::serve::{Master, MasterOptions};

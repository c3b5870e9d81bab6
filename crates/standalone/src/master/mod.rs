//! The master of a standalone cluster: workers offer it what they have, applications ask it for
//! executors.

mod clients;
mod cluster;
mod news;
mod schedule;
mod serve;
mod store;
mod workers;

pub use self::serve::{Master, MasterOptions};

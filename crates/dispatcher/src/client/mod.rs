//! A standalone cluster as its users see it: `spark://host:port[,host2:port2]`.

mod backend;
mod link;
mod outside;
mod rest;

pub use self::backend::{Remote, STANDALONE};
pub use self::outside::own_address;

//! A standalone cluster as its users see it: `spark://host:port[,host2:port2]`.

mod backend;
mod link;
mod master_url;
mod outside;
mod rest;

pub use self::backend::{Remote, STANDALONE, Standalone};
pub use self::master_url::masters;
pub use self::outside::own_address;

//! How daemons are reached: ports with a limit on who comes, TLS, HTTP for those who show a token, and
//! Spark's submission protocol on it.

mod guard;
mod http;
mod listen;
pub mod page;
pub mod rest;
mod tls;

pub use self::guard::Guard;
pub use self::http::{converse, serve};
pub use self::listen::{answer, bind, bind_near};
pub use self::tls::{Duplex, KEYS, Stream, Tls};

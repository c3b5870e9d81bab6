//! How daemons are reached: ports with limits on who comes and what they may use, TLS, HTTP for those who
//! call it by its name and show a token, and Spark's submission protocol on it.

mod admission;
mod body;
mod guard;
mod hosts;
mod http;
mod keys;
mod listen;
mod pace;
pub mod page;
pub mod rest;
mod tls;

pub use self::admission::{Admission, Admitted, Lease, Limits, allowance};
pub use self::body::{Received, Unread, receive};
pub use self::guard::Guard;
pub use self::hosts::{Callers, Hosts};
pub use self::http::{converse, serve, serve_until};
pub use self::keys::{ALLOWED_HOSTS, TABLE as KEYS};
pub use self::listen::{Connection, answer, bind, bind_near};
pub use self::tls::{Duplex, Stream, Tls};

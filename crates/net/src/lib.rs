//! How daemons are reached: ports with limits on who comes and what they may use, TLS, HTTP for those who
//! call it by its name and show a token, and Spark's submission protocol on it.

mod admission;
#[cfg(feature = "server")]
mod body;
#[cfg(feature = "server")]
mod guard;
#[cfg(feature = "server")]
mod hosts;
#[cfg(feature = "server")]
mod http;
mod keys;
mod listen;
mod pace;
#[cfg(feature = "server")]
pub mod page;
pub mod rest;
mod tls;

pub use self::admission::{Admission, Admitted, Lease, Limits, allowance};
#[cfg(feature = "server")]
pub use self::body::{Received, Unread, receive};
#[cfg(feature = "server")]
pub use self::guard::Guard;
#[cfg(feature = "server")]
pub use self::hosts::{Callers, Hosts};
#[cfg(feature = "server")]
pub use self::http::{converse, serve, serve_until};
pub use self::keys::{ALLOWED_HOSTS, TABLE as KEYS};
pub use self::listen::{Connection, answer, bind, bind_near};
pub use self::tls::{Duplex, Stream, Tls};

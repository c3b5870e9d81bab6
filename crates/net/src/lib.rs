//! The network side of daemons: listening with limits on connections and memory, TLS, and an HTTP
//! server with bearer tokens and host name checks.

mod admission;
#[cfg(feature = "server")]
mod auth;
#[cfg(feature = "server")]
mod body;
#[cfg(feature = "server")]
mod hosts;
#[cfg(feature = "server")]
mod http;
mod keys;
mod listen;
#[cfg(feature = "server")]
pub mod page;
mod tls;
mod write_timeout;

pub use self::admission::{Admission, Admitted, Lease, Limits, transfer_timeout};
#[cfg(feature = "server")]
pub use self::auth::BearerAuth;
#[cfg(feature = "server")]
pub use self::body::{BodyError, RequestBody, read_body};
#[cfg(feature = "server")]
pub use self::hosts::{Callers, Hosts};
#[cfg(feature = "server")]
pub use self::http::{serve, serve_http1, serve_until};
pub use self::keys::{ALLOWED_HOSTS, TABLE as KEYS};
pub use self::listen::{Connection, bind, bind_with_retry, serve_connections};
pub use self::tls::{Duplex, Stream, Tls};

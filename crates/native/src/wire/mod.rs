//! What masters, workers and their clients say to each other: JSON messages in frames over TCP, sealed after a
//! handshake in which both sides prove that they know the shared secret.

mod channel;
mod exchange;
mod frames;
mod greeting;
mod handshake;
mod messages;
mod output;
mod seal;
mod secret;

pub use self::channel::{Channel, Incoming, Outgoing};
pub use self::exchange::Seals;
pub use self::frames::read_frames;
pub use self::greeting::{Callee, CalleeWaits, Caller, CallerWaits, Established, Role, VERSIONS};
pub use self::handshake::{Arrival, Credentials, accept, connect, greet};
pub use self::messages::{FromWorker, Item, Reply, Request, Source, StatusFilter, ToWorker};
pub use self::output::output;
pub use self::seal::Seal;
pub use self::secret::Secret;

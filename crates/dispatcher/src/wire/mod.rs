//! What masters, workers and their clients say to each other: JSON messages in frames over TCP, after a
//! handshake in which both sides prove that they know the shared secret.

mod channel;
mod frames;
mod handshake;
mod messages;
mod output;

#[cfg(test)]
pub(crate) use self::channel::pair;
pub use self::channel::{Channel, Incoming, Outgoing};
pub use self::frames::read_frames;
pub use self::handshake::{Arrival, Credentials, Role, Secret, accept, connect, greet};
pub use self::messages::{
    Application, Call, DriverOrder, ExecutorOrder, FromWorker, Held, Item, Progress, Reply, Source,
    Task, Terms, ToWorker, Want, WorkerInfo,
};
pub use self::output::output;

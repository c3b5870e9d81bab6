//! What masters, workers and their clients say to each other: JSON messages in frames over TCP, after a
//! handshake in which both sides prove that they know the shared secret.

mod channel;
mod handshake;
mod listen;
mod messages;

pub(crate) use self::channel::{Channel, Incoming, Outgoing};
pub(crate) use self::handshake::{Role, Secret, accept, connect};
pub(crate) use self::listen::{answer, bind};
pub(crate) use self::messages::{
    Application, Call, DriverOrder, ExecutorOrder, FromWorker, Held, Item, Progress, Reply, Source,
    Task, Terms, ToWorker, Want, WorkerInfo,
};

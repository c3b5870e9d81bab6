//! What driver and executors say to each other: a JSON object a line, over TCP.

use serde::{Deserialize, Serialize};

/// The first line, from an executor: who it is, and the proof that it is one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The executor's id.
    pub(crate) executor: u64,
    /// The application's secret. It crosses the network as it is: good enough on one machine, where
    /// it keeps other users' programs out; between machines, put TLS around it.
    pub(crate) secret: String,
}

/// Then, over and over, from the driver: darts to throw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// Seeds the random numbers: whoever throws these darts, they fall in the same places.
    pub(crate) seed: u64,
    /// How many.
    pub(crate) darts: u64,
}

/// And from the executor: how many fell into the circle.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Hits {
    /// Of the last unit.
    pub(crate) hits: u64,
}

//! The scheduling engine for clusters without a scheduler of their own: standalone clusters, whose workers register
//! with a master, and Mesos, whose agents make offers.
//!
//! It does no input or output. A caller says what time it is and what has happened ([`Engine::at`] and the methods
//! behind it), [writes](Engine::begin_flush) what has to survive, and carries out the [effects](Effect). The clock is
//! the caller's ([`Now`]), and so is the randomness (a seed). So the same engine serves several protocols, and is
//! tested by simulation.

mod amount;
mod app;
#[cfg(feature = "simulation")]
mod audit;
mod diagnosis;
mod driver;
mod effects;
mod engine;
mod event_log;
mod executors;
mod flush;
mod lifecycle;
mod limits;
mod model;
mod offers;
mod placement;
mod records;
mod recovery;
mod requests;
mod scheduling;
mod shortage;
mod sparks;
mod submissions;
mod supply;
#[cfg(test)]
mod tests;
mod time;
mod view;
mod wait_index;
mod worker;
mod worker_index;
mod workers;

pub use self::amount::{Amount, Cores};
pub use self::effects::Effect;
pub use self::engine::{Engine, Settings, SubmissionSeq};
pub use self::event_log::{EventLog, Position};
pub use self::flush::{Change, Flush};
pub use self::model::{
    Application, DriverOrder, ExecutorOrder, ExecutorSpec, Order, Progress, Task, TaskReport,
    WorkerInfo, WorkerMessage, WorkerSpark,
};
pub use self::requests::OutputLocation;
pub use self::submissions::{Killed, QueueState, Submission};
pub use self::supply::{Demand, OfferPolicy, OfferSettings, ProcessSpec, RemainingOffer};
pub use self::time::{Instant, Now};
pub use self::view::{
    AppView, Dispatched, DriverView, ExecutorView, Overview, ProcessView, WorkerView,
};

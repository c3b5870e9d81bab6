//! The backend `mesos://`: Apache Mesos frameworks over the v1 scheduler API (JSON in RecordIO over HTTP),
//! without libmesos.
//!
//! [`Mesos`] is the cluster manager: a client of a [`Dispatcher`] (cluster mode), or a driver with a framework
//! of its own (client mode). [`scheduler`] keeps a framework subscribed across failures of masters and
//! connections; [`leader`] finds the leading master; [`agent`] reads tasks, agents and output from the
//! operator APIs; [`offers`] and [`task`] match offers and build tasks, without I/O. Scheduling is done by the
//! engine of `anymaster-master`, to which `framework` passes offers.

pub mod agent;
mod backend;
pub mod cause;
mod compact_string;
pub mod credentials;
mod dispatcher;
mod framework;
mod http;
pub mod keys;
pub mod leader;
mod master_url;
pub mod model;
pub mod offers;
mod recordio;
mod sandbox;
pub mod scheduler;
pub mod task;

pub use backend::{MESOS, Mesos, MesosBackend};
pub use dispatcher::{Dispatcher, DispatcherOptions};
#[cfg(any(test, feature = "simulation"))]
pub use framework::simulation;
pub use master_url::MesosMaster;

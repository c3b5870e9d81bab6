//! Frameworks on Apache Mesos over its v1 scheduler API: JSON in RecordIO over HTTP, without libmesos.
//!
//! [`scheduler`] keeps a framework subscribed, whatever becomes of masters and connections; [`offers`]
//! reads offers and takes pieces out of them, without I/O. [`leader`] finds the master that leads, by its
//! address or through ZooKeeper. [`agent`] asks for what a scheduler is not told. On top of them is a cluster
//! manager: [`Mesos`], with a [`Dispatcher`] or with a framework of the driver's own. What goes where is
//! decided by the cluster of `anymaster-dispatcher`, to which `framework` lends what is offered.

pub mod agent;
mod backend;
pub mod cause;
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
mod word;

pub use backend::{MESOS, Mesos, MesosBackend};
pub use dispatcher::{Dispatcher, DispatcherOptions};
#[cfg(any(test, feature = "simulation"))]
pub use framework::simulation;
pub use master_url::MesosMaster;

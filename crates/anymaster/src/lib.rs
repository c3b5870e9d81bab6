//! Drivers and executors on any cluster manager, chosen by the master URL.
//!
//! A program that `anymaster submit` started finds its place in its environment:
//!
//! ```no_run
//! use anymaster::Role;
//!
//! # async fn run() -> anymaster::Result<()> {
//! match anymaster::role()? {
//!     Role::Driver(context) => {
//!         let driver = context.connect().await?;
//!         driver.request(4).await?;
//!         driver.ready(4).await?;
//!         println!("executors reach me at {}:{}", driver.host(), driver.port());
//!     }
//!     Role::Executor(executor) => {
//!         println!("I am executor {} with {} cores", executor.id(), executor.cores());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A program that starts others connects by URL and speaks to the [`ClusterManager`]:
//!
//! ```no_run
//! # async fn run() -> anymaster::Result<()> {
//! let cluster = anymaster::connect("local[2]").await?;
//! for status in cluster.list(&Default::default()).await? {
//!     println!("{status:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod context;
mod driver;
mod dynamic;
mod executors;
mod run;
mod secret;

use std::sync::Arc;

#[cfg(feature = "testing")]
pub use anymaster_core::testing;
pub use anymaster_core::{
    Administration, Backend, BackendInfo, Capabilities, Check, ClusterManager, ClusterManagerExt,
    ConnectOptions, DriverPlacement, Error, ErrorKind, EventStream, Finding, Health, HostPort,
    Launched, Leak, LogChunk, LogOptions, LogSource, LogStream, MasterUrl, MemoryLimit, Observer,
    Registry, Result, SubmissionIdForm, SubmitDialect, WatchOptions, conf, default_state_dir,
    dynamic_allocation, model, native,
};

pub use context::{DriverContext, ExecutorContext, Role, role};
pub use driver::Driver;
pub use dynamic::{Work, WorkSource};
pub use executors::Executors;
pub use run::{Cancellation, Run, RunEnd, RunEvent, RunObserver, RunOutcome, RunOutput};
pub use secret::Secret;

use crate::conf::Conf;

/// The backends that this library was built with; more can be added
/// [`with`](Registry::with) them.
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "local")]
    let registry = registry.with(anymaster_standalone::local::LOCAL);
    #[cfg(feature = "standalone")]
    let registry = registry.with(anymaster_standalone::client::STANDALONE);
    #[cfg(feature = "k8s")]
    let registry = registry.with(anymaster_k8s::KUBERNETES);
    #[cfg(feature = "mesos")]
    let registry = registry.with(anymaster_mesos::MESOS);
    #[cfg(feature = "yarn")]
    let registry = registry.with(anymaster_yarn::YARN);
    registry
}

/// Connects to the cluster at a master URL, with the backends of [`registry`] and no properties.
///
/// # Errors
/// If the URL is not valid, no backend here serves it, or the cluster can't be reached.
pub async fn connect(master: &str) -> Result<Arc<dyn ClusterManager>> {
    connect_with(master, Conf::new()).await
}

/// As [`connect`], with properties that say how to connect.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(master: &str, conf: Conf) -> Result<Arc<dyn ClusterManager>> {
    open(&registry(), master, conf).await.map(|(cluster, _)| cluster)
}

/// Connects with these backends; returns what is known of the one that it was as well.
async fn open(
    backends: &Registry,
    master: &str,
    conf: Conf,
) -> Result<(Arc<dyn ClusterManager>, &'static BackendInfo)> {
    let master = backends.parse(master)?;
    let backend = backends.find(&master)?;
    let info = backend.info();
    let state_dir = match default_state_dir(|name| std::env::var_os(name)) {
        // Only clusters of this machine keep anything in it; processes on others may have no home.
        Err(_) if info.drivers != DriverPlacement::ThisMachine => std::path::PathBuf::new(),
        found => found?,
    };
    let program = std::env::var_os(native::ENV_PROGRAM).map(Into::into);
    let options =
        ConnectOptions::new(master).with_conf(conf).with_state_dir(state_dir).with_program(program);
    Ok((backend.connect(options).await?, info))
}

/// The driver that this process is: [`role`], and [`connect`](DriverContext::connect).
///
/// # Errors
/// If this process is not a driver, or its cluster can't be reached.
pub async fn driver() -> Result<Driver> {
    match role()? {
        Role::Driver(context) => context.connect().await,
        Role::Executor(executor) => Err(Error::invalid(format!(
            "this process is executor {} of {}, not a driver",
            executor.id(),
            executor.app()
        ))),
    }
}

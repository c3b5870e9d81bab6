//! What drivers and `spark-submit` send to a standalone master, and what it sends to them (Spark 3.5 and
//! 4.x, `DeployMessages`).

mod read;
mod write;

use std::collections::BTreeMap;
use std::fmt;

pub use read::read;
pub use write::{DriverState, ExecutorState, ToDriver};

use crate::request::RpcAddress;

/// The endpoint that says whether another one exists.
pub const VERIFIER: &str = "endpoint-verifier";
/// The endpoint of a master.
pub const MASTER: &str = "Master";
/// The endpoint of a worker.
pub const WORKER: &str = "Worker";

/// A message to a master.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ToMaster {
    /// Is there an endpoint of this name? Asked of the [verifier](VERIFIER).
    CheckExistence {
        /// The name.
        name: String,
    },
    /// A driver asks for executors. A message without an answer of its own.
    RegisterApplication(Box<RegisterApplication>),
    /// The application has ended. A message.
    UnregisterApplication {
        /// The application.
        app_id: String,
    },
    /// A driver accepts a new master. A message.
    MasterChangeAcknowledged {
        /// The application.
        app_id: String,
    },
    /// How many executors of each profile there should be in total. The answer says whether the
    /// application is known.
    RequestExecutors {
        /// The application.
        app_id: String,
        /// All profiles with their totals.
        totals: Vec<(ResourceProfile, u32)>,
    },
    /// These executors are to end. The answer says whether the application is known.
    KillExecutors {
        /// The application.
        app_id: String,
        /// Their ids. What is no number is no executor.
        executor_ids: Vec<String>,
    },
    /// A driver is to be run in the cluster.
    RequestSubmitDriver(Box<DriverDescription>),
    /// How is that driver?
    RequestDriverStatus {
        /// The driver.
        driver_id: String,
    },
    /// That driver is to end.
    RequestKillDriver {
        /// The driver.
        driver_id: String,
    },
    /// A message that a master does not need, by the name of its class.
    Other {
        /// The class.
        class: String,
    },
}

/// An application and where its driver listens.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterApplication {
    /// The application.
    pub application: ApplicationDescription,
    /// Where the driver's RPC listens.
    pub driver: RpcAddress,
    /// The name of the driver's endpoint: `AppClient`.
    pub endpoint: String,
}

/// What a driver says of its application (`ApplicationDescription`).
#[derive(Debug, Clone, PartialEq)]
pub struct ApplicationDescription {
    /// `spark.app.name`
    pub name: String,
    /// `spark.cores.max`
    pub max_cores: Option<u32>,
    /// How an executor is started.
    pub command: CommandDescription,
    /// The page of the driver.
    pub ui_url: String,
    /// The shape of executors that no other profile was asked for.
    pub default_profile: ResourceProfile,
    /// How many executors of the default profile there should be at first; `None` for as many as there
    /// can be.
    pub initial_executor_limit: Option<u32>,
    /// The user.
    pub user: String,
}

/// How a JVM is started (`Command`). Options and variables may be secret: its `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandDescription {
    /// The main class.
    pub main_class: String,
    /// Its arguments, with placeholders such as `{{EXECUTOR_ID}}`.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// What comes first on the class path.
    pub class_path: Vec<String>,
    /// What comes first on the path of native libraries.
    pub library_path: Vec<String>,
    /// Options of the JVM.
    pub java_options: Vec<String>,
}

impl fmt::Debug for CommandDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandDescription")
            .field("main_class", &self.main_class)
            .field("environment", &self.environment.keys())
            .field("java_options", &self.java_options.len())
            .finish_non_exhaustive()
    }
}

/// The shape of executors (`ResourceProfile`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceProfile {
    /// The number by which the driver knows it; 0 is the default one.
    pub id: u32,
    /// Amounts by the name of the resource. Memory is in MiB.
    pub executor: BTreeMap<String, i64>,
    /// It only says what tasks need: executors are those of the default profile.
    pub is_of_tasks: bool,
}

/// The resources with names of their own in Spark (Spark 3.5, `ResourceProfile`).
const BUILT_IN: [&str; 5] = ["cores", "memory", "offHeap", "memoryOverhead", "pyspark.memory"];

impl ResourceProfile {
    fn amount(&self, name: &str) -> Option<u64> {
        self.executor.get(name).and_then(|amount| u64::try_from(*amount).ok())
    }

    /// The cores of an executor; `None` for all of a worker.
    pub fn cores(&self) -> Option<u32> {
        self.amount("cores").and_then(|cores| u32::try_from(cores).ok()).filter(|cores| *cores > 0)
    }

    /// The heap in MiB; 1 GiB unless it is set.
    pub fn memory_mib(&self) -> u64 {
        self.amount("memory").unwrap_or(1024)
    }

    /// What a process may use in MiB beyond its heap, if that was asked for.
    pub fn memory_overhead_mib(&self) -> Option<u64> {
        self.amount("memoryOverhead")
    }

    /// Memory in MiB outside of the heap: Spark's own, and that of Python.
    pub fn off_heap_mib(&self) -> u64 {
        let python = self.amount("pyspark.memory").unwrap_or(0);
        self.amount("offHeap").unwrap_or(0).saturating_add(python)
    }

    /// Other resources (`gpu`) and how many of each.
    pub fn other(&self) -> impl Iterator<Item = (&str, u64)> {
        let others = self.executor.iter().filter(|(name, _)| !BUILT_IN.contains(&name.as_str()));
        others.map(|(name, amount)| (name.as_str(), u64::try_from(*amount).unwrap_or(0)))
    }
}

/// A driver that is to be run in the cluster (`DriverDescription`).
#[derive(Debug, Clone, PartialEq)]
pub struct DriverDescription {
    /// Where its jar is.
    pub jar_url: String,
    /// Its heap in MiB.
    pub memory_mib: u32,
    /// Its cores.
    pub cores: u32,
    /// Whether it is started again when it fails.
    pub supervise: bool,
    /// How it is started. Its environment is the whole one of `spark-submit`.
    pub command: CommandDescription,
}

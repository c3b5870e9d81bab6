//! Writes what a master sends, with the bytes that Spark's own would have.
//!
//! In the dialect of Scala 2.12, a value of an enumeration refers to its enumeration without that one's
//! fields: a reader has the fields of its own.

use crate::dialect::Dialect;
use crate::java::{Object, Slot, Writer};
use crate::request::RpcAddress;
use crate::tables::{MODULE_PROXY, Table};

/// How long a driver waits for our answers, in seconds (Spark's default of `spark.network.timeout`).
const ASK_TIMEOUT_SECONDS: i64 = 120;

const EXECUTOR_STATE: &str = "org.apache.spark.deploy.ExecutorState$";
const DRIVER_STATE: &str = "org.apache.spark.deploy.master.DriverState$";
const NONE: &str = "scala.None$";

/// The state of an executor (`ExecutorState`). The numbers are Spark's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ExecutorState {
    Launching = 0,
    Running = 1,
    Killed = 2,
    Failed = 3,
    Lost = 4,
    Exited = 5,
    Decommissioned = 6,
}

/// The state of a driver in the cluster (`DriverState`). The numbers are Spark's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DriverState {
    Submitted = 0,
    Running = 1,
    Finished = 2,
    Relaunching = 3,
    Unknown = 4,
    Killed = 5,
    Failed = 6,
    Error = 7,
}

/// A message to a driver or to `spark-submit`, or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToDriver {
    /// Yes or no, as an answer.
    Boolean(bool),
    /// The application is known now.
    RegisteredApplication {
        /// Its id.
        app_id: String,
        /// The address by which the driver called us.
        master: RpcAddress,
    },
    /// There is an executor.
    ExecutorAdded {
        /// Its number.
        id: i32,
        /// The worker that runs it; for people.
        worker_id: String,
        /// Where that worker is; for people.
        host_port: String,
        /// Its cores.
        cores: i32,
        /// Its heap in MiB.
        memory_mib: i32,
    },
    /// What became of an executor.
    ExecutorUpdated {
        /// Its number.
        id: i32,
        /// Its state.
        state: ExecutorState,
        /// In words.
        message: Option<String>,
        /// Its exit code, if it has one.
        exit_status: Option<i32>,
        /// Its machine, if that is gone with it: it is not the application's fault then.
        worker_host: Option<String>,
    },
    /// A machine is gone, with what its executors have written.
    WorkerRemoved {
        /// The worker.
        id: String,
        /// Its host.
        host: String,
        /// Why.
        message: String,
    },
    /// The application gets no executors any more.
    ApplicationRemoved {
        /// Why; the driver shows it.
        message: String,
    },
    /// There is another master.
    MasterChanged {
        /// Where it is.
        master: RpcAddress,
        /// Its page.
        web_ui_url: String,
    },
    /// The answer to a submission.
    SubmitDriverResponse {
        /// Whether it was accepted.
        success: bool,
        /// The driver's id.
        driver_id: Option<String>,
        /// In words.
        message: String,
        /// Our address; nobody reads it.
        master: Option<RpcAddress>,
    },
    /// The answer to the request to end a driver.
    KillDriverResponse {
        /// Whether there was such a driver.
        success: bool,
        /// The driver's id.
        driver_id: String,
        /// In words.
        message: String,
        /// Our address; nobody reads it.
        master: Option<RpcAddress>,
    },
    /// The answer to the question how a driver is.
    DriverStatusResponse {
        /// Whether there is such a driver.
        found: bool,
        /// Its state.
        state: Option<DriverState>,
        /// The worker that runs it.
        worker_id: Option<String>,
        /// Where that worker is.
        worker_host_port: Option<String>,
    },
}

impl ToDriver {
    /// The message as a Java object stream.
    pub fn encode(&self, dialect: &Dialect) -> Vec<u8> {
        let table = dialect.table();
        Writer::write(table, &Builder { table }.object(self))
    }
}

struct Builder<'a> {
    table: &'a Table,
}

impl Builder<'_> {
    fn object(&self, message: &ToDriver) -> Object {
        let text = |text: &String| Slot::Text(text.clone());
        match message {
            ToDriver::Boolean(value) => {
                Object::new("java.lang.Boolean", vec![("value", Slot::Boolean(*value))])
            }
            ToDriver::RegisteredApplication { app_id, master } => Object::new(
                "org.apache.spark.deploy.DeployMessages$RegisteredApplication",
                vec![("appId", text(app_id)), ("master", reference(master))],
            ),
            ToDriver::ExecutorAdded { id, worker_id, host_port, cores, memory_mib } => Object::new(
                "org.apache.spark.deploy.DeployMessages$ExecutorAdded",
                vec![
                    ("cores", Slot::Int(*cores)),
                    ("id", Slot::Int(*id)),
                    ("memory", Slot::Int(*memory_mib)),
                    ("hostPort", text(host_port)),
                    ("workerId", text(worker_id)),
                ],
            ),
            ToDriver::ExecutorUpdated { id, state, message, exit_status, worker_host } => {
                let integer =
                    |value| Slot::object("java.lang.Integer", vec![("value", Slot::Int(value))]);
                Object::new(
                    "org.apache.spark.deploy.DeployMessages$ExecutorUpdated",
                    vec![
                        ("id", Slot::Int(*id)),
                        ("exitStatus", self.option(exit_status.map(integer))),
                        ("message", self.option(message.as_ref().map(text))),
                        ("state", self.enumeration(EXECUTOR_STATE, *state as i32)),
                        ("workerHost", self.option(worker_host.as_ref().map(text))),
                    ],
                )
            }
            ToDriver::WorkerRemoved { id, host, message } => Object::new(
                "org.apache.spark.deploy.DeployMessages$WorkerRemoved",
                vec![("host", text(host)), ("id", text(id)), ("message", text(message))],
            ),
            ToDriver::ApplicationRemoved { message } => Object::new(
                "org.apache.spark.deploy.DeployMessages$ApplicationRemoved",
                vec![("message", text(message))],
            ),
            ToDriver::MasterChanged { master, web_ui_url } => Object::new(
                "org.apache.spark.deploy.DeployMessages$MasterChanged",
                vec![("master", reference(master)), ("masterWebUiUrl", text(web_ui_url))],
            ),
            ToDriver::SubmitDriverResponse { success, driver_id, message, master } => Object::new(
                "org.apache.spark.deploy.DeployMessages$SubmitDriverResponse",
                vec![
                    ("success", Slot::Boolean(*success)),
                    ("driverId", self.option(driver_id.as_ref().map(text))),
                    ("master", optional_reference(master.as_ref())),
                    ("message", text(message)),
                ],
            ),
            ToDriver::KillDriverResponse { success, driver_id, message, master } => Object::new(
                "org.apache.spark.deploy.DeployMessages$KillDriverResponse",
                vec![
                    ("success", Slot::Boolean(*success)),
                    ("driverId", text(driver_id)),
                    ("master", optional_reference(master.as_ref())),
                    ("message", text(message)),
                ],
            ),
            ToDriver::DriverStatusResponse { found, state, worker_id, worker_host_port } => {
                let state = state.map(|state| self.enumeration(DRIVER_STATE, state as i32));
                Object::new(
                    "org.apache.spark.deploy.DeployMessages$DriverStatusResponse",
                    vec![
                        ("found", Slot::Boolean(*found)),
                        ("exception", self.option(None)),
                        ("state", self.option(state)),
                        ("workerHostPort", self.option(worker_host_port.as_ref().map(text))),
                        ("workerId", self.option(worker_id.as_ref().map(text))),
                    ],
                )
            }
        }
    }

    /// A module by its class: itself in Scala 2.12, by a proxy in 2.13.
    fn module(&self, class: &'static str) -> Object {
        match self.table.is_scala_2_13() {
            true => Object::new(MODULE_PROXY, vec![("moduleClass", Slot::Class(class))]),
            false => Object::bare(class),
        }
    }

    fn option(&self, value: Option<Slot>) -> Slot {
        match value {
            Some(value) => Slot::object("scala.Some", vec![("value", value)]),
            None => Slot::Shared(NONE, Box::new(self.module(NONE))),
        }
    }

    fn enumeration(&self, class: &'static str, ordinal: i32) -> Slot {
        let module = Slot::Shared(class, Box::new(self.module(class)));
        Slot::object(
            "scala.Enumeration$Val",
            vec![("i", Slot::Int(ordinal)), ("$outer", module.clone()), ("outerEnum", module)],
        )
    }
}

/// A reference to our endpoint. The driver asks by its time limit, and sends over the connection on which
/// it came.
fn reference(master: &RpcAddress) -> Slot {
    let RpcAddress { host, port } = master;
    let address = Slot::object(
        "org.apache.spark.rpc.RpcAddress",
        vec![("port", Slot::Int((*port).into())), ("host", Slot::Text(host.clone()))],
    );
    let address = Slot::object(
        "org.apache.spark.rpc.RpcEndpointAddress",
        vec![
            ("name", Slot::Text(super::MASTER.to_owned())),
            ("rpcAddress", address),
            ("toString", Slot::Text(format!("spark://{}@{host}:{port}", super::MASTER))),
        ],
    );
    let duration = Slot::object(
        "scala.concurrent.duration.FiniteDuration",
        vec![
            ("length", Slot::Long(ASK_TIMEOUT_SECONDS)),
            ("unit", Slot::Constant("java.util.concurrent.TimeUnit", "SECONDS")),
        ],
    );
    let timeout = Slot::object(
        "org.apache.spark.rpc.RpcTimeout",
        vec![("duration", duration), ("timeoutProp", Slot::Text("spark.rpc.askTimeout".into()))],
    );
    Slot::object(
        "org.apache.spark.rpc.netty.NettyRpcEndpointRef",
        vec![("endpointAddress", address), ("defaultAskTimeout", timeout)],
    )
}

fn optional_reference(master: Option<&RpcAddress>) -> Slot {
    master.map_or(Slot::Null, reference)
}

//! What is submitted: an application.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ResourceProfile;
use crate::conf::{Conf, Redaction, places};
use crate::text::hex;
use crate::{Error, Result};

/// An application as it is handed to a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApplicationSpec {
    /// `spark.app.name`: for people; need not be unique.
    pub name: String,
    /// The process that owns the application.
    pub driver: DriverSpec,
    /// All properties, as the driver will find them.
    pub conf: Conf,
    /// What its processes are to look like in the cluster's own terms.
    #[serde(default, skip_serializing_if = "Templates::is_empty")]
    pub templates: Templates,
}

impl ApplicationSpec {
    /// An application of this driver: with one core and as much memory as it takes, without properties.
    pub fn new(name: impl Into<String>, driver: impl Into<Payload>) -> Self {
        Self {
            name: name.into(),
            driver: DriverSpec::new(driver),
            conf: Conf::new(),
            templates: Templates::default(),
        }
    }

    /// With these properties.
    #[must_use]
    pub fn with_conf(mut self, conf: Conf) -> Self {
        self.conf = conf;
        self
    }

    /// With these resources for the driver.
    #[must_use]
    pub fn with_driver_resources(mut self, resources: ResourceProfile) -> Self {
        self.driver.resources = resources;
        self
    }

    /// The application as it may be shown: without templates, and without what is secret among properties,
    /// variables and arguments. For printing only.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut app = self.clone();
        app.templates = Templates::default();
        app.conf = self.conf.redacted().map(|(key, value)| (key, value.into_owned())).collect();
        // A pattern that is none hides everything of the properties; of the rest, Spark's does.
        let redaction = Redaction::from_conf(&self.conf).unwrap_or_default();
        for (name, value) in &mut app.driver.env {
            *value = redaction.show(name, value).into_owned();
        }
        let args = match &mut app.driver.payload {
            Payload::Spark(job) => {
                job.primary_resource = places(&job.primary_resource).into_owned();
                &mut job.args
            }
            Payload::Command(command) => &mut command.args,
        };
        *args = redaction.show_args(args);
        app
    }

    /// SHA-256 of the whole, in hexadecimal: by which a backend tells whether two submissions are the
    /// same without keeping what is in them.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) if it cannot be written as JSON.
    pub fn digest(&self) -> Result<String> {
        digest(self)
    }
}

fn digest(application: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(application).map_err(|error| {
        Error::invalid("the application cannot be written as JSON").with_source(error)
    })?;
    Ok(hex(&Sha256::digest(&text)))
}

/// An application whose driver somebody else runs, outside of the cluster: only its executors are the
/// cluster's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExternalDriver {
    /// `spark.app.name`: for people; need not be unique.
    pub name: String,
    /// Where executors reach the driver: a host name or an address.
    pub host: String,
    /// Where executors reach the driver: a TCP port.
    pub port: u16,
    /// The properties by which its executors are allocated.
    pub conf: Conf,
}

impl ExternalDriver {
    /// A driver that listens there, without properties.
    pub fn new(name: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), host: host.into(), port, conf: Conf::new() }
    }

    /// With these properties.
    #[must_use]
    pub fn with_conf(mut self, conf: Conf) -> Self {
        self.conf = conf;
        self
    }

    /// SHA-256 of the whole, as of [`ApplicationSpec::digest`].
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) if it cannot be written as JSON.
    pub fn digest(&self) -> Result<String> {
        digest(self)
    }
}

/// The objects of the cluster's own that a driver and executors are made of, as far as the submitter says
/// it: pod templates, on Kubernetes. What a specification and properties say goes on top. Clusters that
/// have no such objects [refuse](Self::refuse) them.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Templates {
    /// Of the driver.
    pub driver: Option<serde_json::Value>,
    /// Of executors.
    pub executor: Option<serde_json::Value>,
    /// What goes on top of the driver's finished object: unlike its template, it wins over specification and
    /// properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_overlay: Option<serde_json::Value>,
}

impl Templates {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses templates, where there is nothing that they could describe.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported), unless there are none.
    pub fn refuse(&self) -> Result<()> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Error::unsupported("this cluster takes no templates of processes")),
        }
    }
}

/// Says for whom there is one: variables in it may be secret.
impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates")
            .field("driver", &self.driver.is_some())
            .field("executor", &self.executor.is_some())
            .field("driver_overlay", &self.driver_overlay.is_some())
            .finish()
    }
}

/// How the driver is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DriverSpec {
    /// What it runs.
    pub payload: Payload,
    /// Environment variables in addition to those of the cluster.
    pub env: BTreeMap<String, String>,
    /// What it needs.
    pub resources: ResourceProfile,
    /// Where it starts; the cluster's choice when unset.
    pub working_dir: Option<PathBuf>,
    /// Whether it is started again when it fails (`--supervise`).
    pub supervise: bool,
}

impl DriverSpec {
    /// A driver with one core and as much memory as it takes.
    pub fn new(payload: impl Into<Payload>) -> Self {
        Self {
            payload: payload.into(),
            env: BTreeMap::new(),
            resources: ResourceProfile::new(1.0, 0),
            working_dir: None,
            supervise: false,
        }
    }
}

/// What a driver runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Any program.
    Command(CommandLine),
    /// A Spark application, which Spark's own driver runs.
    Spark(SparkJob),
}

impl From<CommandLine> for Payload {
    fn from(command: CommandLine) -> Self {
        Self::Command(command)
    }
}

impl From<SparkJob> for Payload {
    fn from(job: SparkJob) -> Self {
        Self::Spark(job)
    }
}

/// A program and its arguments. No shell takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// A path, or a name that is looked up in the `PATH` of the machine that runs it.
    pub program: String,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
}

impl CommandLine {
    /// A program without arguments.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), args: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// A Spark application: what follows the options of a `spark-submit` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparkJob {
    /// Which runner Spark uses for it.
    pub language: SparkLanguage,
    /// A jar, a `.py` or a `.R` file, as a URI or a path.
    pub primary_resource: String,
    /// `--class`; for Python and R, Spark's runner class is implied.
    pub main_class: Option<String>,
    /// The application's own arguments.
    pub args: Vec<String>,
    /// `--proxy-user`.
    pub proxy_user: Option<String>,
}

/// The language of a Spark application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SparkLanguage {
    /// Java or Scala.
    Java,
    /// Python.
    Python,
    /// R.
    R,
}

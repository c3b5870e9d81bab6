//! Picks the backend for a master URL. Built by hand in `main`; there is no global one.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tracing::{Instrument as _, info_span};

use crate::administration::Check;
use crate::conf::Conf;
use crate::conf::keys::{Key, KeyInfo};
use crate::model::{ApplicationSpec, ResourceProfile, SubmissionId};
use crate::traced::Traced;
use crate::{ClusterManager, Error, MasterUrl, Result};

/// A kind of cluster: what a backend crate registers.
///
/// [`BackendInfo`] is what is known of it without a connection; [`connect`](Self::connect) gives the
/// [`ClusterManager`].
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// What is known of every cluster of this kind.
    fn info(&self) -> &'static BackendInfo;

    /// Checks a master URL of one of its schemes, and writes it in its full form.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with the part at fault and an example.
    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl>;

    /// Connects.
    ///
    /// # Errors
    /// If properties are not valid, or the cluster cannot be reached.
    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>>;

    /// What launching a driver would create or send, without a connection. `None`: the call itself is
    /// all there is to show.
    ///
    /// # Errors
    /// As [`ClusterManager::launch_driver`], as far as they are known before anything is sent.
    async fn preview(
        &self,
        _options: &ConnectOptions,
        _id: &SubmissionId,
        _app: &ApplicationSpec,
    ) -> Result<Option<serde_json::Value>> {
        Ok(None)
    }

    /// Checks a [template](crate::model::Templates) of a driver or an executor.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) with the field at fault, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where there are no templates.
    fn check_template(&self, _template: &serde_json::Value) -> Result<()> {
        Err(Error::unsupported(format!("{} has no templates of processes", self.info().title)))
    }

    /// The address of this machine by which the cluster's executors reach a driver here.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if drivers do not run outside of such a cluster.
    fn local_address(&self, master: &MasterUrl) -> Result<String> {
        Err(Error::unsupported(format!("{master} has no drivers outside of the cluster")))
    }

    /// The workers of such a cluster, if the master URL says how many there are.
    fn workers(&self, _master: &MasterUrl) -> Option<WorkerShape> {
        None
    }

    /// What this machine has and lacks for such a cluster, looked at without a connection.
    fn check_machine(&self, _master: &MasterUrl) -> Vec<Check> {
        Vec::new()
    }
}

/// The workers of a cluster that are all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerShape {
    /// How many there are.
    pub count: u32,
    /// The cores of each.
    pub cores: u32,
}

/// What is known of a kind of cluster without a connection. Front doors read it instead of asking which
/// backend it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BackendInfo {
    /// As in [`ClusterManager::name`].
    pub name: &'static str,
    /// What people call it: "Kubernetes".
    pub title: &'static str,
    /// The [schemes](MasterUrl::scheme) of the master URLs it serves, each with an example of a URL.
    pub schemes: &'static [(&'static str, &'static str)],
    /// One line for help.
    pub summary: &'static str,
    /// The properties that it reads, beside those of [core](crate::conf::keys).
    pub properties: &'static [&'static [&'static KeyInfo]],
    /// Properties of other clusters, each with the one of its own that does the same. A `*` at the end of both stands
    /// for the same text.
    pub equivalents: &'static [&'static [(&'static str, &'static str)]],
    /// Where drivers run.
    pub drivers: DriverPlacement,
    /// Whether the memory of a process is reserved with its overhead, and limited to both, as that of containers is;
    /// else it is reserved as Spark's standalone master does it, without, and a JVM may have more than its heap.
    pub counts_overhead: bool,
    /// Whether the machines of such a cluster say which Spark they have, so that executors find theirs
    /// ([`ExecutorTemplate::spark`](crate::model::ExecutorTemplate::spark)).
    pub knows_sparks: bool,
    /// The form of ids of submissions that were given none.
    pub submission_ids: SubmissionIdForm,
    /// In which format `submit` reports a submission, its status and its end: other tools parse it.
    pub dialect: SubmitDialect,
    /// The property that says whether a submission waits for the driver's end; where there is none it
    /// waits.
    pub wait: Option<&'static Key<bool>>,
    /// The property for the interval at which `submit` reports the state of a driver while it waits.
    pub report_interval: Option<&'static Key<Duration>>,
    /// The property that says how many seconds a driver has to end by itself when it is killed.
    pub kill_grace: Option<&'static Key<u32>>,
    /// The shape of executors that properties ask for.
    pub executor_profile: fn(&Conf) -> Result<ResourceProfile>,
}

/// Where the drivers of a kind of cluster run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverPlacement {
    /// This machine is the cluster.
    ThisMachine,
    /// In the cluster; programs as drivers in client mode too, as executors know the driver by an object
    /// of the cluster.
    Cluster,
    /// In the cluster in cluster mode, on this machine in client mode.
    ByDeployMode,
}

/// The form of ids of submissions that were given none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmissionIdForm {
    /// `app-20260102030405-1a2b3c`.
    Application,
    /// `driver-20260102030405-00000001`, as Spark's masters make them and Airflow looks for them.
    Driver,
}

impl SubmissionIdForm {
    /// A new id of this form. Ids sort by time, and differ between submissions of one second.
    ///
    /// # Errors
    /// None: such an id is always valid.
    pub fn generate(self, now: Timestamp) -> Result<SubmissionId> {
        let (stamp, random) = (now.strftime("%Y%m%d%H%M%S"), fastrand::u32(..1 << 24));
        SubmissionId::new(&match self {
            Self::Application => format!("app-{stamp}-{random:06x}"),
            // As masters make them themselves, where the last part counts up from 0000.
            Self::Driver => format!("driver-{stamp}-{random:08}"),
        })
    }
}

/// How `spark-submit` tells of a submission, by the kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitDialect {
    /// In our own words.
    Own,
    /// As a block of the driver's [`Report`](crate::model::Report) (Spark 3.5, `LoggingPodStatusWatcher`
    /// and `K8sSubmitOps`); ids may end in `*`.
    Report,
    /// As reports of the application, of which the first fact is its state (Spark 3.5, YARN's `Client`).
    ApplicationReport,
    /// As answers of Spark's REST protocol (Spark 3.5, `RestSubmissionClient`).
    Rest,
}

impl BackendInfo {
    /// A backend without properties of its own. Drivers run in the cluster, and `submit` reports in our
    /// own format. The fields can be set one by one:
    ///
    /// ```
    /// use anymaster_core::{BackendInfo, DriverPlacement};
    ///
    /// const INFO: BackendInfo = {
    ///     let mut info = BackendInfo::new("toy", &[("toy", "toy://host:1")], "a toy: toy://host:1");
    ///     info.drivers = DriverPlacement::ThisMachine;
    ///     info
    /// };
    /// ```
    pub const fn new(
        name: &'static str,
        schemes: &'static [(&'static str, &'static str)],
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            title: name,
            schemes,
            summary,
            properties: &[],
            equivalents: &[],
            drivers: DriverPlacement::Cluster,
            counts_overhead: true,
            knows_sparks: false,
            submission_ids: SubmissionIdForm::Application,
            dialect: SubmitDialect::Own,
            wait: None,
            report_interval: None,
            kill_grace: None,
            executor_profile: ResourceProfile::of_executors,
        }
    }

    fn serves(&self, scheme: &str) -> bool {
        self.schemes.iter().any(|(known, _)| *known == scheme)
    }

    /// An example of a URL of this scheme.
    pub fn example(&self, scheme: &str) -> &'static str {
        let found = self.schemes.iter().find(|(known, _)| *known == scheme);
        found.or(self.schemes.first()).map_or("", |(_, example)| example)
    }

    /// Adds an example of a URL to an error that says what is wrong with one.
    pub fn with_example(&self, scheme: &str, error: Error) -> Error {
        error.with_hint(format!("write for example {}", self.example(scheme)))
    }
}

/// What a backend is given to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Where the cluster is.
    pub master: MasterUrl,
    /// Properties, for those that say how to connect.
    pub conf: Conf,
    /// A directory of the user's in which a backend may keep state between runs.
    pub state_dir: PathBuf,
    /// The `anymaster` program, for backends that start helper processes; looked up when unset.
    pub program: Option<PathBuf>,
    /// Who is told what takes long.
    pub observer: Observer,
    /// Submissions are of other people: their properties may name no files of this machine, and nothing
    /// of this process' environment becomes theirs.
    pub multi_tenant: bool,
}

impl ConnectOptions {
    /// For a cluster, without properties.
    pub fn new(master: MasterUrl) -> Self {
        Self {
            master,
            conf: Conf::new(),
            state_dir: PathBuf::new(),
            program: None,
            observer: Observer::default(),
            multi_tenant: false,
        }
    }

    /// With properties.
    #[must_use]
    pub fn with_conf(self, conf: Conf) -> Self {
        Self { conf, ..self }
    }

    /// With a directory for state between runs.
    #[must_use]
    pub fn with_state_dir(self, state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), ..self }
    }

    /// With the `anymaster` program.
    #[must_use]
    pub fn with_program(self, program: Option<PathBuf>) -> Self {
        Self { program, ..self }
    }

    /// For submissions of other people.
    #[must_use]
    pub fn multi_tenant(self) -> Self {
        Self { multi_tenant: true, ..self }
    }

    /// With an observer of calls that take long.
    #[must_use]
    pub fn with_observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }
}

/// Someone who is told what a backend is doing while a call takes long, in words.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(String) + Send + Sync>>);

impl Observer {
    /// Calls a function with the words.
    pub fn new(tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Tells what is being done.
    pub fn tell(&self, words: String) {
        if let Some(tell) = &self.0 {
            tell(words);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Where backends keep state unless the user says otherwise: `$ANYMASTER_STATE_DIR`, else
/// `$XDG_STATE_HOME/anymaster`, else `$HOME/.local/state/anymaster`.
///
/// `variable` looks up an environment variable.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) if none of these is set.
pub fn default_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let path = |name| variable(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    let absolute = |name| path(name).filter(|path| path.is_absolute());
    path("ANYMASTER_STATE_DIR")
        .or_else(|| absolute("XDG_STATE_HOME").map(|dir| dir.join("anymaster")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(".local/state/anymaster")))
        .ok_or_else(|| {
            Error::invalid("no directory for applications: HOME is not set")
                .with_hint("set ANYMASTER_STATE_DIR to a directory of yours")
        })
}

/// The backends of a program. Picks the one for a master URL.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    backends: Vec<Arc<dyn Backend>>,
}

impl Registry {
    /// A registry without backends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend. For a scheme that two of them serve, the later one wins.
    #[must_use]
    pub fn with(mut self, backend: impl Backend) -> Self {
        self.backends.push(Arc::new(backend));
        self
    }

    /// What is known of each backend, in the order in which they were added.
    pub fn backends(&self) -> impl Iterator<Item = &'static BackendInfo> {
        self.backends.iter().map(|backend| backend.info())
    }

    /// Reads a master URL, checked and in its full form.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) with what to write instead, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if no backend here serves its scheme.
    pub fn parse(&self, url: &str) -> Result<MasterUrl> {
        let hinted = |error: Error| match self.near(url) {
            Some(example) => error.with_hint(format!("did you mean {example}?")),
            None => {
                let forms: Vec<_> = self.examples().map(|(_, example)| example).collect();
                error.with_hint(format!("known forms: {}", forms.join("; ")))
            }
        };
        let master: MasterUrl = url.parse().map_err(hinted)?;
        match self.find(&master) {
            Ok(backend) => backend.check_url(&master).map_err(|error| match error.hint() {
                Some(_) => error,
                None => hinted(error),
            }),
            // One that was misspelt.
            Err(_) if self.near(url).is_some() => Err(hinted(master.unknown())),
            Err(error) => Err(error),
        }
    }

    /// The backend that serves this URL.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported), with the schemes that there are.
    pub fn find(&self, master: &MasterUrl) -> Result<&dyn Backend> {
        let scheme = master.scheme();
        let found = self.backends.iter().rev().find(|backend| backend.info().serves(scheme));
        found.map(|backend| &**backend).ok_or_else(|| {
            let known: Vec<_> = self.examples().map(|(scheme, _)| scheme).collect();
            let hint = match known.as_slice() {
                [] => "this program was built without any backend".to_owned(),
                known => format!("available: {}", known.join(", ")),
            };
            Error::unsupported(format!("no backend here serves {scheme} masters ({master})"))
                .with_hint(hint)
        })
    }

    /// Connects to the cluster at a master URL. What is asked of it are spans of `tracing`.
    ///
    /// # Errors
    /// As [`find`](Self::find), and as the backend's own; [`Unsupported`](crate::ErrorKind::Unsupported) if
    /// submissions of other people would run on this machine.
    pub async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        let info = self.find(&options.master)?.info();
        if options.multi_tenant && info.drivers == DriverPlacement::ThisMachine {
            return Err(Error::unsupported(format!(
                "{}: drivers of other people would be processes of this machine",
                options.master
            ))
            .with_hint("give the master URL of a cluster"));
        }
        let span = info_span!("connect", master = %options.master);
        let cluster = self.find(&options.master)?.connect(options).instrument(span).await?;
        Ok(Arc::new(Traced(cluster)))
    }

    fn examples(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.backends().flat_map(|info| info.schemes.iter().copied())
    }

    /// The form that a misspelt URL most likely means.
    fn near(&self, url: &str) -> Option<&'static str> {
        let word = url.split(['[', '(', '{', ':']).next().unwrap_or(url).to_ascii_lowercase();
        self.examples()
            .map(|(scheme, example)| (strsim::damerau_levenshtein(&word, scheme), scheme, example))
            .filter(|(distance, scheme, _)| *distance <= scheme.len() / 3)
            .min_by_key(|(distance, ..)| *distance)
            .map(|(.., example)| example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let new = || SubmissionIdForm::Application.generate(now).unwrap();
        let (one, other) = (new(), new());
        assert!(one.as_str().starts_with("app-20270115080000-"), "{one}");
        assert_ne!(one, other);
        // What Airflow looks for, and asks about.
        let id = SubmissionIdForm::Driver.generate(now).unwrap();
        let digits = id.as_str().strip_prefix("driver-20270115080000-").unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    }
}

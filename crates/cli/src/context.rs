//! What `main` builds and every command is given. Nothing in it costs anything until it is used.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;

use anymaster_core::conf::Conf;
use anymaster_core::{
    Backend, BackendInfo, ClusterManager, ConnectOptions, DriverPlacement, Error, MasterUrl,
    Observer, Registry, Result,
};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Outcome;
use crate::log::{self, LogFormat, LogOptions, Logging};
use crate::printer::{Format, Printer};
use crate::settings::Settings;

/// The errors for too many open files: of the process, and of the machine.
const TOO_MANY_FILES: [i32; 2] = [24, 23];

/// How many files a command that talks to a cluster opens at least.
const FILES: usize = 16;

/// How many threads work, besides the one that waits for them.
const THREADS: usize = 2;

/// What commands that talk to a cluster run on.
fn runtime() -> Result<Runtime> {
    let failed = |error: io::Error| {
        let is_of_files = error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code));
        let (what, hint) = match is_of_files {
            true => ("too many files are open", "raise the number of open files (ulimit -n)"),
            false => (
                "cannot start threads",
                "raise the number of processes (ulimit -u, or pids.max of the cgroup)",
            ),
        };
        Error::unavailable(what).with_source(error).with_hint(hint)
    };
    // The runtime panics when it cannot have its threads or files: whether it can is found out before.
    let files: io::Result<Vec<_>> = (0..FILES).map(|_| File::open("/dev/null")).collect();
    drop(files.map_err(failed)?);
    let ready = Arc::new(Barrier::new(THREADS + 1));
    let mut started = Vec::new();
    for _ in 0..THREADS {
        let ready = Arc::clone(&ready);
        started.push(thread::Builder::new().spawn(move || ready.wait()).map_err(failed)?);
    }
    ready.wait();
    for thread in started {
        // It does nothing that could fail.
        let _ = thread.join();
    }
    Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().map_err(failed)
}

/// The parts that commands share.
#[derive(Debug)]
pub(crate) struct Context {
    /// Standard output and standard error.
    pub(crate) printer: Printer,
    /// What the user set for all runs.
    pub(crate) settings: Settings,
    /// The backends.
    pub(crate) registry: Registry,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// How log lines are written, if the line says it.
    pub(crate) log_format: Option<LogFormat>,
}

impl Context {
    /// The format of data: the flag's, else the user's.
    pub(crate) fn format(&self, flag: Option<Format>) -> Format {
        flag.or(self.settings.output).unwrap_or_default()
    }

    /// The master URL: the flag's, else the user's, else `local`.
    ///
    /// # Errors
    /// If it is not a master URL.
    pub(crate) fn master(&self, flag: Option<&str>) -> Result<MasterUrl> {
        let (url, origin) = match (flag, &self.settings.master) {
            (Some(url), _) => (url, None),
            (None, Some(url)) => (url.as_str(), Some("the master of your settings")),
            (None, None) => ("local", None),
        };
        self.registry.parse(url).map_err(|error| match origin {
            Some(origin) => error.context(origin),
            None => error,
        })
    }

    /// What is known of the kind of cluster at a master URL.
    ///
    /// # Errors
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) if no backend serves it.
    pub(crate) fn info(&self, master: &MasterUrl) -> Result<&'static BackendInfo> {
        self.registry.find(master).map(Backend::info)
    }

    /// Whether the cluster at a master URL is this machine.
    pub(crate) fn is_this_machine(&self, master: &MasterUrl) -> bool {
        self.info(master).is_ok_and(|info| info.drivers == DriverPlacement::ThisMachine)
    }

    /// Where backends keep state between runs.
    ///
    /// # Errors
    /// If nothing says where the user's home is.
    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        self.settings.state_dir(|name| std::env::var_os(name))
    }

    /// Connects to a cluster.
    ///
    /// # Errors
    /// As the backend's; [`Unsupported`](anymaster_core::ErrorKind::Unsupported) without one.
    pub(crate) async fn connect(
        &self,
        master: &MasterUrl,
        conf: Conf,
    ) -> Result<Arc<dyn ClusterManager>> {
        self.registry.connect(self.connect_options(master, conf)?).await
    }

    /// What backends are given.
    ///
    /// # Errors
    /// As [`state_dir`](Self::state_dir)'s.
    pub(crate) fn connect_options(&self, master: &MasterUrl, conf: Conf) -> Result<ConnectOptions> {
        let printer = self.printer;
        Ok(ConnectOptions::new(master.clone())
            .with_conf(conf)
            .with_state_dir(self.state_dir()?)
            .with_program(std::env::current_exe().ok())
            .with_observer(Observer::new(move |words| printer.message_lines(words))))
    }

    /// Runs a command that talks to a cluster.
    ///
    /// What still blocks when the command is done (a write to a terminal that was stopped, a
    /// watcher that waits for a lock) is left behind: the process ends now.
    pub(crate) fn block_on(&self, command: impl Future<Output = Outcome>) -> Outcome {
        let logging = self.start_logging()?;
        let runtime = runtime()?;
        let outcome = runtime.block_on(command);
        runtime.shutdown_background();
        drop(logging);
        outcome
    }

    /// Starts logging to standard error, as the user set it.
    ///
    /// # Errors
    /// If what the user set is not valid.
    fn start_logging(&self) -> Result<Logging> {
        log::start(&LogOptions {
            verbosity: self.verbosity,
            filter: self.settings.log.as_deref(),
            format: self.log_format.or(self.settings.log_format).unwrap_or_default(),
            is_colored: self.printer.is_stderr_colored(),
        })
    }
}

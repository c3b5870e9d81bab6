//! The contract, kept by directories and shells.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{
    AllocationStatus, AppId, ApplicationSpec, CommandLine, ExecutorId, ExecutorTarget, Filter,
    KilledBy, Payload, Status, Subject, SubmissionId,
};
use anymaster_core::native::Placeholder;
use anymaster_core::reconcile::{AllocationPolicy, ExecutorLaunch, Launcher, Reconciler};
use anymaster_core::{
    Capabilities, ClusterManager, Error, EventStream, Launched, LogChunk, LogOptions, LogSource,
    LogStream, MasterUrl, Result, WatchOptions, native,
};
use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use tokio::sync::Mutex;

use crate::process::{Process, unavailable};
use crate::store::{App, Store, record};
use crate::watch;

/// Where all processes are.
const HOST: &str = "127.0.0.1";

/// A directory as a cluster.
#[derive(Debug, Clone)]
pub struct DirectoryManager {
    master: MasterUrl,
    store: Store,
    /// The applications whose executors this process keeps, each with the lock that says so.
    owned: Arc<Mutex<HashMap<AppId, (Reconciler, File)>>>,
}

impl DirectoryManager {
    /// Opens a cluster, which is made if it is not there.
    ///
    /// # Errors
    /// If the URL is not valid, or the directory cannot be used.
    pub fn open(master: MasterUrl) -> Result<Self> {
        let store = Store::open(crate::directory(&master)?)?;
        Ok(Self { master, store, owned: Arc::default() })
    }

    fn process(&self, subject: &Subject) -> Result<Process> {
        let (app, process) = match subject {
            Subject::Driver(id) => {
                let app = self.store.find(&AppId::new(id.as_str())?)?;
                let driver = app.driver();
                (app, driver)
            }
            Subject::Executor(app, id) => {
                let app = self.store.find(app)?;
                let executor = app.executor(*id);
                (app, executor)
            }
        };
        match process.0.is_dir() {
            true => Ok(process),
            false => Err(Error::not_found(format!("there is no {subject} in {}", app.id))),
        }
    }

    fn variables(&self, app: &App) -> Result<Vec<(String, String)>> {
        let host = HOST.to_owned();
        Ok([
            (native::ENV_MASTER, self.master.to_string()),
            (native::ENV_APPLICATION_ID, app.id.to_string()),
            (native::ENV_DRIVER_HOST, host),
            (native::ENV_DRIVER_PORT, app.port()?.to_string()),
            (native::ENV_SECRET_FILE, app.file("secret").display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec())
    }

    fn start_executor(&self, app: &App, launch: &ExecutorLaunch) -> Result<()> {
        let ExecutorLaunch { id, profile_id, profile, template } = launch;
        let has_ended = || Error::conflict(format!("{} has ended", app.id));
        if app.driver().state().is_ended() {
            return Err(has_ended());
        }
        if !app.add_executor(*id, *profile_id)? {
            return Ok(());
        }
        let process = app.executor(*id);
        let port = app.port()?;
        let known = |placeholder: Placeholder<'_>| match placeholder {
            Placeholder::ExecutorId => Some(id.to_string()),
            Placeholder::ExecutorCores => Some(profile.cores.to_string()),
            Placeholder::ExecutorMemory => Some(profile.memory_mib.to_string()),
            Placeholder::ExecutorProfile => Some(profile_id.to_string()),
            Placeholder::ExecutorHost => Some(HOST.to_owned()),
            // Ports are those that are free now.
            Placeholder::ExecutorPort(_) => free_port().ok().map(|port| port.to_string()),
            _ => value(placeholder, app, &process, port),
        };
        let mut env = self.variables(app)?;
        let own = native::executor_env(&app.id, *id, *profile_id, profile);
        env.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        for (name, value) in &template.env {
            env.push((name.clone(), native::expand(value, &known)?));
        }
        let command = expanded(&template.command, known)?;
        process.start(&command, &env, template.working_dir.as_deref(), None)?;
        // Its driver may have ended meanwhile, and looked for executors before.
        if app.driver().state().is_ended() {
            return process.end(KilledBy::DriverEnd, Duration::ZERO);
        }
        Ok(())
    }
}

/// A command with the values of its placeholders.
fn expanded(
    command: &CommandLine,
    value: impl Fn(Placeholder<'_>) -> Option<String>,
) -> Result<CommandLine> {
    let args = command.args.iter().map(|arg| native::expand(arg, &value));
    Ok(CommandLine { program: command.program.clone(), args: args.collect::<Result<_>>()? })
}

/// What driver and executors are told alike.
fn value(placeholder: Placeholder<'_>, app: &App, process: &Process, port: u64) -> Option<String> {
    match placeholder {
        Placeholder::AppId => Some(app.id.to_string()),
        Placeholder::WorkDir => Some(process.0.display().to_string()),
        Placeholder::DriverHost => Some(HOST.to_owned()),
        Placeholder::DriverPort => Some(port.to_string()),
        _ => None,
    }
}

fn free_port() -> Result<u16> {
    let bound = TcpListener::bind((HOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| unavailable("there is no free port", error))
}

/// Makes the secret that driver and executors share: hexadecimal digits, for the user only.
fn write_secret(path: &Path) -> Result<()> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = || {
        let mut bytes = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    made().map_err(|error| unavailable(&format!("cannot write {}", path.display()), error))
}

#[async_trait]
impl ClusterManager for DirectoryManager {
    fn name(&self) -> &'static str {
        crate::INFO.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new();
        (can.detached_drivers, can.chosen_ids, can.logs) = (true, true, true);
        (can.executors, can.profiles) = (true, true);
        can
    }

    async fn launch_driver(&self, id: &SubmissionId, spec: &ApplicationSpec) -> Result<Launched> {
        spec.check()?;
        spec.templates.refuse()?;
        let Payload::Command(command) = &spec.driver.payload else {
            return Err(Error::unsupported("a directory runs programs, and no Spark")
                .with_hint("use --master local"));
        };
        if spec.driver.supervise {
            return Err(Error::unsupported("a directory starts no driver again (--supervise)"));
        }
        let (app, is_new) =
            self.store.create(&AppId::new(id.as_str())?, &record(spec, free_port()?))?;
        if !is_new {
            return match app.spec()? == *spec {
                true => Ok(Launched::existing(app.driver_status()?)),
                false => {
                    Err(Error::conflict(format!("{id} was submitted with another specification"))
                        .with_hint("submit under another id, or without one"))
                }
            };
        }
        write_secret(&app.file("secret"))?;
        let (process, port) = (app.driver(), app.port()?);
        let command = expanded(command, |placeholder| value(placeholder, &app, &process, port))?;
        let mut env = self.variables(&app)?;
        env.extend(spec.driver.env.clone());
        let directory = spec.driver.working_dir.as_deref();
        process.start(&command, &env, directory, Some(&app.executors()))?;
        Ok(Launched::new(app.driver_status()?))
    }

    async fn request_executors(&self, id: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        if let Some(profile) = target.profiles.values().find(|p| !p.profile.extra.is_empty()) {
            let names: Vec<_> = profile.profile.extra.keys().cloned().collect();
            return Err(Error::unsupported(format!("there is no {} here", names.join(", "))));
        }
        let app = self.store.find(id)?;
        if app.driver().state().is_ended() {
            return Err(Error::conflict(format!("{id} has ended")));
        }
        let mut owned = self.owned.lock().await;
        if !owned.contains_key(id) {
            let lock = File::create(app.file("owner"))
                .map_err(|error| unavailable(&format!("cannot own {id}"), error))?;
            if lock.try_lock().is_err() {
                let message = format!("another process keeps the executors of {id}");
                return Err(Error::conflict(message));
            }
            let policy = AllocationPolicy::from_conf(&app.spec()?.conf)?;
            let launcher = Arc::new(self.clone()) as Arc<dyn Launcher>;
            let reconciler = Reconciler::spawn(launcher, id.clone(), policy);
            owned.insert(id.clone(), (reconciler, lock));
        }
        if let Some((reconciler, _)) = owned.get(id) {
            reconciler.set_target(target.clone());
        }
        Ok(())
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.process(subject)?.end(KilledBy::Request, grace)
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        watch::open(self.store.clone(), options.app.clone())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let apps = match &filter.app {
            Some(app) => vec![self.store.find(app)?],
            None => self.store.apps()?,
        };
        let mut statuses = Vec::new();
        for app in apps {
            statuses.extend(app.statuses()?.into_iter().filter(|status| filter.matches(status)));
        }
        Ok(statuses)
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        let process = self.process(subject)?;
        let sources = [LogSource::Stdout, LogSource::Stderr];
        let streams = sources
            .into_iter()
            .filter(|source| options.source.is_none_or(|wanted| wanted == *source))
            .map(|source| output(process.clone(), source, *options).boxed());
        Ok(stream::select_all(streams).boxed())
    }
}

/// What a process has written; followed, until it has ended.
fn output(
    process: Process,
    source: LogSource,
    options: LogOptions,
) -> impl futures::Stream<Item = Result<LogChunk>> {
    stream::unfold(Some((process, 0)), move |reading| async move {
        let (process, from) = reading?;
        loop {
            // Asked first: what is read afterwards is all of it.
            let is_over = process.state().is_ended() || !options.follow;
            let mut bytes = fs::read(process.0.join(source.as_str())).unwrap_or_default();
            let len = bytes.len();
            if len > from {
                let mut start = from;
                if let Some(tail) = options.tail.filter(|_| from == 0) {
                    start = last_lines(&bytes, tail);
                }
                let chunk = LogChunk { source, bytes: bytes.split_off(start).into() };
                return Some((Ok(chunk), Some((process, len))));
            }
            if is_over {
                return None;
            }
            tokio::time::sleep(watch::PACE).await;
        }
    })
}

/// Where the last lines begin.
fn last_lines(bytes: &[u8], lines: u64) -> usize {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let Some(last) = lines.checked_sub(1) else { return bytes.len() };
    ends.map(|(at, _)| at + 1).nth(usize::try_from(last).unwrap_or(usize::MAX)).unwrap_or(0)
}

#[async_trait]
impl Launcher for DirectoryManager {
    async fn start(&self, id: &AppId, executors: Vec<ExecutorLaunch>) -> Vec<Result<()>> {
        let app = self.store.find(id);
        let start = |launch: &ExecutorLaunch| match &app {
            Ok(app) => self.start_executor(app, launch),
            Err(error) => Err(Error::not_found(error.to_string())),
        };
        executors.iter().map(start).collect()
    }

    async fn stop(&self, id: &AppId, executors: &[ExecutorId], grace: Duration) -> Result<()> {
        let app = self.store.find(id)?;
        for executor in executors {
            let process = app.executor(*executor);
            if process.0.is_dir() {
                process.end(KilledBy::ScaleDown, grace)?;
            }
        }
        Ok(())
    }

    async fn watch(&self, app: &AppId) -> Result<EventStream> {
        watch::open(self.store.clone(), Some(app.clone()))
    }

    async fn report(&self, allocation: AllocationStatus) -> Result<()> {
        self.store.find(&allocation.app)?.write_allocation(&allocation)
    }
}

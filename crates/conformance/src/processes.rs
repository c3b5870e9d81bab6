//! Finds and kills processes of applications on this machine, by what their environment says.

use std::time::Duration;

use anymaster_core::model::{AppId, ExecutorId};
use anymaster_core::native;
use rustix::process::{Pid, Signal};

/// How often a process that was started is looked for, and how long in between.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A process of an application.
#[derive(Debug, Clone)]
pub struct Process {
    pid: Pid,
    parent: Option<Pid>,
    /// It leads its process group: it is the one that was started.
    leads: bool,
    executor: Option<u64>,
}

/// The processes of an application, except this one.
pub fn of_application(app: &AppId) -> Vec<Process> {
    let own = std::process::id().to_string();
    let names = std::fs::read_dir("/proc").into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| *name != own).filter_map(|name| of_entry(&name, app)).collect()
}

fn of_entry(name: &str, app: &AppId) -> Option<Process> {
    let pid = Pid::from_raw(name.parse().ok()?)?;
    let environ = std::fs::read(format!("/proc/{name}/environ")).ok()?;
    let text = String::from_utf8_lossy(&environ).into_owned();
    let value = |name: &str| {
        let prefix = format!("{name}=");
        text.split('\0').find_map(|entry| Some(entry.strip_prefix(&prefix)?.to_owned()))
    };
    let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let is_zombie = fields.first() == Some(&"Z");
    let is_meant = value(native::ENV_APPLICATION_ID)? == app.as_str();
    (is_meant && !is_zombie).then(|| Process {
        pid,
        leads: fields.get(2) == Some(&name),
        parent: fields.get(1).and_then(|parent| Pid::from_raw(parent.parse().ok()?)),
        executor: value(native::ENV_EXECUTOR_ID).and_then(|id| id.parse().ok()),
    })
}

/// The process that an application's driver was started as.
pub async fn driver(app: &AppId) -> Option<Process> {
    started(app, None).await
}

/// The process that an executor was started as.
pub async fn executor(app: &AppId, id: ExecutorId) -> Option<Process> {
    started(app, Some(id.0)).await
}

/// For a moment after its start, while the kernel lays out its memory, a process has no environment.
async fn started(app: &AppId, executor: Option<u64>) -> Option<Process> {
    let is_it = |process: &Process| process.leads && process.executor == executor;
    for _ in 0..LOOKS {
        let found = of_application(app).into_iter().find(is_it);
        if found.is_some() {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

impl Process {
    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        kill(self.pid);
    }

    /// Whether it is of an executor, and not of the driver.
    pub fn is_of_executor(&self) -> bool {
        self.executor.is_some()
    }

    /// Ends its parent with SIGKILL.
    pub fn kill_parent(&self) {
        if let Some(parent) = self.parent {
            kill(parent);
        }
    }
}

fn kill(pid: Pid) {
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

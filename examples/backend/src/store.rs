//! Applications as directories.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use anymaster_core::model::{
    AllocationStatus, AppId, ApplicationSpec, DriverStatus, ExecutorId, ExecutorStatus, ProfileId,
    Status, SubmissionId,
};
use anymaster_core::{Error, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::process::{Process, unavailable};

/// The directory of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// The directory of an application.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: AppId,
    path: PathBuf,
}

impl Store {
    pub(crate) fn open(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root)
            .map_err(|error| unavailable(&format!("cannot use {}", root.display()), error))?;
        Ok(Self { root })
    }

    fn app(&self, id: &AppId) -> App {
        App { id: id.clone(), path: self.root.join(id.as_str()) }
    }

    /// An application that is there.
    pub(crate) fn find(&self, id: &AppId) -> Result<App> {
        let app = self.app(id);
        match app.path.is_dir() {
            true => Ok(app),
            false => Err(Error::not_found(format!("there is no application {id}"))
                .with_hint("ps -a lists them")),
        }
    }

    pub(crate) fn apps(&self) -> Result<Vec<App>> {
        let failed = |error| unavailable(&format!("cannot read {}", self.root.display()), error);
        let mut apps = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // Those that begin with a dot are being made.
            if let Some(id) = name.to_str().and_then(|name| AppId::new(name).ok()) {
                apps.push(self.app(&id));
            }
        }
        Ok(apps)
    }

    /// Makes the directory of an application, whole or not at all. Returns whether it is new.
    pub(crate) fn create(&self, id: &AppId, record: &Value) -> Result<(App, bool)> {
        let app = self.app(id);
        let new = self.root.join(format!(".{id}.{}", std::process::id()));
        let made = fs::create_dir_all(new.join("driver"))
            .and_then(|()| fs::create_dir_all(new.join("executors")))
            .and_then(|()| fs::write(new.join("record.json"), record.to_string()))
            .and_then(|()| fs::rename(&new, &app.path));
        match made {
            Ok(()) => Ok((app, true)),
            Err(error) if matches!(error.kind(), Io::DirectoryNotEmpty | Io::AlreadyExists) => {
                fs::remove_dir_all(&new).map_err(|error| unavailable("cannot tidy up", error))?;
                Ok((app, false))
            }
            Err(error) => Err(unavailable(&format!("cannot make {}", app.path.display()), error)),
        }
    }
}

/// What is written down of an application.
pub(crate) fn record(spec: &ApplicationSpec, port: u16) -> Value {
    json!({ "spec": spec, "submitted": Timestamp::now(), "port": port })
}

impl App {
    /// What was written down when it was submitted.
    pub(crate) fn record(&self) -> Result<Value> {
        let file = self.path.join("record.json");
        let text = fs::read_to_string(&file)
            .map_err(|error| unavailable(&format!("cannot read {}", file.display()), error))?;
        serde_json::from_str(&text).map_err(|error| {
            Error::protocol(format!("{} is damaged", file.display())).with_source(error)
        })
    }

    pub(crate) fn spec(&self) -> Result<ApplicationSpec> {
        serde_json::from_value(self.record()?["spec"].take())
            .map_err(|error| Error::protocol(format!("{} is damaged", self.id)).with_source(error))
    }

    pub(crate) fn port(&self) -> Result<u64> {
        Ok(self.record()?["port"].as_u64().unwrap_or(0))
    }

    pub(crate) fn driver(&self) -> Process {
        Process(self.path.join("driver"))
    }

    pub(crate) fn executors(&self) -> PathBuf {
        self.path.join("executors")
    }

    pub(crate) fn executor(&self, id: ExecutorId) -> Process {
        Process(self.executors().join(id.to_string()))
    }

    /// A file of the application.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory of an executor. Returns whether it is new.
    pub(crate) fn add_executor(&self, id: ExecutorId, profile: ProfileId) -> Result<bool> {
        let path = self.executor(id).0;
        let failed = |error| unavailable(&format!("cannot make {}", path.display()), error);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == Io::AlreadyExists => return Ok(false),
            made => made.map_err(failed)?,
        }
        fs::write(path.join("profile"), profile.to_string()).map_err(failed)?;
        Ok(true)
    }

    pub(crate) fn driver_status(&self) -> Result<DriverStatus> {
        let mut record = self.record()?;
        let damaged = |error| Error::protocol(format!("{} is damaged", self.id)).with_source(error);
        let submitted = serde_json::from_value(record["submitted"].take()).map_err(damaged)?;
        let name = record["spec"]["name"].as_str().unwrap_or_default();
        let driver = DriverStatus::new(SubmissionId::new(self.id.as_str())?, self.id.clone(), name);
        let mut driver = driver.with_state(self.driver().state()).with_submitted(submitted);
        driver.host = Some("localhost".into());
        Ok(driver)
    }

    /// Everything that is known of it, the driver first.
    pub(crate) fn statuses(&self) -> Result<Vec<Status>> {
        let mut statuses = vec![Status::Driver(self.driver_status()?)];
        let mut ids: Vec<_> = fs::read_dir(self.executors())
            .map_err(|error| unavailable(&format!("cannot read {}", self.id), error))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(ExecutorId))
            .collect();
        ids.sort_unstable();
        for id in ids {
            let process = self.executor(id);
            let profile = fs::read_to_string(process.0.join("profile")).unwrap_or_default();
            let profile = ProfileId(profile.parse().unwrap_or(0));
            let status = ExecutorStatus::new(self.id.clone(), id, profile, process.state());
            let status = status.with_since(since(&process.0)).with_host("localhost");
            statuses.push(Status::Executor(status));
        }
        if let Ok(text) = fs::read_to_string(self.file("allocation.json"))
            && let Ok(allocation) = serde_json::from_str(&text)
        {
            statuses.push(Status::Allocation(allocation));
        }
        Ok(statuses)
    }

    pub(crate) fn write_allocation(&self, allocation: &AllocationStatus) -> Result<()> {
        let (new, file) = (self.file("allocation.json.new"), self.file("allocation.json"));
        let text = serde_json::to_string(allocation)
            .map_err(|error| Error::protocol("an allocation without JSON").with_source(error))?;
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
        written.map_err(|error| unavailable(&format!("cannot write {}", file.display()), error))
    }
}

/// When a process came into its state: the last change of its directory.
fn since(path: &Path) -> Timestamp {
    let changed = fs::metadata(path).and_then(|data| data.modified()).ok();
    changed.and_then(|at| Timestamp::try_from(at).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

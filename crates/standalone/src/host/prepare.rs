//! Builds the processes of drivers and executors from their specifications: expands placeholders, sets the
//! environment and the directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anymaster_core::model::{AppId, CommandLine, DriverSpec};
use anymaster_core::native::{Placeholder, SparkPart};
use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Result, native};

use super::logs::Rotation;
use super::ports::Lease;
use super::process::Launch;

/// In the directory of the application: the file name prefix of the [process records](super::process_record) of
/// the driver.
pub(crate) const DRIVER_RECORDS: &str = "driver.traces";
/// The same for executors.
pub(crate) const EXECUTOR_RECORDS: &str = "executors.traces";

/// What the driver and the executors of an application have in common.
#[derive(Debug, Clone)]
pub(crate) struct ProcessContext {
    pub(crate) app: AppId,
    pub(crate) master: String,
    pub(crate) driver_host: String,
    pub(crate) driver_port: u16,
    pub(crate) secret: PathBuf,
    pub(crate) properties: PathBuf,
    /// The directory of the application.
    pub(crate) home: PathBuf,
    pub(crate) rotation: Rotation,
}

impl ProcessContext {
    /// The environment variables of all processes of the application.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let entries = [
            (native::ENV_MASTER, self.master.clone()),
            (native::ENV_APPLICATION_ID, self.app.to_string()),
            (native::ENV_DRIVER_HOST, self.driver_host.clone()),
            (native::ENV_DRIVER_PORT, self.driver_port.to_string()),
            (native::ENV_SECRET_FILE, self.secret.display().to_string()),
            (native::ENV_PROPERTIES_FILE, self.properties.display().to_string()),
        ];
        entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The process of the driver. `dir`: its directory; `program`: the path of `anymaster`.
    pub(crate) fn driver(
        &self,
        spec: &DriverSpec,
        command: &CommandLine,
        dir: PathBuf,
        program: Option<&Path>,
    ) -> Result<Launch> {
        let expand = |text: &str| {
            native::expand(text, |placeholder| {
                Some(match placeholder {
                    Placeholder::AppId => self.app.to_string(),
                    Placeholder::DriverHost => self.driver_host.clone(),
                    Placeholder::DriverPort => self.driver_port.to_string(),
                    Placeholder::WorkDir => dir.display().to_string(),
                    _ => return None,
                })
            })
        };
        let mut env = self.env();
        if let Some(program) = program {
            env.insert(native::ENV_PROGRAM.to_owned(), program.display().to_string());
        }
        for (name, value) in &spec.env {
            env.insert(name.clone(), expand(value)?);
        }
        Ok(Launch {
            program: expand(&command.program)?,
            args: command.args.iter().map(|arg| expand(arg)).collect::<Result<_>>()?,
            env,
            working_dir: spec.working_dir.clone().unwrap_or_else(|| dir.clone()),
            dir,
            limit_mib: spec.resources.memory_limit_mib(),
            rotation: self.rotation,
            name: format!("{}-driver", self.app),
            process_records: self.home.join(DRIVER_RECORDS),
        })
    }

    /// The process of an executor. `dir`: its directory; `lease`: where its ports are allocated; `host`: its
    /// address; `spark`: the parts of the Spark that it needs, if it needs one.
    pub(crate) fn executor(
        &self,
        launch: &ExecutorLaunch,
        host: &str,
        dir: PathBuf,
        lease: &mut Lease,
        spark: impl Fn(SparkPart) -> Option<String>,
    ) -> Result<Launch> {
        let ExecutorLaunch { id, profile_id, profile, template } = launch;
        let mut ports = BTreeMap::new();
        let mut expand = |text: &str| {
            let mut no_port = None;
            let expanded = native::expand(text, |placeholder| {
                Some(match placeholder {
                    Placeholder::AppId => self.app.to_string(),
                    Placeholder::DriverHost => self.driver_host.clone(),
                    Placeholder::DriverPort => self.driver_port.to_string(),
                    Placeholder::ExecutorId => id.to_string(),
                    Placeholder::ExecutorCores => profile.cores.to_string(),
                    Placeholder::ExecutorMemory => profile.memory_mib.to_string(),
                    Placeholder::ExecutorProfile => profile_id.to_string(),
                    Placeholder::ExecutorHost => host.to_owned(),
                    Placeholder::WorkDir => dir.display().to_string(),
                    Placeholder::Spark(part) => spark(part)?,
                    Placeholder::ExecutorPort(port) => {
                        let known = ports.get(port).copied().map_or_else(|| lease.take(), Ok);
                        let number = known.map_err(|error| no_port = Some(error)).ok()?;
                        ports.insert(port.to_owned(), number);
                        number.to_string()
                    }
                })
            });
            no_port.map_or(expanded, Err)
        };
        let program = expand(&template.command.program)?;
        let args = template.command.args.iter().map(|arg| expand(arg)).collect::<Result<_>>()?;
        let mut env = self.env();
        for (name, value) in native::executor_env(&self.app, *id, *profile_id, profile) {
            env.insert(name.to_owned(), value);
        }
        for (name, value) in &template.env {
            env.insert(name.clone(), expand(value)?);
        }
        let working_dir = match &template.working_dir {
            Some(given) => expand(&given.to_string_lossy())?.into(),
            None => dir.clone(),
        };
        Ok(Launch {
            program,
            args,
            env,
            working_dir,
            dir,
            limit_mib: profile.memory_limit_mib(),
            rotation: self.rotation,
            name: format!("{}-{id}", self.app),
            process_records: self.home.join(EXECUTOR_RECORDS),
        })
    }
}

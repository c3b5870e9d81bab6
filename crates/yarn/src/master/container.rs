//! The application master in its container: it starts the driver, whose parent it is, and answers its requests.

use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::write_properties;
use anymaster_core::model::{
    Cause, CommandLine, DriverSpec, KilledBy, Outcome, Payload, StartFailure,
};
use anymaster_core::native::{self, Placeholder};
use anymaster_core::{Error, ErrorKind, Result};
use anymaster_hadoop::rpc::Caller;
use anymaster_hadoop::{Configuration, Credentials, FileSystem, Location};
use rustix::process::{Pid, Signal};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::launch::SECRET;
use super::server::listen;
use super::{Master, Options};
use crate::application_file::{APPLICATION, ApplicationFile};
use crate::resource_manager::ResourceManager;

/// The kind of the token by which an application master is known.
const TOKEN_KIND: &str = "YARN_AM_RM_TOKEN";
/// The name by which a driver finds the key of its application.
pub(crate) const ENV_KEY_FILE: &str = "ANYMASTER_YARN_KEY_FILE";
/// The files that the driver finds beside it.
const KEY: &str = "anymaster-key";
const PROPERTIES: &str = "anymaster.properties";
const HADOOP_CONF: &str = "anymaster-hadoop";
/// How long a driver has whose application YARN has ended.
const LAST_GRACE: Duration = Duration::from_millis(200);

/// Is the application master in a container: runs the driver, whose output goes to files of this directory, until
/// it ends.
///
/// # Errors
/// If the container has not what it needs, or the ResourceManager takes nothing from it.
pub async fn serve_application_master(logs: &Path) -> Result<()> {
    let directory = std::env::current_dir()
        .map_err(|error| Error::invalid("the container has no directory").with_source(error))?;
    let file = ApplicationFile::read(&directory.join(APPLICATION))?;
    let configuration: Configuration = file.configuration.clone().into_iter().collect();
    let host = variable("NM_HOST")?;
    let token_file = PathBuf::from(variable("HADOOP_TOKEN_FILE_LOCATION")?);
    let tokens = std::fs::read(&token_file).map_err(|error| {
        Error::unavailable(format!("cannot read {}", token_file.display())).with_source(error)
    })?;
    let token = Credentials::read(&tokens)?.of_kind(TOKEN_KIND).cloned().ok_or_else(|| {
        let why = format!("the container has no token of the kind {TOKEN_KIND}");
        Error::new(ErrorKind::Unauthenticated, why)
    })?;
    let listener = listen(&host).await?;
    // Another process may take it before the driver does: then the driver fails, and says so.
    let driver_port = listen(&host).await.and_then(|it| port(&it))?;
    let caller = Caller { user: file.user.clone(), real_user: None };
    let options = Options {
        app: file.app.clone(),
        conf: &file.spec.conf,
        configuration: &configuration,
        cluster: ResourceManager::new(&configuration, caller.clone())?,
        token,
        key: file.key.clone().into_bytes(),
        driver: (host.clone(), driver_port),
        listener,
        host,
        secret: file.secret.resource(),
    };
    let prepared = prepare(&file, &configuration, &directory, &options.driver)?;
    let mut terminated = signal(SignalKind::terminate())
        .map_err(|error| Error::unavailable("signals cannot be awaited").with_source(error))?;
    let master = Master::start(options).await?;
    let outcome = match start(prepared, logs) {
        Ok(child) => attend(&master, child, &mut terminated).await,
        Err(error) => Some(cannot_start(&file.spec.driver, &error)),
    };
    // Otherwise YARN has said itself how it ended.
    if let Some(outcome) = outcome {
        master.finish(&outcome).await?;
        remove(&file, &configuration, &caller).await;
    }
    Ok(())
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| {
        Error::invalid(format!("{name} is not set: this is started by YARN, in a container"))
    })
}

fn port(listener: &TcpListener) -> Result<u16> {
    let address = listener.local_addr();
    let address = address.map_err(|error| Error::unavailable("no port").with_source(error))?;
    Ok(address.port())
}

/// The driver's process, not yet started.
fn prepare(
    file: &ApplicationFile,
    configuration: &Configuration,
    directory: &Path,
    (host, port): &(String, u16),
) -> Result<Command> {
    let spec = &file.spec;
    let Payload::Command(CommandLine { program, args }) = &spec.driver.payload else {
        return Err(Error::unsupported("this application master runs programs, and no Spark"));
    };
    let expand = |text: &str| {
        native::expand(text, |placeholder| {
            Some(match placeholder {
                Placeholder::AppId => file.app.to_string(),
                Placeholder::DriverHost => host.clone(),
                Placeholder::DriverPort => port.to_string(),
                Placeholder::WorkDir => directory.display().to_string(),
                _ => return None,
            })
        })
    };
    let hadoop = directory.join(HADOOP_CONF);
    std::fs::create_dir_all(&hadoop).map_err(|error| {
        Error::unavailable("cannot write Hadoop's configuration").with_source(error)
    })?;
    write(&hadoop.join("core-site.xml"), &configuration.to_xml())?;
    let properties = directory.join(PROPERTIES);
    write(&properties, &write_properties(spec.conf.iter()))?;
    let key = directory.join(KEY);
    write(&key, &file.key)?;
    let mut command = Command::new(expand(program)?);
    for argument in args {
        command.arg(expand(argument)?);
    }
    command.envs([
        (native::ENV_MASTER, "yarn".to_owned()),
        (native::ENV_APPLICATION_ID, file.app.to_string()),
        (native::ENV_DRIVER_HOST, host.clone()),
        (native::ENV_DRIVER_PORT, port.to_string()),
        (native::ENV_SECRET_FILE, directory.join(SECRET).display().to_string()),
        (native::ENV_PROPERTIES_FILE, properties.display().to_string()),
        ("HADOOP_CONF_DIR", hadoop.display().to_string()),
        ("HADOOP_USER_NAME", file.user.clone()),
        (ENV_KEY_FILE, key.display().to_string()),
    ]);
    if let Ok(program) = std::env::current_exe() {
        command.env(native::ENV_PROGRAM, program);
    }
    for (name, value) in &spec.driver.env {
        command.env(name, expand(value)?);
    }
    command.current_dir(spec.driver.working_dir.as_deref().unwrap_or(directory));
    Ok(command)
}

/// Writes a file that is for the user only.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).map_err(
        |error| Error::unavailable(format!("cannot write {}", path.display())).with_source(error),
    )
}

/// Starts the driver. It is in the process group of the container: what YARN ends, ends with it.
fn start(mut command: Command, logs: &Path) -> std::io::Result<Child> {
    let output = |name: &str| {
        let options = std::fs::OpenOptions::new().create(true).append(true).open(logs.join(name));
        options.map(Stdio::from)
    };
    command.stdin(Stdio::null()).stdout(output("stdout")?).stderr(output("stderr")?);
    command.kill_on_drop(true).spawn()
}

fn cannot_start(driver: &DriverSpec, error: &std::io::Error) -> Outcome {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let program = match &driver.payload {
        Payload::Command(command) => command.program.as_str(),
        Payload::Spark(_) => "the driver",
    };
    let failure = match error.kind() {
        NotFound | PermissionDenied => StartFailure::BadCommand,
        _ => StartFailure::Other,
    };
    Cause::CouldNotStart { failure, why: format!("{program}: {error}").into() }.into()
}

/// Waits for the driver's end, which somebody may ask for. `None`: YARN has ended the application.
async fn attend(
    master: &Arc<Master>,
    mut child: Child,
    terminated: &mut tokio::signal::unix::Signal,
) -> Option<Outcome> {
    let mut requests = master.kill_requests();
    let (mut is_asked, mut deadline) = (false, None);
    loop {
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = child.wait() => return Some(outcome(ended, is_asked)),
            Ok(()) = requests.changed() => {
                let grace = requests.borrow_and_update().unwrap_or_default();
                if !is_asked {
                    terminate(&child);
                }
                is_asked = true;
                deadline = Instant::now().checked_add(grace);
            }
            () = due => {
                deadline = None;
                // It may have ended in this moment.
                let _ = child.start_kill();
            }
            why = master.until_over() => {
                tracing::warn!(%why, "YARN has ended the application");
                break;
            }
            _ = terminated.recv() => break,
        }
    }
    terminate(&child);
    if tokio::time::timeout(LAST_GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    None
}

fn terminate(child: &Child) {
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(id) = id
        && let Err(error) = rustix::process::kill_process(id, Signal::TERM)
    {
        tracing::info!(%error, "the driver cannot be asked to end");
    }
}

fn outcome(ended: std::io::Result<std::process::ExitStatus>, is_asked: bool) -> Outcome {
    let cause = match ended {
        _ if is_asked => Cause::Killed { by: KilledBy::Request },
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => Cause::Finished,
            (Some(code), _) => Cause::Exited { code },
            (None, signal) => Cause::Signaled { signal: signal.unwrap_or_default() },
        },
        Err(error) => Cause::Lost { why: format!("the driver cannot be awaited: {error}").into() },
    };
    cause.into()
}

/// Removes the files of the submission. Whoever cleans up removes what is left.
async fn remove(file: &ApplicationFile, configuration: &Configuration, caller: &Caller) {
    let Some(staging) = &file.staging else { return };
    let removing = async {
        let location = Location::parse(staging)?.resolved(configuration)?;
        FileSystem::of(configuration, &location, caller)?.remove(&location.path).await
    };
    if let Err(error) = removing.await {
        tracing::warn!(staging, %error, "the files of the submission cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_a_bad_command() {
        let driver = DriverSpec::new(CommandLine::new("/no/such/program"));
        let mut command = Command::new("/no/such/program");
        let logs = tempfile::tempdir().unwrap();
        command.env_clear();
        let error = start(command, logs.path()).unwrap_err();
        let outcome = cannot_start(&driver, &error);
        assert!(matches!(
            outcome.cause,
            Cause::CouldNotStart { failure: StartFailure::BadCommand, .. }
        ));
        assert!(outcome.cause.to_string().contains("/no/such/program"));
    }

    #[test]
    fn ends_are_told_as_they_were() {
        let ended = |raw| Ok(std::process::ExitStatus::from_raw(raw));
        assert_eq!(outcome(ended(0), false).cause, Cause::Finished);
        assert_eq!(outcome(ended(7 << 8), false).cause, Cause::Exited { code: 7 });
        assert_eq!(outcome(ended(9), false).cause, Cause::Signaled { signal: 9 });
        assert_eq!(outcome(ended(15), true).cause, Cause::Killed { by: KilledBy::Request });
    }
}

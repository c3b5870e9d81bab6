//! Submissions of applications other than Spark's: a program as the driver, in the container of our application
//! master; or a driver that somebody else runs, with an application master outside of the cluster.

use std::path::{Path, PathBuf};

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, ApplicationSpec, SubmissionId};
use anymaster_core::text::hex;
use anymaster_core::{Error, Observer, Result};
use anymaster_hadoop::{Configuration, FileSystem, Location, Source};
use sha2::{Digest as _, Sha256};

use crate::application_file::{APPLICATION, ApplicationFile, StagedFile};
use crate::keys;
use crate::master::launch::{SECRET, command};
use crate::proto::{
    ApplicationId, ApplicationSubmissionContext, ContainerLaunchContext, Priority, Resource,
    ResourceRequest, Visibility,
};
use crate::staging::{
    PRIVATE, PROGRAMS, SHARED, caller, home, is_reachable, staging_dir, staging_root, url,
};
use crate::status::NATIVE;
use crate::submitter::Submitter;
use crate::tags::{OwnTags, tags};

/// The name of our program in a container.
const PROGRAM: &str = "anymaster";
/// The verb by which it is an application master.
const VERB: &str = "application-master";
/// The file with the key of an application, for those who may read the files of its user.
pub(crate) const KEY: &str = "key";
/// Memory of our application master beside its driver, and of both if the driver asks for none, in MiB.
const OWN_MEMORY: u64 = 64;
const DEFAULT_MEMORY: u64 = 512;
/// The program is where it is on all nodes.
pub(crate) const LOCAL: &str = "local:";

/// A submission under way.
pub(crate) struct Native<'a> {
    id: &'a SubmissionId,
    conf: &'a Conf,
    submitter: &'a Submitter,
    configuration: &'a Configuration,
    files: FileSystem,
    home: Location,
    tags: Vec<String>,
}

/// What both sides of an application's control know, and what its driver and executors share.
pub(crate) struct Secrets {
    pub(crate) key: String,
    secret: String,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        let random = || hex(&rand::random::<[u8; 32]>());
        Self { key: random(), secret: random() }
    }
}

impl<'a> Native<'a> {
    /// Checks what properties say. Nothing is sent but a question for the user's directory.
    pub(crate) async fn new(
        id: &'a SubmissionId,
        own: &OwnTags,
        conf: &'a Conf,
        submitter: &'a Submitter,
        configuration: &'a Configuration,
    ) -> Result<Self> {
        own.check_id(id)?;
        let mut tags = tags(conf)?;
        tags.extend(own.all());
        let (files, home) = home(conf, configuration, &caller(submitter, None)).await?;
        Ok(Self { id, conf, submitter, configuration, files, home, tags })
    }

    pub(crate) fn staging(&self, id: ApplicationId) -> Location {
        staging_dir(&self.home, id)
    }

    /// Removes the files of an application. A failure is told, and no more.
    pub(crate) async fn remove(&self, id: ApplicationId) {
        let staging = self.staging(id);
        if let Err(error) = self.files.remove(&staging.path).await {
            tracing::warn!(%staging, %error, "the files of a submission cannot be removed");
        }
    }

    /// Writes what both kinds of applications need; returns the file with their secret.
    pub(crate) async fn stage_secrets(
        &self,
        id: ApplicationId,
        secrets: &Secrets,
    ) -> Result<StagedFile> {
        let staging = self.staging(id);
        self.files.make_dir(&staging.path, PRIVATE).await?;
        self.write(&staging.join(KEY), secrets.key.clone().into_bytes()).await?;
        let at = staging.join(SECRET);
        self.write(&at, secrets.secret.clone().into_bytes()).await?;
        self.staged(at, SECRET, Visibility::Application).await
    }

    async fn write(&self, to: &Location, bytes: Vec<u8>) -> Result<()> {
        let replication = self.conf.read_optional(&keys::SUBMIT_REPLICATION)?;
        self.files.write(&to.path, &Source::Bytes(bytes.into()), replication).await
    }

    /// A file that was written. `readers`: the most there may be; everybody only if the file is open to all.
    async fn staged(&self, at: Location, link: &str, readers: Visibility) -> Result<StagedFile> {
        let found = self.files.status(&at.path).await?;
        let status = found.ok_or_else(|| Error::unavailable(format!("{at} is gone")))?;
        let url = url(&at);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(StagedFile {
            link: link.to_owned(),
            scheme: url.scheme,
            host: url.host,
            port: url.port.unwrap_or(-1),
            path: at.path,
            size: number(status.length),
            modified: number(status.modified),
            visibility: match readers {
                Visibility::Public if status.mode & 0o004 == 0 => Visibility::Private,
                readers => readers,
            },
        })
    }

    /// Writes the files of a driver that is a program, and makes the context. `program`: ours, on this machine.
    pub(crate) async fn stage(
        &self,
        id: ApplicationId,
        app: &ApplicationSpec,
        resource: Resource,
        program: Option<&Path>,
        observer: &Observer,
    ) -> Result<ApplicationSubmissionContext> {
        let staged = self.stage_in(id, app, resource, program, observer).await;
        if staged.is_err() {
            self.remove(id).await;
        }
        staged
    }

    async fn stage_in(
        &self,
        id: ApplicationId,
        app: &ApplicationSpec,
        resource: Resource,
        program: Option<&Path>,
        observer: &Observer,
    ) -> Result<ApplicationSubmissionContext> {
        let secrets = Secrets::new();
        let secret = self.stage_secrets(id, &secrets).await?;
        let staging = self.staging(id);
        let stays = self.conf.read(&keys::PRESERVE_STAGING_FILES)?;
        let file = ApplicationFile {
            app: AppId::new(self.id.as_str())?,
            spec: app.clone(),
            user: self.submitter.user.clone(),
            configuration: self.configuration.all(),
            key: secrets.key,
            secret: secret.clone(),
            staging: (!stays).then(|| staging.to_string()),
        };
        let text = serde_json::to_vec(&file).map_err(|error| {
            Error::invalid("the application cannot be written as JSON").with_source(error)
        })?;
        let at = staging.join(APPLICATION);
        self.write(&at, text).await?;
        let mut resources = vec![
            secret.resource(),
            self.staged(at, APPLICATION, Visibility::Application).await?.resource(),
        ];
        let configured = self.conf.read_optional(&keys::PROGRAM)?;
        let path = match configured.as_deref().and_then(|it| it.strip_prefix(LOCAL)) {
            Some(there) => there.to_owned(),
            None => {
                let found = self.program(id, configured.as_deref(), program, observer).await?;
                resources.push(found.resource());
                format!("./{PROGRAM}")
            }
        };
        // The place of logs is the NodeManager's to say.
        let words = [path, VERB.to_owned()];
        let line = command(&words, "application-master.");
        let line = line.replacen(&format!("'{VERB}'"), &format!("'{VERB}' <LOG_DIR>"), 1);
        let line = with_its_group(&line);
        let master = ContainerLaunchContext {
            local_resources: resources,
            command: vec![line],
            ..ContainerLaunchContext::default()
        };
        self.context(id, &app.name, master, resource, false)
    }

    /// Our program where containers find it: uploaded once for all submissions.
    async fn program(
        &self,
        id: ApplicationId,
        configured: Option<&str>,
        program: Option<&Path>,
        observer: &Observer,
    ) -> Result<StagedFile> {
        if let Some(text) = configured {
            let at = Location::parse(text)?.resolved(self.configuration)?;
            let (dir, _) = at.path.rsplit_once('/').unwrap_or_default();
            let readers = readers(is_reachable(&self.files, dir).await?);
            return self.staged(at, PROGRAM, readers).await;
        }
        let program = program.ok_or_else(|| {
            Error::invalid(
                "the program anymaster is not known, which is to be the application master",
            )
            .with_hint(format!("set {} to local:/its/path/on/nodes", keys::PROGRAM.info.name))
        })?;
        let (path, shared) = (program.to_owned(), staging_root(&self.home).join(PROGRAMS));
        let digest = tokio::task::spawn_blocking(move || digest_of(path)).await;
        let digest = digest.map_err(|error| {
            Error::unavailable("the program cannot be read").with_source(error)
        })??;
        let at = shared.join(&format!("{PROGRAM}-{digest}"));
        if self.files.status(&at.path).await?.is_none() {
            observer.tell(format!(
                "uploading {} to {at}: later submissions find it there",
                program.display()
            ));
            self.files.make_dir(&shared.path, SHARED).await?;
            // Whoever finds it finds it whole.
            let draft = shared.join(&id.to_string());
            let replication = self.conf.read_optional(&keys::SUBMIT_REPLICATION)?;
            self.files.write(&draft.path, &Source::File(program.to_owned()), replication).await?;
            let renamed = self.files.rename(&draft.path, &at.path).await;
            if renamed.is_err() {
                self.files.remove(&draft.path).await?;
            }
            // Another submission may have been first.
            if self.files.status(&at.path).await?.is_none() {
                renamed?;
            }
        }
        let readers = readers(is_reachable(&self.files, &shared.path).await?);
        self.staged(at, PROGRAM, readers).await
    }

    /// The context of an application whose application master is a container, or else runs here.
    pub(crate) fn context(
        &self,
        id: ApplicationId,
        name: &str,
        master: ContainerLaunchContext,
        resource: Resource,
        is_unmanaged: bool,
    ) -> Result<ApplicationSubmissionContext> {
        let label = self.conf.read_optional(&keys::AM_NODE_LABEL)?.filter(|_| !is_unmanaged);
        let request = label.map(|label| ResourceRequest {
            priority: Some(Priority { priority: Some(0) }),
            resource_name: Some("*".to_owned()),
            capability: Some(resource.clone()),
            containers: Some(1),
            node_label_expression: Some(label),
            ..ResourceRequest::default()
        });
        let priority = self.conf.read_optional(&keys::PRIORITY)?;
        let whole = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(ApplicationSubmissionContext {
            application_id: Some(id),
            name: Some(name.to_owned()),
            queue: Some(self.conf.read(&keys::QUEUE)?),
            priority: priority.map(|priority| Priority { priority: Some(whole(priority)) }),
            master: Some(master),
            is_unmanaged: Some(is_unmanaged),
            max_attempts: Some(1),
            resource: request.is_none().then_some(resource),
            application_type: Some(NATIVE.to_owned()),
            tags: self.tags.clone(),
            master_requests: request.into_iter().collect(),
            ..ApplicationSubmissionContext::default()
        })
    }
}

/// The container of our application master and its driver, if the cluster has such ones.
pub(crate) fn driver_resource(app: &ApplicationSpec, maximum: &Resource) -> Result<Resource> {
    let wanted = &app.driver.resources;
    if let Some(other) = wanted.extra.keys().next() {
        return Err(Error::unsupported(format!(
            "a driver with {other} cannot be asked of YARN yet"
        )));
    }
    let memory = match wanted.memory_limit_mib() {
        0 => DEFAULT_MEMORY,
        memory => memory.saturating_add(OWN_MEMORY),
    };
    let memory = i64::try_from(memory).unwrap_or(i64::MAX);
    // Part of a core is none that YARN has.
    let cores = wanted.cores.ceil().clamp(1.0, f64::from(i32::MAX)) as i32;
    let most = maximum.memory.unwrap_or(i64::MAX);
    if memory > most {
        return Err(Error::invalid(format!(
            "a driver of {memory} MiB is more than a container of this cluster can have: {most} MiB"
        ))
        .with_hint(
            "set spark.driver.memory to less, or raise yarn.scheduler.maximum-allocation-mb",
        ));
    }
    let most = maximum.virtual_cores.unwrap_or(i32::MAX);
    if cores > most {
        return Err(Error::invalid(format!(
            "a driver of {cores} cores is more than a container of this cluster can have: {most}"
        ))
        .with_hint("set spark.driver.cores to less"));
    }
    Ok(Resource { memory: Some(memory), virtual_cores: Some(cores), others: Vec::new() })
}

/// A command after which nothing of its process group is left if a signal ends it. A NodeManager ends the group as
/// well, but not if it has removed the file with the group's number by then, and a driver would be left (Hadoop 3.4,
/// `ContainerCleanup`). A request to end is for the command, not for its shell. If the shell does not lead a group,
/// it ends none.
fn with_its_group(command: &str) -> String {
    format!(
        r"trap : TERM; {command}; code=\$?; test \$code -le 128 || kill -KILL -- -\$\$; exit \$code"
    )
}

fn digest_of(path: PathBuf) -> Result<String> {
    let failed =
        |error| Error::invalid(format!("cannot read {}", path.display())).with_source(error);
    let mut file = std::fs::File::open(&path).map_err(failed)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(failed)? {
            0 => return Ok(hex(&digest.finalize()[..16])),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// Of a file that many applications use. `is_reachable`: its directory is open to everybody.
fn readers(is_reachable: bool) -> Visibility {
    if is_reachable { Visibility::Public } else { Visibility::Private }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{CommandLine, ResourceProfile};

    use super::*;

    #[test]
    fn what_a_signal_ends_leaves_nothing_of_its_group_and_a_code_is_passed_on() {
        use std::os::unix::process::ExitStatusExt as _;
        // As a NodeManager starts it.
        let run = |command: &str| {
            let script = format!("exec /bin/bash -c \"{}\"", with_its_group(command));
            std::process::Command::new("setsid").args(["-w", "bash", "-c", &script]).output()
        };
        assert_eq!(run("(exit 7)").unwrap().status.code(), Some(7));
        // It would end the wait for its output only after an hour.
        let killed = run(r"bash -c 'sleep 3600 & kill -KILL \$\$'").unwrap();
        let status = killed.status;
        assert!(status.signal() == Some(9) || status.code() == Some(137), "{status:?}");
    }

    #[test]
    fn a_driver_has_its_memory_and_ours_within_what_a_container_can_have() {
        let maximum = Resource { memory: Some(8192), virtual_cores: Some(4), others: Vec::new() };
        let of = |cores, memory| {
            let app = ApplicationSpec::new("x", CommandLine::new("x"))
                .with_driver_resources(ResourceProfile::new(cores, memory));
            driver_resource(&app, &maximum)
        };
        assert_eq!(of(0.5, 0).unwrap().memory, Some(512));
        let asked = of(1.5, 1024).unwrap();
        assert_eq!((asked.memory, asked.virtual_cores), (Some(1088), Some(2)));
        assert!(of(1.0, 8192).unwrap_err().message().contains("8256 MiB"));
        assert!(of(5.0, 1).unwrap_err().message().contains("5 cores"));
    }
}

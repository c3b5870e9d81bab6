//! Brings an application to the cluster: its files to the staging directory, its context to the
//! ResourceManager.

use std::path::{Path, PathBuf};

use anymaster_core::conf::Conf;
use anymaster_core::model::{ApplicationSpec, Payload, SubmissionId};
use anymaster_core::text::hex;
use anymaster_core::{Error, Observer, Result};
use anymaster_hadoop::rpc::Caller;
use anymaster_hadoop::{Configuration, FileStatus, FileSystem, Location, Source};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::keys;
use crate::proto::{
    ApplicationId, ApplicationSubmissionContext, ContainerLaunchContext, LocalResource,
    LocalResourceType, LogAggregationContext, NamedResource, Priority, Resource, ResourceRequest,
    StringPair, Url, Visibility,
};
use crate::spark::{
    Application, CONF, CONF_ARCHIVE, Cached, ConfArchive, Dependency, Environment, LIBS, Libraries,
    Origin, Plan, Resources, command, environment, plan, resources, write_conf_archive,
};
use crate::status::{APPLICATION_TAG, ID_TAG, SUBMISSION_TAG};
use crate::submitter::Submitter;

/// How many files are uploaded at once.
const CONCURRENT: usize = 4;
/// The most tags that YARN takes, and the longest one.
const MAX_TAGS: usize = 10;
const MAX_TAG: usize = 100;
/// How many of them are ours.
const OWN_TAGS: usize = 3;
/// The directory of a submission and its parents: Spark's mode for it, and for those of all.
pub(crate) const PRIVATE: u32 = 0o700;
pub(crate) const SHARED: u32 = 0o755;

/// Where archives of Spark's jars are, beside staging directories.
pub(crate) const LIBRARIES: &str = "anymaster-libs";

/// A submission under way.
pub(crate) struct Submission<'a> {
    pub(crate) application: Application<'a>,
    name: &'a str,
    submitter: &'a Submitter,
    configuration: &'a Configuration,
    files: FileSystem,
    /// The user's directory, in which staging directories are.
    home: Location,
    plan: Plan,
    tags: Vec<String>,
}

/// A file as the cluster has it.
struct Stored {
    location: Location,
    status: FileStatus,
    visibility: Visibility,
}

/// A file that containers have.
struct Localized {
    stored: Stored,
    link: String,
    kind: LocalResourceType,
    for_executors: bool,
}

/// The tags by which a submission is known again.
#[derive(Debug)]
pub(crate) struct OwnTags {
    submission: String,
    /// The same for the same application.
    pub(crate) application: String,
    /// The id itself, if it is one that a tag can be.
    id: Option<String>,
}

impl OwnTags {
    pub(crate) fn new(id: &SubmissionId, app: &ApplicationSpec) -> Result<Self> {
        Ok(Self::of(id, &app.digest()?))
    }

    /// Those of an application with this digest.
    pub(crate) fn of(id: &SubmissionId, digest: &str) -> Self {
        let id_tag = format!("{ID_TAG}{id}");
        Self {
            submission: submission_tag(id),
            application: format!("{APPLICATION_TAG}{}", &digest[..32]),
            id: (id_tag.len() <= MAX_TAG && id_tag.is_ascii()).then_some(id_tag),
        }
    }

    /// Refuses an id that no tag can have, where it is what the application is known by.
    pub(crate) fn check_id(&self, id: &SubmissionId) -> Result<()> {
        match &self.id {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "the submission id {id} is too long: on YARN, it has at most {} characters",
                MAX_TAG - ID_TAG.len()
            ))),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = String> {
        [self.submission.clone(), self.application.clone()].into_iter().chain(self.id.clone())
    }
}

/// The tag of an id that a submitter chose.
pub(crate) fn submission_tag(id: &SubmissionId) -> String {
    let digest = Sha256::digest(id.as_str().as_bytes());
    format!("{SUBMISSION_TAG}{}", hex(&digest[..16]))
}

impl<'a> Submission<'a> {
    /// Checks an application and finds its files. Nothing is sent but a question for the user's directory.
    pub(crate) async fn new(
        own: &OwnTags,
        app: &'a ApplicationSpec,
        submitter: &'a Submitter,
        configuration: &'a Configuration,
    ) -> Result<Self> {
        let Payload::Spark(job) = &app.driver.payload else {
            return Err(Error::unsupported("YARN runs drivers of Spark only, as yet")
                .with_hint("submit a jar, a .py or a .R file"));
        };
        app.templates.refuse()?;
        let application = Application::new(job, &app.conf, submitter.spark()?)?;
        let plan = plan(&application, submitter)?;
        let mut tags = tags(&application.conf)?;
        tags.extend(own.all());
        let caller = caller(submitter, job.proxy_user.as_deref());
        let (files, home) = home(&application.conf, configuration, &caller).await?;
        Ok(Self { application, name: &app.name, submitter, configuration, files, home, plan, tags })
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.plan.warnings
    }

    /// The directory with the files of an application.
    pub(crate) fn staging_dir(&self, id: ApplicationId) -> Location {
        staging_dir(&self.home, id)
    }

    /// Uploads the files and makes the context. What is there when that fails is removed.
    pub(crate) async fn stage(
        &self,
        id: ApplicationId,
        resources: &Resources,
        observer: &Observer,
    ) -> Result<ApplicationSubmissionContext> {
        let staging = self.staging_dir(id);
        let staged = self.stage_in(&staging, id, resources, observer).await;
        if staged.is_err() {
            self.remove(&staging).await;
        }
        staged
    }

    /// Removes the files of an application. A failure is told, and no more: the application is what counts.
    pub(crate) async fn remove(&self, staging: &Location) {
        if let Err(error) = self.files.remove(&staging.path).await {
            tracing::warn!(%staging, %error, "the files of a submission cannot be removed");
        }
    }

    /// What the driver needs, if the cluster has it.
    pub(crate) fn resources(&self, maximum: &Resource) -> Result<Resources> {
        resources(&self.application, maximum)
    }

    async fn stage_in(
        &self,
        staging: &Location,
        id: ApplicationId,
        resources: &Resources,
        observer: &Observer,
    ) -> Result<ApplicationSubmissionContext> {
        self.files.make_dir(&staging.path, PRIVATE).await?;
        let mut localized = Vec::new();
        if let Libraries::Installed(jars) = &self.plan.libraries {
            localized.push(self.libraries(jars, id, observer).await?);
        }
        let files = self.plan.dependencies.iter();
        let uploads: Vec<_> = files.map(|it| self.localize(it, staging).boxed()).collect();
        let rest: Vec<Vec<Localized>> =
            stream::iter(uploads).buffered(CONCURRENT).try_collect().await?;
        localized.extend(rest.into_iter().flatten());
        let Environment { variables, properties } = environment(
            &self.application,
            &self.plan,
            self.submitter,
            self.configuration,
            &staging.to_string(),
        )?;
        let conf = self.conf_of_driver(properties);
        localized.push(self.conf_archive(&conf, &localized, staging).await?);
        let v6 = variables.get("SPARK_PREFER_IPV6").is_some_and(|value| value == "true");
        let command = command(&self.application, resources.heap_mib, v6)?;
        let pair = |(key, value)| StringPair { key: Some(key), value: Some(value) };
        let master = ContainerLaunchContext {
            local_resources: localized.iter().map(Localized::resource).collect(),
            environment: variables.into_iter().map(pair).collect(),
            command: vec![command],
            acls: acls(&conf),
        };
        self.context(id, master, resources)
    }

    /// Properties as the driver finds them.
    fn conf_of_driver(&self, more: Vec<(String, String)>) -> Conf {
        let mut conf = self.application.conf.clone();
        let of_plan =
            self.plan.properties.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        for (key, value) in of_plan.chain(more) {
            conf.set(key, value);
        }
        conf
    }

    /// The jars of the installed Spark, as an archive that later submissions find again.
    async fn libraries(
        &self,
        jars: &Path,
        id: ApplicationId,
        observer: &Observer,
    ) -> Result<Localized> {
        let (names, digest) = jars_of(jars)?;
        let shared = staging_root(&self.home).join(LIBRARIES);
        let location = shared.join(&format!("spark-libs-{digest}.zip"));
        let mut status = self.files.status(&location.path).await?;
        if status.is_none() {
            observer.tell(format!(
                "uploading the jars of {} to {location}: later submissions find them there",
                jars.display()
            ));
            self.files.make_dir(&shared.path, SHARED).await?;
            let dir = jars.to_owned();
            let archive = tokio::task::spawn_blocking(move || archive_of(&dir, &names));
            let archive = archive.await.map_err(|error| {
                Error::unavailable("the archive of Spark's jars was not made").with_source(error)
            })??;
            // Whoever finds it finds it whole.
            let draft = shared.join(&format!("{id}.zip"));
            let source = Source::File(archive.path().to_owned());
            self.write(&draft, &source).await?;
            let renamed = self.files.rename(&draft.path, &location.path).await;
            if renamed.is_err() {
                self.remove(&draft).await;
            }
            status = self.files.status(&location.path).await?;
            // Another submission may have been first.
            if status.is_none() {
                renamed?;
            }
        }
        let is_reachable = is_reachable(&self.files, &shared.path).await?;
        let stored = Stored::of(location, status, is_reachable)?;
        Ok(Localized {
            stored,
            link: LIBS.to_owned(),
            kind: LocalResourceType::Archive,
            for_executors: true,
        })
    }

    async fn write(&self, to: &Location, source: &Source) -> Result<()> {
        let replication = self.application.conf.read_optional(&keys::SUBMIT_REPLICATION)?;
        self.files.write(&to.path, source, replication).await
    }

    /// Writes a file of the staging directory, which is its user's alone.
    async fn stage_file(&self, to: Location, source: &Source) -> Result<Stored> {
        self.write(&to, source).await?;
        let status = self.files.status(&to.path).await?;
        Stored::of(to, status, false)
    }

    /// Brings a file to where containers find it; several, if it is a pattern.
    async fn localize(&self, file: &Dependency, staging: &Location) -> Result<Vec<Localized>> {
        let mut all = Vec::new();
        match &file.from {
            Origin::Here(path) => {
                for path in matching(path)? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    all.push(self.stage_file(staging.join(&name), &Source::File(path)).await?);
                }
            }
            Origin::There(location) => {
                let full = location.clone().resolved(self.configuration)?;
                let files = match full.is_beside(&self.home) {
                    true => self.files.clone(),
                    false => {
                        let proxy_user = self.application.job.proxy_user.as_deref();
                        let caller = caller(self.submitter, proxy_user);
                        FileSystem::of(self.configuration, &full, &caller)?
                    }
                };
                all = found(&files, full).await?;
            }
        }
        let localized = |stored: Stored| Localized {
            link: match file.link.strip_suffix('/') {
                Some(directory) => format!("{directory}/{}", stored.name()),
                None => file.link.clone(),
            },
            stored,
            kind: file.kind,
            for_executors: file.for_executors,
        };
        Ok(all.into_iter().map(localized).collect())
    }

    async fn conf_archive(
        &self,
        conf: &Conf,
        localized: &[Localized],
        staging: &Location,
    ) -> Result<Localized> {
        let location = staging.join(CONF_ARCHIVE);
        let cached: Vec<_> =
            localized.iter().filter(|it| it.for_executors).map(Localized::cached).collect();
        let spark = &self.application.spark;
        let archive = write_conf_archive(&ConfArchive {
            conf,
            cached: &cached,
            location: location.to_string(),
            spark_conf_dir: self.submitter.spark_conf_dir(spark),
            hadoop_files: self.submitter.hadoop_conf_files(spark)?,
        })?;
        Ok(Localized {
            stored: self.stage_file(location, &Source::Bytes(archive.into())).await?,
            link: CONF.to_owned(),
            kind: LocalResourceType::Archive,
            for_executors: false,
        })
    }

    fn context(
        &self,
        id: ApplicationId,
        master: ContainerLaunchContext,
        resources: &Resources,
    ) -> Result<ApplicationSubmissionContext> {
        let conf = &self.application.conf;
        let label = conf.read_optional(&keys::AM_NODE_LABEL)?;
        // With a label, the resources are in a request of their own.
        let request = label.map(|label| ResourceRequest {
            priority: Some(Priority { priority: Some(0) }),
            resource_name: Some("*".to_owned()),
            capability: Some(resources.container.clone()),
            containers: Some(1),
            node_label_expression: Some(label),
            ..ResourceRequest::default()
        });
        let include = conf.read_optional(&keys::ROLLED_LOG_INCLUDE)?;
        let log_aggregation = include.map(|include| LogAggregationContext {
            rolled_include_pattern: Some(include),
            rolled_exclude_pattern: conf.get(keys::ROLLED_LOG_EXCLUDE.info.name).map(str::to_owned),
            ..LogAggregationContext::default()
        });
        let whole = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let interval = conf.read_optional(&keys::AM_FAILURES_VALIDITY_INTERVAL)?;
        let priority = conf.read_optional(&keys::PRIORITY)?;
        Ok(ApplicationSubmissionContext {
            application_id: Some(id),
            name: Some(self.name.to_owned()),
            queue: Some(conf.read(&keys::QUEUE)?),
            priority: priority.map(|priority| Priority { priority: Some(whole(priority)) }),
            master: Some(master),
            max_attempts: conf.read_optional(&keys::MAX_APP_ATTEMPTS)?.map(whole),
            resource: request.is_none().then(|| resources.container.clone()),
            application_type: Some(conf.read(&keys::APPLICATION_TYPE)?),
            tags: self.tags.clone(),
            attempt_failures_validity_interval: interval
                .map(|interval| i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)),
            log_aggregation,
            master_requests: request.into_iter().collect(),
            ..ApplicationSubmissionContext::default()
        })
    }
}

/// Removes the files of an application that has ended, unless properties keep them.
pub(crate) async fn remove_staging(
    submitter: &Submitter,
    configuration: &Configuration,
    conf: &Conf,
    id: ApplicationId,
) -> Result<()> {
    if conf.read(&keys::PRESERVE_STAGING_FILES)? {
        return Ok(());
    }
    let (files, home) = home(conf, configuration, &caller(submitter, None)).await?;
    files.remove(&staging_dir(&home, id).path).await
}

pub(crate) fn staging_dir(home: &Location, id: ApplicationId) -> Location {
    staging_root(home).join(&id.to_string())
}

/// The directory with all staging directories of a user.
pub(crate) fn staging_root(home: &Location) -> Location {
    home.join(".sparkStaging")
}

/// The user's directory, in which staging directories are.
pub(crate) async fn home(
    conf: &Conf,
    configuration: &Configuration,
    caller: &Caller,
) -> Result<(FileSystem, Location)> {
    if let Some(dir) = conf.read_optional(&keys::STAGING_DIR)? {
        let key = keys::STAGING_DIR.info.name;
        let dir = Location::parse(&dir).map_err(|error| error.context(key))?;
        let dir = dir.resolved(configuration)?;
        let files = FileSystem::of(configuration, &dir, caller)?;
        return Ok((files, dir.join(&caller.user)));
    }
    let root = Location::parse("/")?.resolved(configuration)?;
    let files = FileSystem::of(configuration, &root, caller)?;
    let path = files.home().await?;
    Ok((files, Location { path, ..root }))
}

/// Whom the cluster is told.
pub(crate) fn caller(submitter: &Submitter, proxy_user: Option<&str>) -> Caller {
    let own = submitter.user.clone();
    match proxy_user {
        Some(user) => Caller { user: user.to_owned(), real_user: Some(own) },
        None => Caller { user: own, real_user: None },
    }
}

/// The tags that properties ask for, as YARN finds them.
pub(crate) fn tags(conf: &Conf) -> Result<Vec<String>> {
    let given = conf.read_optional(&keys::TAGS)?.unwrap_or_default();
    let mut tags: Vec<String> = Vec::new();
    for tag in given.iter().map(|tag| tag.trim().to_lowercase()) {
        if tag.len() > MAX_TAG || !tag.is_ascii() {
            return Err(Error::invalid(format!(
                "spark.yarn.tags: {tag:?} is not of at most {MAX_TAG} ASCII characters"
            )));
        }
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if tags.len() > MAX_TAGS - OWN_TAGS {
        return Err(Error::invalid(format!(
            "spark.yarn.tags: {} tags are more than {}: YARN takes {MAX_TAGS}, of which {OWN_TAGS} are ours",
            tags.len(),
            MAX_TAGS - OWN_TAGS
        )));
    }
    Ok(tags)
}

/// Who may see and change an application (Spark 3.5, `YarnSparkHadoopUtil.getApplicationAclsForYarn`).
fn acls(conf: &Conf) -> Vec<crate::proto::ApplicationAcl> {
    use crate::proto::{Access, ApplicationAcl};
    if conf.get("spark.acls.enable").is_none_or(|value| value != "true") {
        return Vec::new();
    }
    let get = |key: &str| conf.get(key).unwrap_or_default().to_owned();
    let acl = |access: Access, kind: &str| {
        let join = |of: &str| {
            let all = [get(&format!("spark.admin.{of}")), get(&format!("spark.{kind}.{of}"))];
            all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
        };
        let text = format!("{} {}", join("acls"), join("acls.groups"));
        ApplicationAcl { access: Some(access as i32), users_and_groups: Some(text) }
    };
    vec![acl(Access::View, "ui.view"), acl(Access::Modify, "modify")]
}

/// The jars of a Spark, and what tells them from others: their names and sizes.
fn jars_of(dir: &Path) -> Result<(Vec<String>, String)> {
    let unreadable =
        |error| Error::invalid(format!("cannot read {}", dir.display())).with_source(error);
    let mut jars = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = std::fs::metadata(entry.path()).map_err(unreadable)?;
        if name.to_lowercase().ends_with(".jar") && found.is_file() {
            jars.push((name, found.len()));
        }
    }
    jars.sort();
    if jars.is_empty() {
        return Err(Error::invalid(format!("there are no jars in {}", dir.display())));
    }
    let mut digest = Sha256::new();
    jars.iter().for_each(|(name, size)| digest.update(format!("{name} {size}\n")));
    Ok((jars.into_iter().map(|(name, _)| name).collect(), hex(&digest.finalize()[..16])))
}

/// An archive of these files, without compression: they are archives themselves.
fn archive_of(dir: &Path, names: &[String]) -> Result<tempfile::NamedTempFile> {
    let failed = |error: std::io::Error| {
        Error::unavailable("the archive of Spark's jars cannot be written").with_source(error)
    };
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut zip = zip::ZipWriter::new(std::io::BufWriter::new(file.as_file()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in names {
        let mut jar = std::fs::File::open(dir.join(name)).map_err(failed)?;
        zip.start_file(name.as_str(), options).map_err(|error| failed(error.into()))?;
        std::io::copy(&mut jar, &mut zip).map_err(failed)?;
    }
    zip.finish()
        .map_err(std::io::Error::from)
        .and_then(|mut written| std::io::Write::flush(&mut written))
        .map_err(failed)?;
    Ok(file)
}

/// The files of this machine that a path or pattern means.
fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let text = path.display().to_string();
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !text.contains(['*', '?', '[']) {
        return Err(Error::invalid(format!("{text}: there is no such file")));
    }
    let invalid = |why: String| Error::invalid(format!("{text}: {why}"));
    let all = glob::glob(&text).map_err(|error| invalid(error.to_string()))?;
    let found: Vec<_> = all.filter_map(std::result::Result::ok).filter(|it| it.is_file()).collect();
    if found.is_empty() { Err(invalid("it fits no file".to_owned())) } else { Ok(found) }
}

/// The files of the cluster that a path or pattern means; a pattern in its last part only.
async fn found(files: &FileSystem, location: Location) -> Result<Vec<Stored>> {
    let (dir, name) = location.path.rsplit_once('/').unwrap_or(("", &location.path));
    let dir_path = if dir.is_empty() { "/" } else { dir };
    let is_reachable = is_reachable(files, dir_path).await?;
    if !name.contains(['*', '?', '[']) {
        let status = files.status(&location.path).await?;
        return Ok(vec![Stored::of(location, status, is_reachable)?]);
    }
    let pattern = glob::Pattern::new(name)
        .map_err(|error| Error::invalid(format!("{location}")).with_source(error))?;
    let all = files.list(dir_path).await?;
    let fits = all.into_iter().filter(|it| !it.is_dir && pattern.matches(&it.name));
    let stored = |status: FileStatus| {
        let path = format!("{dir}/{}", status.name);
        Stored::of(Location { path, ..location.clone() }, Some(status), is_reachable)
    };
    let found: Vec<_> = fits.map(stored).collect::<Result<_>>()?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{location}: it fits no file")));
    }
    Ok(found)
}

/// Whether everybody may go to a directory.
pub(crate) async fn is_reachable(files: &FileSystem, dir: &str) -> Result<bool> {
    let mut path = dir.trim_end_matches('/');
    loop {
        let dir = if path.is_empty() { "/" } else { path };
        let mode = files.status(dir).await?.map_or(0, |found| found.mode);
        if mode & 0o001 == 0 {
            return Ok(false);
        }
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => return Ok(true),
        }
    }
}

impl Stored {
    /// A file with this status, in a directory to which everybody may go, or not. Files that everybody may read
    /// are shared between users (Spark 3.5, `ClientDistributedCacheManager.isPublic`).
    fn of(location: Location, status: Option<FileStatus>, is_reachable: bool) -> Result<Self> {
        let status =
            status.ok_or_else(|| Error::invalid(format!("{location}: there is no such file")))?;
        let visibility = match is_reachable && status.mode & 0o004 != 0 {
            true => Visibility::Public,
            false => Visibility::Private,
        };
        Ok(Self { location, status, visibility })
    }

    fn name(&self) -> &str {
        self.location.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Localized {
    fn resource(&self) -> NamedResource {
        let number = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        let resource = LocalResource {
            url: Some(url(&self.stored.location)),
            size: number(self.stored.status.length),
            timestamp: number(self.stored.status.modified),
            kind: Some(self.kind as i32),
            visibility: Some(self.stored.visibility as i32),
        };
        NamedResource { name: Some(self.link.clone()), resource: Some(resource) }
    }

    fn cached(&self) -> Cached {
        Cached {
            uri: format!("{}#{}", self.stored.location, self.link),
            size: self.stored.status.length,
            timestamp: self.stored.status.modified,
            visibility: self.stored.visibility,
            kind: self.kind,
        }
    }
}

pub(crate) fn url(location: &Location) -> Url {
    let authority = Some(location.authority.as_str()).filter(|it| !it.is_empty());
    let (host, port) = match authority.map(|it| it.rsplit_once(':').unwrap_or((it, ""))) {
        Some((host, port)) => (Some(host.to_owned()), port.parse().ok()),
        None => (None, None),
    };
    Url {
        scheme: location.scheme.clone(),
        host,
        port: Some(port.unwrap_or(-1)),
        file: Some(location.path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_in_lower_case_and_few() {
        let of = |text: &str| tags(&[("spark.yarn.tags", text)].into_iter().collect());
        assert_eq!(of(" Nightly, etl,ETL ,").unwrap(), ["nightly", "etl"]);
        assert!(of("ü").is_err() && of(&"x".repeat(101)).is_err());
        assert!(of("1,2,3,4,5,6,7,8").unwrap_err().message().contains("more than 7"));
    }

    #[test]
    fn urls_have_hosts_and_ports_where_there_are_any() {
        let of = |text: &str| url(&Location::parse(text).unwrap());
        let hdfs = of("hdfs://nn:8020/a");
        assert_eq!((hdfs.host.as_deref(), hdfs.port), (Some("nn"), Some(8020)));
        let file = of("file:/a");
        assert_eq!((file.host, file.port, file.file.as_deref()), (None, Some(-1), Some("/a")));
        assert_eq!(of("hdfs://group/a").port, Some(-1));
    }

    #[tokio::test]
    async fn what_everybody_may_read_is_public() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let path = dir.path().join("f").display().to_string();
        let files = FileSystem::Local;
        files.write(&path, &Source::Bytes("x".into()), None).await.unwrap();
        let location = Location::parse(&path).unwrap();
        let seen = async || found(&files, location.clone()).await.unwrap()[0].visibility;
        let parent = dir.path().display().to_string();
        for (mode, wanted) in [(PRIVATE, Visibility::Private), (SHARED, Visibility::Public)] {
            files.make_dir(&parent, mode).await.unwrap();
            assert_eq!(seen().await, wanted);
        }
    }

    #[test]
    fn an_archive_of_jars_is_known_by_their_names_and_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.jar", "12");
        write("a.jar", "1");
        write("readme", "x");
        let (names, digest) = jars_of(dir.path()).unwrap();
        assert_eq!(names, ["a.jar", "b.jar"]);
        let archive = archive_of(dir.path(), &names).unwrap();
        let mut zip = zip::ZipArchive::new(archive.reopen().unwrap()).unwrap();
        assert_eq!(std::io::read_to_string(zip.by_name("b.jar").unwrap()).unwrap(), "12");
        write("b.jar", "123");
        assert_ne!(jars_of(dir.path()).unwrap().1, digest);
    }
}

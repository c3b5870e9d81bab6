//! Brings an application to the cluster: its files to the staging directory, its context to the
//! ResourceManager.

use std::path::Path;

use anymaster_core::conf::Conf;
use anymaster_core::model::{ApplicationSpec, Payload};
use anymaster_core::{Error, Observer, Result};
use anymaster_hadoop::{Configuration, FileSystem, Location, Source};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use crate::keys;
use crate::libraries::{archive_of, jars_of};
use crate::localized::{Localized, Stored, found, matching};
use crate::proto::{
    ApplicationId, ApplicationSubmissionContext, ContainerLaunchContext, LocalResourceType,
    LogAggregationContext, Priority, Resource, ResourceRequest, StringPair,
};
use crate::spark::{
    Application, CONF, CONF_ARCHIVE, ConfArchive, Dependency, Environment, LIBS, Libraries, Origin,
    Plan, Resources, command, environment, plan, resources, write_conf_archive,
};
use crate::staging::{
    LIBRARIES, PRIVATE, SHARED, caller, home, is_reachable, staging_dir, staging_root,
};
use crate::submitter::Submitter;
use crate::tags::{OwnTags, tags};

/// How many files are uploaded at once.
const CONCURRENT: usize = 4;
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

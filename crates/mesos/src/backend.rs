//! The backend `mesos`: a [`ClusterManager`] that uses a dispatcher (cluster mode), or a framework of the
//! driver's own (client mode).

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::AUTHENTICATE_SECRET;
use anymaster_core::conf::keys::DISTRIBUTED_BY_YARN;
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DeployMode, ExecutorTarget, ExternalDriver, Filter, Status,
    Subject, SubmissionId, check_name,
};
use anymaster_core::{
    Backend, BackendInfo, Capabilities, ClusterManager, ConnectOptions, DriverPlacement, Error,
    EventStream, Finding, HostPort, Launched, LogOptions, LogStream, MasterUrl, Result,
    SubmissionIdForm, SubmitDialect, WatchOptions,
};
use anymaster_master::InProcess;
use anymaster_native::keys::{
    APPLICATION_KEY_FILE, RECOVERY_DIRECTORY, RECOVERY_MODE, SECRET_FILE, TABLE as DISPATCHER_KEYS,
    WAIT_APP_COMPLETION, WAITS, ZOOKEEPER_URL,
};
use anymaster_native::{Remote, find_own_address, own_address};
use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;

use crate::framework::framework;
use crate::leader::Leader;
use crate::master_url::MesosMaster;
use crate::{credentials, keys};

/// The backend `mesos`, to be added to a registry.
pub const MESOS: MesosBackend = MesosBackend;

pub(crate) const INFO: BackendInfo = {
    let mut info = BackendInfo::new(
        "mesos",
        &[
            ("mesos", "mesos://host:5050 or mesos://zk://host1:2181,host2:2181/mesos"),
            ("zk", "zk://host1:2181,host2:2181/mesos"),
        ],
        "a dispatcher, mesos://host:7077; with a driver of one's own a Mesos master, \
         mesos://host:5050 or mesos://zk://host:2181/mesos",
    );
    info.title = "Mesos";
    info.properties = &[keys::TABLE, credentials::TABLE, DISPATCHER_KEYS];
    info.equivalents = &[
        DISTRIBUTED_BY_YARN,
        WAITS,
        &[
            ("spark.kubernetes.driverEnv.*", "spark.mesos.driverEnv.*"),
            ("spark.yarn.appMasterEnv.*", "spark.mesos.driverEnv.*"),
            ("spark.kubernetes.container.image", "spark.mesos.executor.docker.image"),
        ],
    ];
    info.drivers = DriverPlacement::ByDeployMode;
    info.submission_ids = SubmissionIdForm::Driver;
    info.dialect = SubmitDialect::Rest;
    info.wait = Some(&WAIT_APP_COMPLETION);
    info
};

/// The backend `mesos`.
#[derive(Debug, Clone, Copy)]
pub struct MesosBackend;

#[async_trait]
impl Backend for MesosBackend {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        format!("mesos://{}", MesosMaster::parse(master)?).parse()
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        connect(&options).await
    }

    fn local_address(&self, master: &MasterUrl) -> Result<String> {
        own_address(MesosMaster::parse(master)?.addresses())
    }
}

async fn connect(options: &ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
    let master = &MesosMaster::parse(&options.master)?;
    let is_client = DeployMode::of(&options.conf) == Some(DeployMode::Client);
    match master {
        master if is_client => Ok(Arc::new(Mesos::of_driver(master, &options.conf).await?)),
        MesosMaster::Address(dispatcher) => {
            Ok(Arc::new(Mesos::of_dispatcher(dispatcher, &options.conf)?))
        }
        MesosMaster::ZooKeeper { .. } => Err(Error::unsupported(format!(
            "{}: a Mesos master does not start drivers",
            options.master
        ))
        .with_hint(
            "use the URL of a dispatcher, mesos://host:7077, or run the driver on this machine, with \
             --deploy-mode client",
        )),
    }
}

/// A [`ClusterManager`] for Mesos.
#[derive(Debug)]
pub struct Mesos {
    manager: Manager,
}

/// Who schedules.
#[derive(Debug)]
enum Manager {
    /// Cluster mode: a dispatcher.
    Dispatcher(Remote),
    /// Client mode: an engine in this process, with a framework of its own.
    Own(
        InProcess,
        #[expect(dead_code, reason = "it ends when this is dropped")] AbortOnDropHandle<()>,
    ),
}

impl Mesos {
    /// Cluster mode: a client of a dispatcher. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a secret that cannot be read.
    pub fn of_dispatcher(dispatcher: &HostPort, conf: &Conf) -> Result<Self> {
        let remote = Remote::of(INFO.name, std::slice::from_ref(dispatcher), conf)?;
        Ok(Self { manager: Manager::Dispatcher(remote) })
    }

    /// Client mode: the driver is this process, with a framework of its own that ends with it.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for invalid properties, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if no Mesos master is found.
    pub async fn of_driver(master: &MesosMaster, conf: &Conf) -> Result<Self> {
        conf.check_texts()?;
        let mut conf = alone(conf);
        if conf.get("spark.driver.host").is_none() {
            let leader = Leader::new(master.clone()).find().await?;
            conf.set("spark.driver.host", find_own_address(vec![leader]).await?);
        }
        let name = conf.get("spark.app.name").unwrap_or("anymaster").to_owned();
        check_name(&name)?;
        let framework = framework(&name, master.clone(), &conf, true)?;
        let url = format!("mesos://{master}");
        let engine = InProcess::start(INFO.name, url, &conf, &framework.offers()?).await?;
        let leadership = engine.leadership();
        let subscribed = tokio::spawn(async move {
            let error = framework.keep(leadership).await;
            tracing::error!("{error}");
        });
        Ok(Self { manager: Manager::Own(engine, AbortOnDropHandle::new(subscribed)) })
    }

    fn manager(&self) -> &dyn ClusterManager {
        match &self.manager {
            Manager::Dispatcher(remote) => remote,
            Manager::Own(engine, _) => engine,
        }
    }
}

/// The properties of an engine that only this process uses, and that stores nothing.
fn alone(conf: &Conf) -> Conf {
    let mut conf = conf.clone();
    for key in [&SECRET_FILE, &APPLICATION_KEY_FILE, &RECOVERY_DIRECTORY, &ZOOKEEPER_URL] {
        conf.remove(key.info.name);
    }
    // Nobody else talks to it.
    conf.remove(AUTHENTICATE_SECRET.info.name);
    conf.set(RECOVERY_MODE.info.name, "NONE");
    conf
}

#[async_trait]
impl ClusterManager for Mesos {
    fn name(&self) -> &'static str {
        self.manager().name()
    }

    fn capabilities(&self) -> Capabilities {
        self.manager().capabilities()
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        if matches!(self.manager, Manager::Own(..)) {
            return Err(Error::unsupported(format!(
                "{}: in client mode, the driver is the connecting program: no other can be launched",
                app.name
            ))
            .with_hint(
                "use the URL of a dispatcher with --deploy-mode cluster, or let the program request \
                 executors itself",
            ));
        }
        self.manager().launch_driver(id, app).await
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        self.manager().register_application(id, driver).await
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        self.manager().unregister_application(app, cause).await
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        self.manager().request_executors(app, target).await
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.manager().kill(subject, grace).await
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        self.manager().watch(options).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        self.manager().list(filter).await
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        self.manager().logs(subject, options).await
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        self.manager().diagnose(app).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u16 = 1;

    fn here(properties: &[(&str, &str)]) -> (MesosMaster, Conf) {
        let mut conf: Conf = properties.iter().copied().collect();
        conf.set("spark.driver.host", "127.0.0.1");
        let master = HostPort { host: "127.0.0.1".to_owned(), port: NOBODY };
        (MesosMaster::Address(master), conf)
    }

    #[tokio::test]
    async fn client_mode_ignores_the_store_and_the_secret_of_the_dispatcher() {
        let kept = std::env::temp_dir().join(format!("anymaster-kept-{}", std::process::id()));
        let (master, conf) = here(&[
            ("spark.deploy.recoveryMode", "FILESYSTEM"),
            ("spark.deploy.recoveryDirectory", kept.to_str().unwrap()),
            ("spark.anymaster.authenticate.secretFile", "/is/not/there"),
            ("spark.anymaster.authenticate.applicationKeyFile", "/is/not/there"),
            ("spark.app.id", "one"),
        ]);
        let mesos = Mesos::of_driver(&master, &conf).await.unwrap();
        assert!(mesos.list(&Filter::default()).await.unwrap().is_empty());
        assert!(!kept.exists());
    }

    #[tokio::test]
    async fn properties_that_keep_executors_after_the_driver_are_refused() {
        for (name, value) in
            [("spark.mesos.driver.failoverTimeout", "60"), ("spark.mesos.driver.frameworkId", "f")]
        {
            let (master, conf) = here(&[(name, value)]);
            let error = Mesos::of_driver(&master, &conf).await.unwrap_err();
            assert!(error.message().starts_with(name), "{error}");
        }
        let (master, conf) = here(&[("spark.mesos.driver.failoverTimeout", "0.0")]);
        Mesos::of_driver(&master, &conf).await.unwrap();
    }
}

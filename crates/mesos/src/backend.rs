//! The [`ClusterManager`] of Mesos: through a dispatcher, or with a framework of the driver's own.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::AUTHENTICATE_SECRET;
use anymaster_core::model::{
    AppId, ApplicationSpec, DeployMode, ExecutorTarget, Filter, Status, Subject, SubmissionId,
    check_name,
};
use anymaster_core::{
    Backend, BackendInfo, Capabilities, ClusterManager, ConnectOptions, DriverPlacement, Error,
    EventStream, Finding, HostPort, Launched, LogOptions, LogStream, MasterUrl, Result,
    SubmissionIdForm, SubmitDialect, WatchOptions,
};
use anymaster_dispatcher::client::{Remote, own_address};
use anymaster_dispatcher::keys::{
    APPLICATION_KEY_FILE, RECOVERY_DIRECTORY, RECOVERY_MODE, SECRET_FILE, TABLE as DISPATCHER_KEYS,
    WAIT_APP_COMPLETION, ZOOKEEPER_URL,
};
use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;

use crate::dispatcher::{Dispatcher, DispatcherOptions};
use crate::leader::Leader;
use crate::master_url::MesosMaster;
use crate::{credentials, keys};

/// The backend `mesos`, for a registry.
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
            "{}: a Mesos master starts no drivers",
            options.master
        ))
        .with_hint(
            "start a dispatcher, anymaster dispatcher --master mesos://zk://…, and give its URL, \
             mesos://host:7077; or run the driver here, with --deploy-mode client",
        )),
    }
}

/// Mesos.
#[derive(Debug)]
pub struct Mesos {
    remote: Remote,
    /// A dispatcher in this process, whose only application is this one.
    own: Option<AbortOnDropHandle<()>>,
}

impl Mesos {
    /// Prepares to talk to a dispatcher. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a secret that cannot be read.
    pub fn of_dispatcher(dispatcher: &HostPort, conf: &Conf) -> Result<Self> {
        let remote = Remote::of(INFO.name, std::slice::from_ref(dispatcher), conf)?;
        Ok(Self { remote, own: None })
    }

    /// A driver outside of the cluster, with a framework of its own that ends with it.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for properties that make no sense, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if no Mesos master is to be found.
    pub async fn of_driver(master: &MesosMaster, conf: &Conf) -> Result<Self> {
        conf.check_texts()?;
        let mut conf = alone(conf);
        if conf.get("spark.driver.host").is_none() {
            let leader = Leader::new(master.clone()).find().await?;
            conf.set("spark.driver.host", own_address(&[leader])?);
        }
        let name = conf.get("spark.app.name").unwrap_or("anymaster").to_owned();
        check_name(&name)?;
        let options = DispatcherOptions {
            name,
            mesos: master.clone(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            web_port: Some(0),
            conf: conf.clone(),
        };
        let dispatcher = Dispatcher::in_process(options).await?;
        let url = dispatcher.url().parse()?;
        let MesosMaster::Address(address) = MesosMaster::parse(&url)? else {
            return Err(Error::protocol("a dispatcher without an address"));
        };
        let serving = tokio::spawn(async move {
            if let Err(error) = dispatcher.serve(std::future::pending()).await {
                tracing::error!("{error}");
            }
        });
        let remote = Remote::of(INFO.name, &[address], &conf)?;
        Ok(Self { remote, own: Some(AbortOnDropHandle::new(serving)) })
    }
}

/// The properties of a dispatcher that nobody but this process is to use, and that nothing is kept of.
fn alone(conf: &Conf) -> Conf {
    let mut conf = conf.clone();
    for key in [&SECRET_FILE, &APPLICATION_KEY_FILE, &RECOVERY_DIRECTORY, &ZOOKEEPER_URL] {
        conf.remove(key.info.name);
    }
    conf.set(RECOVERY_MODE.info.name, "NONE");
    let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    conf.set(AUTHENTICATE_SECRET.info.name, secret);
    conf
}

#[async_trait]
impl ClusterManager for Mesos {
    fn name(&self) -> &'static str {
        self.remote.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.remote.capabilities()
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        if self.own.is_some() {
            return Err(Error::unsupported(format!(
                "{}: a framework of the client mode starts executors, and no driver",
                app.name
            ))
            .with_hint(
                "start a dispatcher, anymaster dispatcher --master mesos://…, and give its URL with \
                 --deploy-mode cluster; or let the program connect by itself",
            ));
        }
        self.remote.launch_driver(id, app).await
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        self.remote.request_executors(app, target).await
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        self.remote.kill(subject, grace).await
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        self.remote.watch(options).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        self.remote.list(filter).await
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        self.remote.logs(subject, options).await
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        self.remote.diagnose(app).await
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
    async fn a_driver_on_this_machine_has_nothing_to_do_with_the_dispatchers_store_and_secret() {
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
    async fn what_would_keep_executors_of_a_driver_that_is_gone_is_refused() {
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

//! The backend `yarn`, as a registry knows it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anymaster_core::{
    Backend, BackendInfo, Check, ClusterManager, ConnectOptions, DriverPlacement, Error, MasterUrl,
    Result, SubmitDialect,
};
use async_trait::async_trait;

use crate::cluster::Cluster;
use crate::external::Externals;
use crate::resource_manager::{ResourceManager, web_addresses};
use crate::staging::caller;
use crate::submitter::Submitter;
use crate::web::Web;
use crate::yarn::Yarn;
use crate::{keys, preflight};

/// Its name.
pub(crate) const NAME: &str = "yarn";
/// The backend `yarn`, to be added to a registry.
pub const YARN: YarnBackend = YarnBackend;

/// The shortest pause between two reports.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

const INFO: BackendInfo = {
    let mut info = BackendInfo::new(NAME, &[("yarn", "yarn")], "the YARN of HADOOP_CONF_DIR: yarn");
    info.title = "YARN";
    info.properties = &[keys::TABLE];
    info.equivalents = &[&[
        ("spark.kubernetes.driverEnv.*", "spark.yarn.appMasterEnv.*"),
        ("spark.mesos.driverEnv.*", "spark.yarn.appMasterEnv.*"),
        ("spark.kubernetes.submission.waitAppCompletion", "spark.yarn.submit.waitAppCompletion"),
        ("spark.standalone.submit.waitAppCompletion", "spark.yarn.submit.waitAppCompletion"),
        ("spark.kubernetes.report.interval", "spark.yarn.report.interval"),
    ]];
    info.drivers = DriverPlacement::Cluster;
    info.dialect = SubmitDialect::ApplicationReport;
    info.wait = Some(&keys::WAIT_APP_COMPLETION);
    info.report_interval = Some(&keys::REPORT_INTERVAL);
    info
};

/// The backend `yarn`.
#[derive(Debug, Clone, Copy)]
pub struct YarnBackend;

#[async_trait]
impl Backend for YarnBackend {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        match master.as_str() {
            "yarn" => Ok(master.clone()),
            _ => Err(master
                .wrong(master.rest(), "nothing follows yarn")
                .with_hint("write --master yarn: HADOOP_CONF_DIR says where the cluster is")),
        }
    }

    fn check_machine(&self, _master: &MasterUrl) -> Vec<Check> {
        preflight::machine(&Submitter::of_process())
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        if options.multi_tenant {
            return Err(Error::unsupported("YARN does not take submissions of others, as yet"));
        }
        let submitter = Submitter::of_process();
        let configuration = submitter.configuration(&options.conf)?;
        let manager = ResourceManager::new(&configuration, caller(&submitter, None))?;
        let interval = options.conf.read(&keys::REPORT_INTERVAL)?.max(SHORTEST_INTERVAL);
        let web = Web::new(&web_addresses(&configuration)?, &submitter.user)?;
        let cluster = Cluster {
            submitter,
            configuration,
            manager,
            conf: options.conf.clone(),
            interval,
            web,
            keys: Mutex::default(),
        };
        Ok(Arc::new(Yarn {
            cluster: Arc::new(cluster),
            externals: Externals::default(),
            requests: Mutex::default(),
            program: options.program,
            kill_timeout: options.conf.read(&keys::KILL_TIMEOUT)?,
            observer: options.observer,
        }))
    }
}

//! The ResourceManager: where it is, and what is asked of it.

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use anymaster_hadoop::Configuration;
use anymaster_hadoop::rpc::{Caller, RpcClient};

use crate::master::messages::{NodeReport, NodeState, NodesRequest, NodesResponse};
use crate::proto::{
    ApplicationId, ApplicationReport, ApplicationState, ApplicationSubmissionContext,
    GetApplicationReportRequest, GetApplicationReportResponse, GetApplicationsRequest,
    GetApplicationsResponse, GetNewApplicationResponse, GetResourceTypesResponse,
    KillApplicationRequest, KillApplicationResponse, Resource, SubmitApplicationRequest,
};
use crate::proto::{QueueAclsResponse, QueueInfo, QueueRequest, QueueResponse, QueueUserAcls};

const PROTOCOL: &str = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB";
/// Hadoop's ports of a ResourceManager: its RPC for clients and for application masters, and its
/// pages without and with TLS.
const RPC_PORT: u16 = 8032;
const SCHEDULER_PORT: u16 = 8030;
const HTTP_PORT: u16 = 8088;
const HTTPS_PORT: u16 = 8090;

/// A client of a ResourceManager and its standbys.
#[derive(Debug)]
pub(crate) struct ResourceManager {
    rpc: RpcClient,
}

impl ResourceManager {
    /// The one of a configuration. Nothing is sent yet.
    pub(crate) fn new(configuration: &Configuration, caller: Caller) -> Result<Self> {
        let servers = client_addresses(configuration)?;
        Ok(Self { rpc: RpcClient::new(PROTOCOL, servers, caller) })
    }

    /// Which asks each of them once: for those who want to know whether it answers.
    pub(crate) fn once(self) -> Self {
        Self { rpc: self.rpc.rounds(1) }
    }

    /// An id for an application, and the most that a container may have.
    pub(crate) async fn new_application(&self) -> Result<(ApplicationId, Resource)> {
        let new: GetNewApplicationResponse = self.rpc.call("getNewApplication", &()).await?;
        let id =
            new.application_id.ok_or_else(|| Error::protocol("the new application has no id"))?;
        Ok((id, new.maximum.unwrap_or_default()))
    }

    /// Submits an application. An id that was submitted already changes nothing.
    pub(crate) async fn submit(&self, context: ApplicationSubmissionContext) -> Result<()> {
        let request = SubmitApplicationRequest { context: Some(context) };
        self.rpc.call("submitApplication", &request).await
    }

    /// The report of an application.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is none, or no longer.
    pub(crate) async fn report(&self, id: ApplicationId) -> Result<ApplicationReport> {
        let request = GetApplicationReportRequest { application_id: Some(id) };
        let response: GetApplicationReportResponse =
            self.rpc.call("getApplicationReport", &request).await?;
        response.report.ok_or_else(|| Error::not_found(format!("there is no application {id}")))
    }

    /// The reports of applications of these types, with one of these tags, in these states; of all, where none is
    /// named.
    pub(crate) async fn reports(
        &self,
        types: &[&str],
        tags: &[String],
        states: &[ApplicationState],
    ) -> Result<Vec<ApplicationReport>> {
        let states = states.iter().map(|state| *state as i32).collect();
        let types = types.iter().map(|kind| (*kind).to_owned()).collect();
        let request = GetApplicationsRequest { types, states, tags: tags.to_vec() };
        let response: GetApplicationsResponse = self.rpc.call("getApplications", &request).await?;
        Ok(response.applications)
    }

    /// Has an application killed; returns whether that is done.
    pub(crate) async fn kill(&self, id: ApplicationId) -> Result<bool> {
        let request = KillApplicationRequest { application_id: Some(id), diagnostics: None };
        let response: KillApplicationResponse =
            self.rpc.call("forceKillApplication", &request).await?;
        Ok(response.is_completed.unwrap_or_default())
    }

    /// The nodes that run.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeReport>> {
        let request = NodesRequest { states: vec![NodeState::Running as i32] };
        let response: NodesResponse = self.rpc.call("getClusterNodes", &request).await?;
        Ok(response.nodes)
    }

    /// A queue, by its path or name, and those in it; `None` if there is none.
    pub(crate) async fn queue(&self, name: &str) -> Result<Option<QueueInfo>> {
        let request = QueueRequest {
            name: Some(name.to_owned()),
            with_applications: Some(false),
            with_children: Some(true),
            recursive: Some(false),
        };
        let response: QueueResponse = self.rpc.call("getQueueInfo", &request).await?;
        Ok(response.queue)
    }

    /// What the caller may do with each queue.
    pub(crate) async fn queue_acls(&self) -> Result<Vec<QueueUserAcls>> {
        let response: QueueAclsResponse = self.rpc.call("getQueueUserAcls", &()).await?;
        Ok(response.queues)
    }

    /// The names of the kinds of resources that the cluster has, beside memory and cores.
    pub(crate) async fn resource_types(&self) -> Result<Vec<String>> {
        let response: Result<GetResourceTypesResponse> =
            self.rpc.call("getResourceTypeInfo", &()).await;
        match response {
            Ok(response) => Ok(response.types.into_iter().map(|kind| kind.name).collect()),
            // Before Hadoop 3.
            Err(error) if error.kind() == ErrorKind::Protocol => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The addresses for clients.
pub(crate) fn client_addresses(configuration: &Configuration) -> Result<Vec<HostPort>> {
    addresses(configuration, "address", RPC_PORT)
}

/// The addresses for application masters.
pub(crate) fn scheduler_addresses(configuration: &Configuration) -> Result<Vec<HostPort>> {
    addresses(configuration, "scheduler.address", SCHEDULER_PORT)
}

/// The addresses of the pages: `http://host:8088`.
pub(crate) fn web_addresses(configuration: &Configuration) -> Result<Vec<String>> {
    let (scheme, name, port) = match configuration.get("yarn.http.policy").as_deref() {
        Some("HTTPS_ONLY") => ("https", "webapp.https.address", HTTPS_PORT),
        _ => ("http", "webapp.address", HTTP_PORT),
    };
    let all = addresses(configuration, name, port)?;
    Ok(all.iter().map(|address| format!("{scheme}://{address}")).collect())
}

/// The addresses of a service of the ResourceManagers (Hadoop 3.4, `HAUtil`).
fn addresses(configuration: &Configuration, name: &str, port: u16) -> Result<Vec<HostPort>> {
    const PREFIX: &str = "yarn.resourcemanager";
    let ids = match configuration.is_true(&format!("{PREFIX}.ha.enabled")) {
        true => configuration.list(&format!("{PREFIX}.ha.rm-ids")),
        false => Vec::new(),
    };
    let own = configuration.of_each(&format!("{PREFIX}.{name}"), &ids);
    let hosts = configuration.of_each(&format!("{PREFIX}.hostname"), &ids);
    let address = |(own, host): (Option<String>, Option<String>)| {
        let text = own.or_else(|| host.map(|host| format!("{host}:{port}"))).ok_or_else(|| {
            let key = format!("{PREFIX}.hostname");
            Error::invalid(format!("yarn-site.xml does not say where the ResourceManager is: {key}"))
                .with_hint(format!(
                    "set {key} in the yarn-site.xml of HADOOP_CONF_DIR; or --conf spark.hadoop.{key}=HOST"
                ))
        })?;
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (text.as_str(), Some(port)),
        };
        match port {
            Some(port) => Ok(HostPort { host: host.to_owned(), port }),
            None => Err(Error::invalid(format!("{PREFIX}.{name}: {text} is no address HOST:PORT"))),
        }
    };
    own.into_iter().zip(hosts).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(properties: &[(&str, &str)]) -> Configuration {
        properties.iter().copied().collect()
    }

    #[test]
    fn resource_managers_are_found_by_host_by_address_and_with_standbys() {
        let of = |properties: &[(&str, &str)]| {
            let all = addresses(&configuration(properties), "address", RPC_PORT).unwrap();
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let host = ("yarn.resourcemanager.hostname", "rm");
        assert_eq!(of(&[host]), ["rm:8032"]);
        assert_eq!(of(&[host, ("yarn.resourcemanager.address", "other:1")]), ["other:1"]);
        let pair = [
            ("yarn.resourcemanager.ha.enabled", "true"),
            ("yarn.resourcemanager.ha.rm-ids", "a,b"),
            ("yarn.resourcemanager.hostname.a", "one"),
            ("yarn.resourcemanager.address.b", "two:2"),
        ];
        assert_eq!(of(&pair), ["one:8032", "two:2"]);
        assert_eq!(
            web_addresses(&configuration(&[host, ("yarn.http.policy", "HTTPS_ONLY")])).unwrap(),
            ["https://rm:8090"]
        );
        let error = addresses(&configuration(&[]), "address", 1).unwrap_err();
        assert!(error.hint().unwrap().contains("spark.hadoop.yarn.resourcemanager.hostname"));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id: ApplicationId = "application_1795824905447_0001".parse().unwrap();
        assert_eq!((id.cluster_timestamp, id.id), (1_795_824_905_447, 1));
        assert_eq!(id.to_string(), "application_1795824905447_0001");
        for other in ["application_1", "app-1", "application_x_1", ""] {
            assert_eq!(other.parse::<ApplicationId>().unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
}

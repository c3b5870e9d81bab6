//! The NodeManagers with containers of ours (`ContainerManagementProtocol`): each is spoken to with a token for it,
//! which the ResourceManager hands out with the first container there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::{Error, HostPort, Result};
use anymaster_hadoop::Token;
use anymaster_hadoop::rpc::RpcClient;

use super::messages::{
    ContainerId, ContainerStatus, ContainersRequest, NodeId, SignalCommand, SignalRequest,
    StartContainer, StartContainersRequest, StartContainersResponse, StatusesResponse,
    StopContainersResponse,
};

const PROTOCOL: &str = "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB";
/// How many connections are kept: of more, the one that was not used for longest is closed, and opened again when it is
/// needed.
const MAX_CONNECTIONS: usize = 256;
/// How often a node is tried before a call fails.
const ROUNDS: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    tokens: HashMap<NodeId, Token>,
    clients: HashMap<NodeId, (u64, Arc<RpcClient>)>,
    uses: u64,
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the token for a node, in the place of an older one.
    pub(super) fn add_token(&self, node: NodeId, token: Token) {
        let known = &mut *self.lock();
        if let Some((_, client)) = known.clients.get(&node) {
            client.set_token(token.clone());
        }
        known.tokens.insert(node, token);
    }

    fn client(&self, node: &NodeId) -> Result<Arc<RpcClient>> {
        let known = &mut *self.lock();
        known.uses += 1;
        if let Some((last, client)) = known.clients.get_mut(node) {
            *last = known.uses;
            return Ok(Arc::clone(client));
        }
        let token = known.tokens.get(node).cloned().ok_or_else(|| {
            Error::unavailable(format!("there is no token for the node {}", node.name()))
        })?;
        let port = u16::try_from(node.port.unwrap_or_default())
            .map_err(|_| Error::protocol(format!("the node {} has no port", node.name())))?;
        let server = HostPort { host: node.name().to_owned(), port };
        let client = Arc::new(RpcClient::with_token(PROTOCOL, vec![server], token).rounds(ROUNDS));
        if known.clients.len() >= MAX_CONNECTIONS {
            let oldest = known.clients.iter().min_by_key(|(_, (last, _))| *last);
            if let Some(oldest) = oldest.map(|(node, _)| node.clone()) {
                known.clients.remove(&oldest);
            }
        }
        known.clients.insert(node.clone(), (known.uses, Arc::clone(&client)));
        Ok(client)
    }

    /// Starts containers on their node; returns why some did not start.
    pub(super) async fn start(
        &self,
        node: &NodeId,
        containers: Vec<StartContainer>,
    ) -> Result<BTreeMap<ContainerId, String>> {
        let request = StartContainersRequest { containers };
        let response: StartContainersResponse =
            self.client(node)?.call("startContainers", &request).await?;
        let failed = response.failed.into_iter().filter_map(|failed| {
            let why = failed.exception.and_then(|it| it.message).unwrap_or_default();
            Some((failed.container_id?, why))
        });
        Ok(failed.collect())
    }

    /// What a node knows of containers; it says nothing of those that it has forgotten.
    pub(super) async fn statuses(
        &self,
        node: &NodeId,
        containers: Vec<ContainerId>,
    ) -> Result<Vec<ContainerStatus>> {
        let request = ContainersRequest { containers };
        let response: StatusesResponse =
            self.client(node)?.call("getContainerStatuses", &request).await?;
        Ok(response.statuses)
    }

    /// Ends containers: a request first, and a quarter of a second later a kill, unless the node is configured
    /// otherwise. Returns those that the node does not end.
    pub(super) async fn stop(
        &self,
        node: &NodeId,
        containers: Vec<ContainerId>,
    ) -> Result<Vec<ContainerId>> {
        let request = ContainersRequest { containers };
        let response: StopContainersResponse =
            self.client(node)?.call("stopContainers", &request).await?;
        let refused = response.failed.into_iter().filter_map(|failed| {
            let why = failed.exception.and_then(|it| it.message).unwrap_or_default();
            tracing::warn!(host = node.name(), why, "a node does not end a container");
            failed.container_id
        });
        Ok(refused.collect())
    }

    /// Asks a container's program to end. It has all the time that it takes.
    pub(super) async fn ask_to_end(&self, node: &NodeId, container: ContainerId) -> Result<()> {
        let command = SignalCommand::GracefulShutdown as i32;
        self.client(node)?.call("signalToContainer", &SignalRequest { container, command }).await
    }
}

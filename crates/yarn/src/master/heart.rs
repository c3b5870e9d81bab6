//! The heartbeats of an application master: asks for containers, hears of those that came and of those that ended;
//! and starts that are followed on their nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anymaster_core::model::{Cause, ExecutorId, StartFailure, State};
use anymaster_core::{Backoff, Result};

use super::asks::{Ask, Asks, Node, Slot};
use super::messages::{
    AllocateRequest, AllocateResponse, Container, ContainerPhase, ContainerStatus, MasterCommand,
    NodeId, NodeState,
};
use super::roster::Place;
use super::{Master, scheduler};
use crate::exit_status;
use crate::proto::{ExecutionTypeRequest, Priority, ResourceRequest};

/// Between two heartbeats, while something is awaited and else.
const BUSY: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(1);
/// How often nodes are asked for containers that are being started or ended.
const FOLLOW: Duration = Duration::from_millis(200);
/// How long a node has to say how they are.
const NODE_PATIENCE: Duration = Duration::from_secs(5);
/// How old what is known of the nodes may be while containers are missing.
const NODES_AGE: Duration = Duration::from_secs(10);
/// While the ResourceManager is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What is told of one that the scheduler cannot give.
const NO_SUCH: &str = "no node can have such a container";

struct Heart {
    master: Arc<Master>,
    asks: Asks,
    response_id: i32,
    /// Sent, and not yet answered: the same is sent again.
    under_way: Option<AllocateRequest>,
    nodes_known: Option<Instant>,
}

/// Beats until the ResourceManager says that it is over.
pub(super) async fn run(master: Arc<Master>) {
    let mut heart =
        Heart { master, asks: Asks::default(), response_id: 0, under_way: None, nodes_known: None };
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let error = match heart.beat().await {
            Ok(()) => {
                backoff.reset();
                heart.pause().await;
                continue;
            }
            Err(error) => error,
        };
        if scheduler::has_forgotten(&error) {
            tracing::warn!("the ResourceManager was started again: registering again");
            match heart.master.scheduler.register().await {
                Ok(()) => {
                    heart.forget();
                    continue;
                }
                Err(error) => tracing::warn!(%error, "cannot register again"),
            }
        } else if scheduler::is_refused(&error) {
            heart.refused(error.message());
            continue;
        } else if error.kind().is_retryable() {
            tracing::warn!(%error, "the ResourceManager does not answer");
        } else {
            tracing::error!(%error, "the ResourceManager has ended the application");
            heart.master.over.send_replace(Some(error.message().into()));
            return;
        }
        backoff.failed(None);
        backoff.pause().await;
    }
}

impl Heart {
    async fn beat(&mut self) -> Result<()> {
        if self.under_way.is_none() {
            let missing = self.master.roster().missing();
            if !missing.is_empty() {
                self.refresh_nodes().await;
            }
            let asks = self.asks.due(&missing);
            let requests = asks.iter().filter_map(|ask| self.request(ask)).collect();
            self.under_way = Some(AllocateRequest {
                asks: requests,
                release: self.master.take_releases(),
                response_id: Some(self.response_id),
                progress: Some(0.0),
            });
        }
        let Some(request) = &self.under_way else { return Ok(()) };
        let response = self.master.scheduler.allocate(request).await?;
        self.under_way = None;
        self.response_id = response.response_id.unwrap_or_default();
        self.take(response);
        Ok(())
    }

    fn request(&self, ask: &Ask) -> Option<ResourceRequest> {
        let number = i32::try_from(ask.slot).ok()?.checked_add(1)?;
        Some(ResourceRequest {
            priority: Some(Priority { priority: Some(number) }),
            resource_name: Some(ask.name.clone()),
            capability: Some(self.master.roster().shape(ask.slot)?.clone()),
            containers: i32::try_from(ask.count).ok(),
            relax_locality: Some(true),
            node_label_expression: self.master.label.clone(),
            execution_type: Some(ExecutionTypeRequest { execution_type: Some(1) }),
            allocation_request_id: Some(number.into()),
        })
    }

    /// Finds out which nodes there are, where that can be asked for.
    async fn refresh_nodes(&mut self) {
        // YARN takes a label only with a request for any node (Hadoop 3.4, `SchedulerUtils`).
        let is_fresh = self.nodes_known.is_some_and(|known| known.elapsed() < NODES_AGE);
        if is_fresh || self.master.label.is_some() {
            return;
        }
        self.nodes_known = Some(Instant::now());
        match self.master.cluster.nodes().await {
            Ok(reports) => {
                let node = |report: super::messages::NodeReport| {
                    Some(Node { host: report.node?.host?, rack: report.rack? })
                };
                self.asks.set_nodes(reports.into_iter().filter_map(node).collect());
            }
            Err(error) => {
                tracing::warn!(%error, "the nodes are not known: containers come more slowly");
            }
        }
    }

    fn take(&mut self, response: AllocateResponse) {
        for token in response.node_tokens {
            if let (Some(node), Some(token)) = (token.node, token.token) {
                self.master.nodes.add_token(node, token.into());
            }
        }
        self.master.completed(&response.completed);
        self.place(response.allocated);
        for report in response.updated_nodes {
            let has_changed = report.state.is_none_or(|state| state != NodeState::Running as i32);
            if has_changed {
                let host = report.node.as_ref().map(NodeId::name).unwrap_or_default();
                tracing::warn!(host, state = report.state, "a node has changed");
            }
            self.nodes_known = None;
        }
        if response.command == Some(MasterCommand::Shutdown as i32) {
            let why = "the ResourceManager told the application master to end";
            self.master.over.send_replace(Some(why.into()));
        }
    }

    /// Gives containers to executors, and starts these; what nobody needs goes back.
    fn place(&mut self, allocated: Vec<Container>) {
        let mut starts: BTreeMap<NodeId, Vec<(ExecutorId, Container)>> = BTreeMap::new();
        for container in allocated {
            let (Some(id), Some(node)) = (container.id, container.node.clone()) else { continue };
            let number = container.allocation_request_id.filter(|number| *number > 0);
            let number = number.or_else(|| container.priority?.priority.map(i64::from));
            let slot = number.and_then(|number| usize::try_from(number - 1).ok());
            let Some(slot) = slot else {
                self.master.release(id);
                continue;
            };
            self.asks.allocated(slot, node.name());
            let http = container.node_http_address.clone().unwrap_or_default().into();
            let place = Place { container: id, node: node.clone(), http, since: Instant::now() };
            match self.master.roster().place(slot, place).map(|executor| executor.status.id) {
                Some(executor) => starts.entry(node).or_default().push((executor, container)),
                None => self.master.release(id),
            }
        }
        for (node, containers) in starts {
            let master = Arc::clone(&self.master);
            self.master.spawn(async move { master.start_on(node, containers).await });
        }
    }

    /// Whatever the ResourceManager was told, it knows no more.
    fn forget(&mut self) {
        if let Some(request) = self.under_way.take() {
            request.release.into_iter().for_each(|id| self.master.release(id));
        }
        self.asks.forget();
        self.response_id = 0;
    }

    /// Something impossible was asked for: executors of that shape end.
    fn refused(&mut self, why: &str) {
        let Some(request) = self.under_way.take() else { return };
        request.release.into_iter().for_each(|id| self.master.release(id));
        let priorities = request.asks.iter().filter_map(|ask| ask.priority?.priority);
        let slots: BTreeSet<Slot> =
            priorities.filter_map(|number| usize::try_from(number - 1).ok()).collect();
        tracing::warn!(why, "the scheduler refuses what it was asked for");
        let Some(slot) = self.asks.refused(slots) else { return };
        let mut roster = self.master.roster();
        let impossible: Vec<_> = roster
            .living()
            .filter(|executor| executor.place.is_none() && executor.slot == slot)
            .map(|executor| executor.status.id)
            .collect();
        for id in impossible {
            let why = format!("{NO_SUCH}: {why}").into();
            let failure = StartFailure::Unschedulable;
            roster.end(id, Cause::CouldNotStart { failure, why }.into());
        }
    }

    /// Until something is to be asked for, or the next heartbeat is due.
    async fn pause(&self) {
        let is_busy = {
            let roster = self.master.roster();
            roster.living().any(|executor| executor.status.state != State::Running)
        };
        let pause = if is_busy { BUSY } else { IDLE };
        // Who was just woken is not woken again at once.
        tokio::time::sleep(BUSY / 5).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.master.wake.notified() => {}
        }
    }
}

impl Master {
    /// Takes in the ends of containers.
    fn completed(&self, statuses: &[ContainerStatus]) {
        let mut roster = self.roster();
        for status in statuses {
            let Some(executor) =
                status.container_id.as_ref().and_then(|container| roster.of_container(container))
            else {
                continue;
            };
            let outcome = exit_status::outcome(
                status.exit_status.unwrap_or(-1000),
                status.diagnostics.as_deref().unwrap_or_default(),
                executor.asked.map(|asked| asked.by),
                Some(executor.launch.profile.memory_limit_mib()),
            );
            let id = executor.status.id;
            roster.end(id, outcome);
        }
    }

    /// Asks the nodes how containers are that are being started or ended: the ResourceManager tells of ends only,
    /// and later.
    pub(super) async fn follow_starts(self: Arc<Self>) {
        let this = &*self;
        loop {
            let mut containers: BTreeMap<NodeId, Vec<_>> = BTreeMap::new();
            for executor in this.roster().living() {
                if let Some(place) = &executor.place
                    && executor.status.state != State::Running
                    && place.since.elapsed() > BUSY
                {
                    containers.entry(place.node.clone()).or_default().push(place.container);
                }
            }
            let questions = containers.into_iter().map(|(node, containers)| async move {
                let answer = this.nodes.statuses(&node, containers);
                match tokio::time::timeout(NODE_PATIENCE, answer).await {
                    Ok(Ok(statuses)) => this.statuses(&statuses),
                    Ok(Err(error)) => {
                        tracing::info!(host = node.name(), %error, "a node does not answer");
                    }
                    Err(_) => tracing::info!(host = node.name(), "a node does not answer"),
                }
            });
            futures::future::join_all(questions).await;
            tokio::time::sleep(FOLLOW).await;
        }
    }

    fn statuses(&self, statuses: &[ContainerStatus]) {
        for status in statuses {
            match status.phase() {
                ContainerPhase::Running => {
                    let mut roster = self.roster();
                    let id = status.container_id.as_ref().and_then(|it| roster.of_container(it));
                    if let Some(id) = id.map(|executor| executor.status.id) {
                        roster.change(id, State::Running);
                    }
                }
                ContainerPhase::Done => self.completed(std::slice::from_ref(status)),
                _ => {}
            }
        }
    }
}

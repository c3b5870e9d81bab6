//! Starts and ends executors on their nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{Cause, ExecutorId, KilledBy, Outcome, StartFailure};
use futures::future::join_all;
use tokio::sync::broadcast::error::RecvError;

use super::messages::{Container, ContainerId, NodeId, StartContainer};
use super::{Master, launch};

/// What a NodeManager says of a container that it was told to start before (Hadoop 3.4, `ContainerManagerImpl`).
const RUNS: &str = "already is running on this node";

impl Master {
    /// Ends executors for this reason; those that can are asked first, and have so much time.
    pub(super) fn stop(self: &Arc<Self>, ids: &[ExecutorId], by: KilledBy, grace: Duration) {
        let mut nodes: BTreeMap<NodeId, Vec<(ExecutorId, ContainerId)>> = BTreeMap::new();
        {
            let mut roster = self.roster();
            for id in ids {
                if let Some(place) = roster.ask(*id, by, grace) {
                    nodes.entry(place.node).or_default().push((*id, place.container));
                }
            }
        }
        self.wake.notify_one();
        for (node, executors) in nodes {
            let master = Arc::clone(self);
            self.spawn(async move { master.stop_on(&node, executors, grace).await });
        }
    }

    /// Asks executors of a node to end, and after a while makes them.
    async fn stop_on(
        &self,
        node: &NodeId,
        executors: Vec<(ExecutorId, ContainerId)>,
        grace: Duration,
    ) {
        if !grace.is_zero() {
            let asking =
                executors.iter().map(|(_, container)| self.nodes.ask_to_end(node, *container));
            let asked_and_ended = async {
                for error in join_all(asking).await.into_iter().filter_map(Result::err) {
                    tracing::warn!(host = node.name(), %error, "an executor cannot be asked to end");
                }
                self.all_ended(&executors).await;
            };
            // All of them in time is the best case.
            let _ = tokio::time::timeout(grace, asked_and_ended).await;
        }
        let has_ended = |id| self.roster().get(id).is_none_or(|it| it.status.state.is_ended());
        let left: Vec<_> =
            executors.iter().filter(|(id, _)| !has_ended(*id)).map(|(_, it)| *it).collect();
        if left.is_empty() {
            return;
        }
        match self.nodes.stop(node, left.clone()).await {
            Ok(refused) => refused.into_iter().for_each(|container| self.release(container)),
            Err(error) => {
                tracing::warn!(host = node.name(), %error, "executors are given back instead of ended");
                left.into_iter().for_each(|container| self.release(container));
            }
        }
    }

    async fn all_ended(&self, executors: &[(ExecutorId, ContainerId)]) {
        let (_, mut events) = self.roster().watch();
        let has_ended = |id| self.roster().get(id).is_none_or(|it| it.status.state.is_ended());
        while !executors.iter().all(|(id, _)| has_ended(*id)) {
            // One who is behind looks again.
            if matches!(events.recv().await, Err(RecvError::Closed)) {
                return;
            }
        }
    }

    /// Starts executors in the containers that they were given.
    pub(super) async fn start_on(
        self: Arc<Self>,
        node: NodeId,
        containers: Vec<(ExecutorId, Container)>,
    ) {
        let (mut ids, mut requests) = (Vec::new(), Vec::new());
        for (id, container) in containers {
            let context = match self.roster().get(id) {
                Some(executor) => launch::context(&self.common, &executor.launch, node.name()),
                None => continue,
            };
            match (context, container.id) {
                (Ok(context), Some(container_id)) => {
                    ids.push((id, container_id));
                    let (context, token) = (Some(context), container.token);
                    requests.push(StartContainer { context, token });
                }
                (Err(error), Some(container_id)) => {
                    self.roster().end(id, Outcome::could_not_start(&error));
                    self.release(container_id);
                }
                (_, None) => {}
            }
        }
        match self.nodes.start(&node, requests).await {
            Ok(failed) => {
                let mut roster = self.roster();
                for (id, container) in &ids {
                    // If it runs already, the answer to an earlier call was lost.
                    if let Some(why) = failed.get(container).filter(|why| !why.contains(RUNS)) {
                        let (failure, why) = (StartFailure::Other, why.as_str().into());
                        roster.end(*id, Cause::CouldNotStart { failure, why }.into());
                        self.release(*container);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(host = node.name(), %error, "a node starts nothing");
                for (id, container) in &ids {
                    let why = format!("its node started nothing: {error}").into();
                    self.roster().end(*id, Cause::Lost { why }.into());
                    self.release(*container);
                }
            }
        }
        // Those that were to end meanwhile were not there to be told.
        let asked = |id: &ExecutorId| {
            let roster = self.roster();
            roster.get(*id).is_some_and(|it| it.asked.is_some() && !it.status.state.is_ended())
        };
        let unwanted: Vec<_> = ids.into_iter().filter(|(id, _)| asked(id)).collect();
        if !unwanted.is_empty() {
            self.stop_on(&node, unwanted, Duration::ZERO).await;
        }
    }
}

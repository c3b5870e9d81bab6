//! What the ResourceManager reports of an application, of nodes and of queues (Hadoop 3.3 and 3.4, `webapp.dao`). The
//! fields that nobody reads are left out.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::size::Size;

#[derive(Debug, Deserialize)]
pub(super) struct AppFound {
    pub(super) app: App,
}

/// An application.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct App {
    pub(super) user: String,
    pub(super) queue: String,
    pub(super) state: String,
    pub(super) diagnostics: String,
    pub(super) am_host_http_address: Option<String>,
    pub(super) resource_requests: Vec<Request>,
}

/// Containers that an application asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request {
    pub(super) priority: i64,
    /// A node, a rack, or `*`.
    pub(super) resource_name: String,
    pub(super) capability: Size,
    pub(super) num_containers: i64,
    /// Empty for nodes without one.
    pub(super) node_label_expression: Option<String>,
}

impl App {
    /// What is asked for, each shape once.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Request> {
        self.resource_requests.iter().filter(|it| it.resource_name == "*" && it.num_containers > 0)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttemptsFound {
    app_attempts: Attempts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Attempts {
    app_attempt: Vec<Attempt>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Attempt {
    blacklisted_nodes: Option<String>,
    nodes_blacklisted_by_system: Option<String>,
}

impl AttemptsFound {
    /// The hosts that the last attempt gets nothing on.
    pub(super) fn excluded(&self) -> BTreeSet<String> {
        let last = self.app_attempts.app_attempt.last();
        let both = last.map(|it| [&it.blacklisted_nodes, &it.nodes_blacklisted_by_system]);
        let names = both.into_iter().flatten().flatten().flat_map(|it| it.split(','));
        let names = names.map(|it| it.trim().trim_matches(['[', ']']));
        names.filter(|it| !it.is_empty()).map(str::to_owned).collect()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct NodesFound {
    pub(super) nodes: Option<Nodes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Nodes {
    pub(super) node: Vec<Node>,
}

/// A node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Node {
    pub(super) node_host_name: String,
    pub(super) state: String,
    pub(super) health_report: String,
    pub(super) available_resource: Size,
    pub(super) total_resource: Size,
    pub(super) node_labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SchedulerFound {
    pub(super) scheduler: SchedulerOf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SchedulerOf {
    pub(super) scheduler_info: Scheduler,
}

/// A scheduler. That of capacities is its root queue as well.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Scheduler {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The root of the fair scheduler.
    root_queue: Option<Queue>,
    #[serde(flatten)]
    own: Queue,
}

/// A queue, of either scheduler.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Queue {
    pub(super) queue_name: String,
    queue_path: Option<String>,
    /// `RUNNING`, `STOPPED` or `DRAINING`.
    pub(super) state: Option<String>,
    /// In percent of the cluster.
    pub(super) absolute_capacity: Option<f64>,
    pub(super) absolute_max_capacity: Option<f64>,
    pub(super) node_labels: Vec<String>,
    capacities: Capacities,
    resources: Usages,
    pub(super) num_active_applications: Option<i64>,
    pub(super) num_pending_applications: Option<i64>,
    users: Option<Users>,
    /// Percent.
    pub(super) user_limit: Option<f64>,
    pub(super) user_limit_factor: Option<f64>,
    #[serde(rename = "configuredMaxAMResourceLimit")]
    pub(super) am_share: Option<f64>,
    pub(super) maximum_allocation: Option<Size>,
    queues: Option<Queues>,
    // Those of the fair scheduler.
    max_resources: Option<Size>,
    used_resources: Option<Size>,
    am_max_resources: Option<Size>,
    am_used_resources: Option<Size>,
    max_container_allocation: Option<Size>,
    num_pending_apps: Option<i64>,
    num_active_apps: Option<i64>,
    child_queues: Option<Queues>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Queues {
    queue: Vec<Queue>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Capacities {
    queue_capacities_by_partition: Vec<Capacity>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Capacity {
    partition_name: String,
    effective_max_resource: Option<Size>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Usages {
    resource_usages_by_partition: Vec<Usage>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Usage {
    partition_name: String,
    used: Option<Size>,
    am_used: Option<Size>,
    am_limit: Option<Size>,
    user_am_limit: Option<Size>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Users {
    user: Vec<User>,
}

/// What a user has of a queue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct User {
    username: String,
    pub(super) resources_used: Size,
    pub(super) user_resource_limit: Option<Size>,
}

impl Scheduler {
    pub(super) fn is_fair(&self) -> bool {
        self.kind == "fairScheduler"
    }

    fn root(&self) -> Option<&Queue> {
        match &self.root_queue {
            Some(root) => Some(root),
            None => Some(&self.own).filter(|_| self.kind == "capacityScheduler"),
        }
    }

    /// The most that a container may have in a queue.
    pub(super) fn largest_container<'a>(&'a self, path: &[&'a Queue]) -> Option<&'a Size> {
        let queues = path.iter().rev().copied().chain(self.root());
        let mut own =
            queues.flat_map(|it| [&it.maximum_allocation, &it.max_container_allocation]).flatten();
        own.next()
    }

    /// The queues from the root to the one of this name or path. Empty where there is none.
    pub(super) fn path(&self, name: &str) -> Vec<&Queue> {
        let mut path = Vec::new();
        if let Some(root) = self.root() {
            walk(root, "", name, &mut path);
        }
        path
    }

    /// The queues that take applications, by their paths: those that run and have no others in them.
    pub(super) fn leaves(&self) -> Vec<&str> {
        let mut leaves = Vec::new();
        let mut open: Vec<_> = self.root().into_iter().collect();
        while let Some(queue) = open.pop() {
            open.extend(queue.children());
            if queue.children().is_empty()
                && queue.state.as_deref().is_none_or(|it| it == "RUNNING")
            {
                leaves.push(queue.path());
            }
        }
        leaves.sort_unstable();
        leaves
    }
}

/// Goes down to a queue; whether it is there.
fn walk<'a>(queue: &'a Queue, above: &str, wanted: &str, path: &mut Vec<&'a Queue>) -> bool {
    // The fair scheduler names queues by their paths, the other one by their last part.
    let name = queue.queue_name.as_str();
    let full = match above {
        "" => name.to_owned(),
        above if name.starts_with(&format!("{above}.")) => name.to_owned(),
        above => format!("{above}.{name}"),
    };
    path.push(queue);
    let children = queue.children();
    let is_it = full == wanted || children.is_empty() && queue.name() == wanted;
    if is_it || children.iter().any(|child| walk(child, &full, wanted, path)) {
        return true;
    }
    path.pop();
    false
}

impl Queue {
    fn children(&self) -> &[Self] {
        let own = self.queues.as_ref().or(self.child_queues.as_ref());
        own.map(|it| it.queue.as_slice()).unwrap_or_default()
    }

    /// Its last part.
    fn name(&self) -> &str {
        self.queue_name.rsplit('.').next().unwrap_or_default()
    }

    /// From the root.
    pub(super) fn path(&self) -> &str {
        self.queue_path.as_deref().unwrap_or(&self.queue_name)
    }

    fn usage(&self, label: &str) -> Option<&Usage> {
        let all = &self.resources.resource_usages_by_partition;
        all.iter().find(|it| it.partition_name == label)
    }

    /// What is used of it, on nodes with a label.
    pub(super) fn used(&self, label: &str) -> Option<&Size> {
        self.usage(label).and_then(|it| it.used.as_ref()).or(self.used_resources.as_ref())
    }

    /// The most that can be.
    pub(super) fn most(&self, label: &str) -> Option<&Size> {
        let all = &self.capacities.queue_capacities_by_partition;
        let own = all.iter().find(|it| it.partition_name == label);
        own.and_then(|it| it.effective_max_resource.as_ref()).or(self.max_resources.as_ref())
    }

    /// What drivers use of it, and the most that they may.
    pub(super) fn drivers(&self, label: &str) -> Option<(&Size, &Size)> {
        match self.usage(label) {
            Some(usage) => usage.am_used.as_ref().zip(usage.am_limit.as_ref()),
            None => self.am_used_resources.as_ref().zip(self.am_max_resources.as_ref()),
        }
    }

    /// The most that the drivers of one user may use.
    pub(super) fn drivers_of_user(&self, label: &str) -> Option<&Size> {
        self.usage(label)?.user_am_limit.as_ref()
    }

    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.as_ref()?.user.iter().find(|it| it.username == name)
    }

    /// How many applications have drivers, and how many wait for theirs.
    pub(super) fn applications(&self) -> Option<(i64, i64)> {
        let active = self.num_active_applications.or(self.num_active_apps)?;
        Some((active, self.num_pending_applications.or(self.num_pending_apps).unwrap_or_default()))
    }

    /// Whether containers of it may be on nodes with a label.
    pub(super) fn may_use(&self, label: &str) -> bool {
        label.is_empty()
            || self.node_labels.is_empty()
            || self.node_labels.iter().any(|it| it == "*" || it == label)
    }
}

//! Why containers that are asked for do not come: what the cluster, the queue and the user may have, in numbers. No I/O.

use std::collections::BTreeSet;

use anymaster_core::{Finding, counted};

use super::reports::{Node, Queue, Request, Scheduler};
use super::size::Size;

/// Whom containers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Driver,
    Executors,
}

impl For {
    fn want(self, request: &Request) -> String {
        match self {
            Self::Driver => format!("Its driver wants {}", request.capability),
            Self::Executors => {
                let number = counted(request.num_containers, "executor");
                match request.num_containers {
                    1 => format!("{number} waits, and wants {}", request.capability),
                    _ => format!("{number} wait, and want {} each", request.capability),
                }
            }
        }
    }

    /// The properties that say how much.
    fn properties(self, lacking: &[&str]) -> String {
        let who = match self {
            Self::Driver => "driver",
            Self::Executors => "executor",
        };
        let of = |resource: &&str| match *resource {
            "memory" => format!("spark.{who}.memory, spark.{who}.memoryOverhead"),
            "cores" => format!("spark.{who}.cores"),
            other => format!("spark.{who}.resource.* for {other}"),
        };
        lacking.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    const fn label_property(self) -> &'static str {
        match self {
            Self::Driver => "spark.yarn.am.nodeLabelExpression",
            Self::Executors => "spark.yarn.executor.nodeLabelExpression",
        }
    }
}

/// The cluster around an application.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) scheduler: &'a Scheduler,
    /// From the root to the application's.
    pub(super) queues: Vec<&'a Queue>,
    pub(super) user: &'a str,
    pub(super) nodes: &'a [Node],
    /// Hosts on which the application gets nothing.
    pub(super) excluded: &'a BTreeSet<String>,
}

impl Surroundings<'_> {
    /// Why a request waits. If it never comes, that alone.
    pub(super) fn why(&self, who: For, request: &Request) -> Vec<Finding> {
        if let Some(never) = self.never(who, request) {
            return vec![never];
        }
        let mut findings = self.full(who, request);
        findings.extend(self.no_room(who, request));
        if findings.is_empty() {
            let what = format!(
                "{}, for which there is room: containers come with the next heartbeats of nodes.",
                who.want(request)
            );
            findings.push(Finding::new(what));
        }
        findings
    }

    /// The key of a property of a queue.
    pub(super) fn key(&self, queue: &Queue, capacity: &str, fair: &str) -> String {
        match self.scheduler.is_fair() {
            true => format!("{fair} of the queue {} (fair-scheduler.xml)", queue.path()),
            false => format!("yarn.scheduler.capacity.{}.{capacity}", queue.path()),
        }
    }

    /// The nodes that containers with a label may be on.
    fn partition(&self, label: &str) -> Vec<&Node> {
        let is_in = |node: &&Node| match label {
            "" => node.node_labels.iter().all(String::is_empty),
            label => node.node_labels.iter().any(|it| it == label),
        };
        let runs = |node: &&Node| node.state == "RUNNING";
        self.nodes.iter().filter(runs).filter(is_in).collect()
    }

    fn never(&self, who: For, request: &Request) -> Option<Finding> {
        let label = request.node_label_expression.as_deref().unwrap_or_default();
        let (wants, size) = (who.want(request), &request.capability);
        if let Some(queue) = self.queues.last()
            && !queue.may_use(label)
        {
            let what = format!(
                "{wants} on nodes with the label {label}, which the queue {} may not use.",
                queue.path()
            );
            let key = self.key(queue, "accessible-node-labels", "the labels");
            return Some(Finding::new(what).with_remedy(format!(
                "Choose another label ({}) or queue (spark.yarn.queue), or have {key} extended.",
                who.label_property()
            )));
        }
        let nodes = self.partition(label);
        if nodes.is_empty() {
            return Some(self.no_node(who, request, label));
        }
        if let Some(most) = self.scheduler.largest_container(&self.queues)
            && !size.fits(most)
        {
            let what = format!("{wants}, and no container may have more than {most}.");
            return Some(Finding::new(what).with_remedy(format!(
                "Ask for less ({}), or have yarn.scheduler.maximum-allocation-mb and \
                 yarn.scheduler.maximum-allocation-vcores raised.",
                who.properties(&size.lacking(most))
            )));
        }
        if !nodes.iter().any(|node| size.fits(&node.total_resource)) {
            let largest = nodes.iter().max_by_key(|it| it.total_resource.memory)?;
            let what = format!(
                "{wants}, and no node has that: the largest has {}.",
                largest.total_resource
            );
            return Some(Finding::new(what).with_remedy(format!(
                "Ask for less ({}), or have yarn.nodemanager.resource.memory-mb and \
                 yarn.nodemanager.resource.cpu-vcores of a node raised.",
                who.properties(&size.lacking(&largest.total_resource))
            )));
        }
        let queues = self.queues.iter().rev();
        let (queue, most) = queues
            .filter_map(|queue| Some((queue, queue.most(label)?)))
            .find(|(_, most)| !size.fits(most))?;
        let what = format!(
            "{wants}, and all of the queue {} together may have no more than {most}: it will never come.",
            queue.path()
        );
        Some(Finding::new(what).with_remedy(format!(
            "Ask for less ({}), choose another queue (spark.yarn.queue), or have {} raised.",
            who.properties(&size.lacking(most)),
            self.key(queue, "maximum-capacity", "maxResources"),
        )))
    }

    fn no_node(&self, who: For, request: &Request, label: &str) -> Finding {
        let wants = who.want(request);
        if self.nodes.iter().any(|node| node.state == "RUNNING") {
            let what = match label {
                "" => {
                    format!("{wants}, and each node that runs has a label, which it does not name.")
                }
                label => {
                    format!("{wants} on a node with the label {label}, and none of those runs.")
                }
            };
            return Finding::new(what).with_remedy(format!(
                "yarn cluster --list-node-labels lists them; {} chooses.",
                who.label_property()
            ));
        }
        let bad = self.nodes.iter().find(|node| !node.health_report.is_empty());
        let bad = bad.map(|node| {
            format!(" {} is {}: {}", node.node_host_name, node.state, node.health_report.trim())
        });
        let what = format!("{wants}, and no node runs.{}", bad.unwrap_or_default());
        Finding::new(what).with_remedy("yarn node -list -all says what became of the nodes.")
    }

    /// Queues, and the share of the user, in which there is no room.
    fn full(&self, who: For, request: &Request) -> Vec<Finding> {
        let label = request.node_label_expression.as_deref().unwrap_or_default();
        let (wants, size) = (who.want(request), &request.capability);
        let mut findings = Vec::new();
        let all = self.queues.first().and_then(|root| root.most(label));
        for queue in self.queues.iter().rev() {
            let Some((used, most)) = queue.used(label).zip(queue.most(label)) else { continue };
            // One that may have all of the cluster is not what is in the way.
            if size.plus(used).fits(most) || Some(most) == all {
                continue;
            }
            let what = format!(
                "{wants}; the queue {} is full: {used} of at most {most} are used.",
                queue.path()
            );
            findings.push(Finding::new(what).with_remedy(format!(
                "Wait until others of the queue end, choose another one (spark.yarn.queue), or have {} raised.",
                self.key(queue, "maximum-capacity", "maxResources"),
            )));
        }
        let own = self.queues.last().and_then(|queue| Some((queue, queue.user(self.user)?)));
        // Of users who have nothing and wait, it is not worked out.
        if let Some((queue, user)) = own
            && label.is_empty()
            && let Some(most) = user.user_resource_limit.as_ref().filter(|most| most.memory > 0)
            && !size.plus(&user.resources_used).fits(most)
        {
            let what = format!(
                "{wants}; {} has its share of the queue {}: {} of at most {most} are used.",
                self.user,
                queue.path(),
                user.resources_used
            );
            findings.push(Finding::new(what).with_remedy(self.user_remedy(queue)));
        }
        findings
    }

    /// What gives a user more of a queue.
    pub(super) fn user_remedy(&self, queue: &Queue) -> String {
        let path = queue.path();
        format!(
            "Wait until another application of {} ends, choose another queue (spark.yarn.queue), or have \
             yarn.scheduler.capacity.{path}.user-limit-factor ({}) or \
             yarn.scheduler.capacity.{path}.minimum-user-limit-percent ({}) raised.",
            self.user,
            queue.user_limit_factor.unwrap_or(1.0),
            queue.user_limit.unwrap_or(100.0),
        )
    }

    /// No node has room for it, or only nodes that are excluded.
    fn no_room(&self, who: For, request: &Request) -> Option<Finding> {
        let label = request.node_label_expression.as_deref().unwrap_or_default();
        let (wants, size) = (who.want(request), &request.capability);
        let nodes = self.partition(label);
        let is_excluded = |node: &&&Node| self.excluded.contains(&node.node_host_name);
        let room: Vec<_> =
            nodes.iter().filter(|node| size.fits(&node.available_resource)).collect();
        if room.is_empty() {
            let most = nodes.iter().map(|it| &it.available_resource).max_by_key(|it| it.memory)?;
            let what = format!(
                "{wants}, and no node has room for that now: of {}, the one with most has {most} free.",
                counted(nodes.len(), "node")
            );
            return Some(Finding::new(what).with_remedy(format!(
                "Wait until others end, or ask for less ({}).",
                who.properties(&size.lacking(most))
            )));
        }
        if !room.iter().all(is_excluded) {
            return None;
        }
        let names: Vec<_> = room.iter().take(3).map(|it| it.node_host_name.as_str()).collect();
        let what = format!(
            "{wants}, and gets nothing on the nodes with room for it ({}), where containers of it have failed.",
            names.join(", ")
        );
        Some(Finding::new(what).with_remedy(
            "Find out why they failed there (anymaster logs); for drivers, \
             yarn.resourcemanager.am.max-attempts and \
             yarn.am.blacklisting.enabled say how often and where they are tried again.",
        ))
    }

    /// The queue and the cluster in numbers.
    pub(super) fn in_numbers(&self) -> Option<Finding> {
        let queue = self.queues.last()?;
        let mut words = format!("The queue {}", queue.path());
        if let Some(state) = queue.state.as_deref().filter(|state| *state != "RUNNING") {
            words += &format!(" is {state}, and");
        }
        if let Some(used) = queue.used("") {
            words += &format!(" uses {used}");
        }
        if let Some(most) = queue.most("") {
            words += &format!(" of at most {most}");
        }
        if let Some((capacity, most)) = queue.absolute_capacity.zip(queue.absolute_max_capacity) {
            words += &format!(
                " ({capacity:.0} % of the cluster, and {most:.0} % where others leave it)"
            );
        }
        if let Some((active, pending)) = queue.applications() {
            words += &format!(
                "; {} {} a driver, {pending} {} for one",
                counted(active, "application"),
                if active == 1 { "has" } else { "have" },
                if pending == 1 { "waits" } else { "wait" }
            );
        }
        let nodes: Vec<_> = self.nodes.iter().filter(|node| node.state == "RUNNING").collect();
        let free = nodes.iter().fold(Size::default(), |sum, it| sum.plus(&it.available_resource));
        let total = nodes.iter().fold(Size::default(), |sum, it| sum.plus(&it.total_resource));
        words += &format!(
            ". The cluster has {}, and of {total} {free} are free.",
            counted(nodes.len(), "node")
        );
        Some(Finding::new(words))
    }
}

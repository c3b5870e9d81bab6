//! Cores and memory of nodes, and a first-in-first-out queue of executors that wait for them.

use std::collections::VecDeque;

use anymaster_core::{Error, Result};

/// An amount of cores and memory: what an executor needs, or what a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cores: u32,
    /// 0 where memory is not limited.
    pub(crate) memory_mib: u64,
}

/// This machine, or a worker.
#[derive(Debug, Clone, Copy)]
struct Node {
    total: Resources,
    free: Resources,
    up: bool,
}

/// The nodes, and the queue of what waits for one.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    nodes: Vec<Node>,
    queue: VecDeque<(Resources, T)>,
    /// How many entries at the end of the queue were not yet returned by `newly_waiting`.
    unreported: usize,
}

impl<T> Pool<T> {
    /// A pool of nodes. Those that are not `up` get nothing until [`set_node_up`](Self::set_node_up).
    pub(crate) fn new(nodes: impl IntoIterator<Item = Resources>, up: bool) -> Self {
        let node = |total| Node { total, free: total, up };
        Self { nodes: nodes.into_iter().map(node).collect(), queue: VecDeque::new(), unreported: 0 }
    }

    /// Checks that some node is large enough.
    pub(crate) fn check(&self, need: Resources) -> Result<()> {
        let fits = |node: &Node| {
            node.total.cores >= need.cores && node.total.memory_mib >= need.memory_mib
        };
        if self.nodes.iter().any(fits) {
            return Ok(());
        }
        let largest = self.nodes.iter().map(|node| node.total.cores).max().unwrap_or_default();
        if need.cores > largest {
            return Err(Error::invalid(format!(
                "an executor needs {}, but {} has {largest}",
                anymaster_core::counted(need.cores, "core"),
                if self.nodes.len() == 1 { "this master" } else { "each worker" },
            ))
            .with_hint("lower spark.executor.cores, or raise the number in the master URL"));
        }
        // The words of Spark 3.5, `SparkContext.createTaskScheduler`.
        let memory = self.nodes.iter().map(|node| node.total.memory_mib).max().unwrap_or_default();
        Err(Error::invalid(format!(
            "asked to launch cluster with {memory} MiB/worker but requested {} MiB/executor",
            need.memory_mib
        ))
        .with_hint("lower spark.executor.memory, or raise the memory in the master URL"))
    }

    /// Appends to the queue.
    pub(crate) fn push(&mut self, need: Resources, what: T) {
        self.queue.push_back((need, what));
        self.unreported += 1;
    }

    /// The entries queued since the last call that still wait.
    pub(crate) fn newly_waiting(&mut self) -> impl Iterator<Item = &(Resources, T)> {
        let unreported = std::mem::take(&mut self.unreported).min(self.queue.len());
        self.queue.range(self.queue.len() - unreported..)
    }

    /// Removes the head of the queue and allocates its resources, if a node has them free: on the node
    /// with the most free cores, as Spark's master spreads out executors.
    pub(crate) fn pop(&mut self) -> Option<(T, usize)> {
        let (need, _) = self.queue.front()?;
        let (at, node) = self
            .nodes
            .iter_mut()
            .enumerate()
            .filter(|(_, node)| {
                node.up && node.free.cores >= need.cores && node.free.memory_mib >= need.memory_mib
            })
            .max_by_key(|(at, node)| (node.free.cores, std::cmp::Reverse(*at)))?;
        node.free.cores -= need.cores;
        node.free.memory_mib -= need.memory_mib;
        self.queue.pop_front().map(|(_, what)| (what, at))
    }

    /// Removes all entries of the queue that match.
    pub(crate) fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let (taken, left) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|(_, what): &(Resources, T)| matches(what));
        self.queue = left;
        let taken: VecDeque<_> = taken;
        taken.into_iter().map(|(_, what)| what).collect()
    }

    /// Releases what an executor used on a node.
    pub(crate) fn release(&mut self, node: usize, need: Resources) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.free.cores += need.cores;
            node.free.memory_mib += need.memory_mib;
        }
    }

    /// Marks a node as available or lost.
    pub(crate) fn set_node_up(&mut self, node: usize, up: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.up = up;
        }
    }

    /// Why an executor that needs this has to wait.
    pub(crate) fn pending_reason(&self, need: Resources) -> String {
        let plural = |cores: u32| if cores == 1 { "core" } else { "cores" };
        let up: Vec<_> = self.nodes.iter().filter(|node| node.up).collect();
        let starting = match self.nodes.len() - up.len() {
            0 => String::new(),
            1 => "; 1 worker is starting".to_owned(),
            number => format!("; {number} workers are starting"),
        };
        let free: u32 = up.iter().map(|node| node.free.cores).sum();
        let total: u32 = up.iter().map(|node| node.total.cores).sum();
        let cores = format!("needs {} {}; {free} of {total} free", need.cores, plural(need.cores));
        match up.iter().map(|node| node.free.memory_mib).max() {
            Some(memory) if memory < need.memory_mib => format!(
                "{cores}; needs {} MiB; at most {memory} MiB are free on a worker{starting}",
                need.memory_mib
            ),
            _ => format!("{cores}{starting}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Resources = Resources { cores: 1, memory_mib: 0 };

    #[test]
    fn executors_are_spread_out_and_started_in_order() {
        let node = Resources { cores: 2, memory_mib: 100 };
        let mut pool = Pool::new([node, node], true);
        for (name, cores) in [("a", 1), ("b", 1), ("big", 2), ("c", 1)] {
            pool.push(Resources { cores, memory_mib: 10 }, name);
        }
        assert_eq!(pool.pop(), Some(("a", 0)));
        assert_eq!(pool.pop(), Some(("b", 1)));
        assert_eq!(pool.pop(), None, "a small one does not overtake");
        pool.release(1, Resources { cores: 1, memory_mib: 10 });
        assert_eq!(pool.pop(), Some(("big", 1)));
        assert_eq!(pool.pop(), Some(("c", 0)));
        assert_eq!(pool.pop(), None);
    }

    #[test]
    fn what_never_fits_is_refused_and_a_reason_is_given_for_waiting() {
        let mut pool = Pool::new([Resources { cores: 2, memory_mib: 0 }], true);
        let error = pool.check(Resources { cores: 3, memory_mib: 0 }).unwrap_err();
        assert_eq!(error.message(), "an executor needs 3 cores, but this master has 2");
        pool.push(ONE, 1);
        pool.push(ONE, 2);
        pool.push(ONE, 3);
        assert!(pool.pop().is_some() && pool.pop().is_some());
        assert_eq!(pool.pending_reason(ONE), "needs 1 core; 0 of 2 free");
        assert_eq!(pool.take(|which| *which == 3), [3]);
        let workers: Pool<()> = Pool::new([Resources { cores: 9, memory_mib: 512 }], true);
        let error = workers.check(Resources { cores: 1, memory_mib: 1024 }).unwrap_err();
        assert!(error.message().contains("512 MiB/worker"), "{error}");
    }

    #[test]
    fn a_lost_node_gets_nothing() {
        let mut pool = Pool::new([ONE, ONE], true);
        pool.set_node_up(0, false);
        pool.push(ONE, ());
        assert_eq!(pool.pop(), Some(((), 1)));
        pool.push(ONE, ());
        assert_eq!(pool.pop(), None);
        pool.set_node_up(0, true);
        assert_eq!(pool.pop(), Some(((), 0)));
    }
}

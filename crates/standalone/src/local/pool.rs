//! Cores and memory as slots: who runs where, who waits, in the order of asking.

use std::collections::VecDeque;

use anymaster_core::{Error, Result};

/// What an executor takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) cores: u32,
    /// 0 where memory is not counted.
    pub(crate) memory_mib: u64,
}

/// A machine or worker.
#[derive(Debug, Clone, Copy)]
struct Node {
    total: Need,
    free: Need,
    up: bool,
}

/// All nodes, and what waits for one.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    nodes: Vec<Node>,
    queue: VecDeque<(Need, T)>,
    /// How many at the end of the queue nobody was told about yet.
    untold: usize,
}

impl<T> Pool<T> {
    /// Nodes that are `up`, or are yet to [come up](Self::set_up).
    pub(crate) fn new(nodes: impl IntoIterator<Item = Need>, up: bool) -> Self {
        let node = |total| Node { total, free: total, up };
        Self { nodes: nodes.into_iter().map(node).collect(), queue: VecDeque::new(), untold: 0 }
    }

    /// Whether some node, were it empty, could hold it.
    pub(crate) fn check(&self, need: Need) -> Result<()> {
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

    /// Lets it wait for its turn.
    pub(crate) fn push(&mut self, need: Need, what: T) {
        self.queue.push_back((need, what));
        self.untold += 1;
    }

    /// Takes note of those that wait since the last call and still do.
    pub(crate) fn newly_waiting(&mut self) -> impl Iterator<Item = &(Need, T)> {
        let untold = std::mem::take(&mut self.untold).min(self.queue.len());
        self.queue.range(self.queue.len() - untold..)
    }

    /// Takes out the first one that waits, and its place, if there is room for it: on the node with
    /// the most free cores, as Spark's master spreads executors out.
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

    /// Takes out those that wait and are meant.
    pub(crate) fn take(&mut self, mut is_meant: impl FnMut(&T) -> bool) -> Vec<T> {
        let (taken, left) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|(_, what): &(Need, T)| is_meant(what));
        self.queue = left;
        let taken: VecDeque<_> = taken;
        taken.into_iter().map(|(_, what)| what).collect()
    }

    /// Gives a place back.
    pub(crate) fn release(&mut self, node: usize, need: Need) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.free.cores += need.cores;
            node.free.memory_mib += need.memory_mib;
        }
    }

    /// A node is gone, or back.
    pub(crate) fn set_up(&mut self, node: usize, up: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.up = up;
        }
    }

    /// Why something that needs this has to wait.
    pub(crate) fn why(&self, need: Need) -> String {
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
                "{cores}; needs {} MiB; the freest worker has {memory}{starting}",
                need.memory_mib
            ),
            _ => format!("{cores}{starting}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Need = Need { cores: 1, memory_mib: 0 };

    #[test]
    fn places_are_spread_out_and_given_in_the_order_of_asking() {
        let node = Need { cores: 2, memory_mib: 100 };
        let mut pool = Pool::new([node, node], true);
        for (name, cores) in [("a", 1), ("b", 1), ("big", 2), ("c", 1)] {
            pool.push(Need { cores, memory_mib: 10 }, name);
        }
        assert_eq!(pool.pop(), Some(("a", 0)));
        assert_eq!(pool.pop(), Some(("b", 1)));
        assert_eq!(pool.pop(), None, "a small one does not overtake");
        pool.release(1, Need { cores: 1, memory_mib: 10 });
        assert_eq!(pool.pop(), Some(("big", 1)));
        assert_eq!(pool.pop(), Some(("c", 0)));
        assert_eq!(pool.pop(), None);
    }

    #[test]
    fn what_can_never_fit_is_refused_and_what_waits_knows_why() {
        let mut pool = Pool::new([Need { cores: 2, memory_mib: 0 }], true);
        let error = pool.check(Need { cores: 3, memory_mib: 0 }).unwrap_err();
        assert_eq!(error.message(), "an executor needs 3 cores, but this master has 2");
        pool.push(ONE, 1);
        pool.push(ONE, 2);
        pool.push(ONE, 3);
        assert!(pool.pop().is_some() && pool.pop().is_some());
        assert_eq!(pool.why(ONE), "needs 1 core; 0 of 2 free");
        assert_eq!(pool.take(|which| *which == 3), [3]);
        let workers: Pool<()> = Pool::new([Need { cores: 9, memory_mib: 512 }], true);
        let error = workers.check(Need { cores: 1, memory_mib: 1024 }).unwrap_err();
        assert!(error.message().contains("512 MiB/worker"), "{error}");
    }

    #[test]
    fn a_node_that_is_gone_gets_nothing() {
        let mut pool = Pool::new([ONE, ONE], true);
        pool.set_up(0, false);
        pool.push(ONE, ());
        assert_eq!(pool.pop(), Some(((), 1)));
        pool.push(ONE, ());
        assert_eq!(pool.pop(), None);
        pool.set_up(0, true);
        assert_eq!(pool.pop(), Some(((), 0)));
    }
}

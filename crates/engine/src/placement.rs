//! Which worker gives how much to whom: pure functions over what is free (Spark 3.5, `Master.schedule`).

use std::cmp::Reverse;

use crate::amount::{Amount, Cores};

/// What an application wants of one profile.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// What each executor takes. Its cores count only if `whole_workers` is not set.
    pub(crate) need: Amount,
    /// `spark.executor.cores` is unset: one executor per worker takes all of the cores that it gets.
    pub(crate) whole_workers: bool,
    /// How many more executors there may be.
    pub(crate) executors: u32,
    /// How many more cores the application may have.
    pub(crate) cores: Cores,
}

impl Ask {
    /// The least that a worker has to have left.
    pub(crate) fn chunk(&self) -> Amount {
        let cores = match (self.whole_workers, self.need.cores) {
            (true, _) => Cores::whole(1),
            (_, none) if none == Cores::default() => Cores::whole(1),
            (_, some) => some,
        };
        Amount { cores, ..self.need.clone() }
    }
}

/// An executor to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The worker's place in the list.
    pub(crate) worker: usize,
    pub(crate) cores: Cores,
}

/// Shares out executors among workers, those with the most free cores first. `spread_out`: one chunk
/// of cores for each worker in seq; else one worker is filled after the other.
///
/// `workers` are those that may be used, in any order.
pub(crate) fn place(workers: &[(usize, &Amount)], ask: &Ask, spread_out: bool) -> Vec<Grant> {
    let need = ask.chunk();
    let chunk = need.cores;
    let mut usable: Vec<_> =
        workers.iter().filter(|(_, free)| free.holds(&need, 1)).copied().collect();
    usable.sort_by_key(|(at, free)| (Reverse(free.cores), *at));
    let mut left = ask.cores.min(usable.iter().map(|(_, free)| free.cores).sum());
    let mut room = ask.executors;
    // Chunks of cores for each of them.
    let mut chunks = vec![0_u32; usable.len()];
    let fits = |at: usize, chunks: &[u32], left: Cores, room: u32| {
        let (_, free) = usable[at];
        let has_one = ask.whole_workers && chunks[at] > 0;
        left >= chunk
            && if has_one {
                free.cores >= chunk.times(u64::from(chunks[at]) + 1)
            } else {
                room > 0 && free.holds(&need, chunks[at] + 1)
            }
    };
    let mut open: Vec<usize> = (0..usable.len()).collect();
    while !open.is_empty() {
        open.retain(|at| {
            let mut went = false;
            while fits(*at, &chunks, left, room) {
                if !(ask.whole_workers && chunks[*at] > 0) {
                    room -= 1;
                }
                chunks[*at] += 1;
                left = left - chunk;
                went = true;
                if spread_out {
                    break;
                }
            }
            went && spread_out
        });
    }
    let grants = usable.iter().zip(&chunks).flat_map(|((worker, _), chunks)| {
        let (executors, cores) = match ask.whole_workers {
            true => (u32::from(*chunks > 0), chunk.times(u64::from(*chunks))),
            false => (*chunks, chunk),
        };
        (0..executors).map(move |_| Grant { worker: *worker, cores })
    });
    grants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(cores: u32, memory_mib: u64) -> Amount {
        Amount { cores: Cores::whole(cores), memory_mib, ..Amount::default() }
    }

    fn ask(cores_each: Option<u32>, memory_mib: u64, executors: u32, cores: u32) -> Ask {
        Ask {
            need: amount(cores_each.unwrap_or(0), memory_mib),
            whole_workers: cores_each.is_none(),
            executors,
            cores: if cores == u32::MAX { Cores::ALL } else { Cores::whole(cores) },
        }
    }

    fn placed(workers: &[Amount], ask: &Ask, spread_out: bool) -> Vec<(usize, u32)> {
        let whole = |cores: Cores| cores.as_f64() as u32;
        let workers: Vec<_> = workers.iter().enumerate().collect();
        place(&workers, ask, spread_out)
            .iter()
            .map(|grant| (grant.worker, whole(grant.cores)))
            .collect()
    }

    #[test]
    fn chunks_are_spread_out_or_packed() {
        let workers = [amount(10, 4096), amount(10, 4096), amount(10, 4096)];
        let ask = ask(Some(2), 256, u32::MAX, 8);
        assert_eq!(placed(&workers, &ask, true), [(0, 2), (0, 2), (1, 2), (2, 2)]);
        assert_eq!(placed(&workers, &ask, false), [(0, 2), (0, 2), (0, 2), (0, 2)]);
    }

    #[test]
    fn without_cores_each_worker_has_one_that_grows() {
        let workers = [amount(10, 1024), amount(4, 1024), amount(10, 256)];
        let ask = ask(None, 512, u32::MAX, u32::MAX);
        assert_eq!(placed(&workers, &ask, true), [(0, 10), (1, 4)]);
        let few = Ask { cores: Cores::whole(5), ..ask.clone() };
        assert_eq!(placed(&workers, &few, true), [(0, 3), (1, 2)]);
        assert_eq!(placed(&workers, &few, false), [(0, 5)]);
        let one = Ask { executors: 1, ..ask };
        assert_eq!(placed(&workers, &one, true), [(0, 10)]);
    }

    #[test]
    fn memory_resources_and_limits_bound_it() {
        let mut with_gpus = amount(8, 8192);
        with_gpus.extra.insert("gpu".into(), 3);
        let workers = [amount(16, 1024), with_gpus];
        let mut gpus = ask(Some(1), 512, u32::MAX, u32::MAX);
        gpus.need.extra.insert("gpu".into(), 2);
        assert_eq!(placed(&workers, &gpus, true), [(1, 1)]);
        let plain = ask(Some(1), 512, u32::MAX, u32::MAX);
        assert_eq!(placed(&workers, &plain, true).len(), 2 + 8);
        assert_eq!(
            placed(&workers, &ask(Some(1), 512, 3, u32::MAX), true),
            [(0, 1), (0, 1), (1, 1)]
        );
        assert_eq!(placed(&workers, &ask(Some(3), 512, u32::MAX, 2), true), []);
        assert_eq!(placed(&[], &plain, true), []);
    }
}

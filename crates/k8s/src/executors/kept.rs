//! What whoever keeps the executors of an application writes down for others, and for whoever keeps
//! them after it: an annotation of the driver's pod.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::model::{AllocationStatus, ExecutorId};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

/// The annotation's name.
pub(crate) const ANNOTATION: &str = "anymaster.dev/executors";

/// How many ranges of ids are remembered.
const MAX_RANGES: usize = 500;

/// What is written down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// Ids up to this one may have been given.
    pub(crate) reserved: u64,
    /// How far the allocation is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocation: Option<AllocationStatus>,
    /// Those that were asked to end because the target was lowered: ranges, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stopping: Vec<(u64, u64)>,
}

impl Kept {
    /// What a driver's pod says. Something that nobody of us wrote says nothing.
    pub(crate) fn of(pod: &Pod) -> Self {
        let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(crate) fn is_stopping(&self, id: ExecutorId) -> bool {
        let after = self.stopping.partition_point(|(first, _)| *first <= id.0);
        after > 0 && id.0 <= self.stopping[after - 1].1
    }

    /// Adds some that are asked to end. The lowest ones are forgotten when there are too many.
    pub(crate) fn stop(&mut self, ids: &[ExecutorId]) {
        self.stopping.extend(ids.iter().map(|id| (id.0, id.0)));
        self.stopping.sort_unstable();
        self.stopping.dedup_by(|next, last| {
            let touches = next.0 <= last.1 + 1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        let many = self.stopping.len().saturating_sub(MAX_RANGES);
        self.stopping.drain(..many);
    }
}

/// The same, shared between who keeps the executors and those who watch them in the same process.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptHere(Arc<Mutex<Kept>>);

impl KeptHere {
    pub(crate) fn new(kept: Kept) -> Self {
        Self(Arc::new(Mutex::new(kept)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopping(&self, id: ExecutorId) -> bool {
        self.lock().is_stopping(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_as_ranges() {
        let mut kept = Kept::default();
        kept.stop(&[5, 3, 4, 9].map(ExecutorId));
        kept.stop(&[8, 1].map(ExecutorId));
        assert_eq!(kept.stopping, [(1, 1), (3, 5), (8, 9)]);
        let stopping: Vec<_> = (0..12).filter(|id| kept.is_stopping(ExecutorId(*id))).collect();
        assert_eq!(stopping, [1, 3, 4, 5, 8, 9]);
        for id in 0..10_000 {
            kept.stop(&[ExecutorId(100 + 2 * id)]);
        }
        assert_eq!(kept.stopping.len(), MAX_RANGES);
        assert!(kept.is_stopping(ExecutorId(100 + 2 * 9_999)));
    }
}

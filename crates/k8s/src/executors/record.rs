//! The allocation record: the state that the controller of an application's executors keeps in an
//! annotation of the driver's pod, for watchers and for its successor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::model::{AllocationStatus, ExecutorId};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

/// The name of the annotation.
pub(crate) const ANNOTATION: &str = "anymaster.dev/executors";

/// How many ranges of ids are remembered.
const MAX_RANGES: usize = 500;

/// The content of the annotation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AllocationRecord {
    /// Ids up to this one may have been used.
    pub(crate) reserved: u64,
    /// The progress of the allocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocation: Option<AllocationStatus>,
    /// Executors that were stopped because the target was lowered: sorted ranges of ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stopping: Vec<(u64, u64)>,
}

impl AllocationRecord {
    /// The record of a driver's pod; empty where the annotation is missing or cannot be parsed.
    pub(crate) fn of(pod: &Pod) -> Self {
        let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(crate) fn is_stopping(&self, id: ExecutorId) -> bool {
        let after = self.stopping.partition_point(|(first, _)| *first <= id.0);
        after > 0 && id.0 <= self.stopping[after - 1].1
    }

    /// Adds executors that are stopped. The lowest ids are forgotten when there are too many
    /// ranges.
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

/// The record, shared between the controller and the watchers in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedRecord(Arc<Mutex<AllocationRecord>>);

impl SharedRecord {
    pub(crate) fn new(record: AllocationRecord) -> Self {
        Self(Arc::new(Mutex::new(record)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, AllocationRecord> {
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
    fn ids_are_stored_as_ranges() {
        let mut record = AllocationRecord::default();
        record.stop(&[5, 3, 4, 9].map(ExecutorId));
        record.stop(&[8, 1].map(ExecutorId));
        assert_eq!(record.stopping, [(1, 1), (3, 5), (8, 9)]);
        let stopping: Vec<_> = (0..12).filter(|id| record.is_stopping(ExecutorId(*id))).collect();
        assert_eq!(stopping, [1, 3, 4, 5, 8, 9]);
        for id in 0..10_000 {
            record.stop(&[ExecutorId(100 + 2 * id)]);
        }
        assert_eq!(record.stopping.len(), MAX_RANGES);
        assert!(record.is_stopping(ExecutorId(100 + 2 * 9_999)));
    }
}

//! The states of executors in the status: bounded, with all that live in it.

use std::collections::BTreeMap;

use super::Seen;
use crate::v1beta2::ExecutorState;

/// The states of executors by the names of their pods. Those that are gone are unknown until their application ends.
/// Of more than the status may have, the ended ones with the lowest ids are left out.
pub(super) fn executor_states(seen: &Seen<'_>) -> BTreeMap<String, ExecutorState> {
    let id = &seen.status.submission_id;
    let mut states = seen.status.executor_state.clone();
    for (name, state) in &mut states {
        if !state.is_ended() && !seen.executors.contains_key(name) {
            *state = ExecutorState::Unknown;
        }
    }
    for pod in seen.executors.values().filter(|pod| pod.submission_id == *id || id.is_empty()) {
        states.insert(pod.name.clone(), pod.state);
    }
    let excess = states.len().saturating_sub(seen.settings.max_executors);
    if excess > 0 {
        let is_alive =
            |state: ExecutorState| matches!(state, ExecutorState::Running | ExecutorState::Pending);
        let mut ended: Vec<String> = states
            .iter()
            .filter(|(_, state)| !is_alive(**state))
            .map(|(name, _)| name.clone())
            .collect();
        ended.sort_by_key(|name| number(name));
        for name in ended.into_iter().take(excess) {
            states.remove(&name);
        }
    }
    states
}

/// The id of an executor: the number at the end of its pod's name.
fn number(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|id| id.parse().ok()).unwrap_or(0)
}

/// What changed: for each state, how many executors came to it, and one of them.
pub(super) fn changes(
    before: &BTreeMap<String, ExecutorState>,
    now: &BTreeMap<String, ExecutorState>,
) -> Vec<(ExecutorState, usize, String)> {
    let mut changes: Vec<(ExecutorState, usize, String)> = Vec::new();
    for (name, state) in now {
        if before.get(name) == Some(state) {
            continue;
        }
        match changes.iter_mut().find(|(known, ..)| known == state) {
            Some((_, number, _)) => *number += 1,
            None => changes.push((*state, 1, name.clone())),
        }
    }
    changes
}

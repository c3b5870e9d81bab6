//! A cache of the last reported status of each pod, which turns lists and watch events into
//! changes.

use std::collections::{HashMap, HashSet};
use std::{iter, mem};

use anymaster_core::model::{AppId, Cause, Event, ExecutorId, KilledBy, State, Status};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::executors::{AllocationRecord, SharedRecord};
use crate::pod;

/// A pod's uid.
type Uid = u128;

/// The last reported status of each existing pod, by uid.
#[derive(Default)]
pub(crate) struct StatusCache {
    statuses: HashMap<Uid, Status>,
    applications: HashMap<AppId, Application>,
    /// The list in progress, and the statuses before it.
    listing: Option<Listing>,
    has_synced: bool,
    /// The record of the application, if this process is its driver.
    shared_record: Option<SharedRecord>,
}

#[derive(Default)]
struct Listing {
    seen: HashSet<Uid>,
    before: HashMap<Uid, Status>,
}

/// What determines the cause of an executor's end.
#[derive(Default)]
struct Application {
    /// Its driver is ending or has ended.
    driver_ended: bool,
    /// Its driver's pod exists.
    has_driver: bool,
    executors: usize,
    record: AllocationRecord,
}

impl StatusCache {
    /// A cache for an application whose driver is this process.
    pub(crate) fn with_shared_record(record: SharedRecord) -> Self {
        Self { shared_record: Some(record), ..Self::default() }
    }

    /// A cache that knows these drivers, for a watch that resumes from a resource version.
    pub(crate) fn with_drivers(drivers: &[Pod]) -> Self {
        let mut cache = Self { has_synced: true, ..Self::default() };
        let mut unused = Vec::new();
        drivers.iter().for_each(|pod| cache.apply_pod(pod, &mut unused));
        cache
    }

    /// The statuses of a complete list of pods.
    pub(crate) fn statuses(pods: &[Pod]) -> Vec<Status> {
        let (mut cache, mut events) = (Self::default(), Vec::new());
        cache.begin_list();
        pods.iter().for_each(|pod| cache.list_item(pod, &mut events));
        cache.end_list(&mut events);
        let statuses = events.into_iter().filter_map(|event| match event {
            Event::Changed(status) => Some(status),
            _ => None,
        });
        statuses.collect()
    }

    /// Whether a list has been completed.
    pub(super) fn has_synced(&self) -> bool {
        self.has_synced
    }

    /// Begins a list.
    pub(super) fn begin_list(&mut self) {
        let mut before = mem::take(&mut self.statuses);
        before.retain(|_, status| !is_ended(status));
        if let Some(unfinished) = self.listing.take() {
            before.extend(unfinished.before);
        }
        for app in self.applications.values_mut() {
            // These are set again by the list.
            (app.has_driver, app.executors, app.record.allocation) = (false, 0, None);
        }
        self.listing = Some(Listing { seen: HashSet::new(), before });
    }

    /// Adds a pod of the list.
    pub(super) fn list_item(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        let uid = uid(pod);
        if let Some(listing) = &mut self.listing {
            listing.seen.insert(uid);
            listing.before.remove(&uid);
        }
        self.update(uid, pod, events);
    }

    /// Ends a list: pods of the previous one that are missing were deleted meanwhile.
    pub(super) fn end_list(&mut self, events: &mut Vec<Event>) {
        self.has_synced = true;
        let listing = self.listing.take().unwrap_or_default();
        let now = Timestamp::now();
        for (_, status) in listing.before {
            if let Status::Driver(driver) = &status {
                self.applications.entry(driver.app.clone()).or_default().driver_ended = true;
            }
            events.push(Event::Changed(pod::lost(status, now)));
        }
        // Causes depend on drivers, which are complete only now.
        for event in events {
            if let Event::Changed(status) = event {
                self.resolve_cause(status);
            }
        }
        self.applications.retain(|_, app| app.has_driver || app.executors > 0);
    }

    /// A pod was added or modified.
    pub(super) fn apply_pod(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        self.update(uid(pod), pod, events);
    }

    fn update(&mut self, uid: Uid, pod: &Pod, events: &mut Vec<Event>) {
        let Some(mut status) = pod::status(pod) else { return };
        if let Status::Driver(driver) = &status {
            let app = self.applications.entry(driver.app.clone()).or_default();
            app.has_driver = true;
            app.driver_ended = driver.state.rank() >= State::Ending.rank();
            let record = AllocationRecord::of(pod);
            if record.allocation != app.record.allocation
                && let Some(allocation) = &record.allocation
            {
                events.push(Event::Changed(Status::Allocation(allocation.clone())));
            }
            app.record = record;
        }
        // No change is reported after an end.
        if self.statuses.get(&uid).is_some_and(|last| is_ended(last) || *last == status) {
            return;
        }
        self.resolve_cause(&mut status);
        if let Some(last) = self.statuses.insert(uid, status.clone()) {
            self.uncount(&last);
        }
        if is_live_executor(&status) {
            self.applications.entry(status.app().clone()).or_default().executors += 1;
        }
        events.push(Event::Changed(status));
    }

    /// A pod was deleted.
    pub(super) fn apply_deletion(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        let uid = uid(pod);
        let Some(mut status) = pod::status_after_deletion(pod, Timestamp::now()) else { return };
        if let Status::Driver(driver) = &status {
            let app = self.applications.entry(driver.app.clone()).or_default();
            (app.has_driver, app.driver_ended) = (false, true);
        }
        self.resolve_cause(&mut status);
        let last = self.statuses.remove(&uid);
        if let Some(last) = &last {
            self.uncount(last);
        }
        let app = status.app().clone();
        if self.applications.get(&app).is_some_and(|app| !app.has_driver && app.executors == 0) {
            self.applications.remove(&app);
        }
        // The end of an unknown pod that had ended was reported by an earlier watch.
        if !last.as_ref().map_or_else(|| pod::state(pod).is_ended(), is_ended) {
            events.push(Event::Changed(status));
        }
    }

    fn uncount(&mut self, last: &Status) {
        if is_live_executor(last)
            && let Some(app) = self.applications.get_mut(last.app())
        {
            app.executors = app.executors.saturating_sub(1);
        }
    }

    /// The current state as events, for a new subscriber.
    pub(super) fn replay(&self) -> Vec<Event> {
        let allocations =
            self.applications.values().filter_map(|app| app.record.allocation.clone());
        let statuses = allocations.map(Status::Allocation).chain(self.statuses.values().cloned());
        iter::once(Event::Restarted).chain(statuses.map(Event::Changed)).collect()
    }

    /// Sets who ended a deleted executor: that follows from the application, not from the pod.
    fn resolve_cause(&self, status: &mut Status) {
        let Status::Executor(executor) = status else { return };
        let id = executor.id;
        let State::Ended(end) = &mut executor.state else { return };
        let is_undetermined = match &end.cause {
            Cause::Killed { by: KilledBy::Request } => true,
            Cause::Lost { why } => &**why == pod::DELETED_UNSEEN,
            _ => false,
        };
        if is_undetermined && let Some(by) = self.killed_by(&executor.app, id) {
            end.cause = Cause::Killed { by };
        }
    }

    fn killed_by(&self, app: &AppId, id: ExecutorId) -> Option<KilledBy> {
        if let Some(record) = &self.shared_record {
            return record.is_stopping(id).then_some(KilledBy::ScaleDown);
        }
        let app = self.applications.get(app)?;
        if app.record.is_stopping(id) {
            return Some(KilledBy::ScaleDown);
        }
        app.driver_ended.then_some(KilledBy::DriverEnd)
    }
}

fn is_live_executor(status: &Status) -> bool {
    matches!(status, Status::Executor(_)) && !is_ended(status)
}

fn is_ended(status: &Status) -> bool {
    status.state().is_some_and(State::is_ended)
}

/// The uid as a number: it takes half the memory of its text.
fn uid(pod: &Pod) -> Uid {
    let text = pod.metadata.uid.as_deref().unwrap_or_default();
    text.bytes().filter(u8::is_ascii_hexdigit).fold(0, |number, digit| {
        (number << 4) | u128::from(char::from(digit).to_digit(16).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(role: &str, number: u32, status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("{role}-{number}"), "namespace": "ns", "uid": format!("{role:x>8}-{number:04}"),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"spark-role": role, "spark-app-selector": "app", "spark-exec-id": number.to_string()},
            },
            "spec": {"containers": [{"name": "c"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn summary(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .map(|event| match event {
                Event::Changed(Status::Executor(executor)) => match executor.state.end() {
                    Some(end) => format!("{} {}", executor.id, end.cause),
                    None => format!("{} {}", executor.id, executor.state.word()),
                },
                Event::Changed(status) => {
                    status.state().map_or("allocation", State::word).to_owned()
                }
                _ => "-".to_owned(),
            })
            .collect()
    }

    #[test]
    fn an_end_is_reported_once_with_its_cause() {
        let mut cache = StatusCache::default();
        let mut events = Vec::new();
        let running = || json!({"phase": "Running"});
        cache.apply_pod(&pod("driver", 0, running()), &mut events);
        for number in 1..=3 {
            cache.apply_pod(&pod("executor", number, running()), &mut events);
            cache.apply_pod(&pod("executor", number, running()), &mut events);
        }
        assert_eq!(summary(&events), ["Running", "1 Running", "2 Running", "3 Running"]);
        events.clear();
        let failed = json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}]});
        let ended = pod("executor", 1, failed);
        cache.apply_pod(&ended, &mut events);
        cache.apply_pod(&ended, &mut events);
        cache.apply_deletion(&ended, &mut events);
        cache.apply_deletion(&pod("executor", 2, running()), &mut events);
        cache.apply_deletion(&pod("driver", 0, running()), &mut events);
        cache.apply_deletion(&pod("executor", 3, running()), &mut events);
        assert_eq!(
            summary(&events),
            [
                "1 exited with code 3",
                "2 killed on request",
                "Killed",
                "3 stopped because the driver ended"
            ]
        );
        assert!(cache.statuses.is_empty() && cache.applications.is_empty());
    }

    #[test]
    fn a_pod_missing_from_a_new_list_is_lost() {
        let mut cache = StatusCache::default();
        let mut events = Vec::new();
        cache.begin_list();
        for number in [1, 2] {
            cache.list_item(&pod("executor", number, json!({"phase": "Running"})), &mut events);
        }
        cache.end_list(&mut events);
        events.clear();
        cache.begin_list();
        cache.list_item(&pod("executor", 2, json!({"phase": "Running"})), &mut events);
        // Interrupted and restarted.
        cache.begin_list();
        cache.list_item(&pod("executor", 2, json!({"phase": "Running"})), &mut events);
        cache.end_list(&mut events);
        let summary = summary(&events);
        assert!(summary[2].starts_with("1 lost"), "{summary:?}");
        assert_eq!(summary.len(), 3);
    }

    #[test]
    fn an_application_deleted_between_two_lists_is_forgotten() {
        let mut cache = StatusCache::default();
        let mut events = Vec::new();
        cache.begin_list();
        cache.list_item(&pod("driver", 0, json!({"phase": "Running"})), &mut events);
        cache.end_list(&mut events);
        assert_eq!(cache.applications.len(), 1);
        cache.begin_list();
        cache.end_list(&mut events);
        assert!(cache.statuses.is_empty() && cache.applications.is_empty());
    }
}

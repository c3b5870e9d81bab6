//! What was told so far, and so what is news.

use std::collections::{HashMap, HashSet};
use std::{iter, mem};

use anymaster_core::model::{AppId, Cause, Event, ExecutorId, KilledBy, State, Status};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::executors::{Kept, KeptHere};
use crate::pod;

/// A pod's uid.
type Uid = u128;

/// What was told so far of the pods that are there, by their uids.
#[derive(Default)]
pub(crate) struct Known {
    told: HashMap<Uid, Status>,
    applications: HashMap<AppId, Application>,
    /// The list that is coming in, and what was known before.
    listing: Option<Listing>,
    begun: bool,
    /// What this process knows of the application, if that has no driver's pod.
    here: Option<KeptHere>,
}

#[derive(Default)]
struct Listing {
    seen: HashSet<Uid>,
    before: HashMap<Uid, Status>,
}

/// What bears on the ends of an application's executors.
#[derive(Default)]
struct Application {
    /// Its driver ends, or has ended.
    is_over: bool,
    /// Its driver's pod is there.
    has_driver: bool,
    executors: usize,
    kept: Kept,
}

impl Known {
    /// For an application without a driver's pod.
    pub(crate) fn here(kept: KeptHere) -> Self {
        Self { here: Some(kept), ..Self::default() }
    }

    /// Learns of drivers before a watch goes on from somewhere.
    pub(crate) fn with_drivers(drivers: &[Pod]) -> Self {
        let mut known = Self { begun: true, ..Self::default() };
        let mut unused = Vec::new();
        drivers.iter().for_each(|pod| known.changed(pod, &mut unused));
        known
    }

    /// What some pods say, all of them being there.
    pub(crate) fn statuses(pods: &[Pod]) -> Vec<Status> {
        let (mut known, mut events) = (Self::default(), Vec::new());
        known.restart();
        pods.iter().for_each(|pod| known.listed(pod, &mut events));
        known.complete(&mut events);
        let statuses = events.into_iter().filter_map(|event| match event {
            Event::Changed(status) => Some(status),
            _ => None,
        });
        statuses.collect()
    }

    /// Whether anything was seen.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// A list begins.
    pub(super) fn restart(&mut self) {
        let mut before = mem::take(&mut self.told);
        before.retain(|_, status| !is_over(status));
        if let Some(unfinished) = self.listing.take() {
            before.extend(unfinished.before);
        }
        for app in self.applications.values_mut() {
            // All of it is told again.
            (app.has_driver, app.executors, app.kept.allocation) = (false, 0, None);
        }
        self.listing = Some(Listing { seen: HashSet::new(), before });
    }

    /// A line of the list.
    pub(super) fn listed(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        let uid = uid(pod);
        if let Some(listing) = &mut self.listing {
            listing.seen.insert(uid);
            listing.before.remove(&uid);
        }
        self.tell(uid, pod, events);
    }

    /// The list is complete: what was there and is no more has gone while nobody looked.
    pub(super) fn complete(&mut self, events: &mut Vec<Event>) {
        self.begun = true;
        let listing = self.listing.take().unwrap_or_default();
        let now = Timestamp::now();
        for (_, status) in listing.before {
            if let Status::Driver(driver) = &status {
                self.applications.entry(driver.app.clone()).or_default().is_over = true;
            }
            events.push(Event::Changed(pod::gone(status, now)));
        }
        // Only now all drivers are known.
        for event in events {
            if let Event::Changed(status) = event {
                self.find_cause(status);
            }
        }
        self.applications.retain(|_, app| app.has_driver || app.executors > 0);
    }

    /// A pod is new, or another.
    pub(super) fn changed(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        self.tell(uid(pod), pod, events);
    }

    fn tell(&mut self, uid: Uid, pod: &Pod, events: &mut Vec<Event>) {
        let Some(mut status) = pod::status(pod) else { return };
        if let Status::Driver(driver) = &status {
            let app = self.applications.entry(driver.app.clone()).or_default();
            app.has_driver = true;
            app.is_over = driver.state.rank() >= State::Ending.rank();
            let kept = Kept::of(pod);
            if kept.allocation != app.kept.allocation
                && let Some(allocation) = &kept.allocation
            {
                events.push(Event::Changed(Status::Allocation(allocation.clone())));
            }
            app.kept = kept;
        }
        // Nothing follows an end.
        if self.told.get(&uid).is_some_and(|last| is_over(last) || *last == status) {
            return;
        }
        self.find_cause(&mut status);
        if let Some(last) = self.told.insert(uid, status.clone()) {
            self.uncount(&last);
        }
        if is_live_executor(&status) {
            self.applications.entry(status.app().clone()).or_default().executors += 1;
        }
        events.push(Event::Changed(status));
    }

    /// A pod is gone.
    pub(super) fn deleted(&mut self, pod: &Pod, events: &mut Vec<Event>) {
        let uid = uid(pod);
        let Some(mut status) = pod::status_when_gone(pod, Timestamp::now()) else { return };
        if let Status::Driver(driver) = &status {
            let app = self.applications.entry(driver.app.clone()).or_default();
            (app.has_driver, app.is_over) = (false, true);
        }
        self.find_cause(&mut status);
        let last = self.told.remove(&uid);
        if let Some(last) = &last {
            self.uncount(last);
        }
        let app = status.app().clone();
        if self.applications.get(&app).is_some_and(|app| !app.has_driver && app.executors == 0) {
            self.applications.remove(&app);
        }
        // One that is new to us and had ended was told before we came.
        if !last.as_ref().map_or_else(|| pod::state(pod).is_ended(), is_over) {
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

    /// All of it once more, for somebody who comes later.
    pub(super) fn again(&self) -> Vec<Event> {
        let allocations = self.applications.values().filter_map(|app| app.kept.allocation.clone());
        let statuses = allocations.map(Status::Allocation).chain(self.told.values().cloned());
        iter::once(Event::Restarted).chain(statuses.map(Event::Changed)).collect()
    }

    /// Who deleted an executor: its pod does not say, but the application does.
    fn find_cause(&self, status: &mut Status) {
        let Status::Executor(executor) = status else { return };
        let id = executor.id;
        let State::Ended(end) = &mut executor.state else { return };
        let is_open = match &end.cause {
            Cause::Killed { by: KilledBy::Request } => true,
            Cause::Lost { why } => &**why == pod::UNSEEN,
            _ => false,
        };
        if is_open && let Some(by) = self.killer(&executor.app, id) {
            end.cause = Cause::Killed { by };
        }
    }

    fn killer(&self, app: &AppId, id: ExecutorId) -> Option<KilledBy> {
        if let Some(here) = &self.here {
            return here.is_stopping(id).then_some(KilledBy::ScaleDown);
        }
        let app = self.applications.get(app)?;
        if app.kept.is_stopping(id) {
            return Some(KilledBy::ScaleDown);
        }
        app.is_over.then_some(KilledBy::DriverEnd)
    }
}

fn is_live_executor(status: &Status) -> bool {
    matches!(status, Status::Executor(_)) && !is_over(status)
}

fn is_over(status: &Status) -> bool {
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

    fn told(events: &[Event]) -> Vec<String> {
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
    fn an_end_is_told_once_with_its_cause() {
        let mut known = Known::default();
        let mut events = Vec::new();
        let running = || json!({"phase": "Running"});
        known.changed(&pod("driver", 0, running()), &mut events);
        for number in 1..=3 {
            known.changed(&pod("executor", number, running()), &mut events);
            known.changed(&pod("executor", number, running()), &mut events);
        }
        assert_eq!(told(&events), ["Running", "1 Running", "2 Running", "3 Running"]);
        events.clear();
        let failed = json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}]});
        let ended = pod("executor", 1, failed);
        known.changed(&ended, &mut events);
        known.changed(&ended, &mut events);
        known.deleted(&ended, &mut events);
        known.deleted(&pod("executor", 2, running()), &mut events);
        known.deleted(&pod("driver", 0, running()), &mut events);
        known.deleted(&pod("executor", 3, running()), &mut events);
        assert_eq!(
            told(&events),
            [
                "1 exited with code 3",
                "2 killed on request",
                "Killed",
                "3 stopped because the driver ended"
            ]
        );
        assert!(known.told.is_empty() && known.applications.is_empty());
    }

    #[test]
    fn what_a_new_list_does_not_show_has_gone() {
        let mut known = Known::default();
        let mut events = Vec::new();
        known.restart();
        for number in [1, 2] {
            known.listed(&pod("executor", number, json!({"phase": "Running"})), &mut events);
        }
        known.complete(&mut events);
        events.clear();
        known.restart();
        known.listed(&pod("executor", 2, json!({"phase": "Running"})), &mut events);
        // Broken off and begun again.
        known.restart();
        known.listed(&pod("executor", 2, json!({"phase": "Running"})), &mut events);
        known.complete(&mut events);
        let told = told(&events);
        assert!(told[2].starts_with("1 lost"), "{told:?}");
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn an_application_that_went_between_two_lists_is_forgotten() {
        let mut known = Known::default();
        let mut events = Vec::new();
        known.restart();
        known.listed(&pod("driver", 0, json!({"phase": "Running"})), &mut events);
        known.complete(&mut events);
        assert_eq!(known.applications.len(), 1);
        known.restart();
        known.complete(&mut events);
        assert!(known.told.is_empty() && known.applications.is_empty());
    }
}

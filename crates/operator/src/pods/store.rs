//! The pods of all applications, as a watch reports them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

use super::{AppPod, DriverPod, ExecutorPod, Key, key, read};

/// The pods of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AppPods {
    /// By the names of the pods.
    pub(crate) drivers: BTreeMap<String, DriverPod>,
    /// The last that was seen of the latest driver that was deleted.
    pub(crate) last_driver: Option<DriverPod>,
    /// By the names of the pods.
    pub(crate) executors: BTreeMap<String, ExecutorPod>,
}

impl AppPods {
    fn is_empty(&self) -> bool {
        self.drivers.is_empty() && self.executors.is_empty() && self.last_driver.is_none()
    }

    fn remove(&mut self, name: &str) -> bool {
        if let Some(driver) = self.drivers.remove(name) {
            self.last_driver = Some(driver);
            return true;
        }
        self.executors.remove(name).is_some()
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.drivers.keys().chain(self.executors.keys())
    }
}

/// The pods of all applications.
#[derive(Debug)]
pub(crate) struct Pods {
    known: Mutex<Known>,
    is_complete: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    apps: HashMap<Key, AppPods>,
    /// The pods of a list that is being read.
    listed: HashMap<Key, HashSet<String>>,
}

/// The applications whose pods an event changed.
type Change = Vec<Key>;

impl Default for Pods {
    fn default() -> Self {
        Self { known: Mutex::default(), is_complete: watch::Sender::new(false) }
    }
}

impl Pods {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first list.
    pub(crate) async fn complete(&self) {
        // It fails only without a sender, which is here.
        let _ = self.is_complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Whether the first list was read.
    pub(crate) fn is_complete(&self) -> bool {
        *self.is_complete.borrow()
    }

    /// The pods of an application.
    pub(crate) fn of(&self, key: &Key) -> AppPods {
        self.known().apps.get(key).cloned().unwrap_or_default()
    }

    /// Forgets the deleted drivers of an application that is gone.
    pub(crate) fn forget(&self, key: &Key) {
        let mut known = self.known();
        if let Some(app) = known.apps.get_mut(key) {
            app.last_driver = None;
            if app.is_empty() {
                known.apps.remove(key);
            }
        }
    }

    /// Applies an event of the watch.
    pub(crate) fn apply(&self, event: &Event<Pod>) -> Change {
        let mut known = self.known();
        match event {
            Event::Apply(pod) => known.apply(pod),
            Event::Delete(pod) => known.delete(pod),
            Event::Init => {
                known.listed.clear();
                Change::new()
            }
            Event::InitApply(pod) => {
                if let Some(key) = key(pod) {
                    known.listed.entry(key).or_default().insert(pod.name_any());
                }
                known.apply(pod)
            }
            Event::InitDone => {
                let change = known.drop_unlisted();
                drop(known);
                self.is_complete.send_replace(true);
                change
            }
        }
    }
}

impl Known {
    fn apply(&mut self, pod: &Pod) -> Change {
        let (Some(key), Some(read)) = (key(pod), read(pod)) else { return Change::new() };
        let app = self.apps.entry(key.clone()).or_default();
        let is_changed = match read {
            AppPod::Driver(driver) => {
                let before = app.drivers.insert(driver.name.clone(), driver.clone());
                if let Some(before) = before.as_ref().filter(|before| before.uid != driver.uid) {
                    // A pod of the same name came in its place.
                    app.last_driver = Some(before.clone());
                }
                before != Some(driver)
            }
            AppPod::Executor(executor) => {
                app.executors.insert(executor.name.clone(), executor.clone()) != Some(executor)
            }
        };
        if is_changed { vec![key] } else { Change::new() }
    }

    fn delete(&mut self, pod: &Pod) -> Change {
        // The event has the last status: a driver may have ended since the one before.
        self.apply(pod);
        let Some(key) = key(pod) else { return Change::new() };
        let Some(app) = self.apps.get_mut(&key) else { return Change::new() };
        let is_known = app.remove(&pod.name_any());
        if app.is_empty() {
            self.apps.remove(&key);
        }
        if is_known { vec![key] } else { Change::new() }
    }

    /// Removes what a complete list does not have.
    fn drop_unlisted(&mut self) -> Change {
        let listed = std::mem::take(&mut self.listed);
        let mut change = Change::new();
        self.apps.retain(|key, app| {
            let of_app = listed.get(key);
            let gone: Vec<String> = app
                .names()
                .filter(|name| of_app.is_none_or(|names| !names.contains(*name)))
                .cloned()
                .collect();
            for name in &gone {
                app.remove(name);
            }
            if !gone.is_empty() {
                change.push(key.clone());
            }
            !app.is_empty()
        });
        change
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::Outcome;

    fn pod(name: &str, uid: &str, role: &str, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}, "status": {"phase": phase},
            "metadata": {"name": name, "namespace": "ns", "uid": uid,
                "labels": {"spark-role": role, "sparkoperator.k8s.io/app-name": "app"}},
        }))
        .unwrap()
    }

    fn key() -> Key {
        ("ns".to_owned(), "app".to_owned())
    }

    #[test]
    fn only_changes_that_count_are_reported() {
        let pods = Pods::default();
        let running = Event::Apply(pod("d", "1", "driver", "Running"));
        assert_eq!(pods.apply(&running), [key()]);
        assert_eq!(pods.apply(&running), Change::new());
        assert_eq!(pods.apply(&Event::Apply(pod("e", "2", "executor", "Pending"))), [key()]);
        let of_app = pods.of(&key());
        assert_eq!((of_app.drivers.len(), of_app.executors.len()), (1, 1));
    }

    #[test]
    fn the_last_status_of_a_deleted_driver_is_kept_until_its_application_is_gone() {
        let pods = Pods::default();
        pods.apply(&Event::Apply(pod("d", "1", "driver", "Running")));
        assert_eq!(pods.apply(&Event::Delete(pod("d", "1", "driver", "Succeeded"))), [key()]);
        let of_app = pods.of(&key());
        assert_eq!(of_app.last_driver.unwrap().outcome, Outcome::Completed);
        assert!(of_app.drivers.is_empty());
        pods.forget(&key());
        assert_eq!(pods.of(&key()), AppPods::default());
        assert!(pods.known().apps.is_empty());
    }

    #[test]
    fn what_a_new_list_does_not_have_was_deleted() {
        let pods = Pods::default();
        for event in
            [Event::Init, Event::InitApply(pod("d", "1", "driver", "Running")), Event::InitDone]
        {
            pods.apply(&event);
        }
        assert!(pods.is_complete());
        pods.apply(&Event::Apply(pod("e", "2", "executor", "Running")));
        pods.apply(&Event::Init);
        pods.apply(&Event::InitApply(pod("e", "2", "executor", "Running")));
        assert_eq!(pods.apply(&Event::InitDone), [key()]);
        let of_app = pods.of(&key());
        assert_eq!(of_app.last_driver.unwrap().uid, "1");
        assert_eq!(of_app.executors.len(), 1);
    }

    #[test]
    fn a_pod_that_came_in_the_place_of_another_is_another_one() {
        let pods = Pods::default();
        pods.apply(&Event::Apply(pod("d", "1", "driver", "Succeeded")));
        pods.apply(&Event::Apply(pod("d", "2", "driver", "Pending")));
        let of_app = pods.of(&key());
        assert_eq!(of_app.drivers["d"].uid, "2");
        assert_eq!(of_app.last_driver.unwrap().uid, "1");
    }
}

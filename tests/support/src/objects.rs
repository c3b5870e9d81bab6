//! Normalizes objects for comparison: ids, times and defaults of the API server are removed.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};

/// Normalizes the objects of a submission.
pub fn comparable(objects: &BTreeMap<String, Vec<Value>>) -> Value {
    let cleaner = Normalizer {
        ids: [
            (r"spark-[0-9a-f]{32}", "APP"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
            (r"-[0-9a-f]{16}", "-ID"),
        ]
        .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name)),
    };
    let mut lists = Map::new();
    for (kind, list) in objects {
        let mut list: Vec<Value> = list.iter().map(|object| cleaner.object(object)).collect();
        list.sort_by_key(Value::to_string);
        lists.insert(kind.clone(), Value::Array(list));
    }
    Value::Object(lists)
}

struct Normalizer {
    ids: [(Regex, &'static str); 3],
}

/// Defaults that the API server adds.
fn is_default(key: &str, value: &Value) -> bool {
    let defaults = json!({
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "dnsPolicy": "ClusterFirst",
        "preemptionPolicy": "PreemptLowerPriority", "priority": 0, "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30, "defaultMode": 420, "mode": 420,
        "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None", "type": "ClusterIP", "protocol": "TCP", "clusterIPs": ["None"],
        "imagePullPolicy": "IfNotPresent", "volumeMode": "Filesystem", "serviceAccountName": "default",
    });
    defaults.get(key) == Some(value) || (key == "apiVersion" && value == "v1")
}

/// Fields that differ between runs, or that Spark does not set.
const IGNORED: [&str; 14] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "status",
    "finalizers",
    "namespace",
    "enableServiceLinks",
    "kind",
    "serviceAccount",
    "spark-version",
    "spark.app.submitTime",
    "spark.local.dir",
];

impl Normalizer {
    fn object(&self, object: &Value) -> Value {
        self.clean("", object)
    }

    fn text(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (pattern, name)| {
            pattern.replace_all(&text, *name).into_owned()
        })
    }

    fn clean(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::Object(map) => self.map(key, map),
            Value::Array(list) => {
                let mut list: Vec<Value> = list
                    .iter()
                    .filter(|item| !is_added(key, item))
                    .map(|item| self.clean(key, item))
                    .collect();
                if matches!(key, "env" | "volumes" | "volumeMounts" | "ports" | "items") {
                    list.sort_by_key(|item| (item["name"].to_string(), item.to_string()));
                }
                Value::Array(list)
            }
            Value::String(text) => Value::String(self.text(text)),
            other => other.clone(),
        }
    }

    fn map(&self, key: &str, map: &Map<String, Value>) -> Value {
        let mut clean = Map::new();
        for (name, value) in map {
            let of_ours =
                matches!(key, "labels" | "annotations") && name.starts_with("anymaster.dev/");
            let repeated = name == "targetPort" && map.get("port") == Some(value);
            if of_ours || repeated || IGNORED.contains(&name.as_str()) || is_default(name, value) {
                continue;
            }
            let value = match value {
                Value::String(text) if name.ends_with(".properties") && key == "data" => {
                    self.properties(text)
                }
                value => self.clean(name, value),
            };
            let is_empty = value.as_object().is_some_and(Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            if is_empty && name != "emptyDir" {
                continue;
            }
            clean.insert(name.clone(), value);
        }
        Value::Object(clean)
    }

    /// Properties as a map, without order and comments.
    fn properties(&self, text: &str) -> Value {
        let entries = anymaster_core::conf::read_properties(text).unwrap();
        let told = entries.into_iter().filter(|(key, _)| {
            !IGNORED.contains(&key.as_str()) && !key.starts_with("spark.anymaster.")
        });
        told.map(|(key, value)| (key, Value::String(self.text(&value))))
            .collect::<Map<_, _>>()
            .into()
    }
}

/// Tolerations and volumes that admission adds.
fn is_added(key: &str, item: &Value) -> bool {
    let name = item["name"].as_str().unwrap_or_default();
    let toleration = item["key"].as_str().unwrap_or_default();
    (matches!(key, "volumes" | "volumeMounts") && name.starts_with("kube-api-access-"))
        || (key == "tolerations" && toleration.starts_with("node.kubernetes.io/"))
}

/// Where two values differ.
pub fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let absent = Value::Null;
                let path = format!("{path}/{key}");
                differences(
                    &path,
                    a.get(key).unwrap_or(&absent),
                    b.get(key).unwrap_or(&absent),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ if ours != theirs => found.push(format!("{path}: ours {ours}, Spark's {theirs}")),
        _ => {}
    }
}

//! Where two outcomes of a line differ.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::spark::Outcome;
use anymaster_test_support::objects;

/// One difference.
#[derive(Debug, Clone)]
pub(crate) enum Difference {
    /// Spark submits it, ours refuses it with these words.
    OursFails(String),
    /// Ours would submit it, Spark refuses it with these words.
    SparkFails(String),
    /// Something is not the same in the objects: where, and what both have.
    Object(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OursFails(said) => write!(f, "only ours fails: {}", said.trim()),
            Self::SparkFails(said) => write!(f, "only Spark fails: {}", said.trim()),
            Self::Object(what) => f.write_str(what),
        }
    }
}

impl Difference {
    /// What it has in common with the same difference of other lines.
    pub(crate) fn sort(&self) -> String {
        let text = match self {
            // Its values are those of the line.
            Self::Object(what) => what.split(": ours ").next().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        let values =
            Regex::new(r#"spark\.[\w.-]+|"[^"]*"|'[^']*'|`[^`]*`|/[^\s:]*/[^\s:]+|\[\d+\]|\d+"#)
                .unwrap();
        values.replace_all(&text, "_").into_owned()
    }
}

/// All differences of two outcomes.
pub(crate) fn differences(ours: &Outcome, spark: &Outcome) -> Vec<Difference> {
    match (ours.succeeded, spark.succeeded) {
        (false, false) => Vec::new(),
        (false, true) => vec![Difference::OursFails(ours.said.clone())],
        (true, false) => vec![Difference::SparkFails(spark.said.clone())],
        (true, true) => {
            let mut found = Vec::new();
            objects::differences(
                "",
                &comparable(&ours.objects),
                &comparable(&spark.objects),
                &mut found,
            );
            found.into_iter().map(Difference::Object).collect()
        }
    }
}

/// Objects by their kinds, as an API server would keep them, without what differs each time.
fn comparable(objects: &[Value]) -> Value {
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or("no kind").to_owned();
        // A dry run shows none.
        if kind == "Secret" {
            continue;
        }
        let mut object = object.clone();
        // The comparison of namespaces is ours: others compare objects of two.
        let namespace = object["metadata"]["namespace"].take();
        object["metadata"]["in"] = namespace;
        // Ours get their owner as they are created.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        kept(&mut object);
        kinds.entry(kind).or_default().push(object);
    }
    objects::comparable(&kinds)
}

/// Brings an object into the form in which the API server keeps it, and into one order.
fn kept(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(kept),
        Value::Object(map) => {
            if map.contains_key("limits") || map.contains_key("requests") {
                requests(map);
            }
            // The API server leaves out what is the default.
            map.retain(|name, value| match name.as_str() {
                "readOnly" => *value != false,
                "subPath" | "subPathExpr" | "medium" | "schedulerName" => *value != "",
                _ => true,
            });
            for (name, value) in map.iter_mut() {
                match (name.as_str(), &mut *value) {
                    ("env", Value::Array(variables)) => environment(variables),
                    ("sizeLimit", Value::String(text)) => *text = quantity(text),
                    ("name" | "claimName", Value::String(text)) => *text = unnumbered(text),
                    _ => {}
                }
                kept(value);
            }
        }
        _ => {}
    }
}

/// Claims have their numbers in the order of a hash table, local directories in a random one.
fn unnumbered(name: &str) -> String {
    Regex::new(r"(-pvc|^spark-local-dir)-\d+").unwrap().replace(name, "$1-N").into_owned()
}

/// Quantities as numbers; a request where there is only a limit.
fn requests(resources: &mut Map<String, Value>) {
    for part in ["limits", "requests"] {
        for amount in resources.get_mut(part).and_then(Value::as_object_mut).into_iter().flatten() {
            if let Value::String(text) = amount.1 {
                *text = quantity(text);
            }
        }
    }
    if let Some(Value::Object(limits)) = resources.get("limits").cloned() {
        let requests = resources.entry("requests").or_insert_with(|| json!({}));
        for (name, limit) in limits {
            requests.as_object_mut().unwrap().entry(name).or_insert(limit);
        }
    }
}

/// Of several variables of one name the last one counts, so their order does; that of others not.
fn environment(variables: &mut [Value]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for variable in variables {
        let name = variable["name"].to_string();
        let nth = seen.entry(name).and_modify(|nth| *nth += 1).or_insert(0);
        if *nth > 0 {
            variable["nth"] = json!(nth);
        }
        if variable["value"] == "" {
            variable.as_object_mut().unwrap().remove("value");
        }
        if variable["name"] == "SPARK_LOCAL_DIRS" {
            let mut directories: Vec<_> =
                variable["value"].as_str().unwrap_or_default().split(',').collect();
            directories.sort_unstable();
            variable["value"] = directories.join(",").into();
        }
    }
}

/// A quantity as one number, whatever its unit.
fn quantity(text: &str) -> String {
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => f64::from(1 << 20),
        "Gi" => f64::from(1 << 30),
        "Ti" => f64::from(1 << 20) * f64::from(1 << 20),
        _ => return text.to_owned(),
    };
    number
        .parse::<f64>()
        .map_or_else(|_| text.to_owned(), |number| format!("= {}", number * factor))
}

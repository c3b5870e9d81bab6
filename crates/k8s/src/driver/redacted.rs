//! Objects as JSON for printing, with secrets redacted.

use anymaster_core::conf::{REDACTED, Redaction, read_properties, write_properties};
use anymaster_core::{Error, Result};
use serde_json::Value;

use super::Objects;
use super::config_map::PROPERTIES;
use super::template::CONFIG_MAP_KEY;

/// Suffixes of variables that hold the location of a secret, and not the secret.
const LOCATION_SUFFIXES: [&str; 5] = ["_FILE", "_PATH", "_DIR", "_LOCATION", "_NAME"];

/// The objects as JSON, with unknown fields of the driver's template, and secrets redacted.
pub(crate) fn redacted_json(objects: &Objects, redaction: &Redaction) -> Result<Value> {
    let mut value = serde_json::to_value(objects).map_err(|error| {
        Error::protocol("the objects cannot be written as JSON").with_source(error)
    })?;
    value["pods"] = Value::Array(vec![objects.complete_pod()?]);
    pod(&mut value["pods"][0], redaction);
    for map in list(&mut value["configmaps"]) {
        for (name, text) in map["data"].as_object_mut().into_iter().flatten() {
            if let Value::String(text) = text {
                *text = file(name, text, redaction);
            }
        }
    }
    Ok(value)
}

fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

/// Redacts secrets in variables and arguments of a pod. Returns whether there were any.
fn pod(pod: &mut Value, redaction: &Redaction) -> bool {
    let mut hidden = false;
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        let Some(containers) = pod.pointer_mut(&format!("/spec/{containers}")) else { continue };
        for container in list(containers) {
            if let Some(variables) = container.get_mut("env") {
                list(variables).for_each(|entry| hidden |= variable(entry, redaction));
            }
            for words in ["command", "args"] {
                let Some(words) = container.get_mut(words) else { continue };
                hidden |= arguments(words, redaction);
            }
        }
    }
    hidden
}

fn variable(entry: &mut Value, redaction: &Redaction) -> bool {
    let name = entry["name"].as_str().unwrap_or_default().to_owned();
    let is_place = LOCATION_SUFFIXES.iter().any(|end| name.ends_with(end));
    let Some(Value::String(value)) = entry.get_mut("value") else { return false };
    let shown = match is_place {
        true => return false,
        false => redaction.show(&name, value).into_owned(),
    };
    let hidden = *value != shown;
    *value = shown;
    hidden
}

fn arguments(words: &mut Value, redaction: &Redaction) -> bool {
    let given: Vec<String> =
        list(words).filter_map(|word| word.as_str().map(str::to_owned)).collect();
    let shown = redaction.show_args(&given);
    let hidden = shown != given;
    if hidden {
        *words = shown.into();
    }
    hidden
}

/// Redacts a file of a config map: properties, a pod template, or XML such as Hadoop's.
fn file(name: &str, text: &str, redaction: &Redaction) -> String {
    if name == CONFIG_MAP_KEY {
        return template(text, redaction);
    }
    if text.trim_start().starts_with('<') {
        return xml(text, redaction);
    }
    if name == PROPERTIES || [".properties", ".conf"].iter().any(|end| name.ends_with(end)) {
        return properties(text, redaction);
    }
    text.to_owned()
}

/// Redacts properties. Other lines are unchanged.
fn properties(text: &str, redaction: &Redaction) -> String {
    let line = |line: &str| match read_properties(line).ok()?.as_slice() {
        [(key, value)] => {
            let shown = redaction.show(key, value);
            (shown != value.as_str()).then(|| write_properties([(key.as_str(), &*shown)]))
        }
        _ => None,
    };
    text.split_inclusive('\n').map(|text| line(text).unwrap_or_else(|| text.to_owned())).collect()
}

/// Redacts a pod template. Only one with secrets is formatted anew.
fn template(text: &str, redaction: &Redaction) -> String {
    let Ok(mut value) = serde_saphyr::from_str::<Value>(text) else { return REDACTED.to_owned() };
    match pod(&mut value, redaction) {
        true => serde_saphyr::to_string(&value).unwrap_or_else(|_| REDACTED.to_owned()),
        false => text.to_owned(),
    }
}

/// Redacts values of Hadoop's XML configuration by their names.
fn xml(text: &str, redaction: &Redaction) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = element(rest, "name") {
        out += before;
        out += &rest[before.len()..rest.len() - after.len()];
        rest = after;
        // The value comes before the next name.
        let until = rest.find("<name>").unwrap_or(rest.len());
        if let Some((between, value, _)) = element(&rest[..until], "value") {
            out += between;
            out += "<value>";
            out += &redaction.show(name.trim(), value);
            out += "</value>";
            rest = &rest[between.len() + "<value></value>".len() + value.len()..];
        }
    }
    out + rest
}

/// The text before an element, in it, and after it.
fn element<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (before, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, after) = rest.split_once(&format!("</{name}>"))?;
    Some((before, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_files_are_redacted() {
        let redaction = Redaction::default();
        for (name, text, want) in [
            (
                "spark.properties",
                "#heading\nspark.a.password=hush\nspark.jars=local:///token.jar\n",
                "#heading\nspark.a.password=*********(redacted)\nspark.jars=local:///token.jar\n",
            ),
            (
                "core-site.xml",
                "<c><property><name>fs.s3a.secret.key</name>\n <value>hush</value></property>\
                 <property><name>a</name><value>b</value></property></c>",
                "<c><property><name>fs.s3a.secret.key</name>\n <value>*********(redacted)</value></property>\
                 <property><name>a</name><value>b</value></property></c>",
            ),
            ("log4j2.xml", "<a b=\"c\"/>", "<a b=\"c\"/>"),
            ("x.txt", "password=shown", "password=shown"),
        ] {
            assert_eq!(file(name, text, &redaction), want, "{name}");
        }
        let text = "spec: {containers: [{env: [{name: DB_PASSWORD, value: hush}]}]}";
        assert!(!file(CONFIG_MAP_KEY, text, &redaction).contains("hush"));
        let text = "spec: {containers: [{env: [{name: TOKEN_FILE, value: /run/token}]}]} # kept";
        assert_eq!(file(CONFIG_MAP_KEY, text, &redaction), text);
    }
}

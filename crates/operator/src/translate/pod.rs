//! Templates of the pods of driver and executors: the given ones, with what typed fields say on top.

use anymaster_core::{Error, Result};
use serde_json::{Map as Object, Value, json};

use super::{Ignored, volumes};
use crate::v1beta2::{Role, Spec, json as to_json};

/// The main container of a driver.
pub(crate) const DRIVER_CONTAINER: &str = "spark-kubernetes-driver";
/// The main container of an executor.
pub(super) const EXECUTOR_CONTAINER: &str = EXECUTOR_CONTAINERS[0];
/// The names that the main container of an executor may have, the usual one first.
pub(crate) const EXECUTOR_CONTAINERS: &[&str] = &["spark-kubernetes-executor", "executor"];

/// Whether a template is for the driver or for executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Driver,
    Executor,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Executor => "executor",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Driver => "spec.driver",
            Self::Executor => "spec.executor",
        }
    }

    pub(super) const fn role(self, spec: &Spec) -> &Role {
        match self {
            Self::Driver => &spec.driver,
            Self::Executor => &spec.executor,
        }
    }

    /// The names of its main container, the usual one first.
    const fn containers(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &[DRIVER_CONTAINER],
            Self::Executor => EXECUTOR_CONTAINERS,
        }
    }
}

/// Whether Spark sets this variable of executors on top of their template.
pub(super) fn is_set_by_spark(name: &str) -> bool {
    matches!(
        name,
        "SPARK_USER"
            | "SPARK_DRIVER_URL"
            | "SPARK_EXECUTOR_CORES"
            | "SPARK_EXECUTOR_MEMORY"
            | "SPARK_EXECUTOR_ID"
            | "SPARK_APPLICATION_ID"
            | "SPARK_CONF_DIR"
            | "SPARK_RESOURCE_PROFILE_ID"
            | "SPARK_CLASSPATH"
            | "SPARK_EXECUTOR_POD_IP"
            | "SPARK_EXECUTOR_POD_NAME"
            | "SPARK_LOCAL_DIRS"
    ) || name.starts_with("SPARK_JAVA_OPT_")
}

/// The template of a role.
pub(super) fn template(spec: &Spec, kind: Kind, ignored: &mut Vec<Ignored>) -> Result<Value> {
    let role = kind.role(spec);
    let path = kind.path();
    let mut template = match &role.template {
        None => json!({}),
        Some(template @ Value::Object(_)) => template.clone(),
        Some(_) => return Err(Error::invalid(format!("{path}.template: it is not an object"))),
    };
    let mut pod = match template["spec"].take() {
        Value::Null => Object::new(),
        Value::Object(pod) => pod,
        _ => return Err(Error::invalid(format!("{path}.template.spec: it is not an object"))),
    };
    let mut containers = match pod.remove("containers") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(containers)) => containers,
        Some(_) => {
            return Err(Error::invalid(format!(
                "{path}.template.spec.containers: it is not a list"
            )));
        }
    };
    let at = main_container(&mut containers, kind);
    // Spark finds the main container by this name, and a driver's is the first one.
    let mut main = match containers.remove(at) {
        Value::Object(main) => main,
        _ => {
            return Err(Error::invalid(format!(
                "{path}.template.spec.containers[{at}]: it is not an object"
            )));
        }
    };
    if kind == Kind::Executor || !main.contains_key("name") {
        main.insert("name".to_owned(), kind.containers()[0].into());
    }
    container(&mut main, spec, kind, ignored);
    for mounted in volumes::mounted(spec, kind, ignored) {
        append_new(&mut pod, "volumes", vec![mounted.volume]);
        append(&mut main, "volumeMounts", vec![mounted.mount]);
    }
    containers.insert(0, Value::Object(main));
    append_to(&mut containers, role.sidecars.iter().flatten().cloned(), is_same_container);
    pod.insert("containers".to_owned(), containers.into());
    pod_fields(&mut pod, spec, kind);
    template["spec"] = pod.into();
    Ok(template)
}

/// The place of the main container: by its name, else the first. It is added if there is none.
fn main_container(containers: &mut Vec<Value>, kind: Kind) -> usize {
    let named = kind
        .containers()
        .iter()
        .find_map(|name| containers.iter().position(|container| container["name"] == **name));
    match named {
        Some(at) => at,
        None if containers.is_empty() => {
            containers.push(json!({"name": kind.containers()[0]}));
            0
        }
        None => 0,
    }
}

fn container(
    main: &mut Object<String, Value>,
    spec: &Spec,
    kind: Kind,
    ignored: &mut Vec<Ignored>,
) {
    let role = kind.role(spec);
    append(main, "envFrom", role.env_from.clone().unwrap_or_default());
    append(main, "ports", role.ports.clone().unwrap_or_default());
    set(main, "lifecycle", role.lifecycle.as_ref());
    set(main, "securityContext", role.security_context.as_ref());
    if let Some(gpu) = role.gpu.as_ref().filter(|gpu| gpu.quantity > 0) {
        let resources = main.entry("resources").or_insert_with(|| json!({}));
        resources["limits"][gpu.name.as_str()] = gpu.quantity.to_string().into();
    }
    if kind == Kind::Driver {
        // Its variables go on top: Spark's come after those of a template.
        return;
    }
    let mut env = Vec::new();
    for (index, variable) in role.env.iter().flatten().enumerate() {
        let name = variable["name"].as_str().unwrap_or_default();
        if !is_set_by_spark(name) {
            env.push(variable.clone());
        } else if variable["value"].is_null() {
            ignored.push(Ignored::new(
                format!("{}.env[{index}]", kind.path()),
                "Spark sets this variable of executors itself",
            ));
        }
    }
    if spec.hadoop_config_map.is_some() {
        env.push(json!({"name": "HADOOP_CONF_DIR", "value": volumes::HADOOP_CONF_DIR}));
    }
    append(main, "env", env);
    if role.memory_limit.is_some() {
        ignored.push(Ignored::new(
            "spec.executor.memoryLimit",
            "Spark's driver sets the limit of executors to what they request",
        ));
    }
    let conf = |key: &str| spec.spark_conf.as_ref().and_then(|conf| conf.get(key));
    if role.lifecycle.is_some() && conf("spark.decommission.enabled").is_some_and(|on| on == "true")
    {
        ignored.push(Ignored::new(
            "spec.executor.lifecycle",
            "Spark's driver sets that of executors itself (spark.decommission.enabled)",
        ));
    }
}

fn pod_fields(pod: &mut Object<String, Value>, spec: &Spec, kind: Kind) {
    let role = kind.role(spec);
    pod.entry("enableServiceLinks").or_insert(Value::Bool(false));
    for (list, values) in [("hostAliases", &role.host_aliases), ("tolerations", &role.tolerations)]
    {
        append(pod, list, values.clone().unwrap_or_default());
    }
    append_new(pod, "initContainers", role.init_containers.clone().unwrap_or_default());
    if role.host_network == Some(true) {
        pod.insert("hostNetwork".to_owned(), true.into());
        pod.insert("dnsPolicy".to_owned(), "ClusterFirstWithHostNet".into());
    }
    set(pod, "affinity", role.affinity.as_ref());
    set(pod, "dnsConfig", role.dns_config.as_ref());
    set(pod, "securityContext", role.pod_security_context.as_ref());
    set(pod, "shareProcessNamespace", role.share_process_namespace.map(to_json).as_ref());
    let grace = role.termination_grace_period_seconds.map(to_json);
    set(pod, "terminationGracePeriodSeconds", grace.as_ref());
    if let Some(class) = &role.priority_class_name {
        pod.insert("priorityClassName".to_owned(), class.as_str().into());
        pod.remove("priority");
        pod.remove("preemptionPolicy");
    }
    let scheduler = role.scheduler_name.as_ref().or(spec.batch_scheduler.as_ref());
    set(pod, "schedulerName", scheduler.map(to_json).as_ref());
    if let Some(selector) = &role.node_selector {
        let merged = pod.entry("nodeSelector").or_insert_with(|| json!({}));
        for (name, value) in selector {
            merged[name.as_str()] = value.as_str().into();
        }
    }
}

/// What Spark's steps would override in the template of a driver.
pub(super) fn driver_overlay(spec: &Spec) -> Result<Option<Value>> {
    let driver = &spec.driver;
    let mut main = Object::new();
    let mut env = driver.env.clone().unwrap_or_default();
    if spec.hadoop_config_map.is_some() {
        env.push(json!({"name": "HADOOP_CONF_DIR", "value": volumes::HADOOP_CONF_DIR}));
    }
    if spec.spark_config_map.is_some() {
        env.push(json!({"name": "SPARK_CONF_DIR", "value": volumes::SPARK_CONF_DIR}));
    }
    append(&mut main, "env", env);
    if let Some(limit) = &driver.memory_limit {
        let limit = memory("spec.driver.memoryLimit", limit)?;
        main.insert("resources".to_owned(), json!({"limits": {"memory": limit}}));
    }
    set(&mut main, "securityContext", driver.security_context.as_ref());
    let mut pod = Object::new();
    let scheduler = driver.scheduler_name.as_ref().or(spec.batch_scheduler.as_ref());
    set(&mut pod, "schedulerName", scheduler.map(to_json).as_ref());
    set(&mut pod, "nodeSelector", driver.node_selector.as_ref().map(to_json).as_ref());
    if main.is_empty() && pod.is_empty() {
        return Ok(None);
    }
    main.insert("name".to_owned(), DRIVER_CONTAINER.into());
    pod.insert("containers".to_owned(), json!([main]));
    Ok(Some(json!({"spec": pod})))
}

/// A size as Java writes it, as a quantity of Kubernetes: `900m` is 900 MiB.
fn memory(path: &str, text: &str) -> Result<String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => "",
        "k" | "kb" | "ki" => "Ki",
        "m" | "mb" | "mi" => "Mi",
        "g" | "gb" | "gi" => "Gi",
        "t" | "tb" | "ti" => "Ti",
        "p" | "pb" | "pi" => "Pi",
        _ => return Err(not_a_size(path, text)),
    };
    match digits.parse::<u64>() {
        Ok(number) if number > 0 => Ok(format!("{number}{unit}")),
        _ => Err(not_a_size(path, text)),
    }
}

fn not_a_size(path: &str, text: &str) -> Error {
    Error::invalid(format!("{path}: {text:?} is not a size"))
        .with_hint("write for example 900m or 2g")
}

fn set(object: &mut Object<String, Value>, field: &str, value: Option<&Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        object.insert(field.to_owned(), value.clone());
    }
}

/// Appends to a list of an object. What is in the place of a list is left for the reader of templates to refuse.
fn append(object: &mut Object<String, Value>, field: &str, values: Vec<Value>) {
    append_with(object, field, values, |_, _| false);
}

/// As [`append`], without those that are there by the same name.
fn append_new(object: &mut Object<String, Value>, field: &str, values: Vec<Value>) {
    append_with(object, field, values, |a, b| a["name"] == b["name"]);
}

fn append_with(
    object: &mut Object<String, Value>,
    field: &str,
    values: Vec<Value>,
    is_same: fn(&Value, &Value) -> bool,
) {
    if values.is_empty() {
        return;
    }
    let list = object.entry(field).or_insert(Value::Null);
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        append_to(list, values, is_same);
    }
}

fn append_to(
    list: &mut Vec<Value>,
    values: impl IntoIterator<Item = Value>,
    is_same: fn(&Value, &Value) -> bool,
) {
    for value in values {
        if !list.iter().any(|known| is_same(known, &value)) {
            list.push(value);
        }
    }
}

fn is_same_container(a: &Value, b: &Value) -> bool {
    a["name"] == b["name"] && a["image"] == b["image"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_java() {
        for (given, want) in
            [("900m", "900Mi"), ("3g", "3Gi"), ("1048576", "1048576"), ("2GB", "2Gi")]
        {
            assert_eq!(memory("p", given).unwrap(), want);
        }
        for bad in ["", "m", "1.5g", "0g", "-1g", "2x"] {
            assert!(memory("p", bad).unwrap_err().message().starts_with("p: "), "{bad}");
        }
    }
}

//! The specification of a SparkApplication, with the names of `sparkoperator.k8s.io/v1beta2`.
//!
//! Fields of Kubernetes' own types (affinity, volumes, containers) stay JSON: they are passed on as they are, and the
//! reader of pod templates checks them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names and values, in the order of names.
pub(crate) type Map = BTreeMap<String, String>;

/// What runs, where, and what is done when it ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    #[serde(rename = "type")]
    pub(crate) kind: Language,
    pub(crate) spark_version: String,
    pub(crate) mode: Option<Mode>,
    pub(crate) suspend: Option<bool>,
    pub(crate) proxy_user: Option<String>,
    pub(crate) main_class: Option<String>,
    pub(crate) main_application_file: Option<String>,
    pub(crate) arguments: Option<Vec<String>>,
    pub(crate) image: Option<String>,
    pub(crate) image_pull_policy: Option<String>,
    pub(crate) image_pull_secrets: Option<Vec<String>>,
    pub(crate) spark_conf: Option<Map>,
    pub(crate) hadoop_conf: Option<Map>,
    pub(crate) spark_config_map: Option<String>,
    pub(crate) hadoop_config_map: Option<String>,
    pub(crate) volumes: Option<Vec<Value>>,
    pub(crate) deps: Option<Dependencies>,
    pub(crate) restart_policy: Option<RestartPolicy>,
    pub(crate) node_selector: Option<Map>,
    pub(crate) failure_retries: Option<i32>,
    pub(crate) retry_interval: Option<i64>,
    pub(crate) python_version: Option<String>,
    pub(crate) memory_overhead_factor: Option<String>,
    pub(crate) monitoring: Option<Value>,
    pub(crate) batch_scheduler: Option<String>,
    pub(crate) batch_scheduler_options: Option<BatchSchedulerOptions>,
    pub(crate) time_to_live_seconds: Option<i64>,
    #[serde(rename = "sparkUIOptions")]
    pub(crate) spark_ui_options: Option<UiOptions>,
    pub(crate) driver_ingress_options: Option<Vec<Value>>,
    pub(crate) dynamic_allocation: Option<DynamicAllocation>,
    pub(crate) driver_pod_disruption_budget: Option<Value>,
    pub(crate) driver: Role,
    pub(crate) executor: Role,
}

/// The language of the application. Only YuniKorn's task groups depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Language {
    Java,
    #[default]
    Scala,
    Python,
    R,
}

/// Where the driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Cluster,
    Client,
    InClusterClient,
}

/// Dependencies, each a list of an option of spark-submit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dependencies {
    pub(crate) jars: Option<Vec<String>>,
    pub(crate) files: Option<Vec<String>>,
    pub(crate) py_files: Option<Vec<String>>,
    pub(crate) archives: Option<Vec<String>>,
    pub(crate) packages: Option<Vec<String>>,
    pub(crate) exclude_packages: Option<Vec<String>>,
    pub(crate) repositories: Option<Vec<String>>,
}

/// Whether and when an application that has ended runs again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestartPolicy {
    #[serde(rename = "type")]
    pub(crate) kind: Option<RestartType>,
    pub(crate) on_failure_retries: Option<i32>,
    /// In seconds.
    pub(crate) on_failure_retry_interval: Option<i64>,
    pub(crate) on_submission_failure_retries: Option<i32>,
    /// In seconds.
    pub(crate) on_submission_failure_retry_interval: Option<i64>,
}

/// The type of a restart policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RestartType {
    #[default]
    Never,
    OnFailure,
    Always,
}

/// Options of batch schedulers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchSchedulerOptions {
    pub(crate) queue: Option<String>,
    pub(crate) priority_class_name: Option<String>,
    pub(crate) resources: Option<Value>,
}

/// The service and the ingress of the driver's web page.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UiOptions {
    pub(crate) service_port: Option<i32>,
    pub(crate) service_port_name: Option<String>,
    pub(crate) service_type: Option<String>,
    pub(crate) service_labels: Option<Map>,
    pub(crate) service_annotations: Option<Map>,
    pub(crate) ingress_annotations: Option<Map>,
    #[serde(rename = "ingressTLS")]
    pub(crate) ingress_tls: Option<Vec<Value>>,
}

/// Spark's dynamic allocation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DynamicAllocation {
    pub(crate) enabled: Option<bool>,
    pub(crate) initial_executors: Option<i32>,
    pub(crate) min_executors: Option<i32>,
    pub(crate) max_executors: Option<i32>,
    pub(crate) shuffle_tracking_enabled: Option<bool>,
    /// In milliseconds.
    pub(crate) shuffle_tracking_timeout: Option<i64>,
}

/// The driver or executors. Fields that only one of them has are refused for the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Role {
    pub(crate) template: Option<Value>,
    pub(crate) cores: Option<i32>,
    pub(crate) core_request: Option<String>,
    pub(crate) core_limit: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) memory_overhead: Option<String>,
    pub(crate) memory_limit: Option<String>,
    pub(crate) gpu: Option<Gpu>,
    pub(crate) image: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) java_options: Option<String>,
    pub(crate) labels: Option<Map>,
    pub(crate) annotations: Option<Map>,
    pub(crate) env_vars: Option<Map>,
    pub(crate) env: Option<Vec<Value>>,
    pub(crate) env_from: Option<Vec<Value>>,
    pub(crate) env_secret_key_refs: Option<BTreeMap<String, SecretKey>>,
    pub(crate) secrets: Option<Vec<Secret>>,
    pub(crate) config_maps: Option<Vec<NamePath>>,
    pub(crate) volume_mounts: Option<Vec<Value>>,
    pub(crate) ports: Option<Vec<Value>>,
    pub(crate) affinity: Option<Value>,
    pub(crate) tolerations: Option<Vec<Value>>,
    pub(crate) node_selector: Option<Map>,
    pub(crate) host_network: Option<bool>,
    pub(crate) host_aliases: Option<Vec<Value>>,
    pub(crate) dns_config: Option<Value>,
    pub(crate) init_containers: Option<Vec<Value>>,
    pub(crate) sidecars: Option<Vec<Value>>,
    pub(crate) lifecycle: Option<Value>,
    pub(crate) pod_security_context: Option<Value>,
    pub(crate) security_context: Option<Value>,
    pub(crate) priority_class_name: Option<String>,
    pub(crate) scheduler_name: Option<String>,
    pub(crate) share_process_namespace: Option<bool>,
    pub(crate) termination_grace_period_seconds: Option<i64>,
    /// Of the driver only.
    pub(crate) pod_name: Option<String>,
    /// Of the driver only.
    pub(crate) kubernetes_master: Option<String>,
    /// Of the driver only.
    pub(crate) service_labels: Option<Map>,
    /// Of the driver only.
    pub(crate) service_annotations: Option<Map>,
    /// Of executors only.
    pub(crate) instances: Option<i32>,
    /// Of executors only.
    pub(crate) delete_on_termination: Option<bool>,
}

/// Devices of an extended resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) quantity: i64,
}

/// A key of a secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SecretKey {
    pub(crate) name: String,
    pub(crate) key: String,
}

/// A secret that is mounted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) secret_type: Option<String>,
}

/// A config map that is mounted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NamePath {
    pub(crate) name: String,
    pub(crate) path: String,
}

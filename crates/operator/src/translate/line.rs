//! The command line of spark-submit. Of several values of a property the later wins, so typed fields win over
//! `sparkConf`.

use anymaster_core::{Error, Result};

use super::pod::Kind;
use super::{APP_NAME_LABEL, Identity, Ignored, LAUNCHED_LABEL, SUBMISSION_LABEL, volumes};
use crate::v1beta2::{Map, Role, Spec};

/// A line under construction.
struct Line(Vec<String>);

impl Line {
    fn option(&mut self, name: &str, value: &str) {
        self.0.extend([name.to_owned(), value.to_owned()]);
    }

    fn given(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.option(name, value);
        }
    }

    fn list(&mut self, name: &str, values: Option<&Vec<String>>) {
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            self.option(name, &values.join(","));
        }
    }

    fn conf(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.extend(["--conf".to_owned(), format!("{key}={value}")]);
    }

    fn set(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.conf(key, value);
        }
    }

    fn all(&mut self, prefix: &str, values: Option<&Map>) {
        for (name, value) in values.into_iter().flatten() {
            self.conf(&format!("{prefix}{name}"), value);
        }
    }
}

pub(super) fn line(
    identity: &Identity,
    spec: &Spec,
    master: &str,
    submission_id: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<Vec<String>> {
    let mut line = Line(Vec::new());
    line.option("--master", master);
    line.option("--deploy-mode", "cluster");
    line.given("--class", spec.main_class.as_ref());
    line.option("--name", &identity.name);
    line.given("--proxy-user", spec.proxy_user.as_ref());
    if let Some(deps) = &spec.deps {
        line.list("--jars", deps.jars.as_ref());
        line.list("--files", deps.files.as_ref());
        line.list("--py-files", deps.py_files.as_ref());
        line.list("--archives", deps.archives.as_ref());
        line.list("--packages", deps.packages.as_ref());
        line.list("--exclude-packages", deps.exclude_packages.as_ref());
        line.list("--repositories", deps.repositories.as_ref());
    }
    line.conf("spark.kubernetes.namespace", &identity.namespace);
    line.set("spark.kubernetes.container.image", spec.image.as_ref());
    line.set("spark.kubernetes.container.image.pullPolicy", spec.image_pull_policy.as_ref());
    let secrets = spec.image_pull_secrets.as_ref().filter(|secrets| !secrets.is_empty());
    line.set(
        "spark.kubernetes.container.image.pullSecrets",
        secrets.map(|secrets| secrets.join(",")),
    );
    line.set("spark.kubernetes.pyspark.pythonVersion", spec.python_version.as_ref());
    line.set("spark.kubernetes.memoryOverheadFactor", spec.memory_overhead_factor.as_ref());
    line.conf("spark.kubernetes.submission.waitAppCompletion", false);
    for (key, value) in spec.spark_conf.iter().flatten() {
        if key != "spark.kubernetes.driver.pod.name" {
            line.conf(key, value);
        }
    }
    line.all("spark.hadoop.", spec.hadoop_conf.as_ref());
    line.conf("spark.kubernetes.driver.pod.name", super::driver_pod_name(&identity.name, spec));
    driver(&mut line, identity, spec, submission_id)?;
    executor(&mut line, identity, spec, submission_id)?;
    line.all("spark.kubernetes.node.selector.", spec.node_selector.as_ref());
    dynamic_allocation(&mut line, spec);
    for kind in [Kind::Driver, Kind::Executor] {
        for (key, value) in volumes::local_directories(spec, kind, ignored)? {
            line.conf(&key, value);
        }
    }
    // It was checked that there is one.
    line.0.extend(spec.main_application_file.clone());
    line.0.extend(spec.arguments.clone().unwrap_or_default());
    Ok(line.0)
}

/// What drivers and executors have in common; `name`: `driver` or `executor`.
fn role(
    line: &mut Line,
    name: &str,
    role: &Role,
    env: &str,
    identity: &Identity,
    submission: &str,
) {
    let (spark, pods) = (format!("spark.{name}."), format!("spark.kubernetes.{name}."));
    line.set(&format!("{spark}cores"), role.cores);
    line.set(&format!("{pods}request.cores"), role.core_request.as_ref());
    line.set(&format!("{pods}limit.cores"), role.core_limit.as_ref());
    line.set(&format!("{spark}memory"), role.memory.as_ref());
    line.set(&format!("{spark}memoryOverhead"), role.memory_overhead.as_ref());
    line.set(&format!("{spark}extraJavaOptions"), role.java_options.as_ref());
    line.set(&format!("{pods}container.image"), role.image.as_ref());
    let account = format!("spark.kubernetes.authenticate.{name}.serviceAccountName");
    line.set(&account, role.service_account.as_ref());
    labels(line, &format!("{pods}label."), role, identity, submission);
    line.all(&format!("{pods}annotation."), role.annotations.as_ref());
    line.all(env, role.env_vars.as_ref());
}

fn driver(line: &mut Line, identity: &Identity, spec: &Spec, submission: &str) -> Result<()> {
    const ENV: &str = "spark.kubernetes.driverEnv.";
    let driver = &spec.driver;
    role(line, "driver", driver, ENV, identity, submission);
    line.set("spark.kubernetes.driver.master", driver.kubernetes_master.as_ref());
    line.all("spark.kubernetes.driver.service.label.", driver.service_labels.as_ref());
    line.all("spark.kubernetes.driver.service.annotation.", driver.service_annotations.as_ref());
    secrets(line, "spark.kubernetes.driver.", ENV, driver, "spec.driver")
}

fn executor(line: &mut Line, identity: &Identity, spec: &Spec, submission: &str) -> Result<()> {
    const ENV: &str = "spark.executorEnv.";
    let executor = &spec.executor;
    let conf = |key: &str| spec.spark_conf.as_ref().and_then(|conf| conf.get(key));
    let is_dynamic = spec.dynamic_allocation.as_ref().is_some_and(|d| d.enabled == Some(true))
        || conf("spark.dynamicAllocation.enabled").is_some_and(|value| value == "true");
    let has_default = !is_dynamic && conf("spark.executor.instances").is_none();
    let instances = executor.instances.or(has_default.then_some(1));
    line.set("spark.executor.instances", instances);
    role(line, "executor", executor, ENV, identity, submission);
    line.set("spark.kubernetes.executor.deleteOnTermination", executor.delete_on_termination);
    line.set(
        "spark.kubernetes.executor.terminationGracePeriodSeconds",
        executor.termination_grace_period_seconds.map(|seconds| format!("{seconds}s")),
    );
    line.conf("spark.kubernetes.executor.podTemplateContainerName", super::pod::EXECUTOR_CONTAINER);
    // Spark sets these on top of the template; only this property comes later still.
    for variable in executor.env.iter().flatten() {
        let (name, value) = (variable["name"].as_str(), variable["value"].as_str());
        if let (Some(name), Some(value)) = (name, value)
            && super::pod::is_set_by_spark(name)
        {
            line.conf(&format!("{ENV}{name}"), value);
        }
    }
    if spec.spark_config_map.is_some() {
        line.conf(&format!("{ENV}SPARK_CONF_DIR"), volumes::SPARK_CONF_DIR);
    }
    secrets(line, "spark.kubernetes.executor.", ENV, executor, "spec.executor")
}

fn labels(line: &mut Line, prefix: &str, role: &Role, identity: &Identity, submission: &str) {
    for (name, value) in [
        (APP_NAME_LABEL, identity.name.as_str()),
        (LAUNCHED_LABEL, "true"),
        (SUBMISSION_LABEL, submission),
    ] {
        line.conf(&format!("{prefix}{name}"), value);
    }
    // Kueue's are of the application as a whole, not of its pods.
    let own = identity.labels.iter().filter(|(name, _)| !name.starts_with("kueue.x-k8s.io/"));
    for (name, value) in own {
        line.conf(&format!("{prefix}{name}"), value);
    }
    line.all(prefix, role.labels.as_ref());
}

fn secrets(line: &mut Line, prefix: &str, env: &str, role: &Role, path: &str) -> Result<()> {
    for (variable, secret) in role.env_secret_key_refs.iter().flatten() {
        line.conf(
            &format!("{prefix}secretKeyRef.{variable}"),
            format!("{}:{}", secret.name, secret.key),
        );
    }
    for (index, secret) in role.secrets.iter().flatten().enumerate() {
        line.conf(&format!("{prefix}secrets.{}", secret.name), &secret.path);
        match secret.secret_type.as_deref() {
            None | Some("" | "Generic") => {}
            Some("GCPServiceAccount") => line.conf(
                &format!("{env}GOOGLE_APPLICATION_CREDENTIALS"),
                format!("{}/key.json", secret.path),
            ),
            Some("HadoopDelegationToken") => line.conf(
                &format!("{env}HADOOP_TOKEN_FILE_LOCATION"),
                format!("{}/hadoop.token", secret.path),
            ),
            Some(other) => {
                return Err(Error::invalid(format!(
                    "{path}.secrets[{index}].secretType: {other:?} is no type of a secret"
                ))
                .with_hint("write Generic, GCPServiceAccount or HadoopDelegationToken"));
            }
        }
    }
    Ok(())
}

fn dynamic_allocation(line: &mut Line, spec: &Spec) {
    let Some(dynamic) = spec.dynamic_allocation.as_ref().filter(|d| d.enabled == Some(true)) else {
        return;
    };
    line.conf("spark.dynamicAllocation.enabled", true);
    line.set("spark.dynamicAllocation.initialExecutors", dynamic.initial_executors);
    line.set("spark.dynamicAllocation.minExecutors", dynamic.min_executors);
    line.set("spark.dynamicAllocation.maxExecutors", dynamic.max_executors);
    let tracking = dynamic.shuffle_tracking_enabled.unwrap_or(true);
    line.conf("spark.dynamicAllocation.shuffleTracking.enabled", tracking);
    line.set("spark.dynamicAllocation.shuffleTracking.timeout", dynamic.shuffle_tracking_timeout);
}

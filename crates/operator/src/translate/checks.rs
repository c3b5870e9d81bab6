//! What is refused before anything is submitted.

use anymaster_core::{Error, Result};

use super::Identity;
use crate::v1beta2::{Mode, Role, Spec};

/// Properties that the operator or typed fields own.
const DENIED: &[&str] = &[
    "spark.master",
    "spark.kubernetes.driver.master",
    "spark.kubernetes.container.image",
    "spark.kubernetes.driver.container.image",
    "spark.kubernetes.executor.container.image",
    "spark.kubernetes.authenticate.driver.serviceAccountName",
    "spark.kubernetes.authenticate.executor.serviceAccountName",
    "spark.kubernetes.authenticate.oauthToken",
    "spark.kubernetes.authenticate.oauthTokenFile",
    "spark.kubernetes.authenticate.driver.oauthToken",
    "spark.kubernetes.authenticate.driver.oauthTokenFile",
    "spark.kubernetes.authenticate.executor.oauthToken",
    "spark.kubernetes.authenticate.executor.oauthTokenFile",
];

/// The longest name of an application: it is the value of a label.
const MAX_NAME: usize = 63;

pub(super) fn check(identity: &Identity, spec: &Spec) -> Result<()> {
    let name = identity.name.as_str();
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let ends = name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !(starts && ends && is_plain && name.len() <= MAX_NAME) {
        return Err(Error::invalid(format!("metadata.name: {name:?} cannot be the name of an application"))
            .with_hint(
                "use at most 63 lower-case letters, digits and '-', beginning with a letter and ending with a \
                 letter or a digit",
            ));
    }
    match spec.mode {
        None | Some(Mode::Cluster) => {}
        Some(Mode::Client | Mode::InClusterClient) => {
            return Err(Error::unsupported("spec.mode: a driver runs in the cluster")
                .with_hint("write mode: cluster"));
        }
    }
    check_version(&spec.spark_version)?;
    match spec.main_application_file.as_deref().unwrap_or_default() {
        "" => return Err(Error::invalid("spec.mainApplicationFile: it is missing")),
        // It would be an option of spark-submit, which may say another namespace.
        file if file.starts_with('-') => {
            return Err(Error::invalid(format!("spec.mainApplicationFile: {file:?} is no file")));
        }
        _ => {}
    }
    for key in spec.spark_conf.iter().flatten().map(|(key, _)| key.as_str()) {
        // What comes before the first '=' would be another property.
        if key.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control()) {
            return Err(Error::invalid(format!(
                "spec.sparkConf: {key:?} is no name of a property"
            )));
        }
        let of_other = key == "spark.kubernetes.namespace"
            && spec.spark_conf.as_ref().and_then(|conf| conf.get(key)) != Some(&identity.namespace);
        if DENIED.contains(&key) || of_other {
            return Err(Error::invalid(format!("spec.sparkConf: {key} is not allowed"))
                .with_hint("the fields of the application say it"));
        }
    }
    let has_selector = |role: &Role| role.node_selector.is_some();
    if spec.node_selector.is_some() && (has_selector(&spec.driver) || has_selector(&spec.executor))
    {
        return Err(Error::invalid(
            "spec.nodeSelector: it cannot be given together with that of the driver or of executors",
        ));
    }
    check_restart_policy(spec)
}

/// Spark before 3.2 lacks properties that pods are built with here.
fn check_version(version: &str) -> Result<()> {
    let mut parts = version.split('.').map(|part| {
        part.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok()
    });
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= (3, 2) => Ok(()),
        (Some(_), Some(_)) => {
            Err(Error::unsupported(format!("spec.sparkVersion: Spark {version} is too old"))
                .with_hint("Spark 3.2 and later are supported"))
        }
        _ => {
            Err(Error::invalid(format!("spec.sparkVersion: {version:?} is not a version of Spark"))
                .with_hint("write for example sparkVersion: 4.1.1"))
        }
    }
}

fn check_restart_policy(spec: &Spec) -> Result<()> {
    let Some(policy) = &spec.restart_policy else { return Ok(()) };
    for (field, value, least) in [
        ("onFailureRetries", policy.on_failure_retries.map(i64::from), 0),
        ("onSubmissionFailureRetries", policy.on_submission_failure_retries.map(i64::from), 0),
        ("onFailureRetryInterval", policy.on_failure_retry_interval, 1),
        ("onSubmissionFailureRetryInterval", policy.on_submission_failure_retry_interval, 1),
    ] {
        if let Some(value) = value.filter(|value| *value < least) {
            return Err(Error::invalid(format!(
                "spec.restartPolicy.{field}: {value} is less than {least}"
            )));
        }
    }
    Ok(())
}

//! The feature steps of Spark's `KubernetesDriverBuilder`, by class name and in order. Some can be
//! excluded (`spark.kubernetes.driver.pod.excludedFeatureSteps`, from 4.1).

use anymaster_core::model::SparkJob;
use anymaster_core::{Error, Result, SparkChange};

use super::{
    Draft, basic, command, credentials, hadoop, kerberos, network_policy, service, template,
};
use crate::keys;
use crate::pods::{Role, local_dirs, secrets};

type Step = fn(&mut Draft<'_>, &SparkJob) -> Result<()>;

const PACKAGE: &str = "org.apache.spark.deploy.k8s.features.";
const BASIC: &str = "BasicDriverFeatureStep";

const STEPS: &[(&str, Step)] = &[
    (BASIC, basic::apply),
    ("DriverKubernetesCredentialsFeatureStep", |draft, _| credentials::apply(draft)),
    ("DriverServiceFeatureStep", |draft, _| service::apply(draft)),
    ("MountSecretsFeatureStep", |draft, _| {
        secrets::mount_all(&mut draft.pod, &draft.conf, Role::Driver);
        Ok(())
    }),
    ("EnvSecretsFeatureStep", |draft, _| {
        secrets::variables(&mut draft.pod, &draft.conf, Role::Driver)
    }),
    ("MountVolumesFeatureStep", |draft, _| draft.volumes()),
    ("DriverCommandFeatureStep", command::apply),
    ("HadoopConfDriverFeatureStep", |draft, _| hadoop::apply(draft)),
    ("KerberosConfDriverFeatureStep", |draft, _| kerberos::apply(draft)),
    ("PodTemplateConfigMapStep", |draft, _| template::mount_executor_template(draft)),
    ("LocalDirsFeatureStep", |draft, _| local_directories(draft)),
    ("NetworkPolicyFeatureStep", |draft, _| {
        if draft.has(SparkChange::NetworkPolicy) {
            network_policy::apply(draft);
        }
        Ok(())
    }),
];

type Check = fn(&Draft<'_>) -> Result<()>;

/// Checks of steps even if they are excluded: Spark constructs all steps before it excludes some.
const CHECKS: &[Check] = &[service::check, hadoop::check, kerberos::check];

/// Applies all steps that are not excluded.
pub(super) fn apply(draft: &mut Draft<'_>, job: &SparkJob) -> Result<()> {
    let excluded = excluded(draft)?;
    for check in CHECKS {
        check(draft)?;
    }
    for (name, step) in STEPS {
        if !excluded.iter().any(|class| class.strip_prefix(PACKAGE) == Some(name)) {
            step(draft, job)?;
        }
    }
    Ok(())
}

/// The classes of the excluded steps. Unknown ones only get a warning, as Spark ignores them.
fn excluded(draft: &mut Draft<'_>) -> Result<Vec<String>> {
    let key = &keys::DRIVER_EXCLUDED_FEATURE_STEPS;
    let Some(excluded) = draft.conf.read_optional(key)? else { return Ok(Vec::new()) };
    if !draft.has(SparkChange::ExcludedFeatureSteps) {
        return Ok(Vec::new());
    }
    let property = key.info.name;
    for class in &excluded {
        match class.strip_prefix(PACKAGE) {
            Some(BASIC) => {
                return Err(Error::invalid(format!(
                    "{property}: without {class} the driver's pod has neither a name nor an image"
                )));
            }
            Some(name) if STEPS.iter().any(|(known, _)| *known == name) => {}
            _ => draft.objects.warnings.push(format!("{property}: there is no step {class}")),
        }
    }
    Ok(excluded)
}

fn local_directories(draft: &mut Draft<'_>) -> Result<()> {
    let given = draft.request.submitter.get("SPARK_LOCAL_DIRS");
    let directory = format!("/var/data/spark-{}", draft.ids.uuid("local directory"));
    local_dirs::apply(&mut draft.pod, &draft.conf, given, directory).map(drop)
}

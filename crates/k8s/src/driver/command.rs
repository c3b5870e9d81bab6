//! The arguments of the driver's container (`DriverCommandFeatureStep`).

use std::borrow::Cow;

use anymaster_core::model::{SparkJob, SparkLanguage};
use anymaster_core::{Error, Result};

use super::Draft;
use super::config_map::PROPERTIES_PATH;
use crate::keys;
use crate::pods::env;
use crate::upload::is_local;

pub(super) fn apply(draft: &mut Draft<'_>, job: &SparkJob) -> Result<()> {
    let (kind, class, resource) = match job.language {
        SparkLanguage::Java => {
            let class = job.main_class.clone().ok_or_else(|| {
                Error::invalid("No main class set in JAR; please specify one with --class.")
            })?;
            // The jar itself is in spark.jars.
            let resource = if is_local(&job.primary_resource) {
                "spark-internal"
            } else {
                &job.primary_resource
            };
            ("java", class, resource)
        }
        SparkLanguage::Python => {
            python(draft)?;
            (
                "python",
                "org.apache.spark.deploy.PythonRunner".to_owned(),
                job.primary_resource.as_str(),
            )
        }
        SparkLanguage::R => {
            ("r", "org.apache.spark.deploy.RRunner".to_owned(), job.primary_resource.as_str())
        }
    };
    draft.add(keys::RESOURCE_TYPE.info.name, kind);
    let mut args = vec!["driver"];
    if let Some(user) = &job.proxy_user {
        args.extend(["--proxy-user", user]);
    }
    args.extend(["--properties-file", PROPERTIES_PATH, "--class", &class, resource]);
    args.extend(job.args.iter().map(String::as_str));
    let args = args.into_iter().map(str::to_owned);
    draft.pod.container.args.get_or_insert_default().extend(args);
    Ok(())
}

/// Sets the Python of the driver and its workers, if configured.
fn python(draft: &mut Draft<'_>) -> Result<()> {
    let (conf, submitter) = (&draft.conf, draft.request.submitter);
    let variable = |name: &str| submitter.get(name).map(Cow::Borrowed);
    let python = conf.replaced("spark.pyspark.python")?;
    let workers = python.clone().or_else(|| variable("PYSPARK_PYTHON"));
    let driver = conf
        .replaced("spark.pyspark.driver.python")?
        .or(python)
        .or_else(|| variable("PYSPARK_DRIVER_PYTHON"))
        .or_else(|| variable("PYSPARK_PYTHON"));
    let variables = [("PYSPARK_PYTHON", workers), ("PYSPARK_DRIVER_PYTHON", driver)];
    let variables = variables.map(|(name, value)| Some(env(name, value?)));
    draft.pod.env(variables.into_iter().flatten());
    Ok(())
}

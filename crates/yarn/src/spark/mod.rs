//! What Spark's client makes of an application in cluster mode (Spark 3.5 and 4.x,
//! `org.apache.spark.deploy.yarn.Client`).

mod command;
mod conf_archive;
mod environment;
mod files;
mod resources;

use anymaster_core::conf::Conf;
use anymaster_core::model::{SparkJob, SparkLanguage};
use anymaster_core::{Error, Result, SparkRelease};
use anymaster_spark::SparkHome;

pub(crate) use self::command::command;
pub(crate) use self::conf_archive::{Cached, ConfArchive, write as write_conf_archive};
pub(crate) use self::environment::{Environment, environment};
pub(crate) use self::files::{Dependency, Libraries, Origin, Plan, plan};
pub(crate) use self::resources::{Resources, resources};

/// The directory of Spark's jars in a container.
pub(crate) const LIBS: &str = "__spark_libs__";
/// That of the configuration.
pub(crate) const CONF: &str = "__spark_conf__";
/// The archive that it is of, and the file with the properties in that.
pub(crate) const CONF_ARCHIVE: &str = "__spark_conf__.zip";
pub(crate) const CONF_PROPERTIES: &str = "__spark_conf__.properties";
/// The link to the application's jar.
pub(crate) const APP_JAR: &str = "__app__.jar";
/// The directory of Python files.
pub(crate) const PY_FILES: &str = "__pyfiles__";
/// Where Hadoop's files are in that of the configuration.
pub(crate) const HADOOP_CONF: &str = "__hadoop_conf__";

/// An application as it is submitted.
#[derive(Debug)]
pub(crate) struct Application<'a> {
    pub(crate) job: &'a SparkJob,
    pub(crate) conf: Conf,
    pub(crate) spark: SparkHome,
}

impl<'a> Application<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(job: &'a SparkJob, conf: &Conf, spark: SparkHome) -> Result<Self> {
        let mut conf = conf.clone();
        if conf.get("spark.yarn.unmanagedAM.enabled").is_some_and(|value| value == "true") {
            return Err(Error::invalid(
                "spark.yarn.unmanagedAM.enabled: in cluster mode the application master is the driver",
            )
            .with_hint("leave it out, or write --deploy-mode client"));
        }
        for key in
            ["spark.kerberos.keytab", "spark.kerberos.principal", "spark.yarn.am.tokenConfRegex"]
        {
            if conf.get(key).is_some() {
                return Err(Error::unsupported(format!("{key}: Kerberos is not implemented"))
                    .with_hint("submit with Spark's own spark-submit"));
            }
        }
        conf.set("spark.master", "yarn");
        conf.set("spark.submit.deployMode", "cluster");
        for key in ["spark.jars", "spark.files", "spark.archives"] {
            conf.remove(key);
        }
        if job.language == SparkLanguage::Python {
            conf.set("spark.yarn.isPython", "true");
        }
        Ok(Self { job, conf, spark })
    }

    /// The release whose rules apply; that of the installed Spark.
    pub(crate) fn release(&self) -> SparkRelease {
        self.spark.release.clone().unwrap_or_else(SparkRelease::newest)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use anymaster_spark::Environment;

    use super::*;
    use crate::submitter::Submitter;

    pub(crate) fn job() -> SparkJob {
        SparkJob {
            language: SparkLanguage::Java,
            primary_resource: "file:/app.jar".to_owned(),
            main_class: Some("a.Main".to_owned()),
            args: Vec::new(),
            proxy_user: None,
        }
    }

    pub(crate) fn application<'a>(
        job: &'a SparkJob,
        properties: &[(&str, &str)],
    ) -> Result<Application<'a>> {
        let mut spark = SparkHome::of("/no/spark".into());
        spark.release = Some("3.5.9".parse()?);
        Application::new(job, &properties.iter().copied().collect(), spark)
    }

    pub(crate) fn submitter() -> Submitter {
        let environment = Environment { current_dir: "/here".into(), ..Environment::default() };
        Submitter { environment, user: "somebody".to_owned() }
    }

    #[test]
    fn what_cluster_mode_cannot_do_is_refused_by_name() {
        let job = job();
        for key in ["spark.yarn.unmanagedAM.enabled", "spark.kerberos.keytab"] {
            let error = application(&job, &[(key, "true")]).unwrap_err();
            assert!(error.message().contains(key) && error.hint().is_some(), "{error}");
        }
    }
}

//! The command of a driver (Spark 3.5, `Client.createContainerLaunchContext`).

use anymaster_core::conf::keys as core;
use anymaster_core::model::SparkLanguage;
use anymaster_core::{Error, Result};
use anymaster_spark::{jvm_options, split_options};

use super::{Application, CONF};
use crate::quote;

/// What runs a driver in cluster mode.
const MASTER: &str = "org.apache.spark.deploy.yarn.ApplicationMaster";
const NO_RESOURCE: &str = "spark-internal";

/// The command, with `{{…}}` and `<LOG_DIR>` for the NodeManager to replace.
pub(crate) fn command(application: &Application<'_>, heap_mib: u64, v6: bool) -> Result<String> {
    let (conf, job) = (&application.conf, application.job);
    let mut words: Vec<String> = Vec::new();
    if let Some(path) = conf.get(core::DRIVER_LIBRARY_PATH.info.name) {
        let quoted = path.replace('"', "\\\\\\\"");
        words.push(format!("LD_LIBRARY_PATH=\\\"{quoted}:$LD_LIBRARY_PATH\\\""));
    }
    words.extend(["{{JAVA_HOME}}/bin/java".to_owned(), "-server".to_owned()]);
    words.push(format!("-Djava.net.preferIPv6Addresses={v6}"));
    words.extend(jvm_options(application.spark.release.as_ref()));
    words.push(format!("-Xmx{heap_mib}m"));
    words.push("-Djava.io.tmpdir={{PWD}}/tmp".to_owned());
    for key in [&core::DRIVER_DEFAULT_JAVA_OPTIONS, &core::DRIVER_JAVA_OPTIONS] {
        let options = conf.read_optional(key)?.unwrap_or_default();
        let options = split_options(key.info.name, &options)?;
        if let Some(heap) = options.iter().find(|option| option.starts_with("-Xmx")) {
            return Err(Error::invalid(format!(
                "{} is not allowed to specify max heap(Xmx) memory settings (was {heap}).",
                key.info.name
            ))
            .with_hint("set spark.driver.memory"));
        }
        words.extend(options.iter().map(|option| quote::option(option)));
    }
    words.push("-Dspark.yarn.app.container.log.dir=<LOG_DIR>".to_owned());
    words.push(MASTER.to_owned());
    let class = match job.language {
        SparkLanguage::Java => job.main_class.as_deref(),
        SparkLanguage::Python => Some("org.apache.spark.deploy.PythonRunner"),
        SparkLanguage::R => Some("org.apache.spark.deploy.RRunner"),
    };
    if let Some(class) = class {
        words.extend(["--class".to_owned(), quote::argument(class)]);
    }
    let name = || job.primary_resource.split('#').next().unwrap_or_default().rsplit('/').next();
    match job.language {
        SparkLanguage::Java if job.primary_resource == NO_RESOURCE => {}
        SparkLanguage::Java => {
            words.extend(["--jar".to_owned(), quote::argument(&job.primary_resource)]);
        }
        SparkLanguage::Python => {
            let name = name().unwrap_or_default();
            words.extend(["--primary-py-file".to_owned(), quote::argument(name)]);
        }
        SparkLanguage::R => {
            let name = name().unwrap_or_default();
            words.extend(["--primary-r-file".to_owned(), quote::argument(name)]);
        }
    }
    let script = (job.language == SparkLanguage::R).then_some(&job.primary_resource);
    for argument in script.into_iter().chain(&job.args) {
        words.extend(["--arg".to_owned(), quote::argument(argument)]);
    }
    let conf_dir = format!("{{{{PWD}}}}/{CONF}");
    words.extend(["--properties-file".to_owned(), format!("{conf_dir}/__spark_conf__.properties")]);
    words.extend([
        "--dist-cache-conf".to_owned(),
        format!("{conf_dir}/__spark_dist_cache__.properties"),
    ]);
    words.extend(["1>", "<LOG_DIR>/stdout", "2>", "<LOG_DIR>/stderr"].map(str::to_owned));
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{application, job};
    use super::*;

    #[test]
    fn the_command_is_that_of_sparks_client() {
        let mut job = job();
        job.args = ["10", "it's", r#"{"a":{"b":1}}"#].map(str::to_owned).to_vec();
        let options = [("spark.driver.extraJavaOptions", "-Dx='a b' -Dlog=<LOG_DIR>/gc")];
        let command = command(&application(&job, &options).unwrap(), 512, false).unwrap();
        let (jvm, rest) = command.split_once(" -Xmx512m ").unwrap();
        assert!(jvm.starts_with(
            "{{JAVA_HOME}}/bin/java -server -Djava.net.preferIPv6Addresses=false \
             -XX:+IgnoreUnrecognizedVMOptions --add-opens=java.base/java.lang=ALL-UNNAMED"
        ));
        assert_eq!(
            rest,
            "-Djava.io.tmpdir={{PWD}}/tmp '-Dx=a b' '-Dlog=<LOG_DIR>/gc' \
             -Dspark.yarn.app.container.log.dir=<LOG_DIR> \
             org.apache.spark.deploy.yarn.ApplicationMaster --class 'a.Main' --jar 'file:/app.jar' \
             --arg '10' --arg 'it'\\\\''s' --arg '{\\\"a\\\":{\\\"b\\\":1}''}' \
             --properties-file {{PWD}}/__spark_conf__/__spark_conf__.properties \
             --dist-cache-conf {{PWD}}/__spark_conf__/__spark_dist_cache__.properties \
             1> <LOG_DIR>/stdout 2> <LOG_DIR>/stderr"
        );
        let heap = [("spark.driver.extraJavaOptions", "-Xmx1g")];
        let error = super::command(&application(&job, &heap).unwrap(), 1, false).unwrap_err();
        assert!(error.message().contains("(was -Xmx1g)"), "{error}");
    }
}

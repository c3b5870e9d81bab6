//! The variables of a driver (Spark 3.5, `Client.setupLaunchEnv`, `Client.populateClasspath`). Values are as a
//! NodeManager reads them: it replaces `{{NAME}}` and `<CPS>`, and a shell `$NAME`.

use std::collections::BTreeMap;

use anymaster_core::Result;
use anymaster_core::model::SparkLanguage;
use anymaster_hadoop::Configuration;

use super::files::Plan;
use super::{APP_JAR, Application, CONF, HADOOP_CONF, LIBS};
use crate::keys;
use crate::quote;
use crate::submitter::Submitter;

/// Between the entries of a path.
const SEPARATOR: &str = "<CPS>";
/// What a NodeManager's class path has of Hadoop, where its configuration does not say it.
const YARN_CLASS_PATH: [&str; 6] = [
    "{{HADOOP_CONF_DIR}}",
    "{{HADOOP_COMMON_HOME}}/share/hadoop/common/*",
    "{{HADOOP_COMMON_HOME}}/share/hadoop/common/lib/*",
    "{{HADOOP_HDFS_HOME}}/share/hadoop/hdfs/*",
    "{{HADOOP_HDFS_HOME}}/share/hadoop/hdfs/lib/*",
    "{{HADOOP_YARN_HOME}}/share/hadoop/yarn/*",
];

/// The variables of the driver, and properties that follow from them.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) properties: Vec<(String, String)>,
}

/// The environment of a driver.
pub(crate) fn environment(
    application: &Application<'_>,
    plan: &Plan,
    submitter: &Submitter,
    configuration: &Configuration,
    staging: &str,
) -> Result<Environment> {
    let conf = &application.conf;
    let mut env = BTreeMap::new();
    let class_path = class_path(application, plan, submitter, configuration)?;
    env.insert("CLASSPATH".to_owned(), class_path.join(SEPARATOR));
    env.insert("SPARK_YARN_STAGING_DIR".to_owned(), quote::value(staging));
    let v6 = submitter.get("SPARK_PREFER_IPV6").is_some_and(|value| value == "true");
    env.insert("SPARK_PREFER_IPV6".to_owned(), v6.to_string());
    for (name, value) in conf.with_prefix("spark.yarn.appMasterEnv.") {
        env.insert(name.to_owned(), value.to_owned());
    }
    let user = application.job.proxy_user.as_deref().unwrap_or(&submitter.user);
    env.insert("SPARK_USER".to_owned(), quote::value(user));
    let mut properties = Vec::new();
    if !plan.python_path.is_empty() {
        let own = submitter.get("PYTHONPATH").map(quote::value);
        let own: Vec<_> = own.into_iter().chain(plan.python_path.iter().cloned()).collect();
        let joined = |first: Option<&str>| {
            let first = first.map(str::to_owned);
            first.into_iter().chain(own.iter().cloned()).collect::<Vec<_>>().join(SEPARATOR)
        };
        let driver = joined(env.get("PYTHONPATH").map(String::as_str));
        env.insert("PYTHONPATH".to_owned(), driver);
        let key = "spark.executorEnv.PYTHONPATH";
        properties.push((key.to_owned(), joined(conf.get(key))));
    }
    for name in ["PYSPARK_DRIVER_PYTHON", "PYSPARK_PYTHON"] {
        if let Some(value) = submitter.get(name).filter(|_| !env.contains_key(name)) {
            env.insert(name.to_owned(), quote::value(value));
        }
    }
    // Spark's script `spark-submit` sets it, whatever it was.
    env.insert("PYTHONHASHSEED".to_owned(), "0".to_owned());
    if let Some(value) = submitter.get("SPARK_DIST_CLASSPATH") {
        env.insert("SPARK_DIST_CLASSPATH".to_owned(), quote::value(value));
    }
    Ok(Environment { variables: env, properties })
}

fn class_path(
    application: &Application<'_>,
    plan: &Plan,
    submitter: &Submitter,
    configuration: &Configuration,
) -> Result<Vec<String>> {
    let conf = &application.conf;
    let is_first = conf.read(&keys::USER_CLASS_PATH_FIRST)?;
    let mut path: Vec<String> = Vec::new();
    let on_nodes = |path: &str| replaced(application, path);
    path.extend(conf.get("spark.driver.extraClassPath").map(on_nodes));
    path.push("{{PWD}}".to_owned());
    path.push(format!("{{{{PWD}}}}/{CONF}"));
    if is_first {
        if application.job.language == SparkLanguage::Java {
            let given = plan.properties.iter().find(|(key, _)| *key == "spark.yarn.user.jar");
            path.push(match given.and_then(|(_, jar)| jar.strip_prefix("local:")) {
                Some(jar) => on_nodes(jar),
                None => format!("{{{{PWD}}}}/{APP_JAR}"),
            });
        }
        let secondary = plan.properties.iter().find(|(key, _)| *key == "spark.yarn.secondary.jars");
        let secondary = secondary.map_or("", |(_, jars)| jars.as_str());
        path.extend(secondary.split(',').filter(|jar| !jar.is_empty()).map(|jar| {
            jar.strip_prefix("local:").map_or_else(|| format!("{{{{PWD}}}}/{jar}"), on_nodes)
        }));
    }
    path.push(format!("{{{{PWD}}}}/{LIBS}/*"));
    if conf.get(keys::ARCHIVE.info.name).is_none() {
        let jars = conf.read_optional(&keys::JARS)?.unwrap_or_default();
        path.extend(jars.iter().filter_map(|jar| jar.strip_prefix("local:")).map(on_nodes));
    }
    if populates(application)? {
        path.extend(class_path_of(configuration, "yarn.application.classpath", &YARN_CLASS_PATH));
        path.extend(class_path_of(configuration, "mapreduce.application.classpath", &[]));
    }
    path.extend(submitter.get("SPARK_DIST_CLASSPATH").map(on_nodes));
    path.push(format!("{{{{PWD}}}}/{CONF}/{HADOOP_CONF}"));
    Ok(path)
}

fn class_path_of(configuration: &Configuration, key: &str, default: &[&str]) -> Vec<String> {
    let given = configuration.list(key);
    if given.is_empty() { default.iter().map(|it| (*it).to_owned()).collect() } else { given }
}

/// Whether the class path of Hadoop is the nodes': so it is unless Spark has its own.
fn populates(application: &Application<'_>) -> Result<bool> {
    let given = application.conf.read_optional(&keys::POPULATE_HADOOP_CLASSPATH)?;
    Ok(given.unwrap_or_else(|| {
        let jars = application.spark.path.join("jars");
        let names = std::fs::read_dir(&jars).into_iter().flatten().flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        jars.is_dir() && !names.any(|name| name.starts_with("hadoop-client"))
    }))
}

/// A path of this machine as the nodes have it.
fn replaced(application: &Application<'_>, path: &str) -> String {
    let of = |key: &anymaster_core::conf::keys::Key<String>| application.conf.get(key.info.name);
    match (of(&keys::GATEWAY_PATH), of(&keys::REPLACEMENT_PATH)) {
        (Some(gateway), Some(replacement)) => path.replace(gateway, replacement),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::plan;
    use super::super::tests::{application, job, submitter};
    use super::*;

    fn of(properties: &[(&str, &str)]) -> BTreeMap<String, String> {
        let job = job();
        let all: Vec<_> =
            properties.iter().copied().chain([("spark.yarn.archive", "hdfs:/s.zip")]).collect();
        let application = application(&job, &all).unwrap();
        let (plan, configuration) =
            (plan(&application, &submitter()).unwrap(), Configuration::default());
        environment(&application, &plan, &submitter(), &configuration, "file:/s").unwrap().variables
    }

    #[test]
    fn variables_are_those_of_sparks_client() {
        let env = of(&[
            ("spark.driver.extraClassPath", "/extra/*"),
            ("spark.yarn.appMasterEnv.JAVA_HOME", "{{OTHER}}/java"),
            ("spark.yarn.dist.pyFiles", "n.zip"),
        ]);
        assert_eq!(
            env["CLASSPATH"],
            "/extra/*<CPS>{{PWD}}<CPS>{{PWD}}/__spark_conf__<CPS>{{PWD}}/__spark_libs__/*<CPS>\
             {{PWD}}/__spark_conf__/__hadoop_conf__"
        );
        assert_eq!(env["JAVA_HOME"], "{{OTHER}}/java");
        assert_eq!(env["SPARK_USER"], "somebody");
        assert_eq!(env["SPARK_YARN_STAGING_DIR"], "file:/s");
        assert_eq!(env["PYTHONPATH"], "{{PWD}}/n.zip");
    }

    #[test]
    fn the_applications_jars_may_come_first_and_paths_may_differ_on_nodes() {
        let env = of(&[
            ("spark.yarn.user.classpath.first", "true"),
            ("spark.yarn.dist.jars", "/here/a.jar,local:/here/b.jar"),
            ("spark.yarn.config.gatewayPath", "/here"),
            ("spark.yarn.config.replacementPath", "{{THERE}}"),
        ]);
        let begin = "{{PWD}}<CPS>{{PWD}}/__spark_conf__<CPS>{{PWD}}/__app__.jar<CPS>{{PWD}}/a.jar<CPS>\
                     {{THERE}}/b.jar<CPS>{{PWD}}/__spark_libs__/*";
        assert!(env["CLASSPATH"].starts_with(begin), "{}", env["CLASSPATH"]);
    }
}

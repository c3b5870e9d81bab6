//! How an executor of a Spark application is started: the command line of Spark's own worker (Spark 3.5,
//! `ExecutorRunner` and `CommandUtils`), with our placeholders in the place of Spark's. No I/O.

use anymaster_core::model::{CommandLine, ExecutorTemplate, SparkVersions};
use anymaster_core::{Error, Result, native};
use anymaster_spark_wire::messages::CommandDescription;

/// The variable in which Spark's processes find the secret of their application.
const SECRET: &str = "_SPARK_AUTH_SECRET";
/// The passwords of TLS, and the variables in which Spark 4's processes find them: not in their arguments,
/// which everybody sees.
const PASSWORDS: [(&str, &str); 4] = [
    ("spark.ssl.rpc.keyPassword", "_SPARK_SSL_RPC_KEY_PASSWORD"),
    ("spark.ssl.rpc.privateKeyPassword", "_SPARK_SSL_RPC_PRIVATE_KEY_PASSWORD"),
    ("spark.ssl.rpc.keyStorePassword", "_SPARK_SSL_RPC_KEY_STORE_PASSWORD"),
    ("spark.ssl.rpc.trustStorePassword", "_SPARK_SSL_RPC_TRUST_STORE_PASSWORD"),
];

/// The Spark that executors run, where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkInstallation {
    /// Its directory, for `SPARK_HOME`.
    pub home: String,
    /// The program `java`, with what comes before its arguments.
    pub java: Vec<String>,
    /// What is on the class path after the application's own entries.
    pub class_path: Vec<String>,
    /// The releases of which it has to be one, if only the machines know where it is: placeholders stand for that.
    pub versions: Option<SparkVersions>,
}

impl SparkInstallation {
    /// The one in this directory, with the `java` of `JAVA_HOME` or else of the search path, as they are where
    /// it runs: as in images of Spark.
    pub fn at(home: &str) -> Self {
        let script = r#"exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "$@""#;
        Self {
            home: home.to_owned(),
            java: ["/bin/sh", "-c", script, "java"].map(str::to_owned).to_vec(),
            class_path: vec![format!("{home}/conf/"), format!("{home}/jars/*")],
            versions: None,
        }
    }

    /// One of these releases, which machines say that they have.
    pub(crate) fn of_machine(versions: SparkVersions) -> Self {
        Self {
            home: "{{spark.home}}".to_owned(),
            java: vec!["{{spark.java}}".to_owned()],
            class_path: vec!["{{spark.classpath}}".to_owned()],
            versions: Some(versions),
        }
    }
}

/// How the executors of an application are started. `host`: their own address, as drivers and other
/// executors reach it.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a text with a placeholder that is none of
/// ours.
pub(crate) fn template(
    command: &CommandDescription,
    spark: &SparkInstallation,
    host: &str,
    secret: Option<&str>,
) -> Result<ExecutorTemplate> {
    let class_path: Vec<_> = command.class_path.iter().chain(&spark.class_path).cloned().collect();
    let (program, before) = spark.java.split_first().ok_or_else(|| Error::invalid("no java"))?;
    let mut args = before.to_vec();
    args.extend(["-cp".to_owned(), class_path.join(":")]);
    args.push("-Xmx{{executor.memory}}M".to_owned());
    let options = command.java_options.iter();
    args.extend(options.filter(|option| !is_secret(option)).map(|option| java_option(option)));
    args.push(command.main_class.clone());
    args.extend(arguments(&command.arguments, host));
    let mut env = command.environment.clone();
    env.entry("SPARK_HOME".to_owned()).or_insert_with(|| spark.home.clone());
    env.insert("SPARK_LAUNCH_WITH_SCALA".to_owned(), "0".to_owned());
    // What it writes is removed with its directory.
    env.insert("SPARK_EXECUTOR_DIRS".to_owned(), "{{work.dir}}/blocks".to_owned());
    if !command.library_path.is_empty() {
        let given = env.get("LD_LIBRARY_PATH").cloned();
        let path: Vec<_> = command.library_path.iter().cloned().chain(given).collect();
        env.insert("LD_LIBRARY_PATH".to_owned(), path.join(":"));
    }
    if let Some(secret) = secret {
        env.insert(SECRET.to_owned(), secret.to_owned());
    }
    for (option, variable) in PASSWORDS {
        let given = command.java_options.iter().find_map(|it| property(it, option));
        env.extend(given.map(|password| (variable.to_owned(), password.to_owned())));
    }
    let is_shown = |name: &str| name != SECRET && PASSWORDS.iter().all(|(_, it)| *it != name);
    let variables = env.iter().filter(|(name, _)| is_shown(name)).map(|(_, value)| value);
    for text in args.iter().chain(variables) {
        native::expand(text, |_| Some(String::new()))
            .map_err(|error| Error::invalid(error.message().to_owned()))?;
    }
    let mut template = ExecutorTemplate::new(CommandLine::new(program.as_str()).args(args));
    (template.env, template.spark) = (env, spark.versions.clone());
    Ok(template)
}

/// The value of a property among the options of a JVM.
fn property<'a>(option: &'a str, name: &str) -> Option<&'a str> {
    option.strip_prefix("-D")?.strip_prefix(name)?.strip_prefix('=')
}

/// It would be in the list of processes.
fn is_secret(option: &str) -> bool {
    option.starts_with("-Dspark.authenticate.secret=")
        || (option.starts_with("-Dspark.ssl.") && option.contains("assword="))
}

/// Spark replaces these two wherever they stand.
fn java_option(option: &str) -> String {
    option.replace("{{APP_ID}}", "{{app.id}}").replace("{{EXECUTOR_ID}}", "{{executor.id}}")
}

/// Spark replaces an argument that is a placeholder, and none that contains one. The URL of the worker is
/// left out: an executor would end with it, and here the cluster ends it.
fn arguments(arguments: &[String], host: &str) -> Vec<String> {
    let mut replaced = Vec::with_capacity(arguments.len());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        replaced.push(match argument.as_str() {
            "--worker-url" => {
                rest.next();
                continue;
            }
            "{{EXECUTOR_ID}}" => "{{executor.id}}".to_owned(),
            "{{HOSTNAME}}" => host.to_owned(),
            "{{CORES}}" => "{{executor.cores}}".to_owned(),
            "{{APP_ID}}" => "{{app.id}}".to_owned(),
            "{{RESOURCE_PROFILE_ID}}" => "{{executor.profile}}".to_owned(),
            _ => argument.clone(),
        });
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn command() -> CommandDescription {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CommandDescription {
            main_class: "Backend".to_owned(),
            arguments: texts(&[
                "--driver-url",
                "spark://CoarseGrainedScheduler@h:1",
                "--executor-id",
                "{{EXECUTOR_ID}}",
                "--hostname",
                "{{HOSTNAME}}",
                "--cores",
                "{{CORES}}",
                "--app-id",
                "{{APP_ID}}",
                "--worker-url",
                "{{WORKER_URL}}",
                "--resourceProfileId",
                "{{RESOURCE_PROFILE_ID}}",
            ]),
            environment: BTreeMap::from([("SPARK_USER".to_owned(), "me".to_owned())]),
            class_path: texts(&["/mine.jar"]),
            library_path: texts(&["/native"]),
            java_options: texts(&[
                "-Dspark.driver.port=1",
                "-Dspark.authenticate=true",
                "-Dspark.authenticate.secret=hidden",
                "-Dspark.ssl.rpc.enabled=true",
                "-Dspark.ssl.rpc.keyStorePassword=hidden",
                "-XX:HeapDumpPath=/tmp/{{APP_ID}}-{{EXECUTOR_ID}}",
            ]),
        }
    }

    #[test]
    fn the_command_is_that_of_sparks_worker() {
        let spark = SparkInstallation {
            java: vec!["java".to_owned()],
            ..SparkInstallation::at("/opt/spark")
        };
        let made = template(&command(), &spark, "10.0.0.7", Some("s3cret")).unwrap();
        assert_eq!(made.command.program, "java");
        let args: Vec<_> = made.command.args.iter().map(String::as_str).collect();
        assert_eq!(
            args,
            [
                "-cp",
                "/mine.jar:/opt/spark/conf/:/opt/spark/jars/*",
                "-Xmx{{executor.memory}}M",
                "-Dspark.driver.port=1",
                "-Dspark.authenticate=true",
                "-Dspark.ssl.rpc.enabled=true",
                "-XX:HeapDumpPath=/tmp/{{app.id}}-{{executor.id}}",
                "Backend",
                "--driver-url",
                "spark://CoarseGrainedScheduler@h:1",
                "--executor-id",
                "{{executor.id}}",
                "--hostname",
                "10.0.0.7",
                "--cores",
                "{{executor.cores}}",
                "--app-id",
                "{{app.id}}",
                "--resourceProfileId",
                "{{executor.profile}}",
            ]
        );
        assert_eq!(made.env["SPARK_HOME"], "/opt/spark");
        assert_eq!(made.env["SPARK_USER"], "me");
        assert_eq!(made.env["LD_LIBRARY_PATH"], "/native");
        assert_eq!(made.env[SECRET], "s3cret");
        assert_eq!(made.env["_SPARK_SSL_RPC_KEY_STORE_PASSWORD"], "hidden");
    }

    #[test]
    fn what_looks_like_a_placeholder_and_is_none_is_refused_by_name() {
        let mut command = command();
        command.java_options.push("-Dx={{mystery}}".to_owned());
        let spark = SparkInstallation::at("/opt/spark");
        let error = template(&command, &spark, "h", None).unwrap_err();
        assert!(error.message().contains("{{mystery}}"), "{error}");
    }
}

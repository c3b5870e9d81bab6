//! The output of `--verbose` (Spark 3.5, `SparkSubmitArguments.toString` and `SparkSubmit`).

use std::fmt::Write as _;

use anymaster_core::conf::{Redaction, places};

use crate::{Submission, SubmitArgs};

/// The fields in Spark's order, and the sources of their values.
const FIELDS: [(&str, Field); 23] = [
    ("master", Field::Conf("spark.master")),
    ("remote", Field::Option("--remote")),
    ("deployMode", Field::Option("--deploy-mode")),
    ("executorMemory", Field::OptionOr("--executor-memory", "spark.executor.memory")),
    ("executorCores", Field::OptionOr("--executor-cores", "spark.executor.cores")),
    ("totalExecutorCores", Field::OptionOr("--total-executor-cores", "spark.cores.max")),
    ("propertiesFile", Field::File),
    ("driverMemory", Field::Conf("spark.driver.memory")),
    ("driverCores", Field::OptionOr("--driver-cores", "spark.driver.cores")),
    ("driverExtraClassPath", Field::Conf("spark.driver.extraClassPath")),
    ("driverExtraLibraryPath", Field::Conf("spark.driver.extraLibraryPath")),
    ("driverExtraJavaOptions", Field::Conf("spark.driver.extraJavaOptions")),
    ("supervise", Field::Switch("--supervise")),
    ("queue", Field::OptionOr("--queue", "spark.yarn.queue")),
    ("numExecutors", Field::OptionOr("--num-executors", "spark.executor.instances")),
    ("files", Field::OptionOr("--files", "spark.files")),
    ("pyFiles", Field::OptionOr("--py-files", "spark.submit.pyFiles")),
    ("archives", Field::OptionOr("--archives", "spark.archives")),
    ("mainClass", Field::Option("--class")),
    ("primaryResource", Field::Primary),
    ("name", Field::Conf("spark.app.name")),
    ("childArgs", Field::Args),
    ("jars", Field::OptionOr("--jars", "spark.jars")),
];

enum Field {
    Conf(&'static str),
    Option(&'static str),
    OptionOr(&'static str, &'static str),
    Switch(&'static str),
    File,
    Primary,
    Args,
}

/// The blocks `Parsed arguments` and `Spark properties used`, with secrets redacted.
pub fn parsed_arguments(args: &SubmitArgs, submission: &Submission) -> String {
    let redaction = Redaction::from_conf(&submission.conf).unwrap_or_default();
    let show = |key: &str, value: &str| redaction.show(key, value).into_owned();
    let conf = |key: &str| submission.conf.get(key).map(|value| show(key, value));
    let mut text = String::from("Parsed arguments:\n");
    for (name, field) in &FIELDS {
        let value = match field {
            Field::Conf(key) => conf(key),
            Field::Option(option) => args.value(option).map(str::to_owned),
            Field::OptionOr(option, key) => {
                args.value(option).map(|value| show(key, value)).or_else(|| conf(key))
            }
            Field::Switch(option) => Some(args.has(option).to_string()),
            Field::File => {
                submission.properties_file.as_ref().map(|file| file.display().to_string())
            }
            Field::Primary => Some(places(&submission.primary_resource).into_owned()),
            Field::Args => Some(format!("[{}]", redaction.show_args(&submission.args).join(" "))),
        };
        let _ = writeln!(text, "  {name:<23} {}", value.as_deref().unwrap_or("null"));
    }
    for (name, option) in [
        ("packages", "--packages"),
        ("packagesExclusions", "--exclude-packages"),
        ("repositories", "--repositories"),
    ] {
        let value = args.value(option).map(places);
        let _ = writeln!(text, "  {name:<23} {}", value.as_deref().unwrap_or("null"));
    }
    let _ = writeln!(text, "  {:<23} true", "verbose");
    let file = submission.properties_file.as_ref().map(|file| file.display().to_string());
    let _ = write!(
        text,
        "\nSpark properties used, including those specified through\n --conf and those from the \
         properties file {}:\n",
        file.as_deref().unwrap_or("null")
    );
    for (key, value) in submission.conf.redacted() {
        let _ = writeln!(text, "  ({key},{value})");
    }
    text
}

/// The blocks after that: main class, arguments, properties.
pub fn resolved(main_class: &str, submission: &Submission) -> String {
    let mut text = format!("Main class:\n{main_class}\nArguments:\n");
    let redaction = Redaction::from_conf(&submission.conf).unwrap_or_default();
    for arg in redaction.show_args(&submission.args) {
        let _ = writeln!(text, "{arg}");
    }
    text.push_str("Spark config:\n");
    for (key, value) in submission.conf.redacted() {
        let _ = writeln!(text, "({key},{value})");
    }
    text
}

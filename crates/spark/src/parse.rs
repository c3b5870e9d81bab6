//! Parses the command line (Spark 3.5, `SparkSubmitOptionParser`).

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::{Error, Result};

use crate::flags::{self, Flag};
use crate::suspicious_line::{Suspicion, check_application, options_among};

/// The options that Spark's launcher converts to `--conf`: the last one of these and of `--conf`
/// for the same property takes precedence.
const LIKE_CONF: [(&str, &str); 5] = [
    ("--driver-memory", "spark.driver.memory"),
    ("--driver-java-options", "spark.driver.extraJavaOptions"),
    ("--driver-library-path", "spark.driver.extraLibraryPath"),
    ("--driver-class-path", "spark.driver.extraClassPath"),
    ("--driver-default-class-path", "spark.driver.defaultExtraClassPath"),
];

/// The package of the examples.
const EXAMPLES: &str = "org.apache.spark.examples.";

/// Spark's own classes that accept arguments between options, and the primary resource that stands
/// for them.
const MIXED: [(&str, &str); 5] = [
    ("org.apache.spark.repl.Main", "spark-shell"),
    ("org.apache.spark.sql.application.ConnectRepl", "connect-shell"),
    ("org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver", NO_RESOURCE),
    ("org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", NO_RESOURCE),
    ("org.apache.spark.sql.connect.service.SparkConnectServer", NO_RESOURCE),
];

/// The primary resource of classes that are part of Spark, or of the image
/// (`SparkLauncher.NO_RESOURCE`).
pub(crate) const NO_RESOURCE: &str = "spark-internal";

/// The script of Spark that a line comes from: some prepend a word for Spark's launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Script {
    /// `spark-submit`, and scripts that call it with additional options.
    #[default]
    Submit,
    /// `pyspark`
    Pyspark,
    /// `sparkR`
    SparkR,
    /// `run-example`
    RunExample,
}

impl Script {
    const ALL: [Self; 3] = [Self::Pyspark, Self::SparkR, Self::RunExample];

    /// The first word of a line from this script.
    pub(crate) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Submit => None,
            Self::Pyspark => Some("pyspark-shell-main"),
            Self::SparkR => Some("sparkr-shell-main"),
            Self::RunExample => Some("run-example"),
        }
    }

    const fn application(self) -> Option<&'static str> {
        match self {
            Self::Pyspark => Some("pyspark-shell"),
            Self::SparkR => Some("sparkr-shell"),
            Self::Submit | Self::RunExample => None,
        }
    }
}

/// The action that a line requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Action {
    /// Submit an application.
    #[default]
    Submit,
    /// Kill a submission.
    Kill(String),
    /// Show the status of a submission.
    Status(String),
    /// Print the help text. `true` if requested with `--help`; `false` if the line is empty.
    Help(bool),
    /// Print the usage after an error; used by Spark's scripts.
    UsageError,
    /// Print the version.
    Version,
}

/// A parsed line. Files and the environment are not read yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubmitArgs {
    /// The action.
    pub action: Action,
    /// The last value of each option other than `--conf`, by long name.
    pub values: BTreeMap<&'static str, String>,
    /// Switches, by their long names.
    pub switches: BTreeSet<&'static str>,
    /// Properties in the order given, from `--conf` and from options that are converted to it.
    pub conf: Vec<(String, String)>,
    /// `--extra-properties-file`, in the order given: later ones take precedence.
    pub(crate) extra_files: Vec<String>,
    /// The application.
    pub primary_resource: Option<String>,
    /// The arguments of the application.
    pub args: Vec<String>,
    /// The options as given, without those of `anymaster`, for Spark's JVM.
    pub(crate) passed: Vec<String>,
    /// The script that the line comes from.
    pub(crate) script: Script,
    /// Whether arguments of the application are accepted between options.
    mixed: bool,
    /// A sign that the line is a mistake.
    pub(crate) suspicion: Option<Suspicion>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

impl SubmitArgs {
    /// The value of an option, by its long name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a switch is on, by its long name.
    pub fn has(&self, name: &str) -> bool {
        self.switches.contains(name)
    }

    /// The last value of a property on the line.
    pub fn conf(&self, key: &str) -> Option<&str> {
        self.conf.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The line without options of `anymaster`, for Spark's own launcher.
    pub fn for_spark(&self) -> Vec<String> {
        let first = self.script.word().map(str::to_owned);
        let named = match self.script {
            Script::RunExample => self.values.get("--class"),
            _ => self.primary_resource.as_ref().filter(|_| !self.mixed),
        };
        let named = named.cloned();
        let line = first.into_iter().chain(self.passed.iter().cloned()).chain(named);
        line.chain(self.args.iter().cloned()).collect()
    }

    /// Whether it starts one of Spark's shells or servers, which have their own options.
    pub fn is_of_shell(&self) -> bool {
        self.mixed
    }
}

/// Parses a line: the arguments after the program's name.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with the option at fault and what to write.
pub fn parse(line: &[String]) -> Result<SubmitArgs> {
    let mut args = SubmitArgs::default();
    if line.is_empty() {
        args.action = Action::Help(false);
        return Ok(args);
    }
    let mut words = line;
    let first = Script::ALL.into_iter().find(|script| script.word() == Some(line[0].as_str()));
    if let Some(script) = first {
        args.script = script;
        args.primary_resource = script.application().map(str::to_owned);
        args.mixed = args.primary_resource.is_some();
        words = &words[1..];
    }
    while let [word, rest @ ..] = words {
        words = rest;
        let (name, inline) = split(word);
        let Some(flag) = flags::find(name).filter(|flag| inline.is_none() || flag.value.is_some())
        else {
            if args.mixed {
                args.args.push(word.clone());
                continue;
            }
            args.take_application(word, rest)?;
            break;
        };
        match flag.value {
            None => {
                args.switches.insert(flag.name);
            }
            Some(meaning) => {
                let value = match inline {
                    Some(value) => value,
                    None => {
                        let (value, after) =
                            words.split_first().ok_or_else(|| missing_value(flag, meaning))?;
                        words = after;
                        args.suspicion =
                            Suspicion::from_value(flag, value, words).or(args.suspicion.take());
                        value
                    }
                };
                args.take(flag, value)?;
            }
        }
        match flag.name {
            "--version" => args.action = Action::Version,
            "--help" => args.action = Action::Help(true),
            "--usage-error" => args.action = Action::UsageError,
            _ => {}
        }
        if flag.value.is_none() && !is_ours(flag) {
            args.passed.push(flag.name.to_owned());
        }
        if args.action != Action::Submit {
            return Ok(args);
        }
    }
    if let Some(suspicion @ Suspicion::Swallowed { .. }) = &args.suspicion {
        args.warnings.push(suspicion.message());
    }
    args.action = match (args.values.get("--kill"), args.values.get("--status")) {
        (None, None) => Action::Submit,
        (Some(id), None) => Action::Kill(id.clone()),
        (None, Some(id)) => Action::Status(id.clone()),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("--kill and --status cannot both be given"));
        }
    };
    Ok(args)
}

fn is_ours(flag: &Flag) -> bool {
    flag.group == flags::Group::Anymaster
}

/// Splits `--x=v` into `--x` and `v`, if both are not empty.
pub(crate) fn split(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((name, value)) if name.starts_with("--") && name.len() > 2 && !value.is_empty() => {
            (name, Some(value))
        }
        _ => (word, None),
    }
}

impl SubmitArgs {
    /// Takes the first word that is not an option as the application, and the rest as its
    /// arguments.
    fn take_application(&mut self, word: &str, rest: &[String]) -> Result<()> {
        check_application(word)?;
        if let Some(suspicion) = &self.suspicion {
            suspicion.check(word, rest)?;
        }
        self.args = rest.to_vec();
        if self.script == Script::RunExample {
            let class = match word.starts_with(EXAMPLES) {
                true => word.to_owned(),
                false => format!("{EXAMPLES}{word}"),
            };
            self.values.insert("--class", class);
            return Ok(());
        }
        self.primary_resource = Some(word.to_owned());
        self.warnings.extend(options_among(&self.args).map(|option| {
            format!(
                "{option} follows the application {word}, and is an argument of it: options of \
                 spark-submit go before it"
            )
        }));
        Ok(())
    }

    fn take(&mut self, flag: &'static Flag, value: &str) -> Result<()> {
        if flag.name == "--deploy-mode" && !matches!(value, "client" | "cluster") {
            return Err(Error::invalid(format!(
                "--deploy-mode must be either \"client\" or \"cluster\", not {value:?}"
            )));
        }
        let like_conf = LIKE_CONF.iter().find(|(name, _)| *name == flag.name);
        let property = match (flag.name, like_conf) {
            ("--conf", _) => Some(value.split_once('=').ok_or_else(|| {
                Error::invalid(format!("--conf {value}: there is no '=' in it"))
                    .with_hint("write --conf PROP=VALUE, for example --conf spark.executor.cores=2")
            })?),
            ("--kubernetes-namespace", _) => {
                self.warnings.push(
                    "--kubernetes-namespace is an old name; write --conf \
                     spark.kubernetes.namespace=NS"
                        .to_owned(),
                );
                Some(("spark.kubernetes.namespace", value))
            }
            (_, Some((_, key))) => Some((*key, value)),
            _ => None,
        };
        match property {
            Some((key, value)) => {
                self.conf.push((key.to_owned(), value.to_owned()));
                self.passed.extend(["--conf".to_owned(), format!("{key}={value}")]);
            }
            None if is_ours(flag) => {}
            None => self.passed.extend([flag.name.to_owned(), value.to_owned()]),
        }
        match flag.name {
            "--conf" => {}
            "--extra-properties-file" => self.extra_files.push(value.to_owned()),
            _ => {
                self.values.insert(flag.name, value.to_owned());
            }
        }
        let of_class = MIXED.iter().find(|(class, _)| flag.name == "--class" && *class == value);
        if let Some((_, resource)) = of_class {
            self.mixed = true;
            self.primary_resource = Some((*resource).to_owned());
        }
        Ok(())
    }
}

fn missing_value(flag: &Flag, meaning: &str) -> Error {
    Error::invalid(format!("Missing argument for option '{}'.", flag.name))
        .with_hint(format!("write {} {meaning}", flag.name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn read(line: &str) -> SubmitArgs {
        parse(&words(line)).unwrap()
    }

    #[test]
    fn options_end_at_the_application_and_the_rest_is_its_own() {
        let args = read("--master local --class=A -c spark.x=1=2 -v app.jar --master yarn --foo");
        assert_eq!(args.value("--master"), Some("local"));
        assert_eq!(args.value("--class"), Some("A"));
        assert_eq!(args.conf("spark.x"), Some("1=2"));
        assert!(args.has("--verbose"));
        assert_eq!(args.primary_resource.as_deref(), Some("app.jar"));
        assert_eq!(args.args, ["--master", "yarn", "--foo"]);
    }

    #[test]
    fn the_last_value_counts_and_values_may_look_like_options() {
        let args =
            read("--name a --name b --conf spark.x=1 --conf spark.x= --queue --verbose x.py");
        assert_eq!(args.value("--name"), Some("b"));
        assert_eq!(args.conf("spark.x"), Some(""));
        assert_eq!(args.value("--queue"), Some("--verbose"));
        assert!(!args.has("--verbose"));
    }

    #[test]
    fn the_later_of_driver_options_and_conf_counts() {
        let key = "spark.driver.memory";
        let args = read("--driver-memory 1g --conf spark.driver.memory=2g x.jar");
        assert_eq!(args.conf(key), Some("2g"));
        let args = read("--conf spark.driver.memory=2g --driver-memory 1g x.jar");
        assert_eq!(args.conf(key), Some("1g"));
    }

    #[test]
    fn the_line_for_spark_has_no_options_of_anymaster() {
        let args =
            read("--dry-run -o json --supervise --submission-id a --driver-memory 1g -v x.jar");
        assert_eq!(args.passed, ["--supervise", "--conf", "spark.driver.memory=1g", "--verbose"]);
    }

    #[test]
    fn errors_name_the_option_and_have_a_hint() {
        let error = |line: &str| {
            let error = parse(&words(line)).unwrap_err();
            format!("{error}\n  {}", error.hint().unwrap_or("-"))
        };
        insta::assert_snapshot!(
            [
                "--blarg", "--excutor-memory 1g x.jar", "--class", "--conf foo x.jar", "--name= x.jar",
                "--verbose=1 x.jar", "--deploy-mode kluster x.jar", "--kill a --status b", "-x",
            ]
            .map(error)
            .join("\n"),
            @r#"
        Unrecognized option: --blarg
          --help lists the options
        Unrecognized option: --excutor-memory
          did you mean --executor-memory?
        Missing argument for option '--class'.
          write --class CLASS
        --conf foo: there is no '=' in it
          write --conf PROP=VALUE, for example --conf spark.executor.cores=2
        Unrecognized option: --name=
          write --name "" for an empty value
        Unrecognized option: --verbose=1
          --verbose takes no value
        --deploy-mode must be either "client" or "cluster", not "kluster"
          -
        --kill and --status cannot both be given
          -
        Unrecognized option: -x
          --help lists the options
        "#
        );
    }

    #[test]
    fn help_and_version_end_the_line() {
        assert_eq!(read("--version --blarg").action, Action::Version);
        assert_eq!(read("--help").action, Action::Help(true));
        assert_eq!(read("--usage-error").action, Action::UsageError);
        assert_eq!(parse(&[]).unwrap().action, Action::Help(false));
    }

    proptest! {
        #[test]
        fn no_line_panics_and_arguments_are_kept(
            before in prop::collection::vec("(--[a-z=-]{0,12}|-[a-z]|[a-z.=]{1,8})", 0..6),
            after in prop::collection::vec(".{0,12}", 0..6),
        ) {
            let mut line = before;
            line.push("app.jar".to_owned());
            line.extend(after.iter().cloned());
            if let Ok(args) = parse(&line)
                && args.primary_resource.as_deref() == Some("app.jar")
            {
                prop_assert!(line.ends_with(&args.args));
                prop_assert!(args.args.len() >= after.len());
            }
        }
    }
}

//! The grammar of the line (Spark 3.5, `SparkSubmitOptionParser`).

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::{Error, Result};

use crate::flags::{self, Flag};

/// The options that Spark's launcher turns into `--conf`: of these and of `--conf` for the same
/// property, the later one wins.
const LIKE_CONF: [(&str, &str); 4] = [
    ("--driver-memory", "spark.driver.memory"),
    ("--driver-java-options", "spark.driver.extraJavaOptions"),
    ("--driver-library-path", "spark.driver.extraLibraryPath"),
    ("--driver-class-path", "spark.driver.extraClassPath"),
];

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Action {
    /// To submit an application.
    #[default]
    Submit,
    /// To end a submission.
    Kill(String),
    /// To show a submission.
    Status(String),
    /// To be told how to write such a line. `true`: asked for; else the line was empty.
    Help(bool),
    /// To be told the version.
    Version,
}

/// A line, taken apart; nothing is looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubmitArgs {
    /// What it asks for.
    pub action: Action,
    /// Options with values but `--conf`, by their long names: the last one of each.
    pub values: BTreeMap<&'static str, String>,
    /// Switches, by their long names.
    pub switches: BTreeSet<&'static str>,
    /// Properties in the order given: of `--conf`, and of options that are like it.
    pub conf: Vec<(String, String)>,
    /// The application.
    pub primary_resource: Option<String>,
    /// What follows it.
    pub args: Vec<String>,
    /// Options as they were given, without ours: what a JVM of Spark's is given.
    pub(crate) passed: Vec<String>,
    /// What is to be said about the line.
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

    /// A property that was given on the line; the last one counts.
    pub fn conf(&self, key: &str) -> Option<&str> {
        self.conf.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// Takes a line apart: what follows the program's name.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with the option at fault and what to write.
pub fn parse(line: &[String]) -> Result<SubmitArgs> {
    let mut args = SubmitArgs::default();
    if line.is_empty() {
        args.action = Action::Help(false);
        return Ok(args);
    }
    let mut words = line.iter();
    while let Some(word) = words.next() {
        let (name, inline) = split(word);
        let Some(flag) = flags::find(name).filter(|flag| inline.is_none() || flag.value.is_some())
        else {
            if word.starts_with('-') {
                return Err(unknown(word));
            }
            args.primary_resource = Some(word.clone());
            args.args = words.cloned().collect();
            break;
        };
        match flag.value {
            None => args.switches.insert(flag.name),
            Some(meaning) => {
                let value = inline.or_else(|| words.next().map(String::as_str));
                let value = value.ok_or_else(|| missing_value(flag, meaning))?;
                args.take(flag, value)?;
                false
            }
        };
        match flag.name {
            "--version" => {
                args.action = Action::Version;
                return Ok(args);
            }
            "--help" | "--usage-error" => {
                args.action = Action::Help(true);
                return Ok(args);
            }
            _ => {}
        }
        if flag.value.is_none() && !is_ours(flag) {
            args.passed.push(flag.name.to_owned());
        }
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

/// `--x=v` is `--x` and `v`; both parts must be there.
fn split(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((name, value)) if name.starts_with("--") && name.len() > 2 && !value.is_empty() => {
            (name, Some(value))
        }
        _ => (word, None),
    }
}

impl SubmitArgs {
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
        if flag.name != "--conf" {
            self.values.insert(flag.name, value.to_owned());
        }
        Ok(())
    }
}

fn unknown(word: &str) -> Error {
    let (name, inline) = split(word);
    let error = Error::invalid(format!("Unrecognized option: {word}"));
    let suggestion = || flags::suggest(name.split('=').next().unwrap_or(name));
    match (flags::find(name), inline) {
        (Some(flag), Some(_)) => error.with_hint(format!("{} takes no value", flag.name)),
        _ if word.ends_with('=') && flags::find(word.trim_end_matches('=')).is_some() => {
            error.with_hint(format!("write {} \"\" for an empty value", word.trim_end_matches('=')))
        }
        _ => match suggestion() {
            Some(known) => error.with_hint(format!("did you mean {known}?")),
            None => error.with_hint("--help lists the options"),
        },
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
    fn the_last_of_several_wins_and_values_swallow_options() {
        let args =
            read("--name a --name b --conf spark.x=1 --conf spark.x= --queue --verbose x.py");
        assert_eq!(args.value("--name"), Some("b"));
        assert_eq!(args.conf("spark.x"), Some(""));
        assert_eq!(args.value("--queue"), Some("--verbose"));
        assert!(!args.has("--verbose"));
    }

    #[test]
    fn driver_options_and_conf_win_by_their_order() {
        let key = "spark.driver.memory";
        let args = read("--driver-memory 1g --conf spark.driver.memory=2g x.jar");
        assert_eq!(args.conf(key), Some("2g"));
        let args = read("--conf spark.driver.memory=2g --driver-memory 1g x.jar");
        assert_eq!(args.conf(key), Some("1g"));
    }

    #[test]
    fn what_spark_is_given_has_nothing_of_ours() {
        let args =
            read("--dry-run -o json --supervise --submission-id a --driver-memory 1g -v x.jar");
        assert_eq!(args.passed, ["--supervise", "--conf", "spark.driver.memory=1g", "--verbose"]);
    }

    #[test]
    fn mistakes_are_named_with_what_to_write() {
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

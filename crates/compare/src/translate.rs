//! What becomes of a `spark-submit` line on another cluster: which of its options and properties have an
//! effect there, which are called otherwise, and which have none.

use std::collections::BTreeSet;

use anymaster_core::conf::keys::{self, KeyInfo, Treatment};
use anymaster_core::conf::{Redaction, probably_meant};
use anymaster_core::model::{DeployMode, Payload, SubmissionId};
use anymaster_core::{BackendInfo, ConnectOptions, Error, MasterUrl, Registry, Result};
use anymaster_spark::{Environment, SubmitArgs};
use serde::Serialize;

use crate::comparison::Obstacle;

/// The most lines that a file may have.
const MAX_LINES: usize = 10_000;

/// The commands of a file, with the numbers of the lines at which they begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(pub Vec<(usize, Vec<String>)>);

impl Lines {
    /// Reads commands, a line each: `spark-submit …`, `anymaster submit …` or only their arguments. A `\` at
    /// the end of a line goes on in the next one; empty lines, and those that begin with `#`, say nothing.
    ///
    /// # Errors
    /// If quotes do not match, if there are too many lines, or no command at all.
    pub fn parse(text: &str) -> Result<Self> {
        let mut commands = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (index, line) in text.lines().enumerate() {
            if index >= MAX_LINES {
                return Err(Error::invalid(format!("there are more than {MAX_LINES} lines")));
            }
            let trimmed = line.trim();
            if open.is_none() && (trimmed.is_empty() || trimmed.starts_with('#')) {
                continue;
            }
            let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
            match trimmed.strip_suffix('\\') {
                Some(part) => {
                    whole.push_str(part);
                    whole.push(' ');
                    open = Some((number, whole));
                }
                None => {
                    whole.push_str(trimmed);
                    commands.push((number, words(number, &whole)?));
                }
            }
        }
        if let Some((number, whole)) = open {
            commands.push((number, words(number, &whole)?));
        }
        commands.retain(|(_, words)| !words.is_empty());
        if commands.is_empty() {
            return Err(Error::invalid("there is no command in it")
                .with_hint("write a spark-submit command on each line"));
        }
        Ok(Self(commands))
    }
}

fn words(number: usize, text: &str) -> Result<Vec<String>> {
    let words = shell_words::split(text).map_err(|error| {
        Error::invalid(format!("line {number}: {error}")).with_hint("every quote needs its partner")
    })?;
    let is = |word: Option<&String>, name: &str| {
        word.is_some_and(|word| word.rsplit('/').next() == Some(name))
    };
    // Variables before a command are the shell's business.
    let assigned = |word: &&String| {
        let name = word.split('=').next().unwrap_or_default();
        name.len() < word.len()
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let variables = words.iter().take_while(assigned).count();
    let command = &words[variables..];
    let named = if is(command.first(), "spark-submit") {
        1
    } else if is(command.first(), "anymaster") && is(command.get(1), "submit") {
        2
    } else {
        0
    };
    Ok(command[named..].to_vec())
}

/// What becomes of an option or a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is refused: nothing would be started.
    Refused,
    /// It has no effect there, and is left out.
    Dropped,
    /// It is called otherwise there.
    Mapped,
    /// It has its effect there.
    Honoured,
    /// It is the business of the driver, which is given it as it is.
    Passed,
}

impl Fate {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::Mapped => "mapped",
            Self::Honoured => "honoured",
            Self::Passed => "passed",
        }
    }
}

/// An option or a property of a line, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Its name: `--queue`, `spark.yarn.queue`.
    pub name: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The property that it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What becomes of a line on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Translation {
    /// The cluster.
    pub master: String,
    /// The line for it, without what has no effect there; secrets are hidden.
    pub line: String,
    /// Its options and properties: what needs attention first.
    pub given: Vec<Given>,
    /// Why the line would not be accepted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// What else is said of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Translates a line, its words after the program's name, to a cluster, without reaching it.
///
/// # Errors
/// If it is no line of `spark-submit`.
pub async fn translate(
    line: &[String],
    options: &ConnectOptions,
    environment: &Environment,
    registry: &Registry,
) -> Result<Translation> {
    let given = anymaster_spark::parse(line)?;
    let master = &options.master;
    let backend = registry.find(master)?;
    let there = There { info: backend.info(), registry, master, mode: mode(&given) };
    let (mut args, mut report) = there.fates(&given);
    args.values.insert("--master", master.to_string());
    let mut translation = Translation {
        master: master.to_string(),
        line: shown(&args),
        given: Vec::new(),
        obstacle: None,
        warnings: Vec::new(),
    };
    match accepted(&args, options, environment, registry, &mut translation.warnings).await {
        Ok(()) => {}
        Err(error) => {
            let words = error.to_string();
            // The one that is named in it is the one that is refused.
            for entry in &mut report {
                let name = entry.becomes.as_deref().unwrap_or(&entry.name);
                if names(&words, name) && entry.name != "--master" {
                    entry.fate = Fate::Refused;
                    entry.why = Some(words.clone());
                }
            }
            translation.obstacle = Some(Obstacle::from(&error));
        }
    }
    report.sort_by(|one, other| (one.fate, &one.name).cmp(&(other.fate, &other.name)));
    translation.given = report;
    Ok(translation)
}

/// Whether a text names a property as a whole word.
fn names(text: &str, property: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-*".contains(c)))
        .any(|word| word.trim_end_matches('.') == property)
}

fn mode(args: &SubmitArgs) -> DeployMode {
    let given = args.value("--deploy-mode").or_else(|| args.conf("spark.submit.deployMode"));
    if given == Some("cluster") { DeployMode::Cluster } else { DeployMode::Client }
}

/// Whether the line is valid there, as far as that is known without a connection.
async fn accepted(
    args: &SubmitArgs,
    options: &ConnectOptions,
    environment: &Environment,
    registry: &Registry,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let submission = anymaster_spark::resolve(args, environment, registry)?;
    warnings.extend(submission.warnings.iter().cloned());
    let Some(job) = submission.spark_job() else { return Ok(()) };
    if submission.deploy_mode == DeployMode::Client {
        return Ok(());
    }
    let app = submission.application(Payload::Spark(job))?;
    let options = options.clone().with_conf(app.conf.clone());
    let id = SubmissionId::new("translated")?;
    registry.find(&options.master)?.preview(&options, &id, &app).await.map(drop)
}

/// The line as it may be shown.
fn shown(args: &SubmitArgs) -> String {
    // A pattern that is none is refused when the line is resolved.
    let redaction = Redaction::default();
    let mut words = vec!["anymaster".to_owned(), "submit".to_owned()];
    for (option, value) in &args.values {
        words.extend([(*option).to_owned(), redaction.show(option, value).into_owned()]);
    }
    words.extend(args.switches.iter().map(|switch| (*switch).to_owned()));
    for (name, value) in &args.conf {
        words.extend(["--conf".to_owned(), format!("{name}={}", redaction.show(name, value))]);
    }
    words.extend(args.primary_resource.iter().cloned());
    words.extend(redaction.show_args(&args.args));
    shell_words::join(words)
}

/// The cluster that a line is translated to.
struct There<'a> {
    info: &'static BackendInfo,
    registry: &'a Registry,
    master: &'a MasterUrl,
    mode: DeployMode,
}

impl There<'_> {
    /// The line as it is there, and what became of each part of it.
    fn fates(&self, given: &SubmitArgs) -> (SubmitArgs, Vec<Given>) {
        let mut args = given.clone();
        let mut report = Vec::new();
        for option in given.values.keys().copied().chain(given.switches.iter().copied()) {
            let entry = self.option(option);
            if entry.fate == Fate::Dropped {
                args.values.remove(option);
                args.switches.remove(option);
            }
            report.push(entry);
        }
        let names: BTreeSet<&str> = given.conf.iter().map(|(name, _)| name.as_str()).collect();
        for name in &names {
            let entry = self.property(name, &names, given);
            match (&entry.fate, &entry.becomes) {
                (Fate::Dropped, _) => args.conf.retain(|(known, _)| known != name),
                (_, Some(becomes)) => {
                    let same = args.conf.iter_mut().filter(|(known, _)| known == name);
                    same.for_each(|(known, _)| known.clone_from(becomes));
                }
                _ => {}
            }
            report.push(entry);
        }
        (args, report)
    }

    fn option(&self, option: &'static str) -> Given {
        let entry = |fate, becomes: Option<&str>, why: Option<String>| Given {
            name: option.to_owned(),
            fate,
            becomes: becomes.map(str::to_owned),
            why,
        };
        if option == "--master" {
            let why = format!("this is about {}", self.master);
            return entry(Fate::Mapped, None, Some(why));
        }
        match anymaster_spark::property_of_option(option, self.master, self.mode) {
            None => entry(Fate::Honoured, None, None),
            Some(Some(property)) => entry(Fate::Honoured, Some(property), None),
            Some(None) => {
                let (title, mode) = (self.info.title, self.mode);
                let why = format!("it has no effect on {title} in {mode} mode");
                entry(Fate::Dropped, None, Some(why))
            }
        }
    }

    fn property(&self, name: &str, all: &BTreeSet<&str>, args: &SubmitArgs) -> Given {
        let entry = |fate, becomes: Option<String>, why: Option<String>| Given {
            name: name.to_owned(),
            fate,
            becomes,
            why,
        };
        if name == "spark.master" {
            return entry(Fate::Dropped, None, Some(format!("this is about {}", self.master)));
        }
        if let Some(key) = self.known(name) {
            let why = || Some(key.doc.trim().to_owned());
            return match key.treatment {
                _ if key.old_names.contains(&name) => {
                    entry(Fate::Mapped, Some(key.name.to_owned()), Some("its name now".to_owned()))
                }
                Treatment::Honoured => entry(Fate::Honoured, None, None),
                Treatment::Passed => entry(Fate::Passed, None, None),
                Treatment::Refused => entry(Fate::Refused, None, why()),
                Treatment::Dropped => entry(Fate::Dropped, None, why()),
            };
        }
        if let Some(equivalent) = self.equivalent(name) {
            let by_option = |option: &&str| {
                let assigned =
                    anymaster_spark::property_of_option(option, self.master, self.mode).flatten();
                assigned == Some(equivalent.as_str())
            };
            if all.contains(equivalent.as_str()) || args.values.keys().any(by_option) {
                let why = format!("{equivalent} is given as well: put them together");
                return entry(Fate::Dropped, None, Some(why));
            }
            return entry(Fate::Mapped, Some(equivalent), None);
        }
        let of_others = self.registry.backends().find(|info| describes(info, name).is_some());
        match of_others {
            Some(other) => {
                let (title, here) = (other.title, self.info.title);
                let why = format!("it is for {title}, and has no effect on {here}");
                entry(Fate::Dropped, None, Some(why))
            }
            None if name.starts_with("spark.") => {
                let tables: Vec<_> =
                    self.registry.backends().flat_map(|info| info.properties).copied().collect();
                let meant = probably_meant(name, &tables);
                entry(Fate::Passed, None, meant.map(|meant| format!("did you mean {meant}?")))
            }
            None => {
                let why = "a property that does not begin with spark. is ignored".to_owned();
                entry(Fate::Dropped, None, Some(why))
            }
        }
    }

    /// What is known of a property there.
    fn known(&self, name: &str) -> Option<&'static KeyInfo> {
        let is_meant = |key: &&&KeyInfo| key.describes(name) || key.old_names.contains(&name);
        let own = self.info.properties.iter().flat_map(|table| table.iter());
        own.chain(keys::TABLE).find(|key| is_meant(key)).copied()
    }

    /// The name there of a property of another cluster.
    fn equivalent(&self, name: &str) -> Option<String> {
        let mut all = self.info.equivalents.iter().copied().flatten();
        all.find_map(|(of, here)| match of.strip_suffix('*') {
            None => (*of == name).then(|| (*here).to_owned()),
            Some(stem) => name.strip_prefix(stem).map(|rest| here.replace('*', rest)),
        })
    }
}

fn describes(info: &BackendInfo, name: &str) -> Option<&'static KeyInfo> {
    info.properties.iter().flat_map(|table| table.iter()).find(|key| key.describes(name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_may_go_on_in_the_next_line() {
        let text = "# nightly\nA=1 /opt/spark/bin/spark-submit --queue 'a b' \\\n  app.jar\n\n\
                    anymaster submit x.py\n--class C y.jar \\\n";
        let lines = Lines::parse(text).unwrap().0;
        assert_eq!(
            lines,
            [
                (2, ["--queue", "a b", "app.jar"].map(str::to_owned).to_vec()),
                (5, vec!["x.py".to_owned()]),
                (6, ["--class", "C", "y.jar"].map(str::to_owned).to_vec()),
            ]
        );
    }

    #[test]
    fn what_is_no_file_of_commands_is_refused() {
        for (text, word) in [("", "no command"), ("# x\n", "no command"), ("a\nb 'c\n", "line 2")] {
            let error = Lines::parse(text).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(Lines::parse(&"x\n".repeat(MAX_LINES + 1)).is_err());
    }

    #[test]
    fn a_property_is_named_as_a_whole() {
        assert!(names("spark.a.b is not valid: x", "spark.a.b"));
        assert!(names("set spark.a.b.", "spark.a.b"));
        assert!(!names("spark.a.b is not valid", "spark.a"));
    }
}

//! What no cluster can take: checked where applications and targets come in, before anything is kept
//! of them.
//!
//! A NUL byte cannot be in an argument or in the environment of a process, and Linux starts no program
//! with more than 128 KiB in one of them. Other control characters are allowed, as with Spark; they are
//! [written out](crate::text) where people see them.

use super::{ApplicationSpec, CommandLine, ExecutorTarget, ExternalDriver, Payload};
use crate::conf::Conf;
use crate::text::{MAX_NAME, quoted};
use crate::{Error, Result};

/// Longest argument, or variable with its name, in bytes (Linux: `MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = (128 << 10) - 1;

/// Longest name of a property, in bytes.
const MAX_KEY: usize = 1024;

/// Longest value of a property, in bytes.
const MAX_VALUE: usize = 1 << 20;

/// All text of an application together, in bytes.
const MAX_TOTAL: usize = 8 << 20;

impl ApplicationSpec {
    /// Refuses what no cluster can take: NUL bytes, names of variables that are none, a name of more
    /// than [`MAX_NAME`] bytes, arguments and variables of more than 128 KiB, names of properties of
    /// more than 1 KiB, their values of more than 1 MiB, and more than 8 MiB altogether.
    ///
    /// Every backend and every server calls it before it acts.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with what is wrong.
    pub fn check(&self) -> Result<()> {
        let mut texts = Texts::default();
        check_name(&self.name)?;
        texts.conf(&self.conf)?;
        match &self.driver.payload {
            Payload::Command(command) => texts.command("the driver's program", command)?,
            Payload::Spark(job) => {
                texts.text("the primary resource", &job.primary_resource, MAX_ARGUMENT)?;
                texts.optional("the main class", job.main_class.as_deref())?;
                texts.optional("the proxy user", job.proxy_user.as_deref())?;
                texts.arguments(&job.args)?;
            }
        }
        texts.environment(&self.driver.env)?;
        for (of, template) in
            [("the driver", &self.templates.driver), ("executors", &self.templates.executor)]
        {
            let text = template.as_ref().map(ToString::to_string).unwrap_or_default();
            texts.value(|| format!("the template of {of}"), &text, MAX_VALUE)?;
        }
        let directory = self.driver.working_dir.as_ref().map(|path| path.to_string_lossy());
        texts.optional("the working directory", directory.as_deref())
    }
}

impl ExternalDriver {
    /// Refuses what no cluster can take, as [`ApplicationSpec::check`] does.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with what is wrong.
    pub fn check(&self) -> Result<()> {
        let mut texts = Texts::default();
        check_name(&self.name)?;
        texts.text("the driver's host", &self.host, MAX_KEY)?;
        texts.conf(&self.conf)
    }
}

impl ExecutorTarget {
    /// Refuses what no cluster can take, as [`ApplicationSpec::check`] does.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with what is wrong.
    pub fn check(&self) -> Result<()> {
        let mut texts = Texts::default();
        texts.command("the executors' program", &self.template.command)?;
        texts.environment(&self.template.env)?;
        let directory = self.template.working_dir.as_ref().map(|path| path.to_string_lossy());
        texts.optional("the working directory", directory.as_deref())?;
        for target in self.profiles.values() {
            for name in target.profile.extra.keys() {
                texts.text("the name of a resource", name, MAX_KEY)?;
            }
        }
        Ok(())
    }
}

impl Conf {
    /// Refuses properties that no cluster can take, as [`ApplicationSpec::check`] does: for drivers
    /// that come with properties alone.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), naming the property.
    pub fn check_texts(&self) -> Result<()> {
        Texts::default().conf(self)
    }
}

/// Refuses a name that no cluster can take: one with a NUL byte, or of more than [`MAX_NAME`] bytes.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec).
pub fn check_name(name: &str) -> Result<()> {
    check_text("the application's name", name, MAX_NAME)
        .map_err(|error| error.with_hint("choose another one: --name, or spark.app.name"))
}

/// Refuses a text with a NUL byte, or of more than `max` bytes. `what` says in the error what it is.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec).
pub fn check_text(what: &str, text: &str, max: usize) -> Result<()> {
    Texts::default().text(what, text, max)
}

/// Counts what it has seen.
#[derive(Default)]
struct Texts {
    total: usize,
}

impl Texts {
    fn text(&mut self, what: &str, text: &str, max: usize) -> Result<()> {
        if text.len() > max {
            return Err(Error::invalid(format!(
                "{what}, {}, has {} bytes: more than {max}",
                quoted(text),
                text.len()
            )));
        }
        if text.contains('\0') {
            return Err(Error::invalid(format!("{what}, {}, contains a NUL byte", quoted(text))));
        }
        self.total = self.total.saturating_add(text.len());
        if self.total > MAX_TOTAL {
            return Err(Error::invalid(format!(
                "the application has more than {} MiB of properties, arguments and variables",
                MAX_TOTAL >> 20
            ))
            .with_hint("give it large data as files"));
        }
        Ok(())
    }

    fn optional(&mut self, what: &str, text: Option<&str>) -> Result<()> {
        text.map_or(Ok(()), |text| self.text(what, text, MAX_ARGUMENT))
    }

    fn command(&mut self, what: &str, command: &CommandLine) -> Result<()> {
        self.text(what, &command.program, MAX_ARGUMENT)?;
        self.arguments(&command.args)
    }

    fn arguments(&mut self, arguments: &[String]) -> Result<()> {
        let mut numbered = arguments.iter().zip(1..);
        numbered.try_for_each(|(text, number)| {
            self.text(&format!("argument {number}"), text, MAX_ARGUMENT)
        })
    }

    /// An error shows no values: they may be secret.
    fn environment<'a>(
        &mut self,
        variables: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<()> {
        for (name, value) in variables {
            if name.is_empty() || name.contains('=') {
                return Err(Error::invalid(format!(
                    "{} is not the name of an environment variable",
                    quoted(name)
                )));
            }
            self.text("the name of an environment variable", name, MAX_KEY)?;
            let what = || format!("the environment variable {}", quoted(name));
            self.value(what, value, MAX_ARGUMENT - 1 - name.len())?;
        }
        Ok(())
    }

    fn conf(&mut self, conf: &Conf) -> Result<()> {
        for (key, value) in conf.iter() {
            self.text("the name of a property", key, MAX_KEY)?;
            self.value(|| format!("the property {}", quoted(key)), value, MAX_VALUE)?;
        }
        Ok(())
    }

    fn value(&mut self, what: impl Fn() -> String, value: &str, max: usize) -> Result<()> {
        if value.len() > max {
            let len = value.len();
            return Err(Error::invalid(format!("{} has {len} bytes: more than {max}", what())));
        }
        if value.contains('\0') {
            return Err(Error::invalid(format!("{} contains a NUL byte", what())));
        }
        self.text("", value, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::model::{ExecutorTemplate, ResourceProfile, SparkJob, SparkLanguage};

    fn spec() -> ApplicationSpec {
        ApplicationSpec::new("pi", CommandLine::new("true"))
    }

    fn fault(change: impl FnOnce(&mut ApplicationSpec)) -> String {
        let mut spec = spec();
        change(&mut spec);
        let error = spec.check().expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert!(error.message().len() < 300, "{} bytes", error.message().len());
        error.message().to_owned()
    }

    #[test]
    fn names_like_those_of_spark_are_taken() {
        let mut spec = spec();
        for name in ["", "pi", "数値計算", "select *\n\tfrom t", &"x".repeat(MAX_NAME)] {
            spec.name = name.to_owned();
            spec.check().unwrap();
        }
    }

    #[test]
    fn nul_bytes_and_names_of_16_mib_are_refused() {
        let job = |change: fn(&mut SparkJob)| {
            let mut job = SparkJob {
                language: SparkLanguage::Java,
                primary_resource: "a.jar".to_owned(),
                main_class: None,
                args: Vec::new(),
                proxy_user: None,
            };
            change(&mut job);
            Payload::Spark(job)
        };
        let nul = || "a\0b".to_owned();
        let told = [
            fault(|spec| spec.name = nul()),
            fault(|spec| spec.name = "x".repeat(16 << 20)),
            fault(|spec| spec.conf.set("spark.x", nul())),
            fault(|spec| spec.conf.set("a\0", "")),
            fault(|spec| spec.driver.payload = Payload::Command(CommandLine::new(nul()))),
            fault(|spec| {
                spec.driver.payload = Payload::Command(CommandLine::new("a").args(["b", "c\0"]));
            }),
            fault(|spec| spec.driver.payload = job(|job| job.primary_resource.push('\0'))),
            fault(|spec| spec.driver.payload = job(|job| job.main_class = Some("\0".to_owned()))),
            fault(|spec| spec.driver.payload = job(|job| job.args = vec!["\0".to_owned()])),
            fault(|spec| spec.driver.payload = job(|job| job.proxy_user = Some("\0".to_owned()))),
            fault(|spec| spec.driver.working_dir = Some("/\0".into())),
            fault(|spec| drop(spec.driver.env.insert("A".to_owned(), nul()))),
            fault(|spec| drop(spec.driver.env.insert("A=B".to_owned(), String::new()))),
            fault(|spec| drop(spec.driver.env.insert("A".to_owned(), "x".repeat(128 << 10)))),
            fault(|spec| spec.conf.set("spark.x", "x".repeat(2 << 20))),
            fault(|spec| {
                (0..9).for_each(|n| spec.conf.set(format!("spark.{n}"), "x".repeat(1 << 20)));
            }),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_secret_is_not_in_the_error() {
        let told = fault(|spec| spec.conf.set("spark.authenticate.secret", "hunter2\0"));
        assert!(told.contains("spark.authenticate.secret") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn executors_are_checked_as_drivers_are() {
        let target = |template| ExecutorTarget::new(template, ResourceProfile::default(), 1);
        let template = |args: &str| ExecutorTemplate::new(CommandLine::new("true").args([args]));
        target(template("x")).check().unwrap();
        assert!(target(template("\0")).check().is_err());
        let mut with_env = template("x");
        with_env.env.insert(String::new(), String::new());
        assert!(target(with_env).check().is_err());
    }
}

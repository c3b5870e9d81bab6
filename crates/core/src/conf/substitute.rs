//! `${env:NAME}`, `${system:NAME}` and `${spark.other}` in values (Spark 3.5, `ConfigReader`).
//!
//! Spark replaces them as it reads a property that it has a description of: one name, one value. It
//! does not in families of properties such as labels, nor in those that it reads as plain text
//! ([`is_read_as_written`]). What refers to nothing stays in Spark's value as it is; here it is an
//! error, as nobody means the text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Conf;
use super::keys::{self, KeyInfo};
use crate::{Error, Result};

/// How many references one value may come to: they can refer to each other.
const MOST: u32 = 1_000;
/// The longest value that may come of it, in bytes.
const LONGEST: usize = 1 << 20;

/// Properties with a description that Spark reads without it: as text, or in `spark-submit`'s own
/// checks, which know no references.
const READ_AS_WRITTEN: [&str; 14] = [
    "spark.app.id",
    "spark.app.name",
    "spark.blockManager.port",
    "spark.cores.max",
    "spark.driver.blockManager.port",
    "spark.driver.cores",
    "spark.driver.memory",
    "spark.driver.port",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.executor.memory",
    "spark.local.dir",
    "spark.master",
    "spark.submit.deployMode",
];

/// Whether Spark replaces no references in the value of this property.
pub fn is_read_as_written(key: &str) -> bool {
    READ_AS_WRITTEN.contains(&key)
}

/// Whether a value refers to the environment or to a JVM: what it comes to depends on who reads it.
pub fn refers_to_surroundings(text: &str) -> bool {
    Pieces(text).any(|piece| {
        matches!(piece, Piece::Reference { to: Some(To::Variable(_) | To::System(_)), .. })
    })
}

/// What the values of properties may refer to beside other properties. `Debug` shows nothing of it.
#[derive(Clone, Default)]
pub struct Variables {
    environment: Option<Arc<BTreeMap<String, String>>>,
    /// Where defaults of other properties are looked up, beside the core's table.
    tables: Vec<&'static [&'static KeyInfo]>,
}

impl Variables {
    /// The environment variables of whoever wrote the properties.
    pub fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment: Some(Arc::new(environment)), tables: Vec::new() }
    }

    /// Adds descriptions of properties: their defaults are what a reference to an unset one means.
    #[must_use]
    pub fn with_table(mut self, table: &'static [&'static KeyInfo]) -> Self {
        self.tables.push(table);
        self
    }

    /// A property that a JVM on this machine would have.
    fn system(&self, name: &str) -> Option<String> {
        let get = |name: &str| self.environment.as_ref()?.get(name).cloned();
        let options = get("SPARK_SUBMIT_OPTS").unwrap_or_default();
        let given = options.split_ascii_whitespace().rev().find_map(|option| {
            let (key, value) = option.strip_prefix("-D")?.split_once('=')?;
            (key == name).then(|| value.to_owned())
        });
        given.or_else(|| match name {
            "user.name" => get("USER").or_else(|| get("LOGNAME")),
            "user.home" => get("HOME"),
            "user.dir" => get("PWD"),
            "java.home" => get("JAVA_HOME"),
            "java.io.tmpdir" => Some("/tmp".to_owned()),
            "os.name" => Some("Linux".to_owned()),
            "file.separator" => Some("/".to_owned()),
            "path.separator" => Some(":".to_owned()),
            "line.separator" => Some("\n".to_owned()),
            _ => None,
        })
    }

    fn default_of(&self, key: &str) -> Option<&'static str> {
        let tables = self.tables.iter().copied().chain([keys::TABLE]);
        tables.flatten().find(|info| info.name == key)?.default
    }

    fn old_names_of(&self, key: &str) -> &'static [&'static str] {
        let mut tables = self.tables.iter().copied().chain([keys::TABLE]).flatten();
        tables.find(|info| info.name == key).map_or(&[], |info| info.old_names)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

/// What a reference is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To<'a> {
    Variable(&'a str),
    System(&'a str),
    Property(&'a str),
}

/// A part of a value.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// `to` is empty for what only looks like a reference: it stays as it is.
    Reference {
        text: &'a str,
        to: Option<To<'a>>,
    },
}

/// The parts of a value, by the pattern of Spark: `\$\{(?:(\w+?):)?(\S+?)\}`.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let mut from = 0;
        while let Some(at) = self.0[from..].find("${").map(|at| from + at) {
            let Some(length) = length_of_name(&self.0[at + 2..]) else {
                from = at + 2;
                continue;
            };
            if at > 0 {
                let (text, rest) = self.0.split_at(at);
                self.0 = rest;
                return Some(Piece::Text(text));
            }
            let (text, rest) = self.0.split_at(2 + length + 1);
            self.0 = rest;
            return Some(Piece::Reference { text, to: to(&text[2..2 + length]) });
        }
        Some(Piece::Text(std::mem::take(&mut self.0)))
    }
}

/// How long a name is that begins here: at least one character, no white space, then `}`.
fn length_of_name(text: &str) -> Option<usize> {
    let first = text.chars().next()?.len_utf8();
    let length = first + text[first..].find('}')?;
    (!text[..length].contains(|c: char| c.is_ascii_whitespace())).then_some(length)
}

fn to(name: &str) -> Option<To<'_>> {
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match name.split_once(':').filter(|(prefix, name)| is_word(prefix) && !name.is_empty()) {
        Some(("env", name)) => Some(To::Variable(name)),
        Some(("system", name)) => Some(To::System(name)),
        Some(_) => None,
        None => name.starts_with("spark.").then_some(To::Property(name)),
    }
}

/// One replacement of all references in a value.
struct Expansion<'a> {
    conf: &'a Conf,
    /// The property whose value it is, for errors.
    property: &'a str,
    /// The references that led here.
    path: Vec<String>,
    left: u32,
}

impl Expansion<'_> {
    fn expand(&mut self, text: &str) -> Result<String> {
        let mut out = String::new();
        for piece in Pieces(text) {
            match piece {
                Piece::Text(text) | Piece::Reference { text, to: None } => out.push_str(text),
                Piece::Reference { text, to: Some(to) } => out += &self.replacement(text, to)?,
            }
            if out.len() > LONGEST {
                return Err(self.endless());
            }
        }
        Ok(out)
    }

    fn replacement(&mut self, text: &str, to: To<'_>) -> Result<String> {
        if self.path.iter().any(|known| known == text) {
            return Err(Error::invalid(format!(
                "{}: circular reference: {text} refers to itself",
                self.property
            )));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| self.endless())?;
        let value = self.value(text, to)?;
        self.path.push(text.to_owned());
        let expanded = self.expand(&value);
        self.path.pop();
        expanded
    }

    fn value(&self, text: &str, to: To<'_>) -> Result<String> {
        let (variables, property) = (&self.conf.variables, self.property);
        match to {
            To::Variable(_) | To::System(_) if variables.environment.is_none() => {
                Err(Error::invalid(format!(
                    "{property}: {text} cannot be replaced here: the environment of who wrote it is \
                     not known"
                ))
                .with_hint("write the value itself"))
            }
            To::Variable(name) => {
                let environment = variables.environment.as_ref();
                environment.and_then(|known| known.get(name)).cloned().ok_or_else(|| {
                    Error::invalid(format!(
                        "{property}: {text} is the environment variable {name}, which is not set"
                    ))
                    .with_hint(format!("export {name}, or write the value itself"))
                })
            }
            To::System(name) => variables.system(name).ok_or_else(|| {
                Error::invalid(format!(
                    "{property}: {text} is a property of a JVM, and there is no JVM here"
                ))
                .with_hint(format!(
                    "write the value itself, or export SPARK_SUBMIT_OPTS=-D{name}=VALUE"
                ))
            }),
            To::Property(name) => self.conf.referred(name).map(str::to_owned).ok_or_else(|| {
                Error::invalid(format!("{property}: {text} refers to {name}, which is not set"))
                    .with_hint(format!("set {name}, or write the value itself"))
            }),
        }
    }

    fn endless(&self) -> Error {
        Error::invalid(format!("{}: its references come to far too much text", self.property))
    }
}

impl Conf {
    /// Says what `${env:NAME}` and the like in values refer to. Copies of these properties know it too.
    pub fn set_variables(&mut self, variables: Variables) {
        self.variables = variables;
    }

    /// The value of a property with its references replaced, as Spark reads one that it has a
    /// description of. [`get`](Self::get) has the value as it was written.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) for a reference to something that is not set, or
    /// to itself.
    pub fn replaced(&self, key: &str) -> Result<Option<Cow<'_, str>>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        if !text.contains("${") || is_read_as_written(key) {
            return Ok(Some(Cow::Borrowed(text)));
        }
        let path = vec![format!("${{{key}}}")];
        let mut expansion = Expansion { conf: self, property: key, path, left: MOST };
        expansion.expand(text).map(|text| Some(Cow::Owned(text)))
    }

    /// What a reference to a property means: its value, that of an old name, or its default.
    fn referred(&self, key: &str) -> Option<&str> {
        let old = || self.variables.old_names_of(key).iter().find_map(|old| self.get(old));
        self.get(key).or_else(old).or_else(|| self.variables.default_of(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conf(pairs: &[(&str, &str)]) -> Conf {
        let mut conf: Conf = pairs.iter().copied().collect();
        let environment = [("NS", "team-b"), ("EMPTY", ""), ("USER", "me"), ("DEEP", "${spark.b}")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        conf.set_variables(Variables::new(environment.into_iter().collect()));
        conf
    }

    fn replaced(value: &str) -> Result<String> {
        let conf =
            conf(&[("spark.a", value), ("spark.b", "b-${env:NS}"), ("spark.c", "${spark.a}")]);
        conf.replaced("spark.a").map(|text| text.unwrap_or_default().into_owned())
    }

    #[test]
    fn references_are_those_of_spark() {
        for (value, want) in [
            ("plain", "plain"),
            ("${env:NS}", "team-b"),
            ("x${env:NS}y${env:EMPTY}", "xteam-by"),
            ("${spark.b}", "b-team-b"),
            ("${env:DEEP}", "b-team-b"),
            ("${system:user.name}", "me"),
            ("${spark.executor.memory}", "1g"),
            // What only looks like one.
            ("${foo}", "${foo}"),
            ("${other:NS}", "${other:NS}"),
            ("${}", "${}"),
            ("$NS ${", "$NS ${"),
            ("${env: NS}", "${env: NS}"),
            ("${a b} ${env:NS}", "${a b} team-b"),
        ] {
            assert_eq!(replaced(value).unwrap(), want, "{value}");
        }
    }

    #[test]
    fn what_refers_to_nothing_or_to_itself_is_named() {
        for (value, words) in [
            ("${env:UNSET}", "spark.a: ${env:UNSET} is the environment variable UNSET"),
            // Spark has no form for defaults, and none for names of names.
            ("${env:NS:-x}", "variable NS:-x"),
            ("${env:${env:NS}}", "variable ${env:NS"),
            ("${system:java.vendor}", "a property of a JVM"),
            ("${spark.unset}", "refers to spark.unset, which is not set"),
            ("${spark.a}", "circular reference"),
            ("${spark.c}", "circular reference"),
        ] {
            let error = replaced(value).unwrap_err();
            assert!(error.message().contains(words), "{value}: {error}");
        }
    }

    #[test]
    fn nobodys_environment_is_nothing_to_refer_to() {
        let conf: Conf = [("spark.a", "${env:HOME}")].into_iter().collect();
        let error = conf.replaced("spark.a").unwrap_err();
        assert!(error.message().contains("is not known"), "{error}");
    }

    #[test]
    fn references_cannot_be_made_to_explode() {
        let mut all = conf(&[("spark.x0", "")]);
        for depth in 1..40 {
            let below = format!("${{spark.x{}}}", depth - 1);
            all.set(format!("spark.x{depth}"), below.repeat(2));
        }
        let error = all.replaced("spark.x39").unwrap_err();
        assert!(error.message().contains("far too much text"), "{error}");
    }

    #[test]
    fn what_spark_reads_as_text_stays() {
        let conf = conf(&[("spark.app.name", "${env:NS}"), ("spark.driver.memory", "${env:NS}")]);
        assert_eq!(conf.replaced("spark.app.name").unwrap().unwrap(), "${env:NS}");
        assert!(conf.read(&keys::DRIVER_MEMORY).is_err());
    }

    #[test]
    fn who_reads_it_matters_for_some() {
        assert!(refers_to_surroundings("a${env:X}") && refers_to_surroundings("${system:x}"));
        assert!(!refers_to_surroundings("${spark.x} ${foo} $env:x"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_pieces_are_all_of_it(text in "[a-z${}: ]{0,20}") {
            let parts: String = Pieces(&text).map(|piece| match piece {
                Piece::Text(text) | Piece::Reference { text, .. } => text,
            }).collect();
            prop_assert_eq!(&parts, &text);
            let _ = replaced(&text);
        }
    }
}

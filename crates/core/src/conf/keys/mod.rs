//! The properties that are known: name, type, default, meaning, and what anymaster does with each.
//!
//! A backend brings a table of its own in the same form; [`Conf::read`] takes a key from any.

mod table;

use std::time::Duration;

use super::size::{BadQuantity, SizeUnit, parse_size};
use super::substitute::is_read_as_written;
use super::time::{TimeUnit, parse_time};
use super::{Conf, Redaction};
use crate::{Error, Result};

pub use table::*;

/// What a property's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number from 0.
    Count,
    /// A number from 0, with or without a fraction.
    Number,
    /// A size; a bare number is in this unit.
    Size(SizeUnit),
    /// A time; a bare number is in this unit.
    Time(TimeUnit),
    /// Texts with commas between them.
    List,
    /// One of these texts.
    Choice(&'static [&'static str]),
}

/// What anymaster does with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It has its effect, here or in Spark's driver.
    Honoured,
    /// It is the driver's business and is passed on as it is.
    Passed,
    /// It cannot be honoured: who asks for it is told so, and nothing is started.
    Refused,
    /// It has no meaning any more: it is left out, with a warning.
    Dropped,
}

impl Treatment {
    /// The word for documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Honoured => "Honoured",
            Self::Passed => "Passed",
            Self::Refused => "Refused",
            Self::Dropped => "Dropped",
        }
    }
}

/// What is known of a property, for documentation and messages.
#[derive(Debug, Clone, Copy)]
pub struct KeyInfo {
    /// For example `spark.executor.memory`.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// What holds where it is unset.
    pub default: Option<&'static str>,
    /// What it is for.
    pub doc: &'static str,
    /// Since which version of Spark, or of anymaster for its own.
    pub since: &'static str,
    /// Names it had before: still read, with a warning.
    pub old_names: &'static [&'static str],
    /// What anymaster does with it.
    pub treatment: Treatment,
}

impl KeyInfo {
    /// Whether this is the description of a property. A `*` stands for any text: for the names of
    /// labels, volumes and the like.
    pub fn describes(&self, name: &str) -> bool {
        let mut parts = self.name.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        for part in parts {
            let found = if part.is_empty() { Some(rest.len()) } else { rest.find(part) };
            match found {
                Some(at) if at > 0 => rest = &rest[at + part.len()..],
                _ => return false,
            }
        }
        rest.is_empty()
    }

    /// A row of the reference: name, value, default, meaning.
    pub fn reference_row(&self) -> String {
        let value = match self.kind {
            Kind::Text => "text".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::Count => "whole number".to_owned(),
            Kind::Number => "number".to_owned(),
            Kind::Size(unit) => format!("size, {}", unit.name()),
            Kind::Time(unit) => format!("time, {}", unit.name()),
            Kind::List => "list".to_owned(),
            Kind::Choice(texts) => texts.join(", "),
        };
        let escape = |text: &str| text.replace('|', "\\|");
        let default = self.default.map(|text| format!("`{}`", escape(text))).unwrap_or_default();
        let old = match self.old_names {
            [] => String::new(),
            names => format!(" Once `{}`.", names.join("`, `")),
        };
        let (name, doc, since) = (self.name, escape(self.doc), self.since);
        let treatment = self.treatment.word();
        format!("| `{name}` | {value} | {default} | {doc}{old} *{treatment}; since {since}.* |")
    }
}

/// From one entry a property: a constant with the entry's text as its documentation, and a row of
/// the constant `TABLE`.
#[macro_export]
macro_rules! property_keys {
    ($(
        #[doc = $doc:literal]
        $constant:ident: $type:ty = $name:literal, $kind:expr, $default:expr, $since:literal, $treatment:ident
        $(, was $($old:literal)+)?;
    )*) => {
        $(
            #[doc = $doc]
            pub const $constant: $crate::conf::keys::Key<$type> =
                $crate::conf::keys::Key::<$type>::new($crate::conf::keys::KeyInfo {
                    name: $name,
                    kind: $kind,
                    default: $default,
                    doc: $doc.trim_ascii_start(),
                    since: $since,
                    old_names: &[$($($old),+)?],
                    treatment: $crate::conf::keys::Treatment::$treatment,
                });
        )*

        /// All of them.
        pub const TABLE: &[&$crate::conf::keys::KeyInfo] = &[$(&$constant.info),*];
    };
}

/// A property with the type of its value.
#[derive(Debug, Clone, Copy)]
pub struct Key<T: 'static> {
    /// What is known of it.
    pub info: KeyInfo,
    parse: fn(&KeyInfo, &str) -> Result<T, BadQuantity>,
}

macro_rules! typed {
    ($type:ty, $parse:expr) => {
        impl Key<$type> {
            /// A key with this description.
            pub const fn new(info: KeyInfo) -> Self {
                Self { info, parse: $parse }
            }
        }
    };
}

typed!(String, |info, text| match info.kind {
    Kind::Choice(texts) if !texts.contains(&text) =>
        Err(BadQuantity(format!("it is none of {}", texts.join(", ")))),
    _ => Ok(text.to_owned()),
});
typed!(Vec<String>, |_, text| Ok(split_list(text).map(str::to_owned).collect()));
typed!(bool, |_, text| match text.trim().to_ascii_lowercase().as_str() {
    "true" => Ok(true),
    "false" => Ok(false),
    _ => Err(BadQuantity("it is neither true nor false".to_owned())),
});
typed!(u32, |_, text| text
    .trim()
    .parse()
    .map_err(|_| { BadQuantity("it is not a whole number from 0 to 4294967295".to_owned()) }));
typed!(f64, |_, text| match text.trim().parse::<f64>() {
    Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
    _ => Err(BadQuantity("it is not a number from 0".to_owned())),
});
typed!(u64, |info, text| match info.kind {
    Kind::Size(unit) => parse_size(text, unit),
    _ => text.trim().parse().map_err(|_| BadQuantity("it is not a whole number from 0".to_owned())),
});
typed!(Duration, |info, text| match info.kind {
    Kind::Time(unit) => parse_time(text, unit),
    _ => parse_time(text, TimeUnit::Millisecond),
});

/// The items of a list property: commas between them, white space and empty ones dropped.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl Conf {
    /// The value of a property, or its default.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) with the property, its value, and what it should
    /// look like; also for a property that is unset and has no default.
    pub fn read<T>(&self, key: &Key<T>) -> Result<T> {
        match (self.read_optional(key)?, key.info.default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => self.parse(key, default),
            (None, None) => Err(Error::invalid(format!("{} is not set", key.info.name))
                .with_hint(format!("set it with --conf {}=VALUE", key.info.name))),
        }
    }

    /// The value of a property, if it is set.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_optional<T>(&self, key: &Key<T>) -> Result<Option<T>> {
        self.replaced(self.name_of(&key.info))?.map(|text| self.parse(key, &text)).transpose()
    }

    /// The name by which a property is set: its present one, or else an old one.
    fn name_of(&self, info: &KeyInfo) -> &'static str {
        let names = std::iter::once(&info.name).chain(info.old_names).copied();
        names.into_iter().find(|name| self.get(name).is_some()).unwrap_or(info.name)
    }

    /// Whether the value of a property, if it is set, is one of its kind, whoever reads it later.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn check(&self, info: &KeyInfo) -> Result<()> {
        let Some(text) = self.replaced(self.name_of(info))? else { return Ok(()) };
        let fault = match info.kind {
            Kind::Text | Kind::List => return Ok(()),
            Kind::Flag => (Key::<bool>::new(*info).parse)(info, &text).err(),
            Kind::Count => (Key::<u64>::new(*info).parse)(info, &text).err(),
            Kind::Number => (Key::<f64>::new(*info).parse)(info, &text).err(),
            Kind::Size(unit) => parse_size(&text, unit).err(),
            Kind::Time(unit) => parse_time(&text, unit).err(),
            Kind::Choice(_) => (Key::<String>::new(*info).parse)(info, &text).err(),
        };
        fault.map_or(Ok(()), |fault| Err(self.not_valid(info, &text, &fault)))
    }

    fn parse<T>(&self, key: &Key<T>, text: &str) -> Result<T> {
        (key.parse)(&key.info, text).map_err(|fault| self.not_valid(&key.info, text, &fault))
    }

    fn not_valid(&self, info: &KeyInfo, text: &str, fault: &BadQuantity) -> Error {
        let what = match info.kind {
            Kind::Size(unit) => format!("a size (in {} without a suffix)", unit.name()),
            Kind::Time(_) => "a time".to_owned(),
            Kind::Flag => "a flag".to_owned(),
            _ => "valid".to_owned(),
        };
        let name = info.name;
        let shown = Redaction::from_conf(self).unwrap_or_default().show(name, text).into_owned();
        let error = Error::invalid(format!("{name}: {shown:?} is not {what}: {fault}"));
        match is_read_as_written(name) && text.contains("${") {
            true => {
                error.with_hint("Spark replaces no ${…} in this property: write the value itself")
            }
            false => error,
        }
    }
}

/// Properties of YARN for files that an application is given, each with the one for every cluster.
pub const DISTRIBUTED_BY_YARN: &[(&str, &str)] = &[
    ("spark.yarn.dist.files", "spark.files"),
    ("spark.yarn.dist.jars", "spark.jars"),
    ("spark.yarn.dist.archives", "spark.archives"),
    ("spark.yarn.dist.pyFiles", "spark.submit.pyFiles"),
];

/// All properties of this crate's table, sorted by name.
pub fn table() -> impl Iterator<Item = &'static KeyInfo> {
    let mut keys: Vec<_> = TABLE.to_vec();
    keys.sort_by_key(|info| info.name);
    keys.into_iter()
}

/// The present name of a property that once had another one.
pub fn current_name(old: &str) -> Option<&'static str> {
    TABLE.iter().find(|info| info.old_names.contains(&old)).map(|info| info.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for info in table() {
            let Some(default) = info.default else { continue };
            let fault = match info.kind {
                Kind::Size(unit) => parse_size(default, unit).err(),
                Kind::Time(unit) => parse_time(default, unit).err(),
                Kind::Flag => {
                    (default != "true" && default != "false").then(|| BadQuantity("?".into()))
                }
                Kind::Count => default.parse::<u64>().err().map(|e| BadQuantity(e.to_string())),
                Kind::Number => default.parse::<f64>().err().map(|e| BadQuantity(e.to_string())),
                Kind::Text | Kind::List => None,
                Kind::Choice(texts) => (!texts.contains(&default)).then(|| BadQuantity("?".into())),
            };
            assert!(fault.is_none(), "{}: {fault:?}", info.name);
        }
    }

    #[test]
    fn names_are_unique_old_ones_too() {
        let mut names: Vec<_> =
            table().flat_map(|info| info.old_names.iter().copied().chain([info.name])).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_bad_value_names_its_property() {
        let conf: Conf = [("spark.executor.memory", "1.5g"), ("spark.executor.cores", "two")]
            .into_iter()
            .collect();
        let error = conf.read(&EXECUTOR_MEMORY).unwrap_err();
        assert_eq!(
            error.message(),
            "spark.executor.memory: \"1.5g\" is not a size (in MiB without a suffix): fractions are \
             not allowed: write a whole number of a smaller unit, for example 512m, 2g or 64k"
        );
        assert!(conf.read(&EXECUTOR_CORES).is_err());
        assert_eq!(Conf::new().read(&EXECUTOR_MEMORY).unwrap(), 1024);
    }
}

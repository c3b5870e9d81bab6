//! Which properties are secret (`spark.redaction.regex`).

use std::borrow::Cow;
use std::fmt;

use regex::{Regex, RegexBuilder};

use super::Conf;
use crate::{Error, Result};

/// What is printed instead of a secret, as in Spark.
pub const REDACTED: &str = "*********(redacted)";

/// Spark's default for `spark.redaction.regex`, without its `(?i)`.
const DEFAULT_WORDS: [&str; 3] = ["secret", "password", "token"];

/// Decides which properties are secret.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    /// Unset: Spark's default, which needs no regular expression.
    custom: Option<Regex>,
}

impl Redaction {
    /// The pattern of `spark.redaction.regex`, or Spark's default.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) if the pattern is none.
    pub fn from_conf(conf: &Conf) -> Result<Self> {
        let Some(pattern) = conf.get("spark.redaction.regex") else { return Ok(Self::default()) };
        let custom = RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| {
            Error::invalid(format!("spark.redaction.regex: {pattern:?} is not a pattern: {error}"))
        })?;
        Ok(Self { custom: Some(custom) })
    }

    /// Whether a property of this name is secret.
    pub fn is_secret(&self, key: &str) -> bool {
        match &self.custom {
            Some(pattern) => pattern.is_match(key),
            None => names_a_secret(key),
        }
    }

    /// The value as it may be shown. As in Spark, a value that itself speaks of a secret, such as
    /// `-Dpassword=x` among Java options, is hidden as a whole.
    pub fn show<'a>(&self, key: &str, value: &'a str) -> Cow<'a, str> {
        if self.is_secret(key) || (key != "spark.redaction.regex" && self.is_secret(value)) {
            Cow::Borrowed(REDACTED)
        } else {
            Cow::Borrowed(value)
        }
    }
}

/// Spark's default pattern: `(?i)secret|password|token|access[.]?key`.
fn names_a_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    DEFAULT_WORDS.iter().any(|word| text.contains(word))
        || text.contains("accesskey")
        || text.contains("access.key")
}

impl Conf {
    /// All properties as they may be shown. A pattern that is none hides everything.
    pub fn redacted(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let redaction = Redaction::from_conf(self).ok();
        self.iter().map(move |(key, value)| match &redaction {
            Some(redaction) => (key, redaction.show(key, value)),
            None => (key, Cow::Borrowed(REDACTED)),
        })
    }
}

impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        let conf: Conf = [
            ("spark.app.name", "pi"),
            ("spark.authenticate.secret", "hunter2"),
            ("spark.hadoop.fs.s3a.access.key", "AKIA"),
            ("spark.hadoop.fs.s3a.AccessKey", "AKIA"),
            ("spark.driver.extraJavaOptions", "-Dpassword=hunter2"),
            ("spark.kubernetes.authenticate.oauthToken", "hunter2"),
        ]
        .into_iter()
        .collect();
        let shown = format!("{conf:?}");
        assert!(shown.contains(r#""spark.app.name": "pi""#), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("AKIA"), "{shown}");
        assert_eq!(shown.matches(REDACTED).count(), 5);
    }

    #[test]
    fn a_pattern_of_the_users_replaces_the_default() {
        let conf: Conf = [
            ("spark.redaction.regex", "(?i)colou?r"),
            ("spark.my.Color", "red"),
            ("spark.my.password", "shown"),
        ]
        .into_iter()
        .collect();
        let shown = format!("{conf:?}");
        assert!(!shown.contains("\"red\"") && shown.contains("shown"), "{shown}");
        let broken: Conf = [("spark.redaction.regex", "("), ("spark.x", "y")].into_iter().collect();
        assert!(
            Redaction::from_conf(&broken).unwrap_err().message().contains("spark.redaction.regex")
        );
        assert!(!format!("{broken:?}").contains("\"y\""));
    }
}

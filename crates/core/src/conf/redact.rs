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
    /// `-Dpassword=x` among Java options, is hidden as a whole. Unlike in Spark, what only says where
    /// something is, or what it is called, is shown: of a list of places, passwords and queries are
    /// hidden, and names of secrets, of files and of classes are none.
    pub fn show<'a>(&self, key: &str, value: &'a str) -> Cow<'a, str> {
        // What Spark's own submission writes instead of a token is none.
        if key == "spark.redaction.regex" || value == "<present_but_redacted>" {
            return Cow::Borrowed(value);
        }
        if is_of_places(key) {
            return places(value);
        }
        let is_named = is_name_of_class(value) || is_path(value);
        let is_secret = self.is_secret(key) || (self.is_secret(value) && !is_named);
        if is_secret && !is_reference(key) { Cow::Borrowed(REDACTED) } else { Cow::Borrowed(value) }
    }

    /// The arguments of a program as they may be shown: `password=x`, `--password x`, and what is
    /// secret in a URL are hidden.
    pub fn show_args(&self, args: &[String]) -> Vec<String> {
        let mut follows_secret = false;
        let mut show = |arg: &String| {
            if std::mem::take(&mut follows_secret) && !arg.starts_with('-') {
                return REDACTED.to_owned();
            }
            if has_scheme(arg) {
                return places(arg).into_owned();
            }
            match arg.split_once('=') {
                Some((key, value)) => format!("{key}={}", self.show(key, value)),
                None => {
                    follows_secret = arg.starts_with('-') && self.is_secret(arg);
                    arg.clone()
                }
            }
        };
        args.iter().map(&mut show).collect()
    }
}

/// Properties that list places, or what is called like one.
const OF_PLACES: [&str; 17] = [
    "spark.archives",
    "spark.executor.uri",
    "spark.files",
    "spark.jars",
    "spark.jars.excludes",
    "spark.jars.packages",
    "spark.jars.repositories",
    "spark.kubernetes.driver.podTemplateFile",
    "spark.kubernetes.executor.podTemplateFile",
    "spark.kubernetes.file.upload.path",
    "spark.anymaster.logs.dir",
    "spark.eventLog.dir",
    "spark.mesos.uris",
    "spark.repl.local.jars",
    "spark.submit.pyFiles",
    "spark.yarn.archive",
    "spark.yarn.jars",
];

fn is_of_places(key: &str) -> bool {
    OF_PLACES.contains(&key) || key.starts_with("spark.yarn.dist.") || key.ends_with(".dir")
}

/// Whether a property says where a secret is, or is nobody's secret whatever words are in it.
fn is_reference(key: &str) -> bool {
    let is_kubernetes = key.starts_with("spark.kubernetes.")
        && !key.starts_with("spark.kubernetes.driverEnv.")
        && !key.ends_with("oauthToken");
    let is_of_mesos = key.starts_with("spark.mesos.")
        && [".secret.names", ".secret.envkeys", ".secret.filenames"]
            .iter()
            .any(|end| key.ends_with(end));
    let is_path =
        ["File", ".file", "ClassPath", "LibraryPath", ".path"].iter().any(|end| key.ends_with(end));
    is_kubernetes || is_of_mesos || is_path || matches!(key, "spark.app.name" | "spark.driver.host")
}

/// Whether a value is a path, or several, and nothing else: of a mounted secret, for example.
fn is_path(value: &str) -> bool {
    let begins = |path: &str| {
        let path = path.strip_prefix("file:").or(path.strip_prefix("local:")).unwrap_or(path);
        path.starts_with('/')
    };
    !value.contains(|c: char| c.is_whitespace() || matches!(c, '=' | '?' | '@'))
        && value.split([',']).all(begins)
}

/// Whether a value is the full name of a class, for example of a provider of tokens.
fn is_name_of_class(value: &str) -> bool {
    let is_identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
    };
    let is_one = |name: &str| {
        let parts: Vec<_> = name.trim().split('.').collect();
        parts.len() > 2
            && parts.iter().all(|part| is_identifier(part))
            && parts.last().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    value.split(',').all(is_one)
}

/// Whether a text begins as a URL does.
fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// A list of places (paths and URLs) as it may be shown: without the passwords and queries of URLs.
pub fn places(list: &str) -> Cow<'_, str> {
    if !list.contains("://") {
        return Cow::Borrowed(list);
    }
    let shown: Vec<_> = list.split(',').map(place).collect();
    if shown.iter().all(|place| matches!(place, Cow::Borrowed(_))) {
        return Cow::Borrowed(list);
    }
    Cow::Owned(shown.join(","))
}

/// A place without the password and the query of its URL.
fn place(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://").filter(|_| has_scheme(text.trim_start()))
    else {
        return Cow::Borrowed(text);
    };
    let scheme_name = scheme.trim_start();
    if matches!(scheme_name, "file" | "local" | "ivy") {
        return Cow::Borrowed(text);
    }
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = match host.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => Cow::Owned(format!("{user}:{REDACTED}@{host}")),
            // A token by itself.
            None if scheme_name.starts_with("http") => Cow::Owned(format!("{REDACTED}@{host}")),
            None => Cow::Borrowed(rest.split(['/', '?', '#']).next().unwrap_or_default()),
        },
        None => Cow::Borrowed(host),
    };
    let (path, fragment) = path.split_at(path.find('#').unwrap_or(path.len()));
    let is_http = scheme_name.starts_with("http");
    let (path, query) = match path.split_once('?') {
        Some((path, _)) => (path, Some(REDACTED)),
        None => (path, None),
    };
    let path = if is_http { without_token(path) } else { Cow::Borrowed(path) };
    match query {
        Some(query) => Cow::Owned(format!("{scheme}://{host}{path}?{query}{fragment}")),
        None if matches!((&host, &path), (Cow::Borrowed(_), Cow::Borrowed(_))) => {
            Cow::Borrowed(text)
        }
        None => Cow::Owned(format!("{scheme}://{host}{path}{fragment}")),
    }
}

/// A path without the segment after `/token/`, by which a staging server gives a file to anybody.
fn without_token(path: &str) -> Cow<'_, str> {
    let Some((before, after)) = path.split_once("/token/") else { return Cow::Borrowed(path) };
    let rest = &after[after.find('/').unwrap_or(after.len())..];
    Cow::Owned(format!("{before}/token/{REDACTED}{rest}"))
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
    fn places_and_names_are_shown_without_what_is_secret_in_them() {
        for (key, value, want) in [
            (
                "spark.jars",
                "local:///opt/jars/spark-token-provider-kafka-0-10_2.12-3.5.1.jar,/x/?-secret.jar",
                "local:///opt/jars/spark-token-provider-kafka-0-10_2.12-3.5.1.jar,/x/?-secret.jar",
            ),
            (
                "spark.files",
                "https://me:hush@h/a.txt,https://h/b?sig=hush#b,abfss://c@a.dfs.core.windows.net/x",
                "https://me:*********(redacted)@h/a.txt,https://h/b?*********(redacted)#b,\
                 abfss://c@a.dfs.core.windows.net/x",
            ),
            ("spark.submit.pyFiles", "https://hush@h/a.py", "https://*********(redacted)@h/a.py"),
            (
                "spark.jars",
                "https://h:1/x/token/hush/a.jar,http://h/token/hush,s3a://b/token/a.jar",
                "https://h:1/x/token/*********(redacted)/a.jar,http://h/token/*********(redacted),\
                 s3a://b/token/a.jar",
            ),
            ("spark.jars.packages", "o.a:spark-token-provider:3", "o.a:spark-token-provider:3"),
            ("spark.app.name", "token-refresher", "token-refresher"),
            ("spark.driver.host", "secrets-driver-svc.ns.svc", "secrets-driver-svc.ns.svc"),
            ("spark.authenticate.secret.file", "/etc/secret", "/etc/secret"),
            ("spark.driver.extraClassPath", "/opt/token.jar", "/opt/token.jar"),
            ("spark.kerberos.keytab", "/mnt/secrets/k.keytab", "/mnt/secrets/k.keytab"),
            ("spark.x.file", "local:///etc/secrets/x", "local:///etc/secrets/x"),
            ("spark.x.command", "/bin/x --password=hush", REDACTED),
            ("spark.kubernetes.driver.secretKeyRef.TOKEN", "creds:token", "creds:token"),
            ("spark.mesos.driver.secret.names", "a/b", "a/b"),
            (
                "spark.hadoop.fs.s3a.aws.credentials.provider",
                "com.amazonaws.auth.WebIdentityTokenCredentialsProvider",
                "com.amazonaws.auth.WebIdentityTokenCredentialsProvider",
            ),
            ("spark.mesos.driver.secret.values", "hush", REDACTED),
            ("spark.kubernetes.authenticate.submission.oauthToken", "hush", REDACTED),
            ("spark.kubernetes.driverEnv.DB_PASSWORD", "hush", REDACTED),
            ("spark.x.url", "https://hooks/secret/hush", REDACTED),
        ] {
            assert_eq!(Redaction::default().show(key, value), want, "{key}");
        }
    }

    #[test]
    fn arguments_are_shown_without_secrets() {
        let args = [
            "--password",
            "hush",
            "--token=hush",
            "-Dsecret=hush",
            "--tokens",
            "--n",
            "1",
            "TokenJob",
            "https://h/x?sig=hush",
            "spark.driver.extraJavaOptions=-Dpassword=hush",
            "a=b",
        ];
        let shown = Redaction::default().show_args(&args.map(str::to_owned)).join(" ");
        assert!(!shown.contains("hush"), "{shown}");
        for kept in ["--tokens --n 1 TokenJob https://h/x?", " a=b"] {
            assert!(shown.contains(kept), "{shown}");
        }
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

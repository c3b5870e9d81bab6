//! Valid Kubernetes names of an application's objects (Spark 3.5, `KubernetesConf` and
//! `KubernetesUtils`).
//!
//! Where Spark uses random numbers, names are derived from the submission id: a second submission
//! with the same id conflicts with the first in the API server.

use anymaster_core::model::{AppId, SubmissionId};
use anymaster_core::{Error, Result, text};
use sha2::{Digest as _, Sha256};

/// The longest name of a service and value of a label, in bytes.
pub(crate) const MAX_LABEL: usize = 63;

/// The longest name of most objects, in bytes.
pub(crate) const MAX_NAME: usize = 253;

/// The longest suffix that follows the prefix of an object's name.
const LONGEST_SUFFIX: usize = "-driver-podspec-conf-map".len();

/// Hexadecimal digits (64 at most) derived from an id and a purpose.
fn hex(id: &str, purpose: &str, digits: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(id);
    hash.update([0]);
    hash.update(purpose);
    let mut text = text::hex(&hash.finalize());
    text.truncate(digits);
    text
}

/// Derives ids from the id of a submission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids<'a>(pub(crate) &'a SubmissionId);

impl Ids<'_> {
    /// Hexadecimal digits (64 at most), different for each purpose.
    fn hex(self, purpose: &str, digits: usize) -> String {
        hex(self.0.as_str(), purpose, digits)
    }

    /// 16 digits, as many as Spark derives from random bytes and the time.
    pub(crate) fn unique(self, purpose: &str) -> String {
        self.hex(purpose, 16)
    }

    /// `spark-` and 32 hexadecimal digits.
    pub(crate) fn application(self) -> String {
        format!("spark-{}", self.hex("application", 32))
    }

    /// 32 digits in the format of a UUID.
    pub(crate) fn uuid(self, purpose: &str) -> String {
        let hex = self.hex(purpose, 32);
        let part = |from: usize, to: usize| &hex[from..to];
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    }

    /// The id as the value of a label: itself if it is a valid one, else a hash.
    pub(crate) fn label(self) -> String {
        label_of_submission(self.0)
    }
}

/// Digits that distinguish the objects of applications with the same name.
pub(crate) fn unique_of_app(app: &AppId) -> String {
    hex(app.as_str(), "executors", 16)
}

/// As [`Ids::label`].
pub(crate) fn label_of_submission(id: &SubmissionId) -> String {
    let text = id.as_str();
    let fits = text.len() <= MAX_LABEL
        && !text.contains(':')
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if fits { text.to_owned() } else { format!("sha256-{}", Ids(id).hex("label", 32)) }
}

/// The prefix of all objects of an application: `My App_1` and its unique id make
/// `my-app-1-67dd62a1fadfb33a`. It is truncated where names would be too long.
pub(crate) fn resource_prefix(app_name: &str, unique_id: &str) -> String {
    let mut name = collapse(app_name);
    name.truncate(MAX_NAME - LONGEST_SUFFIX - unique_id.len() - 1);
    let name = collapse(&format!("{name}-{unique_id}"));
    let name = name.strip_prefix('-').unwrap_or(&name);
    match name.strip_prefix(|c: char| c.is_ascii_digit()) {
        Some(rest) => format!("x{rest}"),
        None => name.to_owned(),
    }
}

/// The value of the label `spark-app-name`.
pub(crate) fn app_name_label(app_name: &str) -> String {
    let mut name = collapse(app_name);
    name.truncate(MAX_LABEL);
    let name = name.strip_prefix('-').unwrap_or(&name);
    name.strip_suffix('-').unwrap_or(name).to_owned()
}

/// Whether a text is a DNS-1123 subdomain, such as the name of a pod.
pub(crate) fn is_subdomain(name: &str) -> bool {
    let valid = |part: &str| {
        !part.is_empty()
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.len() <= MAX_NAME && name.split('.').all(valid)
}

/// The rule of DNS-1123 labels, for hints.
pub(crate) const LABEL_RULE: &str = "use lower-case letters, digits and '-', at most 63 of them, with a letter or digit at both ends";

/// Whether a text is a DNS-1123 label, such as the name of a namespace or a volume.
pub(crate) fn is_label(name: &str) -> bool {
    name.len() <= MAX_LABEL && !name.contains('.') && is_subdomain(name)
}

/// The longest prefix of executors' names: with the id it becomes a host name.
const MAX_EXECUTOR_PREFIX: usize = 47;

/// Checks `spark.kubernetes.executor.podNamePrefix`.
///
/// # Errors
/// If it cannot be the prefix of a pod's name.
pub(crate) fn check_executor_prefix(prefix: &str) -> Result<()> {
    if prefix.len() <= MAX_EXECUTOR_PREFIX && is_label(prefix) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "spark.kubernetes.executor.podNamePrefix: {prefix:?} cannot begin the names of executors' pods"
    ))
    .with_hint(format!(
        "use lower-case letters, digits and '-', at most {MAX_EXECUTOR_PREFIX} of them, with a letter or \
         digit at both ends"
    )))
}

/// Whether a text is the name part of a label's key, or the value of a label.
fn is_qualified(text: &str) -> bool {
    text.len() <= MAX_LABEL
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Checks the key of a label or an annotation; `property` is the prefix of the property.
///
/// # Errors
/// If the API server would refuse it.
pub(crate) fn check_key(property: &str, key: &str) -> Result<()> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    if domain.is_none_or(is_subdomain) && is_qualified(name) {
        return Ok(());
    }
    Err(Error::invalid(format!("{property}{key}: {key:?} cannot be the key of a label or an annotation"))
        .with_hint(
            "a key is at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends; \
             before it there may be a domain and a '/'",
        ))
}

/// Checks the value of a label.
///
/// # Errors
/// If the API server would refuse it.
pub(crate) fn check_label_value(property: &str, key: &str, value: &str) -> Result<()> {
    if value.is_empty() || is_qualified(value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{property}{key}: {value:?} cannot be the value of a label")).with_hint(
        "a label's value is at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    ))
}

/// Whether a text can be a key of a secret or a config map.
pub(crate) fn is_config_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_NAME
        && !key.starts_with("..")
        && key != "."
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Trims, converts to lower case, and replaces each run of characters other than letters and digits
/// with one dash.
fn collapse(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.trim().to_lowercase().chars() {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if c != '-' || !out.ends_with('-') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_spark_makes() {
        for (app, id, want) in [
            ("My App_1", "67dd62a1fadfb33a", "my-app-1-67dd62a1fadfb33a"),
            ("  spark pi ", "a1", "spark-pi-a1"),
            ("--a", "1", "a-1"),
            ("1st", "1", "xst-1"),
            ("ÄÖ", "17", "x7"),
        ] {
            assert_eq!(resource_prefix(app, id), want, "{app:?}");
        }
        let long = resource_prefix(&"a".repeat(400), "67dd62a1fadfb33a");
        assert!(is_subdomain(&format!("{long}-driver-podspec-conf-map")), "{long}");
    }

    #[test]
    fn label_values_are_truncated_and_trimmed_of_dashes() {
        assert_eq!(app_name_label("_My App!"), "my-app");
        assert_eq!(app_name_label(&"a".repeat(70)).len(), 63);
        let id = |text| SubmissionId::new(text).unwrap();
        assert_eq!(label_of_submission(&id("nightly-2026.11")), "nightly-2026.11");
        for odd in ["a:b", "a-", &"a".repeat(64)] {
            let label = label_of_submission(&id(odd));
            assert!(label.starts_with("sha256-") && label.len() <= MAX_LABEL, "{label}");
        }
    }

    #[test]
    fn ids_depend_on_the_submission_and_on_their_purpose() {
        let (a, b) = (SubmissionId::new("a").unwrap(), SubmissionId::new("b").unwrap());
        assert_eq!(Ids(&a).unique("pod"), Ids(&a).unique("pod"));
        assert_ne!(Ids(&a).unique("pod"), Ids(&a).unique("service"));
        assert_ne!(Ids(&a).unique("pod"), Ids(&b).unique("pod"));
        assert_eq!(Ids(&a).application().len(), "spark-".len() + 32);
        assert_eq!(
            Ids(&a).uuid("dir").split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
    }

    #[test]
    fn names_of_pods_are_checked() {
        for good in ["a", "a-b.c", "0"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "ä"] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }

    #[test]
    fn keys_and_values_of_labels_are_checked() {
        for good in ["a", "a/b_C.d", "example.com/app-name", "A"] {
            check_key("p.", good).unwrap();
        }
        for bad in ["", "a b", "/a", "a/", "A_/b", "-a", "a/b/c", &"a".repeat(64)] {
            assert!(check_key("p.", bad).is_err(), "{bad}");
        }
        for good in ["", "a", "1.10", "A_b-c", &"a".repeat(63)] {
            check_label_value("p.", "k", good).unwrap();
        }
        for bad in ["Jane Doe", "-a", "a.", "${env:X}", "{{X}}", &"a".repeat(64)] {
            assert!(check_label_value("p.", "k", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_of_executors_are_labels_with_room_for_ids() {
        check_executor_prefix(&"a".repeat(47)).unwrap();
        for bad in ["", "spark_exec", "a.b", "-a", "A", &"a".repeat(48)] {
            assert!(check_executor_prefix(bad).is_err(), "{bad}");
        }
    }
}

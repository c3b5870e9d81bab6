//! Pieces of lines from the tables of properties.

use anymaster_core::conf::keys::{self, KeyInfo};
use proptest::prelude::*;
use proptest::strategy::Union;

use crate::line::Piece;
use crate::values;

/// Properties that are not drawn, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("spark.anymaster.", "ours alone"),
    ("spark.kubernetes.context", "how the API server is reached, not what is sent there"),
    ("spark.kubernetes.submission.", "the same"),
    ("spark.kubernetes.authenticate.submission.", "the same"),
    ("spark.kubernetes.trust.certificates", "the same"),
    ("spark.kubernetes.report.interval", "what is seen of a driver, not how it is made"),
    ("spark.kubernetes.resource.type", "set by the submission"),
    ("spark.kubernetes.submitInDriver", "set by the submission"),
    ("spark.jars.packages", "Spark downloads them while it submits"),
    ("spark.jars.repositories", "the same"),
    ("spark.jars.excludes", "the same"),
    ("spark.jars.ivy", "the same"),
    ("spark.master", "of every line"),
    ("spark.remote", "another master"),
    ("spark.submit.deployMode", "of every line"),
    ("spark.redaction.regex", "of every line"),
    ("spark.kubernetes.driver.pod.featureSteps", "classes that a JVM has to load"),
    ("spark.kubernetes.executor.pod.featureSteps", "the same"),
    ("spark.kubernetes.scheduler.volcano.", "the same"),
];

/// What a `*` in a property's name stands for.
const SUFFIXES: &[(&str, &[&str])] = &[
    ("label.", &["a", "team.org/a-b", "spark-role", "spark-app-name", "-bad", "b c"]),
    ("annotation.", &["a", "team.org/a-b", "-bad"]),
    ("selector.", &["a", "team.org/a-b", "-bad"]),
    ("driverEnv.", &["A", "SPARK_USER", "PYSPARK_PYTHON", "a-b", "1 2"]),
    ("secrets.", &["mine", "a.b", "Upper"]),
    ("secretKeyRef.", &["T", "A"]),
    ("", &["other", "a.b"]),
];

/// What values are like where the name has a `*`.
const VALUES: &[(&str, &[&str])] = &[
    ("secretKeyRef.", &["s:k", "s:", ":k", "s", "s:k:x", ""]),
    ("secrets.", &["/etc/s", "/etc/t", "relative", ""]),
    (
        "label.",
        &[
            "b",
            "1.0",
            "{{APP_ID}}",
            "b c",
            "-",
            "x123456789012345678901234567890123456789012345678901234567890123",
            "",
        ],
    ),
];

/// A `--conf` or a line of spark-defaults.conf with any property of the tables.
pub(crate) fn property() -> BoxedStrategy<Piece> {
    let infos = anymaster_k8s::keys::TABLE.iter().copied().chain(keys::table());
    let drawn = infos.filter(|info| {
        !LEFT_OUT.iter().any(|(prefix, _)| info.name.starts_with(prefix))
            // Drawn as they interact.
            && !info.name.contains(".volumes.")
    });
    let pairs = Union::new(drawn.flat_map(|info| {
        // Those of Kubernetes are what this is about.
        let weight = if info.name.starts_with("spark.kubernetes.driver") { 3 } else { 1 };
        std::iter::repeat_n((), weight).map(move |()| pair(info))
    }));
    (pairs, prop_oneof![6 => Just(false), 1 => Just(true)])
        .prop_map(
            |((key, value), is_default)| {
                if is_default { Piece::Default(key, value) } else { Piece::conf(key, value) }
            },
        )
        .boxed()
}

fn pair(info: &'static KeyInfo) -> BoxedStrategy<(String, String)> {
    let Some(prefix) = info.name.strip_suffix('*') else {
        return named(info).prop_flat_map(move |name| (Just(name), values::of(info))).boxed();
    };
    let of = |table: &'static [(&str, &'static [&'static str])]| {
        table.iter().find(|(end, _)| prefix.ends_with(end)).map(|(_, values)| *values)
    };
    let suffixes = of(SUFFIXES).unwrap_or(&["other"]);
    let value = of(VALUES).map_or_else(|| values::of(info), values::one_of);
    (values::one_of(suffixes), value)
        .prop_map(move |(suffix, value)| (format!("{prefix}{suffix}"), value))
        .boxed()
}

/// A property's name, now and then one that it had before.
fn named(info: &'static KeyInfo) -> BoxedStrategy<String> {
    let current = Just(info.name.to_owned());
    if info.old_names.is_empty() {
        return current.boxed();
    }
    prop_oneof![4 => current, 1 => proptest::sample::select(info.old_names).prop_map(str::to_owned)]
        .boxed()
}

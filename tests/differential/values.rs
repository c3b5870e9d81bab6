//! Values of properties by their type: valid ones first, for lines shrink towards these; then
//! borderline ones; then those that are wrong.

use anymaster_core::conf::keys::{KeyInfo, Kind};
use proptest::prelude::*;
use proptest::sample::select;

const TEXTS: &[&str] =
    &["x", "a-b", "A_b", "two words", "a,b", "a=b", "{{APP_ID}}", "ä€", "#1", "a\\b", ""];
const FLAGS: &[&str] = &["true", "false", "TRUE", "yes", ""];
const COUNTS: &[&str] = &["2", "1", "5", "0", "-1", "1.5", "4294967296", "x", ""];
const NUMBERS: &[&str] = &["0.5", "0.1", "1", "0", "2.5", "1e-3", "-1", "x", ""];
const SIZES: &[&str] = &[
    "1g", "512m", "2048", "3g", "1048576k", "1G", "2gb", "1000mb", "1t", "100b", "1.5g", "0", "0m",
    "-1m", "1 g", "x", "",
];
const TIMES: &[&str] = &["10s", "1m", "500ms", "100", "1h", "0", "1d", "-1s", "1.5s", "x", ""];
const LISTS: &[&str] = &["a", "a,b", " a , b ", "a,,b", ",", ""];
const QUANTITIES: &[&str] =
    &["1", "500m", "0.5", "2", "2000m", "1.5", "1k", "0", "1e3", "-1", "x", "1 ", ""];
const NAMES: &[&str] = &["mine", "a.b", "a-b", "x1", "Upper", "a_b", "-a", ""];
const PORTS: &[&str] = &["7777", "8080", "1", "65535", "0", "65536", "-1", "x", ""];
const FILES: &[&str] = &["DIR/f.txt", "file://DIR/f.txt", "DIR/missing", ""];
const TEMPLATES: &[&str] = &[
    "DIR/driver.yaml",
    "DIR/executor.yaml",
    "file://DIR/driver.yaml",
    "DIR/bare.yaml",
    "DIR/f.txt",
    "DIR/missing",
    "",
];
const URIS: &[&str] = &[
    "local:///opt/b.jar",
    "http://h/b.jar",
    "DIR/b.jar",
    "local:///a.jar,local:///b.jar",
    "local:///a.jar, local:///b.jar",
    "file://DIR/b.jar",
    "DIR/missing.jar",
    "DIR/*.jar",
    ",",
    "",
];

/// Properties whose values are not any of their type. The longest beginning counts.
const SPECIAL: &[(&str, &[&str])] = &[
    (
        "spark.kubernetes.container.image.pullPolicy",
        &["Always", "Never", "IfNotPresent", "always", "x", ""],
    ),
    ("spark.kubernetes.container.image.pullSecrets", LISTS),
    ("spark.kubernetes.container.image", &["r/i:2", "i", ""]),
    ("spark.kubernetes.driver.container.image", &["r/d:2", "i", ""]),
    ("spark.kubernetes.executor.container.image", &["r/e:2", "i", ""]),
    ("spark.kubernetes.namespace", &["team", "a-b", "Upper", ""]),
    ("spark.kubernetes.driver.pod.name", NAMES),
    ("spark.kubernetes.driver.resourceNamePrefix", NAMES),
    ("spark.kubernetes.executor.podNamePrefix", NAMES),
    ("spark.kubernetes.driver.request.cores", QUANTITIES),
    ("spark.kubernetes.driver.limit.cores", QUANTITIES),
    ("spark.kubernetes.executor.request.cores", QUANTITIES),
    ("spark.kubernetes.executor.limit.cores", QUANTITIES),
    (
        "spark.kubernetes.driver.service.ipFamilyPolicy",
        &["SingleStack", "PreferDualStack", "RequireDualStack", "singlestack", ""],
    ),
    (
        "spark.kubernetes.driver.service.ipFamilies",
        &["IPv4", "IPv6", "IPv4,IPv6", "IPv6,IPv4", "ipv4", ""],
    ),
    ("spark.kubernetes.driver.podTemplateFile", TEMPLATES),
    ("spark.kubernetes.executor.podTemplateFile", TEMPLATES),
    ("spark.kubernetes.driver.podTemplateContainerName", &["main", "side", "none", ""]),
    ("spark.kubernetes.executor.podTemplateContainerName", &["main", "e", "none", ""]),
    ("spark.kubernetes.kerberos.krb5.path", FILES),
    ("spark.kerberos.keytab", FILES),
    ("spark.kubernetes.file.upload.path", &["file://DIR/up", "DIR/up", "nowhere://x/", ""]),
    ("spark.kubernetes.driver.master", &["https://k:1", "k8s://https://k:1", "local[*]", ""]),
    ("spark.kubernetes.allocation.pods.allocator", &["direct", "statefulset", "x", ""]),
    ("spark.kubernetes.driver.pod.excludedFeatureSteps", STEPS),
    ("spark.kubernetes.executor.rollPolicy", &["OUTLIER", "ID", "id", "x"]),
    ("spark.driver.port", PORTS),
    ("spark.driver.blockManager.port", PORTS),
    ("spark.blockManager.port", PORTS),
    ("spark.ui.port", PORTS),
    ("spark.connect.grpc.binding.port", PORTS),
    ("spark.driver.extraJavaOptions", &["-Da=b", "-Da=b -Dc='d e'", "-Xmx1g", ""]),
    ("spark.driver.defaultJavaOptions", &["-Da=b", "-Xmx1g", ""]),
    ("spark.executor.extraJavaOptions", &["-Da=b", "-Xmx1g", "-Dspark.x=y", ""]),
    ("spark.jars", URIS),
    ("spark.files", URIS),
    ("spark.archives", &["local:///z.zip#z", "DIR/z.zip#z", "DIR/z.zip", "http://h/z.zip", ""]),
    ("spark.submit.pyFiles", &["local:///d.py", "DIR/d.py", "local:///d.py,http://h/e.zip", ""]),
    ("spark.local.dir", &["/tmp/x", "/a,/b", "/a,/a", ""]),
    ("spark.kubernetes.kerberos.tokenSecret.name", NAMES),
    ("spark.kubernetes.hadoop.configMapName", NAMES),
    ("spark.kubernetes.kerberos.krb5.configMapName", NAMES),
    ("spark.kubernetes.authenticate.driver.caCertFile", FILES),
    ("spark.kubernetes.authenticate.driver.clientKeyFile", FILES),
    ("spark.kubernetes.authenticate.driver.clientCertFile", FILES),
    ("spark.kubernetes.authenticate.driver.oauthTokenFile", FILES),
];

/// Steps that can be left out, a step that cannot, and one that nobody knows.
const STEPS: &[&str] = &[
    "org.apache.spark.deploy.k8s.features.DriverServiceFeatureStep",
    "org.apache.spark.deploy.k8s.features.LocalDirsFeatureStep",
    "org.apache.spark.deploy.k8s.features.NetworkPolicyFeatureStep",
    "org.apache.spark.deploy.k8s.features.MountVolumesFeatureStep",
    "org.apache.spark.deploy.k8s.features.DriverCommandFeatureStep",
    "org.apache.spark.deploy.k8s.features.BasicDriverFeatureStep",
    "com.example.None",
    "org.apache.spark.deploy.k8s.features.EnvSecretsFeatureStep,org.apache.spark.deploy.k8s.features.KerberosConfDriverFeatureStep",
    "",
];

/// Values of a property.
pub(crate) fn of(info: &KeyInfo) -> BoxedStrategy<String> {
    let special = SPECIAL.iter().find(|(name, _)| *name == info.name).map(|(_, values)| *values);
    let values = special.unwrap_or(match info.kind {
        Kind::Text => TEXTS,
        Kind::Choice(texts) => texts,
        Kind::Flag => FLAGS,
        Kind::Count => COUNTS,
        Kind::Number => NUMBERS,
        Kind::Size(_) => SIZES,
        Kind::Time(_) => TIMES,
        Kind::List => LISTS,
    });
    one_of(values)
}

/// One of these: mostly a valid one, which come first; a line has several values.
pub(crate) fn one_of(values: &'static [&'static str]) -> BoxedStrategy<String> {
    let first = &values[..values.len().div_ceil(3)];
    prop_oneof![4 => select(first), 1 => select(values)].prop_map(str::to_owned).boxed()
}

pub(crate) fn sizes() -> BoxedStrategy<String> {
    one_of(SIZES)
}

pub(crate) fn counts() -> BoxedStrategy<String> {
    one_of(COUNTS)
}

pub(crate) fn uris() -> BoxedStrategy<String> {
    one_of(URIS)
}

pub(crate) fn quantities() -> BoxedStrategy<String> {
    one_of(QUANTITIES)
}

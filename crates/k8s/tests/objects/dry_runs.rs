//! Dry runs: their output, and their errors.

use anymaster_core::Backend as _;
use anymaster_k8s::KUBERNETES;

use super::*;

pub(super) fn shown(properties: &[(&str, &str)]) -> Result<String> {
    shown_of(&app(SparkLanguage::Java, properties))
}

fn shown_of(app: &ApplicationSpec) -> Result<String> {
    let options = ConnectOptions::new("k8s://https://h:1".parse()?);
    let id = SubmissionId::new("x")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::protocol("no runtime").with_source(error))?;
    let value = runtime.block_on(KUBERNETES.preview(&options, &id, app))?;
    value.map(|value| value.to_string()).ok_or_else(|| Error::protocol("no preview"))
}

#[test]
fn a_dry_run_shows_no_secret_and_keeps_references() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("template.yaml");
    let text = "spec: {containers: [{name: x, env: [{name: MY_PASSWORD, value: hush}]}]}";
    std::fs::write(&template, text).unwrap();
    let template = template.to_str().unwrap();
    let mut app = app(
        SparkLanguage::Java,
        &[
            ("spark.hadoop.fs.s3a.secret.key", "hush"),
            ("spark.driver.extraJavaOptions", "-Dpassword=hush"),
            ("spark.kubernetes.driverEnv.DB_PASSWORD", "hush"),
            ("spark.kubernetes.authenticate.driver.oauthToken", "hush"),
            ("spark.kubernetes.driver.secretKeyRef.TOKEN", "creds:token"),
            ("spark.kubernetes.driver.podTemplateFile", template),
            ("spark.kubernetes.executor.podTemplateFile", template),
            ("spark.files", "https://me:hush@h/a?sig=hush"),
        ],
    );
    let Payload::Spark(job) = &mut app.driver.payload else { panic!() };
    job.args = ["--password", "hush", "--token=hush"].map(str::to_owned).to_vec();
    let shown = shown_of(&app).unwrap();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("secretKeyRef.TOKEN=creds\\\\:token"), "{shown}");
    assert!(
        shown.contains("https\\\\://me\\\\:*********(redacted)@h/a?*********(redacted)"),
        "{shown}"
    );
}

#[test]
fn a_dry_run_builds_objects_from_unredacted_values() {
    // A path with the name of a secret was once redacted before it was used.
    let jars = "local:///opt/jars/spark-token-provider-kafka-0-10_2.12-3.5.1.jar,local:///b.jar";
    let shown = shown(&[("spark.jars", jars)]).unwrap();
    assert!(
        shown.contains("spark.jars=local\\\\:///opt/jars/spark-token-provider-kafka"),
        "{shown}"
    );
}

#[test]
fn a_dry_run_fails_where_a_submission_would() {
    for (property, value) in [
        ("spark.kubernetes.submission.waitAppCompletion", "maybe"),
        ("spark.kubernetes.submission.requestTimeout", "x"),
        ("spark.kubernetes.submission.connectionTimeout", "x"),
        ("spark.kubernetes.trust.certificates", "x"),
        ("spark.kubernetes.report.interval", "x"),
        ("spark.kubernetes.report.interval", "0"),
        ("spark.kubernetes.authenticate.submission.caCertFile", "/nope"),
    ] {
        let error = shown(&[(property, value)]).expect_err(property);
        assert!(error.message().starts_with(property), "{error}");
    }
}

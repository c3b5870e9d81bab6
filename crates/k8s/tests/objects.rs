//! The objects of drivers, without a cluster: rules that every submission keeps. That they are those of
//! the real spark-submit is shown beside it (`tests/kube/parity.rs`).

use std::collections::BTreeMap;

use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{
    ApplicationSpec, CommandLine, DriverSpec, Payload, ResourceProfile, SparkJob, SparkLanguage,
    SubmissionId,
};
use anymaster_core::{ConnectOptions, ErrorKind, Result};
use anymaster_k8s::driver::{Machine, Objects, Request, Templates, objects};
use jiff::Timestamp;

fn app(language: SparkLanguage, properties: &[(&str, &str)]) -> ApplicationSpec {
    let mut conf: Conf = properties.iter().copied().collect();
    conf.set_default("spark.kubernetes.container.image", "spark:3.5");
    conf.set_default("spark.anymaster.sparkVersion", "3.5.9");
    ApplicationSpec {
        name: "My App".into(),
        driver: DriverSpec {
            payload: Payload::Spark(SparkJob {
                language,
                primary_resource: "local:///app.jar".into(),
                main_class: Some("Main".into()),
                args: vec!["a b".into()],
                proxy_user: None,
            }),
            env: BTreeMap::new(),
            resources: ResourceProfile::new(1.0, 0),
            working_dir: None,
            supervise: false,
        },
        conf,
    }
}

fn made(language: SparkLanguage, properties: &[(&str, &str)]) -> Result<Objects> {
    made_of(&app(language, properties))
}

/// The objects of a driver that is a program, and the properties that it is told.
fn program(properties: &[(&str, &str)]) -> Result<(Objects, Conf)> {
    let mut app = app(SparkLanguage::Java, properties);
    app.driver.payload = Payload::Command(CommandLine::new("pi").args(["50"]));
    let objects = made_of(&app)?;
    let told = objects.secrets.iter().find_map(|secret| {
        let text = secret.data.as_ref()?.get("spark.properties")?;
        String::from_utf8(text.0.clone()).ok()
    });
    let conf = read_properties(&told.unwrap_or_default())?.into_iter().collect();
    Ok((objects, conf))
}

fn made_of(app: &ApplicationSpec) -> Result<Objects> {
    let id = SubmissionId::new("nightly-1")?;
    let machine = Machine { user: "me".into(), ..Machine::default() };
    objects(&Request {
        id: &id,
        app,
        templates: Templates::default(),
        machine: &machine,
        default_namespace: "ns",
        now: Timestamp::UNIX_EPOCH,
    })
}

#[test]
fn a_driver_in_full() {
    let objects = made(SparkLanguage::Java, &[("spark.executor.instances", "3")]).unwrap();
    insta::assert_snapshot!(serde_saphyr::to_string(&objects).unwrap());
    assert_eq!(objects, made(SparkLanguage::Java, &[("spark.executor.instances", "3")]).unwrap());
}

#[test]
fn spark_4_has_one_port_more_and_claims_for_one_pod() {
    const VOLUME: &str = "spark.kubernetes.driver.volumes.persistentVolumeClaim.d.";
    let properties = [
        ("mount.path", "/d"),
        ("options.claimName", "OnDemand"),
        ("options.storageClass", "gp"),
        ("options.sizeLimit", "1Gi"),
    ]
    .map(|(key, value)| (format!("{VOLUME}{key}"), value));
    let properties: Vec<_> = properties.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let of = |version| {
        made(
            SparkLanguage::Java,
            &[&properties[..], &[("spark.anymaster.sparkVersion", version)]].concat(),
        )
        .unwrap()
    };
    let ports = |objects: &Objects| {
        objects.services[0].spec.as_ref().unwrap().ports.as_ref().unwrap().len()
    };
    let access = |objects: &Objects| {
        objects.persistentvolumeclaims[0].spec.as_ref().unwrap().access_modes.clone().unwrap()
    };
    assert_eq!((ports(&of("3.5.9")), ports(&of("4.0.1"))), (3, 4));
    assert_eq!(
        (access(&of("3.5.9")), access(&of("4.0.1"))),
        (vec!["ReadWriteOnce".to_owned()], vec!["ReadWriteOncePod".to_owned()])
    );
}

#[test]
fn memory_beyond_the_heap_follows_sparks_rules() {
    let memory = |language, properties: &[(&str, &str)]| {
        let objects = made(language, properties).unwrap();
        let container = &objects.pods[0].spec.as_ref().unwrap().containers[0];
        container.resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0.clone()
    };
    let (java, python) = (SparkLanguage::Java, SparkLanguage::Python);
    assert_eq!(memory(java, &[]), "1408Mi");
    assert_eq!(memory(python, &[]), "1433Mi");
    assert_eq!(memory(java, &[("spark.driver.memory", "10g")]), "11Gi");
    assert_eq!(memory(java, &[("spark.driver.memoryOverhead", "1g")]), "2Gi");
    assert_eq!(memory(python, &[("spark.kubernetes.memoryOverheadFactor", "0.5")]), "1536Mi");
    assert_eq!(memory(java, &[("spark.driver.memoryOverheadFactor", "0.5")]), "1536Mi");
}

#[test]
fn mistakes_are_found_before_anything_is_created() {
    for (property, value, words) in [
        ("spark.kubernetes.container.image", "", "Must specify the driver container image"),
        (
            "spark.kubernetes.container.image.pullPolicy",
            "Sometimes",
            "none of Always, Never, IfNotPresent",
        ),
        ("spark.kubernetes.driver.label.spark-role", "x", "reserved"),
        ("spark.kubernetes.driver.secretKeyRef.A", "x", "name:key"),
        (
            "spark.kubernetes.driver.volumes.hostPath.d.mount.path",
            "/d",
            "options.path is required for hostPath",
        ),
        (
            "spark.kubernetes.executor.volumes.cephfs.d.mount.path",
            "/d",
            "`cephfs` is not supported",
        ),
        ("spark.kubernetes.driver.pod.name", "Not_a_name", "cannot be the name of a pod"),
        ("spark.kubernetes.driver.request.cores", "two", "not a quantity"),
        ("spark.driver.port", "0", "not a port"),
        ("spark.driver.host", "h", "not supported in Kubernetes mode"),
        ("spark.driver.bindAddress", "h", "not supported in Kubernetes mode"),
        ("spark.driver.resource.gpu.amount", "1", "vendor was not specified"),
        ("spark.kubernetes.driver.podTemplateFile", "/nope", "cannot read /nope"),
        ("spark.kubernetes.driver.pod.featureSteps", "x.Y", "cannot be honoured"),
        ("spark.jars", "/nope.jar", "there is no file /nope.jar"),
        ("spark.anymaster.logs.dir", "ftp://x/y", "not a place for files"),
    ] {
        let error = made(SparkLanguage::Java, &[(property, value)]).expect_err(property);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{property}");
        assert!(error.message().contains(words), "{property}: {error}");
    }
}

#[test]
fn the_template_of_executors_goes_along_with_any_driver() {
    const TEMPLATE: &str = "spark.kubernetes.executor.podTemplateFile";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "spec: {nodeSelector: {disk: ssd}}").unwrap();
    let path = file.path().to_str().unwrap();
    let (objects, conf) = program(&[(TEMPLATE, path)]).unwrap();
    let told = conf.get(TEMPLATE).unwrap();
    assert_ne!(told, path);
    let spec = objects.pods[0].spec.as_ref().unwrap();
    let mounts = spec.containers[0].volume_mounts.as_ref().unwrap();
    let mount = mounts.iter().find(|mount| told.starts_with(&mount.mount_path)).unwrap();
    let volume = spec.volumes.as_ref().unwrap().iter().find(|v| v.name == mount.name).unwrap();
    let source = volume.config_map.as_ref().unwrap();
    let key = &source.items.as_ref().unwrap()[0];
    assert_eq!(told, format!("{}/{}", mount.mount_path, key.path));
    let mut maps = objects.configmaps.iter();
    let map = maps.find(|map| map.metadata.name.as_ref() == Some(&source.name)).unwrap();
    assert!(map.data.as_ref().unwrap()[&key.key].contains("disk: ssd"));
}

#[test]
fn a_driver_is_told_of_its_own_credentials_and_not_of_its_submitters() {
    let (objects, conf) = program(&[
        ("spark.kubernetes.context", "mine"),
        ("spark.kubernetes.submission.requestTimeout", "1s"),
        ("spark.kubernetes.authenticate.submission.caCertFile", "/home/me/ca.crt"),
        ("spark.kubernetes.authenticate.submission.oauthToken", "hush"),
        ("spark.kubernetes.authenticate.driver.oauthToken", "hush too"),
        ("spark.kubernetes.authenticate.driver.serviceAccountName", "driver"),
    ])
    .unwrap();
    let is_the_submitters =
        |key: &str| key.contains(".submission.") || key == "spark.kubernetes.context";
    assert_eq!(conf.iter().find(|(key, _)| is_the_submitters(key)), None);
    assert!(!conf.iter().any(|(_, value)| value.contains("hush")));
    assert_eq!(conf.get("spark.kubernetes.submitInDriver"), Some("true"));
    let token = conf.get("spark.kubernetes.authenticate.driver.mounted.oauthTokenFile").unwrap();
    let spec = objects.pods[0].spec.as_ref().unwrap();
    let mounts = spec.containers[0].volume_mounts.as_ref().unwrap();
    assert!(mounts.iter().any(|mount| token.starts_with(&mount.mount_path)));
    // What runs beside the driver has no other.
    assert_eq!(spec.service_account_name.as_deref(), Some("driver"));
}

#[test]
fn a_dry_run_shows_no_secret_and_keeps_references() {
    let options = ConnectOptions {
        master: "k8s://https://h:1".parse().unwrap(),
        conf: Conf::new(),
        state_dir: "/nope".into(),
        program: None,
        observer: Default::default(),
    };
    let properties = [
        ("spark.hadoop.fs.s3a.secret.key", "hush"),
        ("spark.kubernetes.driverEnv.DB_PASSWORD", "hush"),
        ("spark.kubernetes.authenticate.driver.oauthToken", "hush"),
        ("spark.kubernetes.driver.secretKeyRef.TOKEN", "creds:token"),
    ];
    let preview = anymaster_k8s::KUBERNETES.preview.unwrap();
    let id = SubmissionId::new("x").unwrap();
    let shown = preview(&options, &id, &app(SparkLanguage::Java, &properties)).unwrap().to_string();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("secretKeyRef.TOKEN=creds\\\\:token"), "{shown}");
}

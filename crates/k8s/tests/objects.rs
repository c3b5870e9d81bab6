//! The objects of drivers, without a cluster: rules that every submission keeps. That they are those of
//! the real spark-submit is shown beside it (`tests/kube/parity.rs`).

use std::collections::BTreeMap;

use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{
    ApplicationSpec, CommandLine, DriverSpec, Payload, ResourceProfile, SparkJob, SparkLanguage,
    SubmissionId,
};
use anymaster_core::{ConnectOptions, Error, ErrorKind, Result};
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
fn claims_are_for_one_pod_from_4_0_and_connect_has_a_port_from_4_1() {
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
    assert_eq!(
        ["3.5.9", "4.0.5", "4.1.4", "4.3.0"].map(|version| ports(&of(version))),
        [3, 3, 4, 4]
    );
    assert_eq!(
        (access(&of("3.5.9")), access(&of("4.0.1"))),
        (vec!["ReadWriteOnce".to_owned()], vec!["ReadWriteOncePod".to_owned()])
    );
}

/// The objects of a driver of this release.
fn of_release(version: &str, properties: &[(&str, &str)]) -> Result<Objects> {
    let version = [("spark.anymaster.sparkVersion", version)];
    made(SparkLanguage::Java, &[properties, &version].concat())
}

#[test]
fn executors_are_closed_to_others_from_4_2_and_containers_hardened_from_4_3() {
    const TEMPLATE: &str = "kind: Pod\nspec:\n  containers:\n  - name: main\n    \
                            securityContext: {allowPrivilegeEscalation: true, runAsUser: 7}\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TEMPLATE).unwrap();
    let path = file.path().display().to_string();
    let template = [("spark.kubernetes.driver.podTemplateFile", path.as_str())];
    let context = |objects: &Objects| {
        objects.pods[0].spec.as_ref().unwrap().containers[0].security_context.clone().unwrap()
    };
    let before = of_release("4.2.1", &template).unwrap();
    assert_eq!(before.networkpolicies.len(), 1);
    assert!(of_release("4.1.4", &template).unwrap().networkpolicies.is_empty());
    assert_eq!(context(&before).allow_privilege_escalation, Some(true));

    let objects = of_release("4.3.0", &template).unwrap();
    assert_eq!(context(&objects).allow_privilege_escalation, Some(false));
    assert_eq!(context(&objects).run_as_user, Some(7));
    let policy = &objects.networkpolicies[0];
    let prefix = objects.pods[0].metadata.name.as_deref().unwrap().strip_suffix("-driver").unwrap();
    assert_eq!(policy.metadata.name.as_deref(), Some(&*format!("{prefix}-policy")));
    let app = &objects.pods[0].metadata.labels.as_ref().unwrap()["spark-app-selector"];
    assert_eq!(&policy.metadata.labels.as_ref().unwrap()["spark-app-selector"], app);
    let spec = serde_json::to_value(&policy.spec).unwrap();
    let executors = serde_json::json!({"spark-app-selector": app, "spark-role": "executor"});
    assert_eq!(spec["podSelector"]["matchLabels"], executors);
    let from = &spec["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(*from, serde_json::json!({"spark-app-selector": app}));

    let service = objects.services[0].spec.as_ref().unwrap();
    assert_eq!(service.publish_not_ready_addresses, Some(false));
    let protocols = service.ports.iter().flatten().filter_map(|port| port.app_protocol.as_deref());
    assert_eq!(protocols.collect::<Vec<_>>(), ["grpc"]);

    let allowed = [("spark.kubernetes.securityContext.allowPrivilegeEscalation", "true")];
    let objects = of_release("4.3.0", &allowed).unwrap();
    assert_eq!(context(&objects).allow_privilege_escalation, Some(true));
    // What an older one does not have is said.
    let warnings = of_release("4.1.4", &allowed).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("it came with 4.3.0")), "{warnings:?}");
}

#[test]
fn a_release_that_is_too_new_is_said_once_by_name() {
    let warnings = of_release("4.4.0", &[]).unwrap().warnings;
    let said: Vec<_> = warnings.iter().filter(|warning| warning.contains("4.4.0")).collect();
    assert_eq!(said.len(), 1, "{warnings:?}");
    assert_eq!(of_release("4.3.1", &[]).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn options_of_volumes_that_came_with_4_0_have_no_effect_before() {
    const VOLUME: &str = "spark.kubernetes.driver.volumes.hostPath.a.";
    let properties = [
        ("mount.path", "/a"),
        ("mount.subPathExpr", "$(A)"),
        ("options.path", "/mnt/a"),
        ("options.type", "Directory"),
    ]
    .map(|(key, value)| (format!("{VOLUME}{key}"), value));
    let properties: Vec<_> = properties.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    for (version, kind, expression, warned) in
        [("3.5.9", "", None, 2), ("4.0.5", "Directory", Some("$(A)"), 0)]
    {
        let objects = of_release(version, &properties).unwrap();
        let spec = objects.pods[0].spec.as_ref().unwrap();
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == "a").unwrap();
        assert_eq!(volume.host_path.as_ref().unwrap().type_.as_deref(), Some(kind));
        let mounts = spec.containers[0].volume_mounts.iter().flatten();
        let mount = mounts.into_iter().find(|mount| mount.name == "a").unwrap();
        assert_eq!(mount.sub_path_expr.as_deref(), expression);
        let warnings = objects.warnings.iter().filter(|words| words.contains("no such option"));
        assert_eq!(warnings.count(), warned, "{:?}", objects.warnings);
    }
}

#[test]
fn steps_that_are_left_out_from_4_1() {
    const STEPS: &str = "spark.kubernetes.driver.pod.excludedFeatureSteps";
    const PACKAGE: &str = "org.apache.spark.deploy.k8s.features.";
    let without = |version: &str, step: &str| {
        of_release(version, &[(STEPS, format!("{PACKAGE}{step}").as_str())]).unwrap()
    };
    let objects = without("4.1.4", "DriverServiceFeatureStep");
    assert!(objects.services.is_empty());
    let told = &objects.configmaps[0].data.as_ref().unwrap()["spark.properties"];
    assert!(!told.contains("spark.driver.host") && told.contains("spark.app.id"), "{told}");
    assert!(without("4.3.0", "NetworkPolicyFeatureStep").networkpolicies.is_empty());
    // One that nobody knows, and a release that has no such property.
    for (version, step) in [("4.1.4", "NoSuchStep"), ("3.5.9", "DriverServiceFeatureStep")] {
        let objects = without(version, step);
        assert_eq!((objects.services.len(), objects.warnings.len()), (1, 1), "{version}");
    }
    let basic = format!("{PACKAGE}BasicDriverFeatureStep");
    let error =
        made(SparkLanguage::Java, &[("spark.anymaster.sparkVersion", "4.1.4"), (STEPS, &basic)]);
    assert!(error.unwrap_err().message().contains("neither a name nor an image"));
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

fn shown(properties: &[(&str, &str)]) -> Result<String> {
    shown_of(&app(SparkLanguage::Java, properties))
}

fn shown_of(app: &ApplicationSpec) -> Result<String> {
    let options = ConnectOptions {
        master: "k8s://https://h:1".parse()?,
        conf: Conf::new(),
        state_dir: "/nope".into(),
        program: None,
        observer: Default::default(),
    };
    let preview = anymaster_k8s::KUBERNETES.preview;
    let preview = preview.ok_or_else(|| Error::protocol("no preview"))?;
    let id = SubmissionId::new("x")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::protocol("no runtime").with_source(error))?;
    runtime.block_on(preview(&options, &id, app)).map(|value| value.to_string())
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
fn a_dry_run_works_on_true_values() {
    // A word of secrets in a path once made it into another path.
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

fn with_environment(properties: &[(&str, &str)]) -> Result<Objects> {
    let app = app(SparkLanguage::Java, properties);
    let id = SubmissionId::new("nightly-1")?;
    let env = [("NS", "team-b"), ("SA", "etl"), ("N", "2"), ("IMAGE", "registry/spark:3.5")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let machine = Machine { user: "me".into(), env, ..Machine::default() };
    objects(&Request {
        id: &id,
        app: &app,
        templates: Templates::default(),
        machine: &machine,
        default_namespace: "ns",
        now: Timestamp::UNIX_EPOCH,
    })
}

#[test]
fn variables_are_replaced_where_spark_replaces_them() {
    let objects = with_environment(&[
        ("spark.kubernetes.namespace", "${env:NS}"),
        ("spark.kubernetes.authenticate.driver.serviceAccountName", "${env:SA}"),
        ("spark.kubernetes.container.image", "${env:IMAGE}"),
        ("spark.kubernetes.driver.request.cores", "${env:N}"),
        ("spark.kubernetes.driver.annotation.x", "${env:NS}"),
        ("spark.kubernetes.driver.label.x", "${env:NS}"),
        ("spark.app.name", "${env:NS}"),
    ])
    .unwrap();
    let pod = &objects.pods[0];
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(pod.metadata.namespace.as_deref(), Some("team-b"));
    assert_eq!(pod.metadata.annotations.as_ref().unwrap()["x"], "${env:NS}");
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["x"], "${env:NS}");
    assert!(objects.warnings[0].contains("replaces nothing in labels"), "{:?}", objects.warnings);
    assert_eq!(spec.service_account_name.as_deref(), Some("etl"));
    assert_eq!(spec.containers[0].image.as_deref(), Some("registry/spark:3.5"));
    let requests = spec.containers[0].resources.as_ref().unwrap().requests.as_ref().unwrap();
    assert_eq!(requests["cpu"].0, "2");
    assert_eq!(objects.services[0].metadata.namespace.as_deref(), Some("team-b"));
    let data = objects.configmaps[0].data.as_ref().unwrap();
    let properties: Conf =
        read_properties(&data["spark.properties"]).unwrap().into_iter().collect();
    assert!(properties.get("spark.driver.host").unwrap().ends_with(".team-b.svc"));
    assert_eq!(properties.get("spark.kubernetes.namespace"), Some("${env:NS}"));
    assert_eq!(properties.get("spark.app.name"), Some("${env:NS}"));
}

#[test]
fn a_variable_that_is_not_set_is_named_and_those_of_the_driver_are_left_to_it() {
    let error = with_environment(&[("spark.kubernetes.namespace", "${env:UNSET}")]).unwrap_err();
    assert!(error.message().contains("variable UNSET, which is not set"), "{error}");
    // Read in the pod, where the variable may be.
    with_environment(&[
        ("spark.kubernetes.executor.podNamePrefix", "${env:OF_THE_DRIVER}"),
        ("spark.executor.memoryOverhead", "${env:OF_THE_DRIVER}"),
        ("spark.kubernetes.executor.limit.cores", "${env:OF_THE_DRIVER}"),
    ])
    .unwrap();
    let error = with_environment(&[("spark.driver.memory", "${env:N}")]).unwrap_err();
    assert!(error.hint().unwrap().contains("replaces no"), "{error:?}");
}

#[test]
fn what_is_refused_for_drivers_is_refused_for_executors() {
    const LABELS: [&str; 3] = ["label.x", "node.selector.x", "annotation.x y"];
    let long = "a".repeat(64);
    let mut faults: Vec<(String, &str, &str)> = Vec::new();
    for role in ["driver", "executor"] {
        let kubernetes = |rest: &str| format!("spark.kubernetes.{role}.{rest}");
        let volume = |rest: &str| kubernetes(&format!("volumes.{rest}"));
        faults.extend([
            (format!("spark.{role}.memoryOverhead"), "512Mi", "is not a size"),
            (format!("spark.{role}.memory"), "lots", "is not a size"),
            (format!("spark.{role}.memoryOverheadFactor"), "0.0", "above 0"),
            (format!("spark.{role}.resource.gpu.amount"), "1", "vendor was not specified"),
            (format!("spark.{role}.resource.gpu.amount"), "some", "not a whole number"),
            (kubernetes("request.cores"), "2cores", "not a quantity"),
            (kubernetes("limit.cores"), "abc", "not a quantity"),
            (kubernetes("limit.cores"), "500m", "less than or equal to cpu limit"),
            (kubernetes(LABELS[0]), "Jane Doe", "cannot be the value of a label"),
            (kubernetes(LABELS[0]), &long, "cannot be the value of a label"),
            (kubernetes(LABELS[1]), "a b", "cannot be the value of a label"),
            (kubernetes(LABELS[2]), "1", "cannot be the key of a label or an annotation"),
            (kubernetes("label.a/b/c"), "1", "cannot be the key"),
            (kubernetes("secretKeyRef.P"), "database:password:x", "must be in the form name:key."),
            (kubernetes("secretKeyRef.P"), "Data:password", "cannot be the name"),
            (kubernetes("secrets.Team_A"), "/x", "no valid name"),
            (kubernetes("secrets.team-a"), "", "can be mounted"),
            (volume("emptyDir.spark_x.mount.path"), "/x", "cannot be the name of a volume"),
            (volume("cephfs.x.mount.path"), "/x", "is not supported"),
        ]);
    }
    faults.extend([
        (
            "spark.kubernetes.executor.podNamePrefix".to_owned(),
            "spark_exec",
            "cannot begin the names",
        ),
        (
            "spark.kubernetes.executor.podNamePrefix".to_owned(),
            "nightly-report-1657634168668185553-300e8181f2b26a1a",
            "cannot begin the names",
        ),
        ("spark.kubernetes.namespace".to_owned(), "Team_A", "name of a namespace"),
        ("spark.kubernetes.driver.service.label.x".to_owned(), "a b", "value of a label"),
        (
            "spark.kubernetes.driver.service.ipFamilyPolicy".to_owned(),
            "DualStack",
            "is none of SingleStack, PreferDualStack, RequireDualStack",
        ),
        ("spark.kubernetes.driver.service.ipFamilies".to_owned(), "IPv5", "is none of"),
        ("spark.kubernetes.driver.service.ipFamilies".to_owned(), "IPv4,IPv6", "SingleStack"),
        ("spark.kubernetes.executor.rollPolicy".to_owned(), "ANY", "is none of"),
        ("spark.kubernetes.allocation.batch.size".to_owned(), "0", "above 0"),
        (
            "spark.kubernetes.authenticate.executor.serviceAccountName".to_owned(),
            "A_b",
            "cannot be the name",
        ),
        ("spark.kubernetes.container.image.pullSecrets".to_owned(), "a,B", "cannot be the name"),
        ("spark.executor.extraJavaOptions".to_owned(), "-Xmx2g", "max heap memory"),
        ("spark.driver.memory".to_owned(), "0", "Driver memory must be a positive number"),
        ("spark.executor.cores".to_owned(), "0", "must be a positive number"),
        ("spark.kerberos.principal".to_owned(), "me", "you must also specify a Kerberos keytab"),
        ("spark.kerberos.keytab".to_owned(), "k", "you must also specify a Kerberos principal"),
        ("spark.kerberos.renewal.credentials".to_owned(), "x", "is none of"),
    ]);
    for (property, value, words) in &faults {
        let error = made(SparkLanguage::Java, &[(property, value)]).expect_err(property);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{property}");
        assert!(error.message().contains(words), "{property}={value}: {error}");
    }
    let error = made(
        SparkLanguage::Java,
        &[
            ("spark.kubernetes.container.image", ""),
            ("spark.kubernetes.driver.container.image", "i"),
        ],
    )
    .unwrap_err();
    assert!(error.message().contains("Must specify the executor container image"), "{error}");
}

#[test]
fn options_of_volumes_are_checked_for_drivers_and_executors() {
    for role in ["driver", "executor"] {
        for (kind, options, words) in [
            ("emptyDir", &[("options.sizeLimit", "5GB")][..], "\"5GB\" is not a quantity"),
            ("emptyDir", &[("options.sizeLimit", "<nil>")], "is not a quantity"),
            ("emptyDir", &[("options.sizeLimit", "")], "is not a quantity"),
            ("emptyDir", &[("options.medium", "memory")], "is none of Memory, HugePages"),
            ("hostPath", &[("options.path", "/a/../b")], "there is .."),
            ("hostPath", &[("options.path", "/a"), ("options.type", "Dir")], "is none of"),
            ("nfs", &[("options.path", "a"), ("options.server", "s")], "not an absolute path"),
            ("persistentVolumeClaim", &[("options.claimName", "My_Claim")], "the name of a claim"),
            (
                "persistentVolumeClaim",
                &[("options.claimName", "OnDemand"), ("options.sizeLimit", "1x")],
                "is not a quantity",
            ),
            (
                "persistentVolumeClaim",
                &[("options.claimName", "OnDemand"), ("options.storageClass", "<nil>")],
                "the name of a storage class",
            ),
            ("emptyDir", &[("mount.subPath", "../x")], "within the volume"),
            ("emptyDir", &[("mount.readOnly", "yes")], "neither true nor false"),
        ] {
            let prefix = format!("spark.kubernetes.{role}.volumes.{kind}.v.");
            let mut properties: Vec<_> =
                options.iter().map(|(key, value)| (format!("{prefix}{key}"), *value)).collect();
            properties.push((format!("{prefix}mount.path"), "/v"));
            let properties: Vec<_> =
                properties.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            let error = made(SparkLanguage::Java, &properties).expect_err(words);
            assert!(error.message().contains(words), "{options:?}: {error}");
        }
    }
}

#[test]
fn a_class_that_is_set_and_empty_makes_a_claim_for_a_prepared_volume() {
    const VOLUME: &str = "spark.kubernetes.driver.volumes.persistentVolumeClaim.data.";
    let properties = [
        ("mount.path", "/data"),
        ("options.claimName", "OnDemand"),
        ("options.storageClass", ""),
        ("options.sizeLimit", "20Gi"),
    ]
    .map(|(key, value)| (format!("{VOLUME}{key}"), value));
    let properties: Vec<_> = properties.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let objects = made(SparkLanguage::Java, &properties).unwrap();
    let claim = objects.persistentvolumeclaims[0].spec.as_ref().unwrap();
    assert_eq!(claim.storage_class_name.as_deref(), Some(""));
}

#[test]
fn kerberos_by_old_names_is_kerberos() {
    let keytab = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keytab.path(), "keytab").unwrap();
    let path = keytab.path().to_str().unwrap();
    let objects = made(
        SparkLanguage::Java,
        &[("spark.yarn.principal", "me@EX.ORG"), ("spark.yarn.keytab", path)],
    )
    .unwrap();
    let secret = objects.secrets[0].metadata.name.as_deref().unwrap();
    assert!(secret.ends_with("-kerberos-keytab"), "{secret}");
    let data = objects.configmaps[0].data.as_ref().unwrap();
    let properties: Conf =
        read_properties(&data["spark.properties"]).unwrap().into_iter().collect();
    let told = properties.get("spark.kerberos.keytab").unwrap();
    assert!(told.starts_with("/mnt/secrets/kerberos-keytab/"), "{told}");
    assert_eq!(properties.get("spark.kerberos.principal"), Some("me@EX.ORG"));
    assert_eq!(properties.get("spark.yarn.keytab"), Some(path));
}

#[test]
fn a_config_map_with_krb5_conf_is_mounted_as_it_is() {
    let objects =
        made(SparkLanguage::Java, &[("spark.kubernetes.kerberos.krb5.configMapName", "krb5")])
            .unwrap();
    let volumes = objects.pods[0].spec.as_ref().unwrap().volumes.clone().unwrap();
    let volume = volumes.into_iter().find(|volume| volume.name == "krb5-file").unwrap();
    assert_eq!(
        serde_json::to_value(volume).unwrap(),
        serde_json::json!({"name": "krb5-file", "configMap": {"name": "krb5"}})
    );
}

#[test]
fn a_template_is_read_as_spark_reads_it_and_passed_on_whole() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("template.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    // Of a template, local: is file:.
    let path = format!("local://{}", file.display());
    let properties = [("spark.kubernetes.driver.podTemplateFile", path.as_str())];
    write(
        "metadata:\n  labels: {version: 1.10}\n  annotations: {scrape: true, port: 4040}\n\
         spec:\n  imagePullSecret: [{name: registry}]\n  containers:\n  - name: main\n    \
         requests: {cpu: 2}\n    env: [{name: A, value: yes}, {name: B, value: 5}]\n",
    );
    let objects = made(SparkLanguage::Java, &properties).unwrap();
    let metadata = &objects.pods[0].metadata;
    assert_eq!(metadata.labels.as_ref().unwrap()["version"], "1.1");
    assert_eq!(metadata.annotations.as_ref().unwrap()["port"], "4040");
    let warnings = objects.warnings.join("\n");
    assert!(warnings.contains("spec.imagePullSecret (line 5)"), "{warnings}");
    assert!(warnings.contains("is imagePullSecrets meant?"), "{warnings}");
    assert!(warnings.contains("spec.containers[0].requests (line 8)"), "{warnings}");
    let shown = shown(&properties).unwrap();
    assert!(shown.contains("\"imagePullSecret\":[{\"name\":\"registry\"}]"), "{shown}");
    assert!(shown.contains("\"requests\":{\"cpu\":2}"), "{shown}");

    write("spec:\n  containers:\n  - {name: x, stdin: yes}\n");
    let error = made(SparkLanguage::Java, &properties).unwrap_err();
    assert!(error.message().contains("spec.containers[0].stdin is \"yes\""), "{error}");
    assert!(error.message().contains("(line 3)"), "{error}");
}

#[test]
fn a_template_at_a_url_is_fetched() {
    use std::io::{Read as _, Write as _};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/driver.yaml?sig=hush", server.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut request = [0; 4096];
        let read = client.read(&mut request).unwrap();
        let body = "spec: {nodeSelector: {disk: ssd}}";
        write!(client, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let shown = shown(&[("spark.kubernetes.driver.podTemplateFile", &url)]).unwrap();
    assert!(serving.join().unwrap().starts_with("GET /driver.yaml?sig=hush"));
    assert!(shown.contains("\"disk\":\"ssd\""), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
    // Nobody serves there any more.
    let error = self::shown(&[("spark.kubernetes.driver.podTemplateFile", &url)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
}

#[test]
fn a_directory_of_hadoops_that_is_not_there_is_an_empty_one() {
    let id = SubmissionId::new("nightly-1").unwrap();
    let app = app(SparkLanguage::Java, &[]);
    let env = [("HADOOP_CONF_DIR".to_owned(), "/etc/not-there".to_owned())].into();
    let machine = Machine { user: "me".into(), env, ..Machine::default() };
    let objects = objects(&Request {
        id: &id,
        app: &app,
        templates: Templates::default(),
        machine: &machine,
        default_namespace: "ns",
        now: Timestamp::UNIX_EPOCH,
    })
    .unwrap();
    assert!(objects.warnings[0].contains("/etc/not-there"), "{:?}", objects.warnings);
    let is_of_hadoop = |name: &Option<String>| name.as_ref().unwrap().ends_with("-hadoop-config");
    assert!(objects.configmaps.iter().any(|map| is_of_hadoop(&map.metadata.name)));
}

#[test]
fn whoever_is_named_by_the_variable_is_the_user() {
    let user = |variable: Option<&str>, proxy: Option<&str>| {
        let mut app = app(SparkLanguage::Java, &[]);
        let Payload::Spark(job) = &mut app.driver.payload else { panic!() };
        job.proxy_user = proxy.map(str::to_owned);
        let env = variable.map(|name| ("SPARK_USER".to_owned(), name.to_owned()));
        let machine =
            Machine { user: "me".into(), env: env.into_iter().collect(), ..Machine::default() };
        let objects = objects(&Request {
            id: &SubmissionId::new("nightly-1").unwrap(),
            app: &app,
            templates: Templates::default(),
            machine: &machine,
            default_namespace: "ns",
            now: Timestamp::UNIX_EPOCH,
        });
        let spec = objects.unwrap().pods.remove(0).spec.unwrap();
        let env = spec.containers[0].env.clone().unwrap();
        env.into_iter().find(|variable| variable.name == "SPARK_USER").unwrap().value
    };
    assert_eq!(user(Some("alice"), Some("bob")).as_deref(), Some("alice"));
    assert_eq!(user(None, Some("bob")).as_deref(), Some("bob"));
    assert_eq!(user(None, None).as_deref(), Some("me"));
    assert_eq!(user(Some(""), None), None);
}

//! The objects of drivers, without a cluster. `tests/kube/parity.rs` compares them with those of
//! the real spark-submit.

mod checks;
mod dry_runs;
mod submitter_env;

use std::collections::BTreeMap;

use anymaster_core::conf::{Conf, read_properties};
use anymaster_core::model::{
    ApplicationSpec, CommandLine, Payload, SparkJob, SparkLanguage, SubmissionId,
};
use anymaster_core::{ConnectOptions, Error, ErrorKind, Result};
use anymaster_k8s::driver::{Objects, Request, SubmitterEnv, objects};
use jiff::Timestamp;

use crate::dry_runs::shown;

fn app(language: SparkLanguage, properties: &[(&str, &str)]) -> ApplicationSpec {
    let mut conf: Conf = properties.iter().copied().collect();
    conf.set_default("spark.kubernetes.container.image", "spark:3.5");
    conf.set_default("spark.anymaster.sparkVersion", "3.5.9");
    let job = SparkJob {
        language,
        primary_resource: "local:///app.jar".into(),
        main_class: Some("Main".into()),
        args: vec!["a b".into()],
        proxy_user: None,
    };
    ApplicationSpec::new("My App", job).with_conf(conf)
}

fn made(language: SparkLanguage, properties: &[(&str, &str)]) -> Result<Objects> {
    made_of(&app(language, properties))
}

/// The objects of a native driver, and its properties.
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
    made_on(app, &[])
}

/// The objects of a driver that is submitted with these environment variables.
fn made_on(app: &ApplicationSpec, variables: &[(&str, &str)]) -> Result<Objects> {
    let id = SubmissionId::new("nightly-1")?;
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let submitter =
        SubmitterEnv { user: "me".into(), vars: variables.collect(), ..SubmitterEnv::default() };
    objects(&Request::new(&id, app, &submitter, "ns", Timestamp::UNIX_EPOCH))
}

/// Properties with a prefix.
fn below(prefix: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (format!("{prefix}{key}"), (*value).to_owned())).collect()
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[test]
fn all_objects_of_a_driver() {
    let objects = made(SparkLanguage::Java, &[("spark.executor.instances", "3")]).unwrap();
    insta::assert_snapshot!(serde_saphyr::to_string(&objects).unwrap());
    assert_eq!(objects, made(SparkLanguage::Java, &[("spark.executor.instances", "3")]).unwrap());
}

#[test]
fn claims_are_read_write_once_pod_from_4_0_and_connect_has_a_port_from_4_1() {
    const VOLUME: &str = "spark.kubernetes.driver.volumes.persistentVolumeClaim.d.";
    let properties = below(
        VOLUME,
        &[
            ("mount.path", "/d"),
            ("options.claimName", "OnDemand"),
            ("options.storageClass", "gp"),
            ("options.sizeLimit", "1Gi"),
        ],
    );
    let properties = borrowed(&properties);
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

/// The objects of a driver of this Spark release.
fn of_release(version: &str, properties: &[(&str, &str)]) -> Result<Objects> {
    let version = [("spark.anymaster.sparkVersion", version)];
    made(SparkLanguage::Java, &[properties, &version].concat())
}

#[test]
fn executors_have_a_network_policy_from_4_2_and_hardened_containers_from_4_3() {
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
    // Properties that an older release does not have get a warning.
    let warnings = of_release("4.1.4", &allowed).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("it came with 4.3.0")), "{warnings:?}");
}

#[test]
fn an_unknown_newer_release_gets_one_warning() {
    let warnings = of_release("4.4.0", &[]).unwrap().warnings;
    let said: Vec<_> = warnings.iter().filter(|warning| warning.contains("4.4.0")).collect();
    assert_eq!(said.len(), 1, "{warnings:?}");
    assert_eq!(of_release("4.3.1", &[]).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn options_of_volumes_that_came_with_4_0_have_no_effect_before() {
    const VOLUME: &str = "spark.kubernetes.driver.volumes.hostPath.a.";
    let properties = below(
        VOLUME,
        &[
            ("mount.path", "/a"),
            ("mount.subPathExpr", "$(A)"),
            ("options.path", "/mnt/a"),
            ("options.type", "Directory"),
        ],
    );
    let properties = borrowed(&properties);
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
fn feature_steps_can_be_excluded_from_4_1() {
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
    // The checks of an excluded step still apply, as in Spark.
    let kerberos = format!("{PACKAGE}KerberosConfDriverFeatureStep");
    let alone = [(STEPS, kerberos.as_str()), ("spark.kerberos.principal", "p@R")];
    let error = of_release("4.2.1", &alone).unwrap_err();
    assert!(error.message().contains("also specify a Kerberos keytab"), "{error}");
    // An unknown step, and a release without the property.
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
fn memory_overhead_follows_sparks_rules() {
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
fn the_template_of_executors_is_passed_to_any_driver() {
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
fn a_driver_gets_its_own_credentials_and_not_its_submitters() {
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
    // The janitor has no other credentials.
    assert_eq!(spec.service_account_name.as_deref(), Some("driver"));
}

#[test]
fn an_empty_storage_class_makes_a_claim_for_a_pre_provisioned_volume() {
    const VOLUME: &str = "spark.kubernetes.driver.volumes.persistentVolumeClaim.data.";
    let properties = below(
        VOLUME,
        &[
            ("mount.path", "/data"),
            ("options.claimName", "OnDemand"),
            ("options.storageClass", ""),
            ("options.sizeLimit", "20Gi"),
        ],
    );
    let properties = borrowed(&properties);
    let objects = made(SparkLanguage::Java, &properties).unwrap();
    let claim = objects.persistentvolumeclaims[0].spec.as_ref().unwrap();
    assert_eq!(claim.storage_class_name.as_deref(), Some(""));
}

#[test]
fn deprecated_kerberos_properties_are_read() {
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
fn an_existing_config_map_with_krb5_conf_is_mounted() {
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
fn a_template_is_read_as_by_spark_and_passed_on_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("template.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    // For templates, local: is file:.
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
    assert!(warnings.contains("did you mean imagePullSecrets?"), "{warnings}");
    assert!(warnings.contains("spec.containers[0].requests (line 8)"), "{warnings}");
    let shown = shown(&properties).unwrap();
    assert!(shown.contains("\"imagePullSecret\":[{\"name\":\"registry\"}]"), "{shown}");
    assert!(shown.contains("\"requests\":{\"cpu\":2}"), "{shown}");

    write("spec:\n  containers:\n  - {name: x, stdin: yes}\n");
    let error = made(SparkLanguage::Java, &properties).unwrap_err();
    assert!(error.message().contains("spec.containers[0].stdin is \"yes\""), "{error}");
    assert!(error.message().contains("(line 3)"), "{error}");
}

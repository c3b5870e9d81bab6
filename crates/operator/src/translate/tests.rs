//! A manifest with every field, and what each becomes.

use serde_json::{Value, json};

use super::*;
use crate::v1beta2::read;

const EVERY_FIELD: &str = include_str!("every-field.yaml");

fn identity() -> Identity {
    Identity {
        namespace: "ns".to_owned(),
        name: "nightly-report".to_owned(),
        uid: "u-1".to_owned(),
        labels: Map::from([
            ("owner".to_owned(), "finance".to_owned()),
            ("kueue.x-k8s.io/queue-name".to_owned(), "batch".to_owned()),
        ]),
    }
}

fn every_field() -> Value {
    let mut manifest: Value = serde_saphyr::from_str(EVERY_FIELD).unwrap();
    manifest["spec"].take()
}

fn translated(spec: &Value) -> Result<Translation> {
    translate(&identity(), &read(spec)?, "k8s://https://h", "id-1")
}

/// The last value of a property of a line.
fn conf<'a>(line: &'a [String], key: &str) -> Option<&'a str> {
    let words = line.windows(2).filter(|words| words[0] == "--conf");
    words
        .filter_map(|words| words[1].split_once('='))
        .filter(|(k, _)| *k == key)
        .map(|(_, v)| v)
        .next_back()
}

#[test]
fn every_field_that_is_a_property_or_an_option_becomes_one() {
    let line = translated(&every_field()).unwrap().line;
    let tracking = "spark.dynamicAllocation.shuffleTracking.enabled";
    let volume = "volumes.emptyDir.spark-local-dir-scratch";
    for (key, want) in [
        ("spark.kubernetes.namespace", "ns"),
        ("spark.kubernetes.container.image", "registry.test/report:7"),
        ("spark.kubernetes.container.image.pullPolicy", "Always"),
        ("spark.kubernetes.container.image.pullSecrets", "mirror,vendor"),
        ("spark.ui.port", "4141"),
        ("spark.hadoop.dfs.replication", "2"),
        ("spark.kubernetes.memoryOverheadFactor", "0.3"),
        ("spark.kubernetes.pyspark.pythonVersion", "3"),
        ("spark.dynamicAllocation.enabled", "true"),
        ("spark.dynamicAllocation.maxExecutors", "8"),
        (tracking, "true"),
        ("spark.dynamicAllocation.shuffleTracking.timeout", "120000"),
        ("spark.kubernetes.driver.pod.name", "nightly-report-driver"),
        ("spark.driver.cores", "3"),
        ("spark.kubernetes.driver.request.cores", "750m"),
        ("spark.kubernetes.driver.limit.cores", "1500m"),
        ("spark.driver.memory", "640m"),
        ("spark.driver.memoryOverhead", "320m"),
        ("spark.driver.extraJavaOptions", "-Dpart=driver"),
        ("spark.kubernetes.authenticate.driver.serviceAccountName", "report-driver"),
        ("spark.kubernetes.driver.master", "https://kubernetes.default.svc"),
        ("spark.kubernetes.driver.label.part", "driver"),
        ("spark.kubernetes.driver.label.owner", "finance"),
        ("spark.kubernetes.driver.label.sparkoperator.k8s.io/app-name", "nightly-report"),
        ("spark.kubernetes.driver.label.sparkoperator.k8s.io/submission-id", "id-1"),
        ("spark.kubernetes.driver.annotation.test/part", "driver"),
        ("spark.kubernetes.driver.service.label.to", "driver"),
        ("spark.kubernetes.driver.service.annotation.test/to", "driver"),
        ("spark.kubernetes.driverEnv.PART", "driver"),
        ("spark.kubernetes.driver.secretKeyRef.PASSWORD", "driver-account:password"),
        ("spark.kubernetes.driver.secrets.cloud", "/keys/cloud"),
        ("spark.kubernetes.driverEnv.GOOGLE_APPLICATION_CREDENTIALS", "/keys/cloud/key.json"),
        ("spark.kubernetes.driverEnv.HADOOP_TOKEN_FILE_LOCATION", "/keys/hadoop/hadoop.token"),
        (&format!("spark.kubernetes.driver.{volume}.mount.path"), "/scratch"),
        (&format!("spark.kubernetes.executor.{volume}.options.sizeLimit"), "2Gi"),
        (&format!("spark.kubernetes.executor.{volume}.options.medium"), "Memory"),
        ("spark.executor.instances", "6"),
        ("spark.executor.cores", "4"),
        ("spark.kubernetes.executor.request.cores", "2"),
        ("spark.kubernetes.executor.limit.cores", "5"),
        ("spark.executor.memory", "2g"),
        ("spark.executor.memoryOverhead", "700m"),
        ("spark.executor.extraJavaOptions", "-Dpart=executor"),
        ("spark.kubernetes.executor.container.image", "registry.test/report-executor:7"),
        ("spark.kubernetes.authenticate.executor.serviceAccountName", "report-executor"),
        ("spark.kubernetes.executor.deleteOnTermination", "false"),
        ("spark.kubernetes.executor.label.part", "executor"),
        ("spark.executorEnv.PART", "executor"),
        ("spark.executorEnv.SPARK_USER", "reporter-too"),
        ("spark.executorEnv.SPARK_CONF_DIR", "/etc/spark/conf"),
        ("spark.kubernetes.executor.secretKeyRef.PASSWORD", "executor-account:password"),
    ] {
        assert_eq!(conf(&line, key), Some(want), "{key}");
    }
    let kueue = "spark.kubernetes.driver.label.kueue.x-k8s.io/queue-name";
    assert_eq!(conf(&line, kueue), None);
    for (option, want) in [
        ("--name", "nightly-report"),
        ("--proxy-user", "reporter"),
        ("--jars", "local:///srv/tables.jar,https://repo.test/drivers.jar"),
        ("--files", "https://repo.test/rates.csv"),
        ("--py-files", "local:///srv/helpers.zip"),
        ("--archives", "https://repo.test/venv.tgz#venv"),
        ("--packages", "org.test:tables:2.1"),
        ("--exclude-packages", "org.test:logging"),
        ("--repositories", "https://repo.test/maven"),
    ] {
        assert!(line.windows(2).any(|words| words == [option, want]), "{option}");
    }
    assert_eq!(line[line.len() - 3..], ["local:///srv/report.py", "--until", "31 December"]);
}

#[test]
fn every_field_that_is_part_of_a_pod_is_in_the_template_of_its_role() {
    let templates = translated(&every_field()).unwrap().templates;
    for (template, role, other) in [
        (templates.driver.unwrap(), "driver", "executor"),
        (templates.executor.unwrap(), "executor", "driver"),
    ] {
        let (pod, main) = (&template["spec"], &template["spec"]["containers"][0]);
        let is_driver = role == "driver";
        assert_eq!(
            main["name"],
            if is_driver { "spark-kubernetes-driver" } else { "spark-kubernetes-executor" }
        );
        assert_eq!(pod["containers"][1]["name"], format!("beside-{role}"));
        assert_eq!(pod["initContainers"][0]["name"], format!("prepare-{role}"));
        assert_eq!(pod["tolerations"], json!([{"key": role, "operator": "Exists"}]));
        assert_eq!(pod["nodeSelector"], json!({"pool": role}));
        assert_eq!(pod["schedulerName"], format!("schedule-{role}"));
        assert_eq!(pod["hostAliases"][0]["hostnames"][0], format!("{role}.test"));
        assert_eq!(pod["shareProcessNamespace"], true);
        assert_eq!(pod["enableServiceLinks"], false);
        let [class, grace, group, user, port] = match is_driver {
            true => [json!("reports"), json!(45), json!(2001), json!(1001), json!(7070)],
            false => [json!("leftovers"), json!(90), json!(2002), json!(1002), json!(7071)],
        };
        assert_eq!(pod["priorityClassName"], class);
        assert_eq!(pod["terminationGracePeriodSeconds"], grace);
        assert_eq!(pod["securityContext"]["fsGroup"], group);
        assert_eq!(main["securityContext"]["runAsUser"], user);
        assert_eq!(main["ports"][0]["containerPort"], port);
        let (device, count) =
            if is_driver { ("nvidia.com/gpu", "1") } else { ("amd.com/gpu", "2") };
        assert_eq!(main["resources"]["limits"][device], count);
        assert!(main["lifecycle"]["preStop"].is_object() && pod["affinity"].is_object());
        assert!(pod["dnsConfig"].is_object());
        assert_eq!(pod["hostNetwork"] == true, is_driver);
        let reference = if is_driver { "configMapRef" } else { "secretRef" };
        assert_eq!(main["envFrom"][0][reference]["name"], format!("of-{role}"));
        let owner = &template["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], owner["controller"] == true), (&json!("u-1"), is_driver));
        let volumes: Vec<_> = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["name"].as_str().unwrap())
            .collect();
        let mounts: Vec<_> = main["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["name"].as_str().unwrap())
            .collect();
        assert_eq!(volumes, mounts);
        assert!(
            volumes.starts_with(&["spark-configmap-volume", "hadoop-configmap-volume"]),
            "{volumes:?}"
        );
        assert!(volumes.contains(&"rates") && !volumes.contains(&"spare"), "{volumes:?}");
        assert!(volumes.iter().all(|name| name.len() <= 63 && !name.contains('.')), "{volumes:?}");
        assert!(!template.to_string().contains(&format!("\"{other}.test\"")));
        let env =
            |name: &str| main["env"].as_array().into_iter().flatten().any(|v| v["name"] == name);
        assert_eq!((env("REGION"), env("SPARK_USER")), (!is_driver, false));
    }
    let overlay = &templates.driver_overlay.unwrap()["spec"];
    let main = &overlay["containers"][0];
    assert_eq!(main["resources"]["limits"]["memory"], "1300Mi");
    let names: Vec<_> =
        main["env"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["REGION", "HOST", "HADOOP_CONF_DIR", "SPARK_CONF_DIR"]);
}

#[test]
fn fields_without_effect_are_named() {
    let mut spec = every_field();
    spec["sparkConf"]["spark.decommission.enabled"] = json!("true");
    spec["executor"]["volumeMounts"][1]["name"] = json!("nowhere");
    spec["executor"]["coers"] = json!(2);
    let ignored = translated(&spec).unwrap().ignored;
    let fields: Vec<_> = ignored.iter().map(|ignored| ignored.field.as_str()).collect();
    let want = [
        "spec.driverIngressOptions",
        "spec.executor.coers",
        "spec.executor.env[2]",
        "spec.executor.lifecycle",
        "spec.executor.memoryLimit",
        "spec.executor.volumeMounts[1]",
        "spec.monitoring",
        "spec.sparkUIOptions.ingressAnnotations",
        "spec.sparkUIOptions.ingressTLS",
    ];
    assert_eq!(fields, want);
}

#[test]
fn what_cannot_be_submitted_is_refused_with_its_field() {
    let change = |path: &str, value: Value| {
        let mut spec = every_field();
        match spec.pointer_mut(path) {
            Some(place) => *place = value,
            None => {
                let (parent, field) = path.rsplit_once('/').unwrap();
                spec.pointer_mut(parent).unwrap()[field] = value;
            }
        }
        translated(&spec).unwrap_err().message().to_owned()
    };
    for (path, value, want) in [
        ("/mode", json!("client"), "spec.mode: a driver runs in the cluster"),
        ("/sparkVersion", json!("3.1.3"), "spec.sparkVersion: Spark 3.1.3 is too old"),
        ("/sparkVersion", json!("latest"), "spec.sparkVersion: \"latest\" is not a version"),
        ("/mainApplicationFile", json!(""), "spec.mainApplicationFile: it is missing"),
        (
            "/mainApplicationFile",
            json!("--conf"),
            "spec.mainApplicationFile: \"--conf\" is no file",
        ),
        ("/sparkConf/spark.master=x", json!(""), "spec.sparkConf: \"spark.master=x\" is no name"),
        ("/sparkConf/ spark.master", json!("x"), "spec.sparkConf: \" spark.master\" is no name"),
        ("/sparkConf/spark.master", json!("local"), "spec.sparkConf: spark.master is not allowed"),
        (
            "/sparkConf/spark.kubernetes.namespace",
            json!("other"),
            "spec.sparkConf: spark.kubernetes.namespace is not allowed",
        ),
        ("/nodeSelector", json!({"a": "b"}), "spec.nodeSelector: it cannot be given together"),
        ("/restartPolicy/onFailureRetries", json!(-1), "spec.restartPolicy.onFailureRetries: -1"),
        (
            "/restartPolicy/onFailureRetryInterval",
            json!(0),
            "spec.restartPolicy.onFailureRetryInterval: 0",
        ),
        ("/driver/memoryLimit", json!("much"), "spec.driver.memoryLimit: \"much\" is not a size"),
        ("/driver/secrets/0/secretType", json!("X"), "spec.driver.secrets[0].secretType: \"X\""),
        ("/driver/template", json!([]), "spec.driver.template: it is not an object"),
        (
            "/volumes/0",
            json!({"name": "spark-local-dir-scratch", "configMap": {}}),
            "spec.volumes[0]: a local directory",
        ),
    ] {
        let said = change(path, value);
        assert!(said.starts_with(want), "{path}: {said}");
    }
    for name in ["", "A", "1a", "a-", "a.b", &"a".repeat(64)] {
        let identity = Identity { name: name.to_owned(), ..identity() };
        let error = translate(&identity, &read(&every_field()).unwrap(), "m", "i").unwrap_err();
        assert!(error.message().starts_with("metadata.name"), "{error}");
    }
}

#[test]
fn executors_are_one_unless_something_says_how_many() {
    let minimal = json!({"type": "Scala", "sparkVersion": "4.1.1", "mainApplicationFile": "local:///a.jar",
        "driver": {}, "executor": {}});
    let instances = |spec: &Value| {
        let line = translated(spec).unwrap().line;
        conf(&line, "spark.executor.instances").map(str::to_owned)
    };
    assert_eq!(instances(&minimal).as_deref(), Some("1"));
    let with = |field: &str, value: Value| {
        let mut spec = minimal.clone();
        spec[field] = value;
        instances(&spec)
    };
    assert_eq!(with("sparkConf", json!({"spark.executor.instances": "7"})).as_deref(), Some("7"));
    assert_eq!(with("sparkConf", json!({"spark.dynamicAllocation.enabled": "true"})), None);
    assert_eq!(with("dynamicAllocation", json!({"enabled": true})), None);
}

#[test]
fn a_given_template_is_the_base_and_its_main_container_is_found() {
    let mut spec = every_field();
    spec["executor"]["template"] = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "containers": [{"name": "other"}, {"name": "executor", "env": [{"name": "T", "value": "1"}]}],
        "tolerations": [{"key": "base"}],
    }});
    let template = translated(&spec).unwrap().templates.executor.unwrap();
    assert_eq!(template["metadata"]["labels"]["a"], "b");
    let containers = template["spec"]["containers"].as_array().unwrap();
    let names: Vec<_> =
        containers.iter().map(|container| container["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["spark-kubernetes-executor", "other", "beside-executor"]);
    assert_eq!(containers[0]["env"][0]["name"], "T");
    assert_eq!(containers[0]["env"][1]["name"], "REGION");
    assert_eq!(template["spec"]["tolerations"].as_array().unwrap().len(), 2);
}

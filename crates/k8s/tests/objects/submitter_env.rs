//! The environment of the submitter: variables, directories, remote templates.

use super::*;

fn with_environment(properties: &[(&str, &str)]) -> Result<Objects> {
    let variables = [("NS", "team-b"), ("SA", "etl"), ("N", "2"), ("IMAGE", "registry/spark:3.5")];
    made_on(&app(SparkLanguage::Java, properties), &variables)
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
fn an_unset_variable_is_an_error_unless_the_driver_evaluates_it() {
    let error = with_environment(&[("spark.kubernetes.namespace", "${env:UNSET}")]).unwrap_err();
    assert!(error.message().contains("variable UNSET, which is not set"), "{error}");
    // Evaluated in the pod, where the variable may be set.
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
    // The server is gone.
    let error =
        crate::dry_runs::shown(&[("spark.kubernetes.driver.podTemplateFile", &url)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
}

#[test]
fn a_missing_hadoop_directory_is_an_empty_one() {
    let app = app(SparkLanguage::Java, &[]);
    for (directory, words) in [("/etc/not-there", "/etc/not-there"), ("", "set and empty")] {
        let objects = made_on(&app, &[("HADOOP_CONF_DIR", directory)]).unwrap();
        assert!(objects.warnings[0].contains(words), "{:?}", objects.warnings);
        assert!(of_hadoop(&objects).unwrap().is_empty());
    }
    assert_eq!(of_hadoop(&made_on(&app, &[]).unwrap()), None);
}

/// The data of the config map with Hadoop's configuration.
fn of_hadoop(objects: &Objects) -> Option<BTreeMap<String, String>> {
    let is_it =
        |name: &Option<String>| name.as_ref().is_some_and(|name| name.ends_with("-hadoop-config"));
    let map = objects.configmaps.iter().find(|map| is_it(&map.metadata.name))?;
    Some(map.data.clone().unwrap_or_default())
}

#[test]
fn a_missing_configuration_directory_gets_a_warning() {
    let app = app(SparkLanguage::Java, &[]);
    let objects = made_on(&app, &[("SPARK_CONF_DIR", "/etc/not-there")]).unwrap();
    assert_eq!(
        objects.warnings,
        ["SPARK_CONF_DIR is /etc/not-there, and there is no such directory"]
    );
}

#[test]
fn files_that_are_not_utf_8_get_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("core-site.xml", b"<!-- caf\xe9 -->");
    write("core-site.xml~", b"");
    let hadoop = dir.path().display().to_string();
    let java = app(SparkLanguage::Java, &[]);
    let objects = made_on(&java, &[("HADOOP_CONF_DIR", &hadoop)]).unwrap();
    let texts = BTreeMap::from([("core-site.xml".to_owned(), "<!-- caf\u{fffd} -->".to_owned())]);
    assert_eq!(of_hadoop(&objects), Some(texts));
    assert!(objects.warnings[0].contains("core-site.xml~ is not passed"), "{:?}", objects.warnings);
    assert!(objects.warnings[1].contains("core-site.xml is not UTF-8"), "{:?}", objects.warnings);

    let template = write("template.yaml", b"# caf\xe9\nspec: {nodeSelector: {disk: ssd}}\n");
    let krb5 = write("krb5.conf", b"# caf\xe9\n");
    for property in [
        "spark.kubernetes.driver.podTemplateFile",
        "spark.kubernetes.executor.podTemplateFile",
        "spark.kubernetes.kerberos.krb5.path",
    ] {
        let file = if property.ends_with("krb5.path") { &krb5 } else { &template };
        let objects = made(SparkLanguage::Java, &[(property, file)]).unwrap();
        let said = objects.warnings.iter().filter(|words| words.contains("is not UTF-8"));
        assert_eq!(said.count(), 1, "{property}: {:?}", objects.warnings);
    }
}

#[test]
fn the_user_is_spark_user_or_from_4_3_the_proxy_user() {
    let user = |release: &str, variable: Option<&str>, proxy: Option<&str>| {
        let mut app = app(SparkLanguage::Java, &[("spark.anymaster.sparkVersion", release)]);
        let Payload::Spark(job) = &mut app.driver.payload else { panic!() };
        job.proxy_user = proxy.map(str::to_owned);
        let variables: Vec<_> = variable.map(|name| ("SPARK_USER", name)).into_iter().collect();
        let spec = made_on(&app, &variables).unwrap().pods.remove(0).spec.unwrap();
        let env = spec.containers[0].env.clone().unwrap();
        env.into_iter().find(|variable| variable.name == "SPARK_USER").unwrap().value
    };
    assert_eq!(user("4.2.1", Some("alice"), Some("bob")).as_deref(), Some("alice"));
    assert_eq!(user("4.3.0", Some("alice"), Some("bob")).as_deref(), Some("bob"));
    assert_eq!(user("4.3.0", Some("alice"), None).as_deref(), Some("alice"));
    for release in ["3.5.9", "4.3.0"] {
        assert_eq!(user(release, None, Some("bob")).as_deref(), Some("bob"));
        assert_eq!(user(release, None, None).as_deref(), Some("me"));
        assert_eq!(user(release, Some(""), None), None);
    }
}

//! Invalid submissions are refused before anything is created.

use super::*;

#[test]
fn invalid_properties_are_refused_before_anything_is_created() {
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
fn properties_of_executors_are_checked_like_those_of_drivers() {
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
            let properties = below(&prefix, &[options, &[("mount.path", "/v")]].concat());
            let error = of_release("4.0.5", &borrowed(&properties)).expect_err(words);
            assert!(error.message().contains(words), "{options:?}: {error}");
        }
    }
}

#[test]
fn properties_that_spark_accepts_are_accepted() {
    for (release, properties) in [
        ("3.5.9", &[("spark.kubernetes.driver.request.cores", "0")][..]),
        ("3.5.9", &[("spark.kubernetes.pyspark.pythonVersion", "2")]),
        ("3.5.9", &[("spark.kubernetes.initcontainer.image", "x")]),
    ] {
        let objects = of_release(release, properties).unwrap();
        let told = objects.configmaps[0].data.as_ref().unwrap()["spark.properties"].clone();
        let (name, value) = properties[0];
        assert!(told.contains(&format!("{name}={value}")), "{told}");
    }
    // An option that the release does not have is ignored.
    let prefix = "spark.kubernetes.driver.volumes.hostPath.v.";
    let options = [
        ("mount.path", "/v"),
        ("options.path", "/v"),
        ("mount.subPath", "a"),
        ("mount.subPathExpr", "$(A)"),
    ];
    let options = below(prefix, &options);
    of_release("3.5.9", &borrowed(&options)).unwrap();
    let error = of_release("4.0.5", &borrowed(&options)).unwrap_err();
    assert!(error.message().contains("exclude each other"), "{error}");
}

#[test]
fn properties_that_spark_refuses_are_refused() {
    let read_only = below(
        "spark.kubernetes.driver.volumes.hostPath.v.",
        &[("mount.path", "/v"), ("options.path", "/v"), ("mount.readOnly", "")],
    );
    let keytab = tempfile::NamedTempFile::new().unwrap();
    let keytab = keytab.path().display().to_string();
    for (language, properties, words) in [
        (SparkLanguage::Java, &borrowed(&read_only)[..], "neither true nor false"),
        (
            SparkLanguage::Java,
            &[("spark.kubernetes.configMap.maxSize", "1048577")],
            "more than 1048576 bytes",
        ),
        (
            SparkLanguage::Python,
            &[("spark.kubernetes.pyspark.pythonVersion", "2")],
            "\"2\" is not 3",
        ),
        (
            SparkLanguage::Java,
            &[
                ("spark.kubernetes.kerberos.tokenSecret.name", "s"),
                ("spark.kerberos.keytab", &keytab),
                ("spark.kerberos.principal", "p@R"),
            ],
            "tokenSecret.itemKey is not set",
        ),
    ] {
        let error = made(language, properties).expect_err(words);
        assert!(error.message().contains(words), "{error}");
    }
    // Read until 4.0.
    for (release, is_refused) in [("4.0.5", true), ("4.1.4", false)] {
        let properties = [
            ("spark.kubernetes.pyspark.pythonVersion", "2"),
            ("spark.anymaster.sparkVersion", release),
        ];
        assert_eq!(made(SparkLanguage::Python, &properties).is_err(), is_refused, "{release}");
    }
}

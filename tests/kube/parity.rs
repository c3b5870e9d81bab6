//! Parity: the real spark-submit and ours create the same objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cluster::{Namespace, Ran, master, own_cluster};
use anymaster_test_support::objects::{comparable, differences};

const KINDS: [&str; 6] =
    ["pods", "services", "configmaps", "persistentvolumeclaims", "secrets", "networkpolicies"];

/// A command line and its environment variables.
struct Case {
    name: &'static str,
    line: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const fn case(name: &'static str, line: &'static str) -> Case {
    Case { name, line, env: &[] }
}

/// `DIR` stands for a directory with the files that are named below it.
const CASES: &[Case] = &[
    case(
        "java",
        "--class A --driver-memory 10g --driver-cores 2 --executor-memory 4g --num-executors 5 local:///a.jar --x y=z",
    ),
    case(
        "python",
        "--conf spark.driver.memoryOverheadFactor=0.3 --py-files local:///d.py local:///a.py a",
    ),
    case("r", "--conf spark.kubernetes.memoryOverheadFactor=0.25 local:///a.R"),
    case(
        "gpu",
        "--class A --conf spark.driver.resource.gpu.amount=1 --conf spark.driver.resource.gpu.vendor=nvidia.com \
         --conf spark.kubernetes.driver.request.cores=0.5 --conf spark.kubernetes.driver.limit.cores=2 local:///a.jar",
    ),
    case(
        "labels",
        "--class A --conf spark.kubernetes.driver.label.x=y --conf spark.kubernetes.driver.annotation.a={{APP_ID}} \
         --conf spark.kubernetes.driver.service.label.s=t --conf spark.kubernetes.driver.service.annotation.u=v \
         --conf spark.driver.port=7777 --conf spark.blockManager.port=8888 --conf spark.ui.port=4444 local:///a.jar",
    ),
    case(
        "volumes",
        "--class A --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.mount.path=/d \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.claimName=OnDemand \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.storageClass=gp \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.sizeLimit=1024Mi local:///a.jar",
    ),
    case(
        "nfs",
        "--class A --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.spark-local-dir-1.mount.path=/d \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.spark-local-dir-1.options.claimName=mine \
         --conf spark.kubernetes.driver.volumes.nfs.n.mount.path=/n --conf spark.kubernetes.driver.volumes.nfs.n.mount.subPath=s \
         --conf spark.kubernetes.driver.volumes.nfs.n.options.path=/e --conf spark.kubernetes.driver.volumes.nfs.n.options.server=h local:///a.jar",
    ),
    case(
        "secrets",
        "--class A --conf spark.kubernetes.driver.secrets.s=/etc/s --conf spark.kubernetes.driver.secretKeyRef.T=s:t \
         --conf spark.kubernetes.container.image.pullSecrets=a,b --conf spark.kubernetes.container.image.pullPolicy=Always local:///a.jar",
    ),
    case(
        "template",
        "--class A --conf spark.kubernetes.driver.podTemplateFile=DIR/driver.yaml \
         --conf spark.kubernetes.driver.podTemplateContainerName=main \
         --conf spark.kubernetes.executor.podTemplateFile=DIR/executor.yaml local:///a.jar",
    ),
    case(
        "credentials",
        "--class A --conf spark.kubernetes.authenticate.driver.oauthToken=t \
         --conf spark.kubernetes.authenticate.driver.caCertFile=DIR/ca --conf spark.kubernetes.authenticate.driver.mounted.clientKeyFile=/k local:///a.jar",
    ),
    case(
        "kerberos",
        "--class A --conf spark.kubernetes.kerberos.krb5.path=DIR/krb5.conf --conf spark.kubernetes.kerberos.tokenSecret.name=n \
         --conf spark.kubernetes.kerberos.tokenSecret.itemKey=k --conf spark.kerberos.keytab=DIR/ca --conf spark.kerberos.principal=p@R local:///a.jar",
    ),
    case(
        "upload",
        "--class A --jars DIR/b.jar,local:///c.jar --files DIR/f.txt --archives DIR/z.zip#zz \
         --conf spark.kubernetes.file.upload.path=file://DIR/up DIR/a.jar",
    ),
    Case {
        name: "environment",
        line: "--conf spark.kubernetes.driverEnv.A=1 --conf spark.kubernetes.driverEnv.EMPTY= --conf spark.pyspark.python=/p \
               --proxy-user bob --conf spark.kubernetes.local.dirs.tmpfs=true --conf spark.kubernetes.scheduler.name=other local:///a.py",
        env: &[
            ("PYSPARK_DRIVER_PYTHON", "/dp"),
            ("SPARK_LOCAL_DIRS", "/x"),
            ("HADOOP_CONF_DIR", "DIR/hadoop"),
            ("SPARK_CONF_DIR", "DIR/conf"),
        ],
    },
    case(
        "old names of kerberos",
        "--class A --conf spark.yarn.keytab=DIR/ca --conf spark.yarn.principal=p@R \
         --conf spark.kubernetes.kerberos.krb5.configMapName=krb5 local:///a.jar",
    ),
    case(
        "prepared volume",
        "--class A --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.mount.path=/d \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.claimName=OnDemand \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.storageClass= \
         --conf spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.sizeLimit=1Gi local:///a.jar",
    ),
    case(
        "scalars",
        "--class A --conf spark.kubernetes.driver.podTemplateFile=local://DIR/scalars.yaml local:///a.jar",
    ),
    Case {
        name: "references",
        line: "--conf spark.kubernetes.driver.annotation.x=${env:WHO} --conf spark.kubernetes.driver.container.image=local/${env:WHO} \
               --conf spark.driver.memoryOverhead=${env:SIZE} --conf spark.kubernetes.driver.request.cores=${env:CORES} \
               --conf spark.pyspark.python=/${spark.kubernetes.container.image.pullPolicy}/${foo} --conf spark.ui.port=${env:PORT} local:///a.py",
        env: &[
            ("WHO", "etl"),
            ("SIZE", "1g"),
            ("CORES", "250m"),
            ("PORT", "4444"),
            ("SPARK_USER", "alice"),
            ("HADOOP_CONF_DIR", "DIR/not-there"),
        ],
    },
    case(
        "a very long name of an application, Which has _other_ characters, too",
        "--class A local:///a.jar",
    ),
];

fn files(directory: &Path) {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for name in [
        "a.jar",
        "b.jar",
        "f.txt",
        "z.zip",
        "ca",
        "krb5.conf",
        "hadoop/core-site.xml",
        "hadoop/hdfs-site.xml",
    ] {
        write(name, "<configuration/>");
    }
    write("conf/metrics.properties", "a=b\n");
    write("conf/spark-defaults.conf", "spark.from.defaults=1\n");
    write("conf/log4j2.properties.template", "x");
    write("executor.yaml", "kind: Pod\nspec: {containers: [{name: e}]}\n");
    write(
        "driver.yaml",
        "kind: Pod\nmetadata: {labels: {spark-role: mine, from: template}, annotations: {q: r}}\n\
         spec:\n  serviceAccountName: other\n  restartPolicy: Always\n  nodeSelector: {n: v}\n  terminationGracePeriodSeconds: 7\n  \
         tolerations: [{key: dedicated, operator: Equal, value: spark, effect: NoSchedule}]\n  \
         volumes: [{name: v, emptyDir: {sizeLimit: 1024Mi}}]\n  \
         initContainers: [{name: i, image: 'i:1', resources: {limits: {cpu: 1000m}}}]\n  containers:\n  \
         - {name: side, image: 's:1'}\n  - {name: main, image: x, env: [{name: E, value: f}], volumeMounts: [{name: v, mountPath: /v}]}\n",
    );
    write(
        "scalars.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {a: 1.10, b: yes, c: 010, d: 1e3, e: True, f: }\n  \
         annotations: {scrape: true, port: 4040}\nspec:\n  terminationGracePeriodSeconds: '7'\n  containers:\n  \
         - name: main\n    env: [{name: A, value: yes}, {name: B, value: 5}, {name: C, value: 1.10}]\n",
    );
    std::fs::create_dir_all(directory.join("up")).unwrap();
}

fn objects(namespace: &Namespace) -> Value {
    comparable(
        &KINDS
            .iter()
            .map(|kind| ((*kind).to_owned(), namespace.objects(kind)))
            .collect::<BTreeMap<_, _>>(),
    )
}

#[test]
#[ignore = "needs a cluster and Spark"]
fn ours_creates_what_the_real_spark_submit_creates() {
    let spark =
        PathBuf::from(std::env::var_os("SPARK_HOME").expect("SPARK_HOME")).join("bin/spark-submit");
    let directory = tempfile::tempdir().unwrap();
    files(directory.path());
    let place = |text: &str| text.replace("DIR", &directory.path().display().to_string());
    let mut faults = Vec::new();
    for case in CASES {
        let namespaces = [Namespace::new("parity"), Namespace::new("parity")];
        let line = |namespace: &Namespace| -> Vec<String> {
            let mut line: Vec<String> =
                ["--master", &master(), "--deploy-mode", "cluster", "--name", case.name]
                    .map(str::to_owned)
                    .to_vec();
            for conf in [
                "spark.kubernetes.authenticate.driver.serviceAccountName=default".to_owned(),
                "spark.kubernetes.submission.waitAppCompletion=false".to_owned(),
                "spark.kubernetes.container.image=local/spark:3.5".to_owned(),
                // No node has it.
                "spark.kubernetes.driver.node.selector.on=none".to_owned(),
                format!("spark.kubernetes.namespace={}", namespace.name),
            ] {
                line.extend(["--conf".to_owned(), conf]);
            }
            line.extend(case.line.split_whitespace().map(&place));
            line
        };
        let env: Vec<_> = case.env.iter().map(|(name, value)| (*name, place(value))).collect();
        let mut real = Command::new(&spark);
        if let Some(state) = own_cluster() {
            // Spark's client cannot read the other key.
            real.env("KUBECONFIG", state.join("kubeconfig-token"));
        }
        Ran::of(real.args(line(&namespaces[0])).envs(env.clone())).expect(0);
        let version = ["submit", "--conf", "spark.anymaster.sparkVersion=3.5.9"];
        Ran::of(namespaces[1].anymaster(&version).args(line(&namespaces[1])).envs(env.clone()))
            .expect(0);
        let (theirs, ours) = (objects(&namespaces[0]), objects(&namespaces[1]));
        // Namespaces are part of host names.
        let ours: Value =
            serde_json::from_str(&ours.to_string().replace(&namespaces[1].name, "NS")).unwrap();
        let theirs: Value =
            serde_json::from_str(&theirs.to_string().replace(&namespaces[0].name, "NS")).unwrap();
        let before = faults.len();
        differences(case.name, &ours, &theirs, &mut faults);

        // A dry run shows the objects that are created.
        let mut dry = namespaces[1].anymaster(&[
            "submit",
            "--dry-run",
            "-o",
            "json",
            "--conf",
            "spark.anymaster.sparkVersion=3.5.9",
        ]);
        let shown = Ran::of(dry.args(line(&namespaces[1])).envs(env)).expect(0);
        let shown: BTreeMap<String, Vec<Value>> = serde_json::from_str(&shown.stdout).unwrap();
        let mut shown: Value = comparable(&shown);
        shown =
            serde_json::from_str(&shown.to_string().replace(&namespaces[1].name, "NS")).unwrap();
        // It shows no secrets.
        shown["secrets"] = ours["secrets"].clone();
        differences(&format!("{} (dry run)", case.name), &shown, &ours, &mut faults);
        println!("{}: {}", case.name, if faults.len() == before { "equal" } else { "DIFFERENT" });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

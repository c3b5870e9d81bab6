//! Uploads of local dependencies to an object store, and their rollback.

use std::process::{Child, Command, Stdio};

use crate::cluster::{Namespace, Ran, until};

/// An S3 server that keeps everything in memory.
struct S3 {
    process: Child,
    address: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl S3 {
    fn new() -> Self {
        let program = std::env::var("ANYMASTER_S3_SERVER")
            .expect("ANYMASTER_S3_SERVER: tests/clusters/s3/up sets it");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let s3 = Self {
            process,
            address: format!("127.0.0.1:{port}"),
            runtime,
            client: reqwest::Client::new(),
        };
        until("the S3 server", || s3.runtime.block_on(s3.client.put(s3.url("bucket")).send()).ok());
        s3
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn get(&self, path: &str) -> String {
        self.runtime.block_on(async {
            self.client.get(self.url(path)).send().await.unwrap().text().await.unwrap()
        })
    }

    fn put(&self, path: &str, content: &str) {
        let put = self.client.put(self.url(path)).body(content.to_owned()).send();
        self.runtime.block_on(put).unwrap().error_for_status().unwrap();
    }

    /// The properties to reach it as `s3a://`.
    fn properties(&self) -> [String; 4] {
        [
            format!("spark.hadoop.fs.s3a.endpoint=http://{}", self.address),
            "spark.hadoop.fs.s3a.access.key=key".to_owned(),
            "spark.hadoop.fs.s3a.secret.key=hush".to_owned(),
            "spark.hadoop.fs.s3a.endpoint.region=us-east-1".to_owned(),
        ]
    }

    /// All objects with their sizes.
    fn objects(&self) -> Vec<(String, usize)> {
        let list = self.get("bucket?list-type=2");
        let value = |object: &str, tag: &str| {
            let rest = object.split_once(&format!("<{tag}>"))?.1;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let objects = list.split("<Contents>").skip(1);
        objects
            .filter_map(|object| {
                Some((value(object, "Key")?, value(object, "Size")?.parse().ok()?))
            })
            .collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs a cluster and an S3 server"]
fn local_files_are_where_the_driver_looks_for_them() {
    let (namespace, s3) = (Namespace::new("upload"), S3::new());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    // More than one part of a multipart upload.
    let large = vec![b'x'; 20 * 1024 * 1024];
    std::fs::write(path("large.jar"), &large).unwrap();
    std::fs::write(path("small file.txt"), "small").unwrap();
    let confs = s3.properties();
    let mut more: Vec<&str> = confs.iter().flat_map(|conf| ["--conf", conf.as_str()]).collect();
    more.extend(["--conf", "spark.kubernetes.file.upload.path=s3a://bucket/staging"]);
    let (large_path, small_path) = (path("large.jar"), path("small file.txt"));
    more.extend(["--jars", &large_path, "--files", &small_path]);
    let line = "cat /opt/spark/conf/spark.properties";
    let ran = Ran::of(&mut namespace.submit("upload", &more, line)).expect(0);
    assert!(ran.stderr.contains("uploaded 2 files to s3a://bucket/staging"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    let objects = s3.objects();
    assert_eq!(objects.len(), 2, "{objects:?}");
    let log = namespace.verb(&["logs", &ran.id()]).expect(0).stdout;
    for (name, content) in [("large.jar", large.len()), ("small file.txt", 5)] {
        let (key, size) = objects.iter().find(|(key, _)| key.ends_with(name)).unwrap();
        assert!(key.starts_with("staging/spark-upload-"), "{key}");
        assert_eq!(*size, content);
        assert!(log.contains(&format!("s3a\\://bucket/{key}")), "{key}: {log}");
    }
    // A failed submission deletes what it uploaded.
    more.extend(["--conf", "spark.kubernetes.namespace=nowhere"]);
    Ran::of(&mut namespace.submit("fails", &more, line)).expect(1);
    assert_eq!(s3.objects().len(), 2);
}

#[test]
#[ignore = "needs a cluster and an S3 server"]
fn pod_templates_are_read_from_an_object_store() {
    let (namespace, s3) = (Namespace::new("template"), S3::new());
    let template = |role: &str| format!("metadata: {{labels: {{from-{role}: s3}}}}\n");
    s3.put("bucket/templates/driver.yaml", &template("driver"));
    s3.put("bucket/templates/executor.yaml", &template("executor"));
    let confs = s3.properties();
    let mut more: Vec<&str> = confs.iter().flat_map(|conf| ["--conf", conf.as_str()]).collect();
    let driver = "spark.kubernetes.driver.podTemplateFile=s3a://bucket/templates/driver.yaml";
    let executor = "spark.kubernetes.executor.podTemplateFile=s3a://bucket/templates/executor.yaml";
    more.extend(["--conf", driver, "--conf", executor]);
    let line = "cat /opt/spark/pod-template/*";
    let ran = Ran::of(&mut namespace.submit("templates", &more, line)).expect(0);
    let pods = namespace.objects("pods");
    assert_eq!(pods[0]["metadata"]["labels"]["from-driver"], "s3", "{}", pods[0]);
    let log = namespace.verb(&["logs", &ran.id()]).expect(0).stdout;
    assert!(log.contains("from-executor"), "{log}");
    // A missing template is named, and nothing is created.
    let missing = "spark.kubernetes.driver.podTemplateFile=s3a://bucket/templates/none.yaml";
    more.extend(["--conf", missing]);
    let refused = Ran::of(&mut namespace.submit("missing", &more, line)).expect(1);
    assert!(refused.stderr.contains("s3a://bucket/templates/none.yaml"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    assert_eq!(namespace.objects("pods").len(), 1);
}

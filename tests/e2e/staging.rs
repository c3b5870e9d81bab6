//! `anymaster staging`: what it answers when it is killed, full, or asked by strangers; and `submit`, which uploads to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::{Home, Said, eventually};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

const TOKEN: &str = "the-token-of-these-tests";

/// A server that keeps files in `staging` below a home.
struct Served {
    home: Home,
    service: Daemon,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

fn words<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let words = ["staging", "--port", "0", "--dir", "staging", "--token-file", "token"];
    [&words[..], more].concat()
}

impl Served {
    fn new(properties: &[&str]) -> Self {
        let home = Home::new();
        home.file("token", TOKEN);
        let conf: Vec<_> = properties.iter().flat_map(|property| ["--conf", property]).collect();
        let service = Daemon::start(home.command(&words(&conf)));
        Self::of(home, service)
    }

    fn of(home: Home, service: Daemon) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self { home, service, runtime, client: reqwest::Client::new() }
    }

    /// Ends it with SIGKILL, and starts another one.
    fn restart(&mut self) {
        self.service.shoot();
        self.service = Daemon::start(self.home.command(&words(&[])));
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.service.ready);
        let mut request = self.client.request(method, url).bearer_auth(TOKEN).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(request.send()).unwrap()
    }

    fn put(&self, app: &str, name: &str, content: Vec<u8>) -> Response {
        self.ask("PUT", &format!("/v1/applications/{app}/files/{name}"), &[], content)
    }

    fn json(&self, answer: Response) -> Value {
        let text = self.runtime.block_on(answer.text()).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// As a driver does.
    fn fetch(&self, path: &str) -> (u16, Vec<u8>) {
        self.runtime.block_on(async {
            let url = format!("{}{path}", self.service.ready);
            let answer = reqwest::get(url).await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
        })
    }

    fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.fetch("/metrics").1).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }

    /// Sends bytes as they are: the first line of the answer.
    fn raw(&self, request: &str) -> (TcpStream, String) {
        let address = self.service.ready.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        (stream, String::from_utf8_lossy(&answer).into_owned())
    }

    /// A submission with this jar, to a cluster that does not answer.
    fn submit(&self, jar: &str, more: &[&str]) -> Said {
        let url = format!("spark.anymaster.staging.url={}", self.service.ready);
        let mut line =
            vec!["submit", "--master", "k8s://http://127.0.0.1:1", "--deploy-mode", "cluster"];
        line.extend(["--class", "Main", "--conf", "spark.kubernetes.container.image=spark"]);
        line.extend(["--conf", "spark.anymaster.staging.tokenFile=token"]);
        if !more.iter().any(|word| word.contains("anymaster://")) {
            line.extend(["--conf", &url]);
        }
        line.extend(more);
        line.push(jar);
        self.home.call(&line)
    }
}

fn path(said: &Value) -> &str {
    said["path"].as_str().unwrap()
}

#[test]
fn it_says_when_it_is_ready_makes_a_token_and_ends_when_it_is_told() {
    let home = Home::new();
    let words = ["staging", "--port", "0", "--dir", "staging"];
    let mut service = Daemon::start(home.command(&words));
    assert!(service.ready.starts_with("http://127.0.0.1:"), "{}", service.ready);
    let made = std::fs::read_to_string(home.path().join("staging/token")).unwrap();
    assert!(made.trim().len() >= 43, "{}", made.len());
    home.call(&words).expect(1, &["another staging server uses the directory"]);
    service.signal("TERM");
    assert_eq!(service.wait(), Some(0));
    let token = home.file("short", "short");
    for (more, said) in [
        (&["--host", "0.0.0.0"][..], "no token by which submitters are known"),
        (&["--token-file", token.to_str().unwrap()], "--token-file"),
        (&["--token-file", "missing"], "--token-file: cannot read missing"),
        (&["--conf", "spark.anymaster.staging.quota=much"], "spark.anymaster.staging.quota"),
        (&["--conf", "spark.anymaster.staging.publicUrl=h"], "spark.anymaster.staging.publicUrl"),
        (&["--tls-cert", "missing", "--tls-key", "missing"], "--tls-cert"),
    ] {
        home.call(&[&words[..], more].concat()).expect(2, &[said]);
    }
}

#[test]
fn a_kill_in_mid_upload_loses_nothing_that_was_received_or_stored() {
    let mut served = Served::new(&[]);
    let stored = served.json(served.put("app", "small.jar", b"small".to_vec()));
    let content: Vec<u8> =
        (0..2_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let metadata = ("Upload-Metadata", "filename bGFyZ2UuamFy");
    let headers = [metadata, ("Upload-Length", "2000000")];
    let begun = served.ask("POST", "/v1/applications/app/files", &headers, Vec::new());
    assert_eq!(begun.status(), StatusCode::CREATED);
    let large = served.json(begun);
    let upload = large["upload"].as_str().unwrap().to_owned();
    // Three quarters arrive, and then nothing more.
    let address = served.service.ready.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\nContent-Length: 2000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content[..1_500_000]).unwrap();
    eventually("most of it is on the disk", || {
        (served.metric("anymaster_staging_received_bytes_total") >= 1_000_000).then_some(())
    });
    served.restart();
    assert_eq!(served.fetch(path(&stored)), (200, b"small".to_vec()));
    assert_eq!(served.fetch(path(&large)).0, 404);
    let head = served.ask("HEAD", &upload, &[], Vec::new());
    let offset: usize = head.headers()["upload-offset"].to_str().unwrap().parse().unwrap();
    assert!((900_000..=1_500_000).contains(&offset), "{offset}");
    let offset_text = offset.to_string();
    let kind = ("Content-Type", "application/offset+octet-stream");
    let headers = [kind, ("Upload-Offset", offset_text.as_str())];
    let rest = served.ask("PATCH", &upload, &headers, content[offset..].to_vec());
    assert_eq!(rest.status(), StatusCode::NO_CONTENT);
    served.restart();
    assert_eq!(served.fetch(path(&large)), (200, content));
}

#[test]
fn strangers_and_paths_are_refused_and_a_byte_a_second_is_not_waited_for() {
    let served = Served::new(&["spark.anymaster.staging.applicationQuota=1m"]);
    let request = |line: &str, token: &str| {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 4\r\n\r\nxxxx"
        );
        served.raw(&head).1
    };
    assert_eq!(request("PUT /v1/applications/app/files/a.jar", "another-token"), "HTTP/1.1 401");
    for path in [
        "/v1/applications/app/files/..",
        "/v1/applications/app/files/..%2F..%2Fetc%2Fpasswd",
        "/v1/applications/app/files/%00",
        "/v1/applications/..%2Fapp/files/a.jar",
        "/v1/applications/%2e%2e/files/a.jar",
    ] {
        assert_eq!(request(&format!("PUT {path}"), TOKEN), "HTTP/1.1 400", "{path}");
    }
    for path in ["/v1/applications/../../etc/passwd", "/token/../records", "//etc/passwd"] {
        assert_eq!(request(&format!("GET {path}"), TOKEN), "HTTP/1.1 404", "{path}");
    }
    assert_eq!(served.put("app", "a.jar", vec![0; (1 << 20) + 1]).status(), 507);
    assert_eq!(served.metric("anymaster_staging_stored_bytes"), 0);
    // It sends a byte, and then no more, for as long as it is let.
    let (mut stream, status) = served.raw(&format!(
        "PUT /v1/applications/app/files/a.jar HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 1000\r\n\r\nx"
    ));
    assert_eq!(status, "HTTP/1.1 408");
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(served.metric("anymaster_staging_unfinished_uploads"), 0);
}

#[test]
fn a_full_disk_is_told_and_what_is_stored_is_served() {
    let may = Command::new("unshare").args(["-rm", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("not tested: no user namespace may be made here");
        return;
    }
    let home = Home::new();
    home.file("token", TOKEN);
    std::fs::create_dir(home.path().join("staging")).unwrap();
    let own = home.command(&words(&[]));
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m none staging && exec \"$0\" \"$@\"";
    command.args(["-rm", "sh", "-c", script]).arg(own.get_program()).args(own.get_args());
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let served = Served::of(
        Home::new(),
        Daemon::start({
            command.current_dir(home.path());
            command
        }),
    );
    let stored = served.json(served.put("app", "a.jar", vec![1; 300_000]));
    let full = served.put("app", "b.jar", vec![2; 2_000_000]);
    assert_eq!(full.status(), StatusCode::INSUFFICIENT_STORAGE);
    let said = served.json(full);
    assert!(said["error"].as_str().unwrap().contains("disk"), "{said}");
    assert_eq!(served.fetch(path(&stored)), (200, vec![1; 300_000]));
    // What did not fit is not in the way of what does.
    assert_eq!(served.put("app", "c.jar", vec![3; 300_000]).status(), StatusCode::CREATED);
}

#[test]
fn a_submission_uploads_and_one_that_fails_leaves_nothing() {
    let served = Served::new(&[]);
    served.home.file("app.jar", "a jar");
    served.home.file("table.csv", "a table");
    let failed = served.submit("app.jar", &["--files", "table.csv"]);
    assert_ne!(failed.code, Some(0), "{failed:?}");
    assert!(failed.err.contains("uploaded 2 files to http://127.0.0.1"), "{failed:?}");
    assert_eq!(served.metric("anymaster_staging_uploads_total"), 2);
    assert_eq!(served.metric("anymaster_staging_files"), 0);
    for said in [&failed.err, &failed.out] {
        assert!(!said.contains(TOKEN) && !said.contains("/token/"), "{said}");
    }
    // Of a dry run, nothing is uploaded, and the URL is not known yet.
    let dry = served.submit("app.jar", &["--dry-run", "-o", "json"]);
    dry.expect(0, &[]);
    assert!(dry.out.contains("/token/*********(redacted)/app.jar"), "{dry:?}");
    assert_eq!(served.metric("anymaster_staging_uploads_total"), 2);
    // The scheme of Spark's own property means TLS.
    let address = served.service.ready.strip_prefix("http://").unwrap();
    let path = format!("spark.kubernetes.file.upload.path=anymaster://{address}");
    let dry = served.submit("app.jar", &["--conf", &path, "--dry-run", "-o", "json"]);
    let escaped = format!("https://{address}").replace(':', "\\\\:");
    assert!(dry.out.contains(&format!("{escaped}/token/")), "{dry:?}");
    let two = served.submit("app.jar", &["--conf", "spark.kubernetes.file.upload.path=s3a://b/x"]);
    two.expect(2, &["name two places for files"]);
    served.home.file("token", "another-token-than-theirs");
    let denied = served.submit("app.jar", &[]);
    assert!(
        denied.code != Some(0) && denied.err.contains("is the token in the file of"),
        "{denied:?}"
    );
}

//! A server on loopback, and its clients.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_staging::{StagingOptions, StagingService, Token};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TOKEN: &str = "a-token-of-this-test";

struct Served {
    url: String,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn new(dir: &Path, properties: &[(&str, &str)]) -> Self {
        let mut options = StagingOptions::new(dir.to_owned());
        options.token = Some(Token::new(TOKEN.to_owned()));
        options.conf = properties.iter().copied().collect::<Conf>();
        let service = StagingService::bind(options).await.unwrap();
        let url = service.url().to_owned();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(service.serve(async {
            stopped.await.ok();
        }));
        Self { url, client: Client::new(), stop: Some(stop), serving }
    }

    /// Ends it; its directory is free then.
    async fn end(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap();
    }

    fn asked(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.asked(method, path).send().await.unwrap().status().as_u16()
    }

    async fn put(&self, app: &str, name: &str, content: &[u8]) -> Response {
        let path = format!("/v1/applications/{app}/files/{name}");
        self.asked("PUT", &path).body(content.to_vec()).send().await.unwrap()
    }

    /// Uploads, which has to succeed: what the server says of it.
    async fn stored(&self, app: &str, name: &str, content: &[u8]) -> Value {
        let answer = self.put(app, name, content).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json().await.unwrap()
    }

    /// Begins an upload in parts: what the server says of it.
    async fn begun(&self, app: &str, length: usize, metadata: &str) -> Response {
        self.asked("POST", &format!("/v1/applications/{app}/files"))
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Length", length)
            .header("Upload-Metadata", metadata)
            .send()
            .await
            .unwrap()
    }

    async fn patch(&self, upload: &str, offset: usize, content: &[u8]) -> Response {
        self.asked("PATCH", upload)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Upload-Offset", offset)
            .body(content.to_vec())
            .send()
            .await
            .unwrap()
    }

    async fn offset(&self, upload: &str) -> String {
        let answer = self.asked("HEAD", upload).send().await.unwrap();
        answer.headers()["upload-offset"].to_str().unwrap().to_owned()
    }

    /// As a driver does: without a token.
    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }
}

fn path(said: &Value) -> &str {
    said["path"].as_str().unwrap()
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Content that compresses badly and is never the same twice.
fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn files(dir: &Path, part: &str) -> usize {
    std::fs::read_dir(dir.join(part)).unwrap().count()
}

#[tokio::test]
async fn a_driver_fetches_by_plain_get_what_a_submitter_has_put() {
    let place = tempfile::tempdir().unwrap();
    let served =
        Served::new(place.path(), &[("spark.anymaster.staging.publicUrl", "https://s.svc/")]).await;
    let content = noise(700_000);
    let said = served.stored("app", "my%20app%2C1.jar", &content).await;
    assert_eq!(said["sha256"], digest(&content));
    assert!(path(&said).starts_with("/token/"), "{said}");
    assert!(path(&said).ends_with("/my%20app%2C1.jar"), "{said}");
    assert_eq!(said["url"], format!("https://s.svc{}", path(&said)));
    let answer = served.get(path(&said)).await;
    assert_eq!(answer.headers()["content-length"], "700000");
    let tag = answer.headers()["etag"].clone();
    assert_eq!(answer.bytes().await.unwrap(), content);

    let head = served.client.head(format!("{}{}", served.url, path(&said))).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"700000".parse().unwrap())
    );
    for (range, code, want) in [
        ("bytes=0-9", 206, &content[..10]),
        ("bytes=300000-600000", 206, &content[300_000..=600_000]),
        ("bytes=-5", 206, &content[699_995..]),
        ("bytes=700000-", 416, &[][..]),
        ("bytes=0-1,5-6", 200, &content[..]),
    ] {
        let url = format!("{}{}", served.url, path(&said));
        let answer = served.client.get(&url).header("Range", range).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), code, "{range}");
        assert_eq!(answer.bytes().await.unwrap(), want, "{range}");
        let other = served.client.get(url).header("Range", range).header("If-Range", "\"other\"");
        assert_eq!(other.send().await.unwrap().status(), 200, "{range} of another content");
    }
    let url = format!("{}{}", served.url, path(&said));
    let part = served.client.get(url).header("Range", "bytes=1-2").header("If-Range", tag);
    let part = part.send().await.unwrap();
    assert_eq!(part.headers()["content-range"], "bytes 1-2/700000");
    assert_eq!(part.bytes().await.unwrap(), content[1..3]);

    // Java sends what Spark has decoded as it is, or a question mark in its place.
    let said = served.stored("app", "%C3%A9.txt", b"words").await;
    let address = served.url.strip_prefix("http://").unwrap();
    let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
    let decoded = path(&said).replace("%C3%A9", "é");
    let head = format!("GET {decoded} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    raw.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("words"), "{answer}");
    let answer = served.get(&path(&said).replace("%C3%A9", "?")).await;
    assert_eq!(answer.status(), 404, "nothing is no name");
    let said = served.stored("app", "tabl%C3%A9.txt", b"words").await;
    let answer = served.get(&path(&said).replace("%C3%A9", "?")).await;
    assert_eq!(answer.text().await.unwrap(), "words");
}

#[tokio::test]
async fn strangers_get_nothing_and_names_are_no_paths() {
    let place = tempfile::tempdir().unwrap();
    let served = Served::new(place.path(), &[]).await;
    let said = served.stored("app", "a.jar", b"content").await;
    for (method, path) in [
        ("PUT", "/v1/applications/app/files/a.jar"),
        ("POST", "/v1/applications/app/files"),
        ("GET", "/v1/applications"),
        ("DELETE", "/v1/applications/app"),
        ("DELETE", said["upload"].as_str().unwrap()),
        ("HEAD", said["upload"].as_str().unwrap()),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", served.url);
        let stranger = served.client.request(method, url);
        assert_eq!(stranger.send().await.unwrap().status(), 401, "{path}");
    }
    let wrong = served.client.get(format!("{}/v1/applications", served.url));
    let wrong = wrong.bearer_auth("a-token-of-another-test").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let (capability, _) = path(&said).strip_prefix("/token/").unwrap().split_once('/').unwrap();
    let other = capability.chars().rev().collect::<String>();
    for path in [
        format!("/token/{other}/a.jar"),
        format!("/token/{capability}"),
        "/token/x/a.jar".to_owned(),
        "/contents".to_owned(),
        "/".to_owned(),
    ] {
        assert_eq!(served.get(&path).await.status(), 404, "{path}");
    }
    // The name is the driver's business.
    assert_eq!(served.get(&format!("/token/{capability}/..%2F..%2Frecords")).await.status(), 200);
    for name in ["..", "%2E%2E", "..%2F..%2Fetc%2Fpasswd", "a%5Cb", "%2Fetc%2Fpasswd", "a%00b"] {
        // The client resolves dots itself: what it sends then is another path, or a name that is refused.
        let status = served.put("app", name, b"x").await.status().as_u16();
        assert!(matches!(status, 400 | 404 | 405), "{name}: {status}");
    }
    for app in ["..%2Fx", "%2E", "-x", "a%20b"] {
        let status = served.put(app, "a.jar", b"x").await.status().as_u16();
        assert!(matches!(status, 400 | 404), "{app}: {status}");
    }
    assert_eq!(served.status("GET", "/v1/applications/").await, 404);
    assert_eq!(served.metric("anymaster_staging_files").await, 1);
    assert_eq!((files(place.path(), "contents"), files(place.path(), "uploads")), (1, 0));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_after_another_server_has_begun() {
    let place = tempfile::tempdir().unwrap();
    let served = Served::new(place.path(), &[]).await;
    let content = noise(500_000);
    // filename a.jar, sha256 of the content.
    let metadata = "filename YS5qYXI=";
    let begun = served.begun("app", content.len(), metadata).await;
    assert_eq!(begun.status(), 201);
    assert_eq!(begun.headers()["tus-resumable"], "1.0.0");
    let upload = begun.headers()["location"].to_str().unwrap().to_owned();
    let said: Value = begun.json().await.unwrap();
    assert_eq!(served.offset(&upload).await, "0");
    let part = served.patch(&upload, 0, &content[..200_000]).await;
    assert_eq!(
        (part.status().as_u16(), &part.headers()["upload-offset"]),
        (204, &"200000".parse().unwrap())
    );
    assert_eq!(served.patch(&upload, 100, b"x").await.status(), 409);
    assert_eq!(served.get(path(&said)).await.status(), 404, "it is not complete");
    served.end().await;

    let served = Served::new(place.path(), &[]).await;
    assert_eq!(served.offset(&upload).await, "200000");
    let too_long = served.patch(&upload, 200_000, &noise(400_000)).await;
    assert_eq!(too_long.status(), 400);
    let rest = served.patch(&upload, 200_000, &content[200_000..]).await;
    assert_eq!(rest.status(), 204);
    assert_eq!(served.offset(&upload).await, "500000");
    assert_eq!(served.get(path(&said)).await.bytes().await.unwrap(), content);
    // The answer was lost: asked again, it is the same.
    assert_eq!(served.patch(&upload, 500_000, b"").await.status(), 204);
    served.end().await;

    let served = Served::new(place.path(), &[]).await;
    assert_eq!(served.get(path(&said)).await.bytes().await.unwrap(), content);
    assert_eq!(served.status("DELETE", &upload).await, 204);
    assert_eq!(served.status("DELETE", &upload).await, 404);
    assert_eq!(served.get(path(&said)).await.status(), 404);
    for part in ["records", "uploads", "contents"] {
        assert_eq!(files(place.path(), part), 0, "{part}");
    }
}

#[tokio::test]
async fn headers_of_uploads_are_checked() {
    let place = tempfile::tempdir().unwrap();
    let served = Served::new(place.path(), &[]).await;
    for metadata in ["", "filename Li4=", "filename Li4vYQ==", "other YQ=="] {
        assert_eq!(served.begun("app", 1, metadata).await.status(), 400, "{metadata}");
    }
    let files = "/v1/applications/app/files";
    let old = served.asked("POST", files).header("Tus-Resumable", "0.2.0").send().await.unwrap();
    assert_eq!(old.status(), 412);
    assert_eq!(served.status("POST", files).await, 400);
    let options = served.asked("OPTIONS", files).send().await.unwrap();
    assert_eq!(options.headers()["tus-max-size"], (4_u64 << 30).to_string().as_str());
    let begun = served.begun("app", 3, "filename YS5qYXI=").await;
    let upload = begun.headers()["location"].to_str().unwrap().to_owned();
    let plain = served.asked("PATCH", &upload).header("Upload-Offset", 0).body("abc");
    assert_eq!(plain.send().await.unwrap().status(), 415);
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>("x")]));
    let put = served.asked("PUT", "/v1/applications/app/files/a").body(chunked);
    assert_eq!(put.send().await.unwrap().status(), 411);
    // An announced digest that the content does not have: nothing of it stays.
    let wrong = "filename YS5qYXI=,sha256 MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==";
    let begun = served.begun("app", 3, wrong).await;
    let other = begun.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(served.patch(&other, 0, b"abc").await.status(), 460);
    assert_eq!(served.status("HEAD", &other).await, 404);
    // Nothing is a file, too.
    let empty: Value = served.begun("app", 0, "filename YS5qYXI=").await.json().await.unwrap();
    assert_eq!(served.get(path(&empty)).await.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn the_same_content_is_stored_once_and_goes_with_its_last_application() {
    let place = tempfile::tempdir().unwrap();
    let served = Served::new(place.path(), &[]).await;
    let content = noise(300_000);
    let apps = ["one", "two", "three", "four"];
    let uploads = apps.map(|app| served.stored(app, "a.jar", &content));
    let said = futures::future::join_all(uploads).await;
    assert_eq!(files(place.path(), "contents"), 1);
    assert_eq!(served.metric("anymaster_staging_stored_bytes").await, 300_000);
    let all: Value =
        served.asked("GET", "/v1/applications").send().await.unwrap().json().await.unwrap();
    assert_eq!(all[0], serde_json::json!({"application": "four", "files": 1, "bytes": 300_000}));
    for (app, said) in apps.iter().zip(&said) {
        assert_eq!(served.get(path(said)).await.bytes().await.unwrap(), content, "{app}");
        assert_eq!(served.status("DELETE", &format!("/v1/applications/{app}")).await, 204);
        assert_eq!(served.status("DELETE", &format!("/v1/applications/{app}")).await, 404);
        assert_eq!(served.get(path(said)).await.status(), 404, "{app}");
    }
    assert_eq!((files(place.path(), "contents"), files(place.path(), "records")), (0, 0));
    assert_eq!(served.metric("anymaster_staging_stored_bytes").await, 0);
}

#[tokio::test]
async fn quotas_are_told_before_anything_is_sent_and_ages_end() {
    let place = tempfile::tempdir().unwrap();
    let served = Served::new(
        place.path(),
        &[
            ("spark.anymaster.staging.maxFileSize", "1000"),
            ("spark.anymaster.staging.applicationQuota", "1500"),
            ("spark.anymaster.staging.quota", "2500"),
            ("spark.anymaster.staging.maxAge", "1s"),
            ("spark.anymaster.staging.uploadMaxAge", "1s"),
            ("spark.anymaster.staging.names", ".jar"),
        ],
    )
    .await;
    assert_eq!(served.put("a", "a.jar", &noise(1001)).await.status(), 413);
    assert_eq!(served.put("a", "a.sh", &noise(10)).await.status(), 415);
    served.stored("a", "a.jar", &noise(1000)).await;
    assert_eq!(served.put("a", "b.jar", &noise(501)).await.status(), 507);
    assert_eq!(served.begun("b", 1000, "filename YS5qYXI=").await.status(), 201);
    let full = served.put("c", "a.jar", &noise(501)).await;
    assert_eq!(full.status(), 507);
    assert!(full.text().await.unwrap().contains("quota of the staging server"));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while served.metric("anymaster_staging_stored_bytes").await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing expires");
    }
    assert_eq!(served.metric("anymaster_staging_expired_total").await, 2);
    assert_eq!((files(place.path(), "contents"), files(place.path(), "uploads")), (0, 0));
}

#[tokio::test]
async fn one_request_writes_at_a_time_and_what_was_received_stays() {
    let place = tempfile::tempdir().unwrap();
    let served = Served::new(place.path(), &[]).await;
    let begun = served.begun("app", 1000, "filename YS5qYXI=").await;
    let upload = begun.headers()["location"].to_str().unwrap().to_owned();
    let address = served.url.strip_prefix("http://").unwrap();
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n\r\n0123456789"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while served.status("HEAD", &upload).await != 423 {
        assert!(tokio::time::Instant::now() < deadline, "the upload is never locked");
    }
    let second = served.patch(&upload, 0, b"x").await;
    assert_eq!(
        (second.status().as_u16(), &second.headers()["retry-after"]),
        (423, &"1".parse().unwrap())
    );
    // It breaks: what it sent is there, and another request goes on.
    slow.shutdown().await.unwrap();
    slow.read_to_end(&mut Vec::new()).await.unwrap();
    drop(slow);
    while served.status("HEAD", &upload).await == 423 {
        assert!(tokio::time::Instant::now() < deadline, "the upload is locked for ever");
    }
    assert_eq!(served.offset(&upload).await, "10");
    assert_eq!(served.patch(&upload, 10, &noise(990)).await.status(), 204);
}

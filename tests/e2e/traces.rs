//! Log lines for programs, and spans for a collector.

use serde_json::Value;

use anymaster_test_support::home::Home;

#[test]
fn log_lines_are_objects_with_their_spans() {
    let home = Home::new();
    // The driver is there until its executor was.
    let started = home.path().join("started").display().to_string();
    let driver = format!("sh -c 'until [ -e {started} ]; do sleep 0.05; done'");
    let executor = format!("sh -c 'touch {started}; sleep 60'");
    let args = ["--log-format", "json", "-v", "run", "--master", "local[2]"];
    let ran = home.call(&[&args[..], &["--driver", &driver, "--executor", &executor]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let objects = ran.err.lines().filter(|line| line.starts_with('{'));
    let objects: Vec<Value> = objects.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().all(|line| line["level"].is_string() && line["message"].is_string()));
    let spans: Vec<&str> =
        objects.iter().filter_map(|line| line["span"]["name"].as_str()).collect();
    assert!(spans.contains(&"reconcile"), "{}", ran.err);
    home.call(&["--log-format", "xml", "ps"]).expect(2, &["json"]);
}

#[cfg(feature = "otlp")]
#[test]
fn spans_reach_a_collector() {
    use std::sync::mpsc;

    let (tell, told) = mpsc::channel();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let take = move |body: axum::body::Bytes| {
        let tell = tell.clone();
        async move { tell.send(body).unwrap() }
    };
    let collector = axum::Router::new().route("/v1/traces", axum::routing::post(take));
    runtime.spawn(async move { axum::serve(listener, collector).await });
    let home = Home::new();
    let mut listed = home.command(&["ps"]);
    listed.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
    assert!(listed.status().unwrap().success());
    let spans: Vec<u8> = told.try_iter().flatten().collect();
    let contains = |word: &str| spans.windows(word.len()).any(|part| part == word.as_bytes());
    assert!(contains("anymaster") && contains("list") && contains("connect"), "{spans:?}");
}

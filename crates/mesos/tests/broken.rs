//! Masters that break off, fall silent, or talk nonsense: a real one cannot be made to.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::time::Duration;

use anymaster_core::HostPort;
use anymaster_mesos::MesosMaster;
use anymaster_mesos::model::FrameworkInfo;
use anymaster_mesos::scheduler::{Event, Options, Scheduler};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SUBSCRIBED: &str = r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"f-1"},"heartbeat_interval_seconds":0.1}}"#;

fn record(text: &str) -> String {
    format!("{}\n{text}", text.len())
}

/// What a master hears: the body of a request.
async fn request(stream: &mut TcpStream) -> String {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{text}");
        text += std::str::from_utf8(&piece[..read]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if body.len() == length.unwrap_or(0) {
            return body.to_owned();
        }
    }
}

/// A master that says these, one for each subscription; then it hangs up, or is silent.
async fn master(streams: Vec<(String, bool)>) -> (MesosMaster, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut streams = streams.into_iter();
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = request(&mut stream).await;
            let is_subscription = body.contains("SUBSCRIBE");
            heard.send(body).unwrap();
            if !is_subscription {
                stream
                    .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .unwrap();
                continue;
            }
            let Some((text, hangs_up)) = streams.next() else { return };
            let head = "HTTP/1.1 200 OK\r\nMesos-Stream-Id: s-1\r\nConnection: close\r\n\r\n";
            stream.write_all(format!("{head}{text}").as_bytes()).await.unwrap();
            if !hangs_up {
                silent.push(stream);
            }
        }
    });
    (MesosMaster::Address(HostPort { host: "127.0.0.1".to_owned(), port }), requests)
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_stream_that_breaks_is_begun_again_with_the_same_framework() {
    let update = r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"t"},"state":"TASK_RUNNING","uuid":"eA==","agent_id":{"value":"a"}}}}"#;
    let other = r#"{"type":"INVERSE_OFFERS","inverse_offers":{}}"#;
    let streams = vec![
        // In the middle of a record.
        (format!("{}{}50\n{{\"type", record(SUBSCRIBED), record(other)), true),
        // Silent, although it said how often it would be heard of.
        (record(SUBSCRIBED), false),
        (format!("{}nonsense\n", record(SUBSCRIBED)), true),
        (format!("{}{}", record(SUBSCRIBED), record(update)), false),
    ];
    let (url, mut requests) = master(streams).await;
    let framework = FrameworkInfo { user: "me".to_owned(), ..FrameworkInfo::default() };
    let options = Options { master: url, framework, credentials: None };
    let (scheduler, mut events) = Scheduler::start(options).unwrap();
    for why in ["in the middle of a record", "sent no heartbeat", "no length where a record begins"]
    {
        assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
        assert_eq!(scheduler.framework().unwrap().value, "f-1");
        let Event::Disconnected { why: said } = next(&mut events).await else { panic!("{why}") };
        assert!(said.contains(why), "{said}");
    }
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let Event::Update(status) = next(&mut events).await else { panic!("an update") };
    scheduler.acknowledge(&status).await.unwrap();

    let mut said = Vec::new();
    while let Ok(Some(body)) =
        tokio::time::timeout(Duration::from_millis(300), requests.recv()).await
    {
        said.push(body);
    }
    let of = |what: &str| said.iter().filter(|body| body.contains(what)).collect::<Vec<_>>();
    let subscriptions = of("SUBSCRIBE");
    assert!(!subscriptions[0].contains("f-1"), "the first one has no id yet");
    assert!(subscriptions[1..].iter().all(|body| body.contains("f-1")), "{subscriptions:?}");
    assert_eq!(of("RECONCILE").len(), 4, "after each subscription");
    assert_eq!(of("ACKNOWLEDGE").len(), 1);
}

#[tokio::test]
async fn what_a_master_does_not_want_is_over() {
    let error = r#"{"type":"ERROR","error":{"message":"Framework has been removed"}}"#;
    let (url, _requests) = master(vec![(record(error), true)]).await;
    let options = Options { master: url, framework: FrameworkInfo::default(), credentials: None };
    let (_scheduler, mut events) = Scheduler::start(options).unwrap();
    let Event::Over(error) = next(&mut events).await else { panic!("it is over") };
    assert!(error.message().contains("Framework has been removed"), "{error}");
    assert!(events.recv().await.is_none());
}

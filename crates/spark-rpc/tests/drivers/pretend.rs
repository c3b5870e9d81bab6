//! A driver that says what real ones have said: frames that were captured from Spark.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anymaster_spark_wire::{Envelope, Frame, FrameDecoder, Limits, Stream, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A captured frame, as it was.
pub(crate) fn sample(version: &str, name: &str) -> Vec<u8> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spark-wire/tests/samples");
    let text = std::fs::read_to_string(samples.join(version).join(format!("{name}.hex"))).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A captured frame about another application.
pub(crate) fn about(version: &str, name: &str, app: &str) -> Vec<u8> {
    replaced(&sample(version, name), b"app-2", app)
}

/// The frame with another text in the place of the one that begins so.
fn replaced(frame: &[u8], begin: &[u8], text: &str) -> Vec<u8> {
    let mut decoder = FrameDecoder::new(1 << 20);
    decoder.push(frame);
    let mut frame = decoder.next_frame().unwrap().unwrap();
    let (Frame::RpcRequest { body, .. } | Frame::OneWay { body }) = &mut frame else {
        panic!("no message")
    };
    let at = body.windows(begin.len()).position(|window| window == begin).unwrap() - 2;
    let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let mut other = (text.len() as u16).to_be_bytes().to_vec();
    other.extend(text.as_bytes());
    body.splice(at..at + 2 + length, other);
    frame.encode()
}

/// A connection to a gateway.
pub(crate) struct Driver {
    pub(crate) stream: TcpStream,
    decoder: FrameDecoder,
    added: BTreeSet<i32>,
}

/// A message of the gateway.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) class: String,
    stream: Stream,
}

impl Said {
    pub(crate) fn text(&self, name: &str) -> String {
        let field = self.stream.field(self.stream.root(), name).unwrap();
        self.stream.text(field).unwrap().to_owned()
    }

    pub(crate) fn number(&self, name: &str) -> i32 {
        match self.stream.field(self.stream.root(), name) {
            Some(Value::Int(number)) => number,
            other => panic!("{name} is {other:?}"),
        }
    }

    /// What is inside an option, if something is.
    pub(crate) fn option(&self, name: &str) -> Option<Value> {
        let option = self.stream.field(self.stream.root(), name).unwrap();
        self.stream.field(option, "value")
    }

    /// The exit code of an executor.
    pub(crate) fn exit_status(&self) -> Option<i32> {
        match self.stream.field(self.option("exitStatus")?, "value") {
            Some(Value::Int(code)) => Some(code),
            other => panic!("{other:?}"),
        }
    }

    /// The number of an executor's state.
    pub(crate) fn state(&self) -> i32 {
        let state = self.stream.field(self.stream.root(), "state").unwrap();
        match self.stream.field(state, "i") {
            Some(Value::Int(number)) => number,
            other => panic!("{other:?}"),
        }
    }
}

impl Driver {
    pub(crate) async fn connect(url: &str) -> Self {
        let address = url.strip_prefix("spark://").unwrap();
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    /// Of a connection that the master has made.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { stream, decoder: FrameDecoder::new(1 << 20), added: BTreeSet::new() }
    }

    /// Connects, asks for the master, and registers; returns the application's id.
    pub(crate) async fn register(url: &str, version: &str) -> (Self, String) {
        let mut driver = Self::connect(url).await;
        driver.send(&sample(version, "CheckExistence-Master")).await;
        assert!(driver.answer().await);
        driver.send(&sample(version, "RegisterApplication")).await;
        let registered = driver.next().await.unwrap();
        assert_eq!(registered.class, "RegisteredApplication");
        let app = registered.text("appId");
        (driver, app)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
            match read.expect("nothing was said for a long time") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&chunk[..count]),
            }
        }
    }

    /// The next message; `None` when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        match self.frame().await? {
            Frame::OneWay { body } => {
                let (envelope, content) = Envelope::decode(&body).unwrap();
                assert_eq!(envelope.endpoint, "AppClient");
                let stream = Stream::read(content, Limits::default()).unwrap();
                let class = stream.class_of(stream.root()).unwrap();
                let class = class.rsplit(['$', '.']).next().unwrap().to_owned();
                Some(Said { class, stream })
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next message, which is of this kind.
    pub(crate) async fn expect(&mut self, class: &str) -> Said {
        let said = self.next().await.unwrap();
        assert_eq!(said.class, class, "{said:?}");
        said
    }

    /// An executor that runs: its number. It was added before.
    pub(crate) async fn executor(&mut self) -> i32 {
        loop {
            let said = self.next().await.unwrap();
            let id = said.number("id");
            if said.class == "ExecutorAdded" {
                assert!(self.added.insert(id), "{id} was added twice");
                continue;
            }
            assert_eq!((said.class.as_str(), said.state()), ("ExecutorUpdated", 1));
            assert!(self.added.contains(&id), "{id} was not added");
            return id;
        }
    }

    /// A yes or a no. What is said in between is left out.
    pub(crate) async fn answer(&mut self) -> bool {
        loop {
            match self.frame().await.unwrap() {
                Frame::RpcResponse { body, .. } => {
                    let stream = Stream::read(&body, Limits::default()).unwrap();
                    let value = stream.field(stream.root(), "value").unwrap();
                    return value == Value::Boolean(true);
                }
                Frame::RpcFailure { text, .. } => panic!("{text}"),
                _ => {}
            }
        }
    }
}

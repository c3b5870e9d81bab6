//! Frames that Spark has written or accepted (`tests/samples`): all of them are read, and what a master
//! sends is written again with the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::messages::{DriverState, ExecutorState, ToDriver, ToMaster, read};
use crate::{
    Dialect, Envelope, Frame, FrameDecoder, Limits, ReleaseLine, RpcAddress, Stream, Value, scala,
};

const VERSIONS: [(&str, &str, ReleaseLine); 4] = [
    ("3.5.9", "2.12", ReleaseLine::V3),
    ("4.0.5", "2.13", ReleaseLine::V4_0),
    ("4.1.4", "2.13", ReleaseLine::V4_1),
    ("4.3.0", "2.13", ReleaseLine::V4_1),
];

fn samples(of: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(of);
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let bytes = (0..digits.len()).step_by(2).map(byte).collect();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    files.filter(|path| path.is_file()).map(read).collect()
}

fn frame(bytes: &[u8]) -> Frame {
    let mut decoder = FrameDecoder::new(1 << 20);
    decoder.push(bytes);
    let frame = decoder.next_frame().unwrap().unwrap();
    assert_eq!(decoder.announced(), Ok(0));
    assert_eq!(frame.encode(), bytes);
    frame
}

fn content(bytes: &[u8]) -> (Option<Envelope>, Stream, Vec<u8>) {
    match frame(bytes) {
        Frame::RpcRequest { body, .. } | Frame::OneWay { body } => {
            let (envelope, content) = Envelope::decode(&body).unwrap();
            assert_eq!(envelope.encode(content), body);
            let stream = Stream::read(content, Limits::default()).unwrap();
            (Some(envelope), stream, content.to_vec())
        }
        Frame::RpcResponse { body, .. } => {
            (None, Stream::read(&body, Limits::default()).unwrap(), body)
        }
        Frame::RpcFailure { text, .. } => panic!("{text}"),
    }
}

fn message(samples: &BTreeMap<String, Vec<u8>>, name: &str) -> ToMaster {
    read(&content(&samples[name]).1).unwrap()
}

fn dialect(samples: &BTreeMap<String, Vec<u8>>) -> Dialect {
    let mut dialect = Dialect::of_question(&content(&samples["CheckExistence-Master"]).1).unwrap();
    dialect.learn(&content(&samples["RegisterApplication"]).1);
    dialect
}

#[test]
fn registrations_of_every_release_are_read() {
    for (version, scala, line) in VERSIONS {
        let samples = samples(version);
        let release = dialect(&samples).release();
        assert_eq!((release.scala, release.line), (scala, Some(line)), "{version}");
        assert_eq!(ReleaseLine::of_version(version), Some(line));
        let ToMaster::RegisterApplication(it) = message(&samples, "RegisterApplication") else {
            panic!("{version}: no registration")
        };
        assert_eq!(it.endpoint, "AppClient");
        assert_eq!(it.driver.host, "localhost");
        let application = it.application;
        assert_eq!(application.default_profile.id, 0);
        assert_eq!(application.default_profile.cores(), Some(1), "{version}");
        assert!(application.default_profile.memory_mib() >= 512, "{version}");
        let command = application.command;
        assert_eq!(command.main_class, "org.apache.spark.executor.CoarseGrainedExecutorBackend");
        for placeholder in ["{{EXECUTOR_ID}}", "{{HOSTNAME}}", "{{CORES}}", "{{WORKER_URL}}"] {
            assert!(
                command.arguments.iter().any(|it| it == placeholder),
                "{version}: {placeholder}"
            );
        }
        assert!(command.environment.contains_key("SPARK_USER"), "{version}");
        let port = format!("-Dspark.driver.port={}", it.driver.port);
        assert!(command.java_options.contains(&port), "{version}: {:?}", command.java_options);
    }
}

#[test]
fn all_that_is_sent_to_a_master_is_read() {
    let mut kinds = HashSet::new();
    for (version, ..) in VERSIONS {
        let samples = samples(version);
        for (name, bytes) in &samples {
            let (Some(envelope), stream, _) = content(bytes) else { continue };
            if envelope.endpoint == "AppClient" {
                continue;
            }
            let read = read(&stream).unwrap_or_else(|error| panic!("{version} {name}: {error}"));
            match &read {
                ToMaster::CheckExistence { name } => {
                    assert!(name == "Master" || name == "Worker", "{name}");
                }
                ToMaster::UnregisterApplication { app_id }
                | ToMaster::MasterChangeAcknowledged { app_id } => {
                    assert!(app_id.starts_with("app-2"), "{app_id}");
                }
                ToMaster::RequestExecutors { totals, .. } => {
                    assert!(!totals.is_empty() && totals.iter().all(|(_, total)| *total < 10));
                    let ids: Vec<_> = totals.iter().map(|(profile, _)| profile.id).collect();
                    assert!(ids.contains(&0), "{version}: {ids:?}");
                }
                ToMaster::KillExecutors { executor_ids, .. } => {
                    assert!(executor_ids == &["0"] || executor_ids == &["1"])
                }
                ToMaster::RequestSubmitDriver(driver) => {
                    assert_eq!(driver.memory_mib, 512);
                    assert_eq!((driver.cores, driver.supervise), (1, false));
                    assert_eq!(driver.command.environment["HOME"], "/home");
                    assert!(driver.jar_url.ends_with(".jar"));
                }
                ToMaster::RequestDriverStatus { driver_id }
                | ToMaster::RequestKillDriver { driver_id } => {
                    assert!(driver_id.starts_with("driver-"), "{driver_id}");
                }
                ToMaster::RegisterApplication(_) => {}
                ToMaster::Other { class } => panic!("{version} {name}: {class}"),
            }
            kinds.insert(std::mem::discriminant(&read));
        }
    }
    assert_eq!(kinds.len(), 9, "every kind of message has a sample");
}

/// What a message from a master says, read by names.
struct Said<'a>(&'a Stream);

impl Said<'_> {
    fn field(&self, name: &str) -> Value {
        self.0.required(self.0.root(), name).unwrap()
    }

    fn text(&self, name: &str) -> String {
        self.0.text(self.field(name)).unwrap().to_owned()
    }

    fn number(&self, name: &str) -> i32 {
        scala::integer(self.0, self.field(name)).unwrap() as i32
    }

    fn option(&self, name: &str) -> Option<Value> {
        scala::option(self.0, self.field(name)).unwrap()
    }

    fn optional_text(&self, name: &str) -> Option<String> {
        self.option(name).map(|text| self.0.text(text).unwrap().to_owned())
    }

    fn master(&self) -> Option<RpcAddress> {
        let reference = self.field("master");
        (reference != Value::Null).then(|| {
            let address = self.0.field(reference, "endpointAddress").unwrap();
            let address = self.0.field(address, "rpcAddress").unwrap();
            let host = self.0.text(self.0.field(address, "host").unwrap()).unwrap().to_owned();
            let Some(Value::Int(port)) = self.0.field(address, "port") else { panic!("no port") };
            RpcAddress { host, port: port as u16 }
        })
    }

    fn message(&self) -> ToDriver {
        let class = self.0.class_of(self.0.root()).unwrap();
        match class.rsplit(['$', '.']).next().unwrap() {
            "Boolean" => ToDriver::Boolean(self.field("value") == Value::Boolean(true)),
            "RegisteredApplication" => ToDriver::RegisteredApplication {
                app_id: self.text("appId"),
                master: self.master().unwrap(),
            },
            "ExecutorAdded" => ToDriver::ExecutorAdded {
                id: self.number("id"),
                worker_id: self.text("workerId"),
                host_port: self.text("hostPort"),
                cores: self.number("cores"),
                memory_mib: self.number("memory"),
            },
            "ExecutorUpdated" => ToDriver::ExecutorUpdated {
                id: self.number("id"),
                state: executor_state(scala::ordinal(self.0, self.field("state")).unwrap()),
                message: self.optional_text("message"),
                exit_status: self
                    .option("exitStatus")
                    .map(|status| scala::integer(self.0, status).unwrap() as i32),
                worker_host: self.optional_text("workerHost"),
            },
            "WorkerRemoved" => ToDriver::WorkerRemoved {
                id: self.text("id"),
                host: self.text("host"),
                message: self.text("message"),
            },
            "ApplicationRemoved" => ToDriver::ApplicationRemoved { message: self.text("message") },
            "MasterChanged" => ToDriver::MasterChanged {
                master: self.master().unwrap(),
                web_ui_url: self.text("masterWebUiUrl"),
            },
            "SubmitDriverResponse" => ToDriver::SubmitDriverResponse {
                success: self.field("success") == Value::Boolean(true),
                driver_id: self.optional_text("driverId"),
                message: self.text("message"),
                master: self.master(),
            },
            "KillDriverResponse" => ToDriver::KillDriverResponse {
                success: self.field("success") == Value::Boolean(true),
                driver_id: self.text("driverId"),
                message: self.text("message"),
                master: self.master(),
            },
            "DriverStatusResponse" => ToDriver::DriverStatusResponse {
                found: self.field("found") == Value::Boolean(true),
                state: self
                    .option("state")
                    .map(|state| driver_state(scala::ordinal(self.0, state).unwrap())),
                worker_id: self.optional_text("workerId"),
                worker_host_port: self.optional_text("workerHostPort"),
            },
            other => panic!("{other}"),
        }
    }
}

impl ToDriver {
    fn has_enumeration(&self) -> bool {
        matches!(self, Self::ExecutorUpdated { .. } | Self::DriverStatusResponse { .. })
    }
}

fn executor_state(ordinal: i64) -> ExecutorState {
    use ExecutorState::*;
    let all = [Launching, Running, Killed, Failed, Lost, Exited, Decommissioned];
    all.into_iter().find(|state| *state as i64 == ordinal).unwrap()
}

fn driver_state(ordinal: i64) -> DriverState {
    use DriverState::*;
    let all = [Submitted, Running, Finished, Relaunching, Unknown, Killed, Failed, Error];
    all.into_iter().find(|state| *state as i64 == ordinal).unwrap()
}

#[test]
fn what_a_master_sends_has_the_same_bytes() {
    let mut kinds = HashSet::new();
    for (version, ..) in VERSIONS {
        let samples = samples(version);
        let dialect = dialect(&samples);
        for (name, bytes) in &samples {
            let (envelope, stream, content) = content(bytes);
            if envelope.is_some_and(|envelope| envelope.endpoint != "AppClient") {
                continue;
            }
            let message = Said(&stream).message();
            kinds.insert(std::mem::discriminant(&message));
            let written = message.encode(&dialect);
            if message.has_enumeration() && dialect.release().scala == "2.12" {
                // Spark writes all fields of the enumeration: ours means the same.
                let ours = Stream::read(&written, Limits::default()).unwrap();
                assert_eq!(Said(&ours).message(), message, "{version} {name}");
                continue;
            }
            assert_eq!(written, content, "{version} {name}");
        }
    }
    assert_eq!(kinds.len(), 10, "every kind of message has a sample");
}

#[test]
fn a_driver_of_an_unknown_release_of_a_known_scala_is_answered_in_its_own_words() {
    let (old, new) = (samples("4.0.5"), samples("4.3.0"));
    let mut dialect = Dialect::of_question(&content(&old["CheckExistence-Master"]).1).unwrap();
    assert_eq!(dialect.release().line, None);
    dialect.learn(&content(&new["RegisterApplication"]).1);
    let (_, stream, bytes) = content(&new["RegisteredApplication"]);
    assert_eq!(Said(&stream).message().encode(&dialect), bytes);
}

#[test]
fn a_spark_of_unknown_classes_is_refused_with_those_that_are_known() {
    let (_, _, mut bytes) = content(&samples("4.0.5")["CheckExistence-Master"]);
    let name = b"CheckExistence";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    bytes[at] ^= 1;
    let stream = Stream::read(&bytes, Limits::default()).unwrap();
    let error = Dialect::of_question(&stream).unwrap_err().to_string();
    assert!(error.contains("serialVersionUID") && error.contains("4.x"), "{error}");
}

#[test]
fn every_collection_of_scala_is_read() {
    for version in ["3.5.9", "4.1.4"] {
        let types = samples(&format!("{version}/types"));
        assert_eq!(types.len(), 26);
        for (name, bytes) in types {
            let stream = Stream::read(&bytes, Limits::default())
                .unwrap_or_else(|error| panic!("{version} {name}: {error}"));
            let root = stream.root();
            let text = |value| stream.text(value).unwrap().to_owned();
            let size = name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
            let what = format!("{version} {name}");
            if name.contains("Map") {
                let mut entries: Vec<_> = scala::map(&stream, root)
                    .unwrap_or_else(|error| panic!("{what}: {error}"))
                    .into_iter()
                    .map(|(key, value)| (text(key), text(value)))
                    .collect();
                entries.sort();
                let mut wanted: Vec<_> = (0..size)
                    .map(|number: usize| (format!("k{number}"), format!("v{number}")))
                    .collect();
                wanted.sort();
                assert_eq!(entries, wanted, "{what}");
                continue;
            }
            match name.as_str() {
                "None" => assert_eq!(scala::option(&stream, root), Ok(None), "{what}"),
                "Some" | "SomeURI" => assert!(scala::option(&stream, root).unwrap().is_some()),
                "SomeInt" => {
                    let inside = scala::option(&stream, root).unwrap().unwrap();
                    assert!(scala::integer(&stream, inside).is_ok(), "{what}");
                }
                "ExecutorState.EXITED" => {
                    assert_eq!(scala::ordinal(&stream, root), Ok(5), "{what}")
                }
                "utf8" => assert_eq!(stream.text(root), Some("\0é€😀"), "{what}"),
                _ => {
                    let elements =
                        scala::seq(&stream, root).unwrap_or_else(|error| panic!("{what}: {error}"));
                    let wanted = if name == "Nil" { 0 } else { size };
                    assert_eq!(elements.len(), wanted, "{what}");
                }
            }
        }
    }
}

/// Of everything that was received: whatever is damaged, it is read or refused.
#[test]
fn damaged_messages_are_read_or_refused() {
    for (version, ..) in VERSIONS {
        for bytes in samples(version).into_values() {
            let (_, _, content) = content(&bytes);
            let tries = |content: &[u8]| {
                if let Ok(stream) = Stream::read(content, Limits::default()) {
                    let _ = read(&stream);
                    let _ = Dialect::of_question(&stream).map(|mut dialect| dialect.learn(&stream));
                    let root = stream.root();
                    let _ = (scala::seq(&stream, root), scala::map(&stream, root));
                }
            };
            for cut in (0..content.len()).step_by(11) {
                tries(&content[..cut]);
            }
            for at in (0..content.len()).step_by(13) {
                let mut damaged = content.clone();
                damaged[at] = damaged[at].wrapping_add(1 + (at % 200) as u8);
                tries(&damaged);
            }
        }
    }
}

//! What is said to a port, and what comes back.

use std::io::{Read as _, Write as _};

use anymaster_native::wire::{Caller, Role, Seal, Secret};

use crate::stream::Stream;
use crate::target::Port;
use anymaster_test_support::bytes::{PROTOCOL, frame};

/// How somebody begins who comes as this.
pub(crate) fn hello(role: &str) -> Vec<u8> {
    frame(format!(r#"{{"protocol":{PROTOCOL},"role":{role},"nonce":"x"}}"#).as_bytes())
}

/// A message that came.
pub(crate) fn receive(stream: &mut Stream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).unwrap();
    String::from_utf8(message).unwrap()
}

/// A client that has got through the handshake of a daemon without a secret.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    seal: Seal,
}

impl Client {
    /// `None` if it was refused.
    pub(crate) fn new(port: &Port) -> Option<Self> {
        let mut stream = port.connect();
        let caller = Caller::new(&Role::Client, &Secret::default()).unwrap();
        stream.write_all(&frame(caller.hello())).ok()?;
        let (proof, caller) = caller.answered(read_message(&mut stream)?.as_bytes()).unwrap();
        stream.write_all(&frame(&proof)).ok()?;
        let established = caller.verdict(read_message(&mut stream)?.as_bytes()).unwrap();
        Some(Self { stream, seal: established.seals.going })
    }

    /// Its next message, as it goes over the wire.
    pub(crate) fn next(&mut self, message: &str) -> Vec<u8> {
        let mut message = message.as_bytes().to_vec();
        self.seal.seal(&mut message).unwrap();
        frame(&message)
    }
}

/// The next message, if there is one.
pub(crate) fn read_message(stream: &mut Stream) -> Option<String> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).ok()?;
    String::from_utf8(message).ok()
}

/// A GET with these headers: the status, and all that came.
pub(crate) fn request(port: &Port, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut head = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: {}\r\n", port.address);
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut stream = port.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("{path} of {}: {read:?} {answer:?}", port.name)), answer)
}

//! What is said to a port, and what comes back.

use std::io::{Read as _, Write as _};

use crate::bytes::{PROTOCOL, frame};
use crate::stream::Stream;
use crate::target::Port;

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

/// A client that has got through the handshake of a daemon without a secret; `None` if it was refused.
pub(crate) fn client(port: &Port) -> Option<Stream> {
    let mut stream = port.connect();
    stream.write_all(&hello(r#""client""#)).ok()?;
    read_message(&mut stream)?;
    stream.write_all(&frame(br#"{"proof":null}"#)).ok()?;
    read_message(&mut stream)?;
    Some(stream)
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

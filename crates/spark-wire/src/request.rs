//! The header of an RPC message (Spark 3.5, `RequestMessage`): who sends it, to which endpoint.
//!
//! The content that follows is a Java object stream. Answers have no header.

use crate::cursor::Cursor;
use crate::error::{Result, WireError};
use crate::java::utf8;

/// Where a Spark process listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RpcAddress {
    /// A host name or an address, as the process calls itself.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// An RPC message without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where the sender listens; `None` if it does not, as executors do.
    pub sender: Option<RpcAddress>,
    /// The receiver's address as the sender knows it.
    pub receiver: Option<RpcAddress>,
    /// The name of the endpoint: `Master`, `AppClient`.
    pub endpoint: String,
}

impl Envelope {
    /// Reads the header of a message; the rest is its content.
    ///
    /// # Errors
    /// If it is not such a header.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8])> {
        let mut cursor = Cursor::new(body);
        let sender = address(&mut cursor)?;
        let receiver = address(&mut cursor)?;
        let endpoint = text(&mut cursor)?;
        Ok((Self { sender, receiver, endpoint }, cursor.rest()))
    }

    /// A message with this header.
    pub fn encode(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(content.len() + 64);
        for address in [&self.sender, &self.receiver] {
            match address {
                None => bytes.push(0),
                Some(RpcAddress { host, port }) => {
                    bytes.push(1);
                    put_text(&mut bytes, host);
                    bytes.extend(i32::from(*port).to_be_bytes());
                }
            }
        }
        put_text(&mut bytes, &self.endpoint);
        bytes.extend(content);
        bytes
    }
}

fn address(cursor: &mut Cursor<'_>) -> Result<Option<RpcAddress>> {
    if cursor.u8()? == 0 {
        return Ok(None);
    }
    let host = text(cursor)?;
    let port = cursor.i32()?;
    let port = u16::try_from(port)
        .map_err(|_| WireError::malformed(format!("{port} is not a port of {host}")))?;
    Ok(Some(RpcAddress { host, port }))
}

fn text(cursor: &mut Cursor<'_>) -> Result<String> {
    let length = cursor.u16()?;
    Ok(utf8::decode(cursor.take(length.into())?))
}

/// What does not fit into the length of a text is left out: names of hosts and endpoints are shorter.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let encoded = utf8::encode(text);
    let length = u16::try_from(encoded.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend(&encoded[..length.into()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_are_written() {
        let driver = RpcAddress { host: "driver.example".to_owned(), port: 37005 };
        for sender in [None, Some(driver.clone())] {
            let envelope =
                Envelope { sender, receiver: Some(driver.clone()), endpoint: "AppClient".into() };
            let bytes = envelope.encode(b"content");
            assert_eq!(Envelope::decode(&bytes), Ok((envelope, &b"content"[..])));
            for cut in 0..bytes.len() - 7 {
                assert!(Envelope::decode(&bytes[..cut]).is_err(), "{cut} bytes");
            }
        }
    }

    #[test]
    fn a_port_beyond_all_ports_is_refused() {
        let bytes = [&[0, 1, 0, 1, b'h'][..], &70000_i32.to_be_bytes(), &[0, 0]].concat();
        assert!(Envelope::decode(&bytes).unwrap_err().to_string().contains("70000 is not a port"));
    }
}

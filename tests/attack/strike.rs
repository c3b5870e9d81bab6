//! The attacks. Each returns when it is over; what it holds open until then, others have to be served beside.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::said::{Client, hello, request};
use crate::stream::Stream;
use crate::target::{Port, Speaks};
use anymaster_test_support::bytes::noise;

/// An attack on a port.
pub(crate) type Attack = (&'static str, fn(&Port));

/// All of them, but for the slow one, which is done on all ports at once.
pub(crate) const ATTACKS: &[Attack] = &[
    ("random bytes", random_bytes),
    ("half-open connections", half_open),
    ("half-open handshakes", half_open_handshakes),
    ("huge messages", huge),
    ("requests without reading", without_reading),
    ("names of others", names_of_others),
];

/// How a handshake of TLS begins: a record of 512 bytes with a greeting in it.
pub(crate) const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// More than a daemon has descriptors for.
const MANY: u64 = 400;

fn random_bytes(port: &Port) {
    for seed in 0..200 {
        let mut stream = port.connect();
        stream.set_read_timeout(Duration::from_millis(5));
        let noise = noise(seed, 512);
        let said = match seed % 4 {
            0 => noise,
            1 => [b"GET /".as_slice(), &noise, b" HTTP/1.1\r\n\r\n"].concat(),
            2 => [&[0, 0, 1, 0], &noise[..256]].concat(),
            _ => hello(r#"{"application":"../../etc"}"#),
        };
        // It may have hung up already, as is its right.
        let _ = stream.write_all(&said);
        let _ = stream.read(&mut [0; 512]);
    }
}

fn half_open(port: &Port) {
    let begun: &[&[u8]] = match port.speaks {
        Speaks::Rpc => &[b"", b"\0\0", b"\0\0\0\x20{\"proto"],
        Speaks::Http => &[b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"],
        Speaks::Both => &[b"", b"\0\0\0\x20{", b"GE", b"GET /v1 HTTP/1.1\r\nHost: x\r\n"],
    };
    let mut open = Vec::new();
    for number in 0..MANY {
        let mut stream = port.connect();
        // It may make room for another one at once.
        let _ = stream.write_all(begun[number as usize % begun.len()]);
        open.push(stream);
        if number % 100 == 99 {
            port.is_well("among half-open connections");
        }
    }
}

/// Of TLS: not begun, begun, of a length that never comes, and no TLS at all.
fn half_open_handshakes(port: &Port) {
    if port.tls.is_none() {
        return;
    }
    let begun = [&b""[..], CLIENT_HELLO, b"\x16\x03\x01\xff\xff", b"GET / HTTP/1.1\r\n\r\n"];
    let mut open = Vec::new();
    for number in 0..MANY {
        let mut socket = port.connect_without_tls();
        // It may make room for another one at once.
        let _ = socket.write_all(begun[number as usize % begun.len()]);
        open.push(socket);
        if number % 100 == 99 {
            port.is_well("among half-open handshakes");
        }
    }
    for seed in 0..100 {
        let mut socket = port.connect_without_tls();
        let _ = socket.write_all(&[CLIENT_HELLO, &noise(seed, 512)].concat());
        open.push(socket);
    }
}

fn huge(port: &Port) {
    if port.speaks.rpc() {
        for announced in [u32::MAX, 15 << 20, 5 << 10] {
            let mut stream = port.connect();
            let _ = stream.write_all(&announced.to_be_bytes());
            let _ = stream.write_all(&vec![b' '; 8 << 10]);
        }
        // Behind a handshake, which proves nothing without a secret.
        let piece = vec![b' '; 1 << 20];
        let mut open = Vec::new();
        for megabytes in [15_u32, 4, 3].iter().cycle().take(60) {
            let Some(Client { mut stream, .. }) = Client::new(port) else { continue };
            stream.set_write_timeout(Duration::from_millis(20));
            let _ = stream.write_all(&(megabytes << 20).to_be_bytes());
            // All but the end, as far as it is taken.
            let _ = (0..*megabytes - 1).try_for_each(|_| stream.write_all(&piece));
            open.push(stream);
        }
        port.is_well("among huge messages");
    }
    if port.speaks.http() {
        let post = |head: &str, body: &[u8], times: usize| {
            let mut stream = port.connect();
            let path = port.paths.last().copied().unwrap_or("/");
            let path = if path == "/" { "/v1/submissions/create" } else { path };
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{head}\r\n\r\n",
                port.address
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = (0..times).try_for_each(|_| stream.write_all(body));
            let _ = stream.read(&mut [0; 512]);
            stream
        };
        post("Content-Length: 99999999999", &vec![b'['; 1 << 20], 8);
        post(
            "Transfer-Encoding: chunked",
            &[b"100000\r\n", &vec![b'0'; 1 << 20][..], b"\r\n"].concat(),
            64,
        );
        post(&format!("X-Long: {}", "x".repeat(4 << 20)), b"", 0);
        post(&"X: y\r\n".repeat(10_000), b"", 0);
        // As long as it may be, and many times that when it is understood.
        let bomb = |body: Vec<u8>| post(&format!("Content-Length: {}", body.len()), &body, 1);
        bomb(vec![b'['; 1 << 20]);
        bomb([b"[".as_slice(), &b"0,".repeat(1 << 19), b"0]"].concat());
        bomb(
            format!(
                "{{{}\"z\":0}}",
                (0..100_000).map(|n| format!("\"{n}\":0,")).collect::<String>()
            )
            .into(),
        );
        // Begun and not finished.
        let open: Vec<Stream> = (0..40)
            .map(|_| {
                let stream = port.connect();
                stream.set_write_timeout(Duration::from_millis(20));
                let mut stream = stream;
                let head =
                    "POST /v1/submissions/create HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&vec![b' '; 1_900_000]);
                stream
            })
            .collect();
        port.is_well("among huge requests");
        drop(open);
    }
}

/// Somebody who asks and asks, and reads no answer.
struct Unread {
    stream: Stream,
    asks: Vec<u8>,
    asked: usize,
}

impl Unread {
    fn new(port: &Port, number: usize) -> Option<Self> {
        const LENGTH: usize = 256 << 10;
        let (stream, asks) =
            if port.speaks == Speaks::Rpc || port.speaks.rpc() && number.is_multiple_of(2) {
                let call = r#"{"list":{"filter":{"app":null,"live":false,"drivers_only":false}}}"#;
                let mut client = Client::new(port)?;
                let asks = (0..LENGTH / call.len()).flat_map(|_| client.next(call)).collect();
                (client.stream, asks)
            } else {
                let path = port.paths[number % port.paths.len()];
                let ask = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", port.address);
                (port.connect(), ask.repeat(LENGTH / ask.len()).into_bytes())
            };
        stream.set_nonblocking();
        Some(Self { stream, asks, asked: 0 })
    }

    /// As much as is taken.
    fn ask(&mut self) {
        if let Ok(taken) = self.stream.write(&self.asks[self.asked..]) {
            self.asked += taken;
        }
    }
}

fn without_reading(port: &Port) {
    let mut open = Vec::new();
    for number in 0..200 {
        let Some(mut unread) = Unread::new(port, number) else { continue };
        unread.ask();
        open.push(unread);
    }
    for _ in 0..5 {
        port.is_well("among those who do not read");
        open.iter_mut().for_each(Unread::ask);
    }
}

fn names_of_others(port: &Port) {
    if !port.speaks.http() {
        return;
    }
    for path in port.paths {
        let code = |headers: &[(&str, &str)]| request(port, path, headers).0;
        assert_ne!(code(&[]), 403, "{path} of {} by its own name", port.name);
        for theirs in [
            ("Host", "evil.example"),
            ("Host", "127.0.0.1.evil.example:80"),
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
        ] {
            // By its certificate a daemon is known to whoever calls it, under whatever name; and a page has no token.
            let is_refused = theirs.0 != "Host" || (port.tls.is_none() && !port.has_token);
            let answer = code(&[theirs]);
            assert_eq!(answer == 403, is_refused, "{path} of {} with {theirs:?}", port.name);
        }
    }
}

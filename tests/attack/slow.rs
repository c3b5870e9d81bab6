//! A byte a second, on all ports at once: whoever is that slow is sent away, and nobody waits for it.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::observed::Before;
use crate::stream::Stream;
use crate::strike::CLIENT_HELLO;
use crate::target::{Port, Target};

/// After this time nobody is left: the longest that a message without many bytes may take, and some.
const PATIENCE: Duration = Duration::from_secs(45);

/// Whoever sends that slowly.
struct Slow {
    stream: Stream,
    says: Vec<u8>,
    said: usize,
    to: &'static str,
}

impl Slow {
    fn new(port: &Port, says: &[u8]) -> Self {
        Self::on(port.connect(), port, says)
    }

    fn on(stream: Stream, port: &Port, says: &[u8]) -> Self {
        stream.set_nonblocking();
        Self { stream, says: says.to_vec(), said: 0, to: port.name }
    }

    /// Whether it is still there, after one more byte.
    fn goes_on(&mut self) -> bool {
        let byte = self.says.get(self.said).copied().unwrap_or(b'x');
        self.said += 1;
        let is_closed = match self.stream.read(&mut [0; 4096]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        !is_closed && self.stream.write_all(&[byte]).is_ok()
    }
}

#[test]
#[ignore = "takes a while"]
fn whoever_sends_a_byte_a_second_is_sent_away_by_every_port() {
    let plain = [Target::master(&[]), Target::worker(), Target::dispatcher(), Target::service()];
    let with_tls = [Target::master_with_tls(), Target::service_with_tls()];
    let targets: Vec<_> = plain.into_iter().chain(with_tls).collect();
    let before: Vec<_> = targets.iter().map(Before::of).collect();
    let mut slow = Vec::new();
    for port in targets.iter().flat_map(|target| &target.ports) {
        for _ in 0..20 {
            if port.tls.is_some() {
                slow.push(Slow::on(Stream::Plain(port.connect_without_tls()), port, CLIENT_HELLO));
                continue;
            }
            if port.speaks.rpc() {
                slow.push(Slow::new(port, b"\0\0\x0f\0{"));
            }
            if port.speaks.http() {
                slow.push(Slow::new(port, b"POST /v1/submissions/create HTTP/1.1\r\nX: "));
                let mut body = Slow::new(port, b"");
                let head = "POST /v1/submissions/create HTTP/1.1\r\nContent-Length: 9999\r\n\r\n";
                body.stream.write_all(head.as_bytes()).unwrap();
                slow.push(body);
            }
        }
    }
    let began = Instant::now();
    while !slow.is_empty() {
        slow.retain_mut(Slow::goes_on);
        for port in targets.iter().flat_map(|target| &target.ports) {
            port.is_well("among the slow");
        }
        let left: Vec<_> = slow.iter().map(|slow| slow.to).collect();
        assert!(began.elapsed() < PATIENCE, "still there: {left:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    for (target, before) in targets.iter().zip(before) {
        before.is_as_before(target, "slow senders");
    }
}

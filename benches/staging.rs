//! A staging server beside the disk and loopback alone: uploads and downloads, and its memory with many at once.
//!
//!     deploy/build && cargo bench -p anymaster-benches --bench staging

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anymaster_benches::daemons::ours;
use anymaster_benches::in_turns;

const ROUNDS: usize = 5;
/// The bytes of a file.
const SIZE: usize = 512 << 20;
const PIECE: usize = 256 << 10;
/// So many uploads at once, and the bytes of each.
const MANY: (usize, usize) = (100, 16 << 20);

/// Bytes that are the same nowhere.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Writes so many bytes, each piece another one.
fn write(mut to: impl Write, size: usize, seed: u64) {
    let mut piece = noise(seed);
    for number in 0..size / PIECE {
        piece[..8].copy_from_slice(&(number as u64 ^ seed).to_le_bytes());
        to.write_all(&piece).unwrap();
    }
}

/// Reads to the end: how many bytes there were.
fn drain(mut from: impl Read) -> usize {
    let (mut buffer, mut all) = (vec![0; PIECE], 0);
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return all,
            read => all += read,
        }
    }
}

struct Server {
    address: String,
    token: String,
}

impl Server {
    fn put(&self, name: &str, size: usize, seed: u64) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "PUT /v1/applications/bench/files/{name} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\nContent-Length: {size}\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        write(&stream, size, seed);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let (_, path) = answer.split_once("\"path\":\"").unwrap();
        path.split('"').next().unwrap().to_owned()
    }

    fn get(&self, path: &str) -> usize {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        drain(stream)
    }

    fn end(&self) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "DELETE /v1/applications/bench HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        drain(stream);
    }
}

/// As many bytes through loopback, without anything around them.
fn loopback() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let began = Instant::now();
    let sender = thread::spawn(move || write(listener.accept().unwrap().0, SIZE, 1));
    assert_eq!(drain(TcpStream::connect(address).unwrap()), SIZE);
    sender.join().unwrap();
    began.elapsed()
}

/// As many bytes to the disk.
fn disk(dir: &Path, seed: u64) -> Duration {
    let path = dir.join("bare");
    let began = Instant::now();
    let file = File::create(&path).unwrap();
    write(&file, SIZE, seed);
    file.sync_all().unwrap();
    let took = began.elapsed();
    std::fs::remove_file(path).unwrap();
    took
}

fn rate(took: Duration) -> f64 {
    SIZE as f64 / f64::from(1 << 20) / took.as_secs_f64()
}

fn main() {
    // Not in /tmp, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let conf = ["--conf", "spark.anymaster.staging.quota=20g"];
    let words = [&["staging", "--port", "0", "--dir", "staging"][..], &conf].concat();
    let (process, ready, url) = ours(dir.path(), &words);
    let token = std::fs::read_to_string(dir.path().join("staging/token")).unwrap();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let server = Server { address, token: token.trim().to_owned() };
    println!("ready after {:.1} ms, {:.1} MiB", ready.as_secs_f64() * 1e3, process.memory());

    let fetched = server.put("fetched.jar", SIZE, 7);
    let (mut seed, mut other) = (100, 10_000);
    let [bare_disk, upload, bare_loopback, download] = in_turns(
        ROUNDS,
        [
            &mut || {
                other += 1;
                disk(dir.path(), other)
            },
            &mut || {
                seed += 1;
                let began = Instant::now();
                server.put("a.jar", SIZE, seed);
                began.elapsed()
            },
            &mut loopback,
            &mut || {
                let began = Instant::now();
                assert!(server.get(&fetched) > SIZE);
                began.elapsed()
            },
        ],
    );
    let slower = bare_disk.max(bare_loopback);
    println!("uploads:   {:.0} MiB/s", rate(upload));
    println!(
        "  the disk alone: {:.0} MiB/s, loopback alone: {:.0} MiB/s",
        rate(bare_disk),
        rate(bare_loopback)
    );
    println!("  ratio {:.2} (aim: at least 0.80)", slower.as_secs_f64() / upload.as_secs_f64());
    println!("downloads: {:.0} MiB/s", rate(download));
    println!(
        "  ratio {:.2} of loopback (aim: at least 0.80)",
        bare_loopback.as_secs_f64() / download.as_secs_f64()
    );
    server.end();
    let before = process.peak_memory();

    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..MANY.0 {
            let server = &server;
            scope.spawn(move || {
                server.put(&format!("{number}.jar"), MANY.1, 1_000_000 + number as u64)
            });
        }
    });
    let all = (MANY.0 * MANY.1) as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64();
    println!("{} uploads at once of {} MiB: {all:.0} MiB/s in all", MANY.0, MANY.1 >> 20);
    println!(
        "  peak memory {:.1} MiB (aim: at most 64); of one at a time {before:.1} MiB",
        process.peak_memory()
    );
    server.end();
}

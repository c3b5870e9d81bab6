//! Whoever guesses the secret: told of in the log, and slowed down; and nobody else is.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::bytes::frame;
use crate::said::{hello, read_message, request};
use crate::target::{Port, Target};

/// Shows a proof that is wrong; how long the answer took.
fn guess(port: &Port) -> Duration {
    let mut stream = port.connect();
    stream.set_read_timeout(Duration::from_secs(20));
    stream.write_all(&hello(r#""worker""#)).unwrap();
    read_message(&mut stream).unwrap();
    let began = Instant::now();
    let proof = format!(r#"{{"proof":"{}"}}"#, "0".repeat(64));
    stream.write_all(&frame(proof.as_bytes())).unwrap();
    let verdict = read_message(&mut stream).unwrap();
    assert!(verdict.contains(r#""welcome":false"#), "{verdict}");
    began.elapsed()
}

#[test]
#[ignore = "takes a while"]
fn wrong_proofs_are_told_and_slowed_down_and_right_ones_are_not() {
    const SECRET: &str = "0penSesame-of-the-cluster";
    let secret = format!("spark.authenticate.secret={SECRET}");
    let target = Target::master(&[&secret]);
    let [own, _, page] = &target.ports[..] else { panic!("three ports") };
    let guesses: Vec<_> = (0..4).map(|_| guess(own)).collect();
    assert!(guesses[3] >= Duration::from_millis(700), "{guesses:?}");
    let began = Instant::now();
    assert_eq!(request(page, "/json/", &[("Authorization", "Bearer 0123456789")]).0, 401);
    assert!(began.elapsed() >= Duration::from_millis(1500), "tokens are guessed no faster");

    // Those who know it are served at once, from the same address, while somebody guesses.
    std::thread::scope(|scope| {
        (0..50).for_each(|_| drop(scope.spawn(|| guess(own))));
        let home = crate::home::Home::new();
        let began = Instant::now();
        let ps = ["ps", "--master", &target.daemon.ready, "--conf", &secret];
        home.call(&ps).expect(0, &[]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
    let log = std::fs::read_to_string(&target.log).unwrap();
    assert!(
        log.contains("127.0.0.1 shows a wrong proof of the secret, as worker: 1 so far"),
        "{log}"
    );
    assert!(log.lines().count() < 20, "{log}");
    assert!(!log.contains("0000000000") && !log.contains(SECRET), "{log}");
    assert!(!log.contains("0123456789"), "{log}");
}

//! Whoever guesses the secret: told of in the log, and slowed down, and nobody else is; and what is sent to those
//! who have proved nothing.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anymaster_native::wire::{Caller, Role, Secret};
use serde_json::Value;

use crate::said::{read_message, request};
use crate::stream::Stream;
use crate::target::{Port, Target};
use anymaster_test_support::bytes::frame;

const SECRET: &str = "0penSesame-of-the-cluster";

/// A master with a secret, and the property that says it.
fn with_secret() -> (Target, String) {
    let secret = format!("spark.authenticate.secret={SECRET}");
    (Target::master(&[&secret]), secret)
}

fn say(port: &Port, message: &[u8]) -> (Stream, String) {
    let mut stream = port.connect();
    stream.set_read_timeout(Duration::from_secs(20));
    stream.write_all(&frame(message)).unwrap();
    let answer = read_message(&mut stream).unwrap();
    assert!(!answer.contains("proof"), "somebody has proved nothing, and is sent {answer}");
    (stream, answer)
}

/// What somebody is told after this proof.
fn prove(stream: &mut Stream, proof: &[u8]) -> String {
    stream.write_all(&frame(proof)).unwrap();
    read_message(stream).unwrap()
}

fn worker(secret: &str) -> Caller {
    Caller::new(&Role::Worker, &Secret::new(Some(secret))).unwrap()
}

fn is_refused(verdict: &str) {
    assert!(verdict.contains(r#""welcome":false"#), "{verdict}");
    assert!(!verdict.contains("proof"), "{verdict}");
}

/// Tries a secret that is wrong; how long the answer took.
fn guess(port: &Port) -> Duration {
    // One that need not be stretched.
    let caller = worker(&"0123456789abcdef".repeat(2));
    let (mut stream, answer) = say(port, caller.hello());
    let (proof, _) = caller.answered(answer.as_bytes()).unwrap();
    let began = Instant::now();
    is_refused(&prove(&mut stream, &proof));
    began.elapsed()
}

/// A message with another value in a field.
fn changed(message: &[u8], field: &str, value: Value) -> Vec<u8> {
    let mut message: Value = serde_json::from_slice(message).unwrap();
    message[field] = value;
    message.to_string().into_bytes()
}

#[test]
#[ignore = "takes a while"]
fn nothing_to_guess_by_goes_to_those_who_have_proved_nothing() {
    let (target, _) = with_secret();
    let port = &target.ports[0];

    // A proof that was right once.
    let caller = worker(SECRET);
    let hello = caller.hello().to_vec();
    let (mut stream, answer) = say(port, &hello);
    let (proof, caller) = caller.answered(answer.as_bytes()).unwrap();
    let verdict = prove(&mut stream, &proof);
    assert!(caller.verdict(verdict.as_bytes()).is_ok(), "{verdict}");
    let (mut stream, _) = say(port, &hello);
    is_refused(&prove(&mut stream, &proof));

    // Who says less than it could, on the way from somebody who knows the secret.
    let caller = worker(SECRET);
    let (mut stream, answer) = say(port, &changed(caller.hello(), "oldest", 1.into()));
    let (proof, _) = caller.answered(answer.as_bytes()).unwrap();
    is_refused(&prove(&mut stream, &proof));

    // The version that gave its proof to everybody is not spoken.
    for oldest in [Value::Null, 1.into(), 2.into()] {
        let old = changed(&changed(&hello, "protocol", 2.into()), "oldest", oldest);
        let (mut stream, answer) = say(port, &old);
        assert!(!answer.contains("exchange"), "{answer}");
        assert_eq!(read_message(&mut stream), None, "it hangs up");
    }
    let log = std::fs::read_to_string(&target.log).unwrap();
    assert!(log.contains("127.0.0.1 presented an invalid proof of the secret"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
#[ignore = "takes a while"]
fn wrong_proofs_are_told_and_slowed_down_and_right_ones_are_not() {
    let (target, secret) = with_secret();
    let [own, _, page] = &target.ports[..] else { panic!("three ports") };
    let guesses: Vec<_> = (0..4).map(|_| guess(own)).collect();
    assert!(guesses[3] >= Duration::from_millis(700), "{guesses:?}");
    let began = Instant::now();
    assert_eq!(request(page, "/json/", &[("Authorization", "Bearer 0123456789")]).0, 401);
    assert!(began.elapsed() >= Duration::from_millis(1500), "tokens are guessed no faster");

    // Those who know it are served at once, from the same address, while somebody guesses.
    std::thread::scope(|scope| {
        (0..50).for_each(|_| drop(scope.spawn(|| guess(own))));
        let home = anymaster_test_support::home::Home::new();
        let began = Instant::now();
        let ps = ["ps", "--master", &target.daemon.ready, "--conf", &secret];
        home.call(&ps).expect(0, &[]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
    let log = std::fs::read_to_string(&target.log).unwrap();
    assert!(
        log.contains("127.0.0.1 presented an invalid proof of the secret, as worker: 1 so far"),
        "{log}"
    );
    assert!(log.lines().count() < 20, "{log}");
    assert!(!log.contains("89abcdef") && !log.contains(SECRET), "{log}");
    assert!(!log.contains("0123456789"), "{log}");
}

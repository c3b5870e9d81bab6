use super::*;

/// The same numbers in each run.
struct Fixed(u64);

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Fixed {}

/// A side: its secret, and the versions that it speaks.
struct With<'a>(&'a str, RangeInclusive<u32>);

const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn this_release(secret: &str) -> With<'_> {
    With(secret, VERSIONS)
}

fn caller(role: &Role, With(secret, versions): With<'_>) -> Caller {
    Caller::with(role, &Secret::new(Some(secret)), versions, OsRng).unwrap()
}

fn callee(hello: &[u8], With(secret, versions): With<'_>) -> (Vec<u8>, CalleeWaits) {
    match Callee::with(hello, &Secret::new(Some(secret)), versions, OsRng).unwrap() {
        Callee::Waits(answer, waits) => (answer, *waits),
        Callee::Refuses(_, error) => panic!("{error}"),
    }
}

/// Both sides meet, and somebody between them changes what the caller says first, and the answer.
fn meet_through(
    (callers, callees): (With<'_>, With<'_>),
    change: [&dyn Fn(Vec<u8>) -> Vec<u8>; 2],
) -> (Result<Established>, Result<Established>) {
    let caller = caller(&Role::Worker, callers);
    let (answer, callee) = callee(&change[0](caller.hello().to_vec()), callees);
    let (proof, caller) = caller.answered(&change[1](answer)).unwrap();
    let (verdict, called) = callee.proof(&proof, true).unwrap();
    (caller.verdict(&verdict), called)
}

fn meet(callers: With<'_>, callees: With<'_>) -> (Result<Established>, Result<Established>) {
    meet_through((callers, callees), [&|hello| hello, &|answer| answer])
}

/// Both have come to the same keys, and speak this version.
fn can_talk((caller, callee): (Result<Established>, Result<Established>), version: u32) {
    let (mut caller, mut callee) = (caller.unwrap(), callee.unwrap());
    assert_eq!((caller.version, callee.version), (version, version));
    for (from, to) in [
        (&mut caller.seals.going, &mut callee.seals.coming),
        (&mut callee.seals.going, &mut caller.seals.coming),
    ] {
        let mut message = b"hello".to_vec();
        from.seal(&mut message).unwrap();
        assert_eq!(to.open(&mut message).unwrap(), b"hello");
    }
}

fn cannot_talk((caller, callee): (Result<Established>, Result<Established>)) {
    assert_eq!(caller.err().unwrap().kind(), ErrorKind::Unauthenticated);
    assert_eq!(callee.err().unwrap().kind(), ErrorKind::Unauthenticated);
}

fn json(message: &[u8]) -> serde_json::Value {
    serde_json::from_slice(message).unwrap()
}

/// Sets a field of a message.
fn with(message: &[u8], field: &str, value: impl Into<serde_json::Value>) -> Vec<u8> {
    let mut message = json(message);
    message[field] = value.into();
    message.to_string().into_bytes()
}

#[test]
fn those_who_share_a_secret_or_none_can_talk_and_others_cannot() {
    for secret in ["", "s3cret", SECRET] {
        can_talk(meet(this_release(secret), this_release(secret)), 3);
    }
    cannot_talk(meet(this_release(SECRET), this_release("s3cret")));
}

#[test]
fn releases_beside_each_other_talk_by_the_newest_version_that_both_speak() {
    let next = || With(SECRET, 3..=4);
    can_talk(meet(this_release(SECRET), next()), 3);
    can_talk(meet(next(), this_release(SECRET)), 3);
    can_talk(meet(next(), next()), 4);
    can_talk(meet(With(SECRET, 4..=5), next()), 4);
}

#[test]
fn releases_without_a_version_in_common_say_which_is_to_be_upgraded() {
    for (callers, callees, callers_words, callees_words) in [
        (
            3..=3,
            4..=5,
            "it speaks versions 4 to 5 of the protocol, and this speaks version 3: this is of an older release",
            "a caller, worker, speaks version 3 of the protocol, and this speaks versions 4 to 5: it is of an older release",
        ),
        (
            4..=5,
            3..=3,
            "it speaks version 3 of the protocol, and this speaks versions 4 to 5: it is of an older release",
            "a caller, worker, speaks versions 4 to 5 of the protocol, and this speaks version 3: this is of an older release",
        ),
    ] {
        let caller = caller(&Role::Worker, With(SECRET, callers));
        let secret = Secret::new(Some(SECRET));
        let called = Callee::with(caller.hello(), &secret, callees, OsRng).unwrap();
        let Callee::Refuses(answer, error) = called else { panic!("{callees_words}") };
        assert_eq!((error.kind(), error.message()), (ErrorKind::Protocol, callees_words));
        let error = caller.answered(&answer).err().unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Protocol, callers_words));
        let hint = if callers_words.ends_with("this is of an older release") {
            "upgrade this one first"
        } else {
            "upgrade that one first"
        };
        assert_eq!(error.hint(), Some(hint));
    }
}

/// The messages of version 2 as its programs sent and read them.
#[test]
fn a_program_of_version_2_is_told_so_and_given_nothing_to_guess_by() {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct AnswerOf2 {
        protocol: u32,
        nonce: String,
        #[serde(default)]
        proof: Option<String>,
        secret: bool,
    }
    #[derive(Deserialize)]
    struct HelloOf2 {
        protocol: u32,
        role: Role,
        nonce: String,
    }

    let golden = include_str!("../golden/version-2.txt");
    let (hello, answer) = golden.trim_end().split_once('\n').unwrap();
    let called = Callee::new(hello.as_bytes(), &Secret::new(Some(SECRET))).unwrap();
    let Callee::Refuses(refusal, error) = called else { panic!("it was served") };
    assert_eq!(
        error.message(),
        "a caller, worker, speaks version 2 of the protocol, and this speaks version 3: it is of an older release"
    );
    assert_eq!(error.hint(), Some("upgrade that one first"));
    let read: AnswerOf2 = serde_json::from_slice(&refusal).unwrap();
    assert_eq!((read.protocol, read.nonce.len(), read.proof, read.secret), (3, 32, None, true));
    assert!(json(&refusal).get("exchange").is_none());

    let caller = caller(&Role::Worker, this_release(SECRET));
    let read: HelloOf2 = serde_json::from_slice(caller.hello()).unwrap();
    assert_eq!((read.protocol, read.role, read.nonce.len()), (3, Role::Worker, 32));
    let error = caller.answered(answer.as_bytes()).err().unwrap();
    assert_eq!(
        error.message(),
        "it speaks version 2 of the protocol, and this speaks version 3: it is of an older release"
    );
    assert_eq!(error.hint(), Some("upgrade that one first"));
}

/// What is recorded is what every release that speaks version 3 says and understands.
#[test]
fn version_3_is_what_it_was() {
    let secret = Secret::new(Some("s3cret"));
    let caller = Caller::with(&Role::Worker, &secret, 3..=3, Fixed(1)).unwrap();
    let hello = caller.hello().to_vec();
    let Callee::Waits(answer, callee) = Callee::with(&hello, &secret, 3..=3, Fixed(2)).unwrap()
    else {
        panic!("refused")
    };
    let (proof, caller) = caller.answered(&answer).unwrap();
    let (verdict, called) = callee.proof(&proof, true).unwrap();
    let (mut caller, mut called) = (caller.verdict(&verdict).unwrap(), called.unwrap());
    let mut said: Vec<String> =
        [hello, answer, proof, verdict].map(|text| String::from_utf8(text).unwrap()).into();
    for text in ["first", "second"] {
        for seal in [&mut caller.seals.going, &mut called.seals.going] {
            let mut message = text.as_bytes().to_vec();
            seal.seal(&mut message).unwrap();
            said.push(hex(&message));
        }
    }
    assert_eq!(said.join("\n"), include_str!("../golden/version-3.txt").trim_end());
}

#[test]
fn who_strips_the_offer_of_a_version_is_found_out() {
    let next = || (With(SECRET, 3..=4), With(SECRET, 3..=4));
    let same = |message: Vec<u8>| message;
    cannot_talk(meet_through(next(), [&|hello| with(&hello, "protocol", 3), &same]));
    cannot_talk(meet_through(next(), [&same, &|answer| with(&answer, "protocol", 3)]));
    // Also if both are made to believe the same.
    cannot_talk(meet_through(
        next(),
        [&|hello| with(&hello, "protocol", 3), &|answer| with(&answer, "oldest", 1)],
    ));
}

#[test]
fn whoever_changes_what_is_said_is_found_out() {
    let same = |message: Vec<u8>| message;
    let both = || (this_release(SECRET), this_release(SECRET));
    let other = "00".repeat(16);
    cannot_talk(meet_through(both(), [&|hello| with(&hello, "role", "client"), &same]));
    cannot_talk(meet_through(both(), [&|hello| with(&hello, "nonce", other.as_str()), &same]));
    cannot_talk(meet_through(both(), [&same, &|answer| with(&answer, "nonce", other.as_str())]));
    // Also the part of another exchange.
    let theirs = caller(&Role::Worker, this_release("guess"));
    let theirs = json(theirs.hello())["exchange"].clone();
    cannot_talk(meet_through(both(), [&|hello| with(&hello, "exchange", theirs.clone()), &same]));
}

#[test]
fn a_proof_is_of_no_use_another_time() {
    let caller = caller(&Role::Worker, this_release(SECRET));
    let hello = caller.hello().to_vec();
    let (answer, first) = callee(&hello, this_release(SECRET));
    let (proof, _) = caller.answered(&answer).unwrap();
    assert!(first.proof(&proof, true).unwrap().1.is_ok());
    let (_, second) = callee(&hello, this_release(SECRET));
    let (verdict, called) = second.proof(&proof, true).unwrap();
    assert_eq!(called.err().unwrap().kind(), ErrorKind::Unauthenticated);
    assert!(!String::from_utf8(verdict).unwrap().contains("proof"), "nothing is proved to it");
}

/// What is sent before anything was proved: no more than a part of a key exchange.
#[test]
fn somebody_who_has_proved_nothing_gets_no_proof() {
    let stranger = caller(&Role::Worker, this_release("guess"));
    let (answer, callee) = callee(stranger.hello(), this_release(SECRET));
    let fields: Vec<_> = json(&answer).as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["exchange", "nonce", "oldest", "protocol", "secret"]);
    let (proof, _) = stranger.answered(&answer).unwrap();
    let (verdict, _) = callee.proof(&proof, true).unwrap();
    assert_eq!(verdict, br#"{"welcome":false,"leads":true}"#);
}

#[test]
fn a_callee_that_does_not_know_the_secret_is_not_believed() {
    for verdict in [
        r#"{"welcome":true,"leads":true}"#,
        r#"{"welcome":true,"leads":true,"proof":null}"#,
        r#"{"welcome":true,"leads":false,"proof":"00"}"#,
    ] {
        let caller = caller(&Role::Client, this_release(SECRET));
        let (answer, _) = callee(caller.hello(), this_release("guess"));
        let (_, caller) = caller.answered(&answer).unwrap();
        let error = caller.verdict(verdict.as_bytes()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{verdict}");
    }
}

#[test]
fn whether_a_master_leads_is_part_of_its_proof() {
    for (leads, said) in [(true, false), (false, true), (false, false)] {
        let caller = caller(&Role::Client, this_release(SECRET));
        let (answer, callee) = callee(caller.hello(), this_release(SECRET));
        let (proof, caller) = caller.answered(&answer).unwrap();
        let (verdict, _) = callee.proof(&proof, leads).unwrap();
        let error = caller.verdict(&with(&verdict, "leads", said)).err().unwrap();
        let is_lie = leads != said;
        let kind = if is_lie { ErrorKind::Unauthenticated } else { ErrorKind::NotLeader };
        assert_eq!(error.kind(), kind, "{leads}, and said {said}");
    }
}

#[test]
fn what_is_no_part_of_a_key_exchange_is_refused() {
    for part in ["", "zz", "é", "41", &"00".repeat(33), &"ff".repeat(33), &"41".repeat(32)] {
        let caller = caller(&Role::Worker, this_release(SECRET));
        let hello = with(caller.hello(), "exchange", part);
        let (answer, callee) = callee(&hello, this_release(SECRET));
        let (proof, _) = caller.answered(&answer).unwrap();
        assert_eq!(callee.proof(&proof, true).err().unwrap().kind(), ErrorKind::Protocol, "{part}");
        let caller = self::caller(&Role::Worker, this_release(SECRET));
        let answer = with(&answer, "exchange", part);
        assert_eq!(caller.answered(&answer).err().unwrap().kind(), ErrorKind::Protocol, "{part}");
    }
}

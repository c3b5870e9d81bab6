//! Whatever a stranger says, it is not taken for one who knows the secret, neither as a caller nor as a callee, and
//! the handshake ends.

#![no_main]

use std::net::Ipv4Addr;
use std::sync::Arc;

use anymaster_native::wire::{Arrival, Caller, Role, Secret, greet};
use anymaster_net::{Admission, Limits};
use tokio::io::AsyncWriteExt as _;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("there can be a runtime");
    runtime.block_on(async {
        let admission = Admission::new(&Limits::of_descriptors(256));
        let admitted = admission.admit(Ipv4Addr::LOCALHOST.into()).expect("the first is let in");
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        theirs.write_all(&bytes[..bytes.len().min(32 << 10)]).await.expect("there is room");
        theirs.shutdown().await.expect("it can be closed");
        let secret = Secret::new(Some("0f1e2d3c4b5a69788796a5b4c3d2e1f0"));
        calls(bytes, &secret);
        match greet(Box::new(ours), &Arc::new(admitted), &secret, true).await {
            Ok(Arrival::Known(role, _)) => panic!("{role} did not prove it"),
            Ok(Arrival::Http(_)) => assert!(bytes[..3].iter().all(u8::is_ascii_uppercase)),
            // That proves what it has to later.
            Ok(Arrival::SparkRpc(_)) => assert_eq!(bytes[..4], [0; 4]),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
});

/// Two lines are what a callee says.
fn calls(bytes: &[u8], secret: &Secret) {
    let mut said = bytes.splitn(2, |byte| *byte == b'\n');
    let [answer, verdict] = [(); 2].map(|()| said.next().unwrap_or_default());
    let caller = Caller::new(&Role::Worker, secret).expect("the secret can be used");
    match caller.answered(answer) {
        Ok((_, caller)) => match caller.verdict(verdict) {
            Ok(_) => panic!("a callee did not prove it"),
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

//! Any body is a submission, or an error in a few words; what is understood can be sent on.

#![no_main]

use anymaster_spark_rest::understand;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    match understand(body) {
        Ok((request, unknown)) => {
            assert!(unknown.len() <= body.len());
            let written = serde_json::to_vec(&request).expect("it can be written");
            let (again, _) = understand(&written).expect("what was written can be read");
            assert_eq!(again, request);
        }
        Err(why) => assert!(!why.is_empty() && why.len() < 128 << 10, "{} bytes", why.len()),
    }
});

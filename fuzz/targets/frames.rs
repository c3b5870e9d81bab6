//! Any bytes are messages, or an error; no more of them than there are bytes for.

#![no_main]

use anymaster_native::wire::read_frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("there can be a runtime");
    if let Ok(count) = runtime.block_on(read_frames(bytes, 1 << 20)) {
        assert!(count * 4 <= bytes.len());
    }
});

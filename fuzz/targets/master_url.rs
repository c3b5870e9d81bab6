//! Any text is a master URL of a backend, or an error that shows it; what is a URL is read again as it is
//! written.

#![no_main]

use std::sync::LazyLock;

use anymaster::Registry;

static MASTERS: LazyLock<Registry> = LazyLock::new(anymaster::registry);

libfuzzer_sys::fuzz_target!(|text: &str| {
    match MASTERS.parse(text) {
        Ok(url) => {
            let again = MASTERS.parse(url.as_str()).expect("what was written can be read");
            assert_eq!(again, url);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

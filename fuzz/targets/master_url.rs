//! Any text is a master URL or an error that shows it; what is a URL stays one when it is written.

#![no_main]

use anymaster_core::MasterUrl;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match text.parse::<MasterUrl>() {
        Ok(url) => {
            let written = url.to_string();
            let again: MasterUrl = written.parse().expect("what was written can be read");
            assert_eq!(again, url, "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

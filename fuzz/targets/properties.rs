//! Any text is a properties file or an error; what was read stays the same when it is written.

#![no_main]

use anymaster_core::conf::{Conf, SizeUnit, TimeUnit, parse_size, parse_time};
use anymaster_core::conf::{read_properties, write_properties};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = parse_size(text, SizeUnit::Mebi);
    let _ = parse_time(text, TimeUnit::Second);
    let Ok(entries) = read_properties(text) else { return };
    let written = write_properties(entries.iter().map(|(key, value)| (&**key, &**value)));
    let again = read_properties(&written).expect("what was written can be read");
    assert_eq!(again, entries, "{written}");

    let conf: Conf = entries.into_iter().collect();
    assert!(conf.redacted().count() >= conf.iter().count());
});

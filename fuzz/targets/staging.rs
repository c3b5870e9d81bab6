//! Any headers of a staging server are read or refused: names are none of paths, and ranges within the content.

#![no_main]

use anymaster_staging::{ByteRange, byte_range, upload_metadata};

libfuzzer_sys::fuzz_target!(|input: (u32, &str)| {
    let (length, text) = input;
    if let Ok(read) = upload_metadata(text) {
        let name = read.name.as_str();
        assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "..");
        assert!(read.name.encoded().bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
    }
    if let ByteRange::Part(first, last) = byte_range(Some(text), length.into()) {
        assert!(first <= last && last < length.into());
    }
});

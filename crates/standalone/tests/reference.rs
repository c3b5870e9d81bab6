//! `docs/src/reference/standalone.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-standalone --test reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for standalone clusters

<!-- Written by a test from the table in crates/native/src/keys.rs; see there. -->

What masters and workers of anymaster's read. An old name is read as the new one, with a warning. Beside \
them, `spark.authenticate.secret` is the secret that all of them share.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut keys = [anymaster_standalone::KEYS, anymaster_net::KEYS].concat();
    keys.sort_by_key(|info| info.name);
    let mut text = INTRODUCTION.to_owned();
    for info in keys {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/standalone.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-standalone --test reference"
    );
}

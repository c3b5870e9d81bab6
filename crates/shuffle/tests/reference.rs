//! `docs/src/reference/shuffle.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-shuffle --test reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for the shuffle service

<!-- Written by a test from the table in crates/shuffle/src/keys.rs; see there. -->

What `anymaster shuffle` reads, beside `spark.authenticate`, `spark.authenticate.secret` and `spark.network.crypto.*`, \
which are [as for the gateway](gateway.md).

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut keys = anymaster_shuffle::KEYS.to_vec();
    keys.sort_by_key(|info| info.name);
    let mut text = INTRODUCTION.to_owned();
    for info in keys {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/shuffle.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-shuffle --test reference"
    );
}

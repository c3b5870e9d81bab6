//! `docs/src/reference/staging.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-staging --test reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for the staging server

<!-- Written by a test from the table in crates/staging/src/keys.rs; see there. -->

What `anymaster staging` reads. Those of submitters are [with the ones for Kubernetes](kubernetes.md): \
`spark.anymaster.staging.url`, `spark.anymaster.staging.tokenFile` and `spark.anymaster.staging.caCertFile`.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut keys = anymaster_staging::KEYS.to_vec();
    keys.sort_by_key(|info| info.name);
    let mut text = INTRODUCTION.to_owned();
    for info in keys {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/staging.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-staging --test reference"
    );
}

//! `docs/src/reference/mesos-properties.md` is written from the tables of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-mesos --test reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for Mesos

<!-- Written by a test from the tables in crates/mesos/src/keys.rs and credentials.rs; see there. -->

What becomes of each property on Mesos. A `*` stands for any text.

*Honoured*: it has its effect on the framework, or on the tasks that are launched. *Passed*: it is the \
business of Spark's own programs, and reaches them. *Dropped*: it means nothing any more; it has no effect, \
and a warning says so. A property that is not here is passed. Refused, with an error that says what to do \
instead, are `spark.mesos.coarse=false` (the fine-grained mode), `spark.io.encryption.enabled=true`, and, for \
containers of Docker's, secrets as well as portmaps without `spark.mesos.network.name`.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut text = INTRODUCTION.to_owned();
    for info in anymaster_mesos::keys::table() {
        text += &info.reference_row();
        text.push('\n');
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/mesos-properties.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-mesos --test reference"
    );
}

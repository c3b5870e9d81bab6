//! `docs/src/reference/kubernetes.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-k8s --test reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for Kubernetes

<!-- Written by a test from the table in crates/k8s/src/keys.rs; see there. -->

What becomes of each property at a submission in cluster mode. A `*` stands for any text.

*Honoured*: it has its effect on the objects that are created, or on how they are. *Passed*: it is the \
business of Spark's own driver, and reaches it; for programs that are not Spark, whoever keeps their \
executors acts on what bears on these. *Refused*: it cannot be honoured; the submission ends with \
an error that says what to do instead. *Dropped*: it means nothing any more; it is passed, with a \
warning. An old name is read as the new one, with a warning. A property that is not here is passed.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut keys = anymaster_k8s::keys::TABLE.to_vec();
    keys.sort_by_key(|info| info.name);
    let mut text = INTRODUCTION.to_owned();
    for info in keys {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/kubernetes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-k8s --test reference"
    );
}

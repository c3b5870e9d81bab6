//! `docs/src/reference/yarn.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test -p anymaster-yarn --test
//! reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for YARN

<!-- Written by a test from the table in crates/yarn/src/keys.rs; see there. -->

What becomes of each property on YARN in cluster mode. A `*` stands for any text. In client mode Spark's own driver \
reads them.

*Honoured*: it has its effect on the submission. *Passed*: it is the business of Spark's driver, and reaches it. \
*Refused*: an error says so, and nothing is submitted. *Dropped*: it has no effect. A property that is not here is passed.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut text = INTRODUCTION.to_owned();
    let mut table = anymaster_yarn::keys::TABLE.to_vec();
    table.sort_by_key(|info| info.name);
    for info in table {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/yarn.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-yarn --test reference"
    );
}

//! `docs/src/reference/properties.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-core --test reference` writes it anew.

use std::path::Path;

use anymaster_core::conf::keys::table;

const INTRODUCTION: &str = "\
# Properties

<!-- Written by a test from the table in crates/core/src/conf/keys; see there. -->

Options of the command line win over `--conf`, that over `--properties-file` or \
`$SPARK_CONF_DIR/spark-defaults.conf` (else `$SPARK_HOME/conf/spark-defaults.conf`), that over the \
environment, that over the defaults here. `--dry-run` shows what holds.

A size without a suffix is in the unit named here; suffixes are `b`, `k`, `m`, `g`, `t`, `p`, each 1024 \
times the one before. Suffixes of times are `us`, `ms`, `s`, `m` or `min`, `h`, `d`. An old name is read \
as the new one, with a warning. Any other `spark.*` property is passed to the driver untouched; a \
property that does not begin with `spark.` is ignored, with a warning, as by Spark.

*Honoured*: anymaster acts on it, or hands it to what does. *Passed*: the driver's own business.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut text = INTRODUCTION.to_owned();
    for info in table() {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/properties.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-core --test reference"
    );
}

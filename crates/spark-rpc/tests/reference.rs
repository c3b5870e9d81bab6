//! `docs/src/reference/gateway.md` is written from the table of keys. `UPDATE_DOCS=1 cargo test
//! -p anymaster-spark-rpc --test reference` writes it anew.

use std::path::Path;

const INTRODUCTION: &str = "\
# Properties for the gateway

<!-- Written by a test from the table in crates/spark-rpc/src/keys.rs; see there. -->

What `anymaster gateway` reads, beside the properties of its cluster, and `spark.authenticate` with \
`spark.authenticate.secret`. Of `spark.executor.cores`, `spark.executor.instances` and \
`spark.executor.memoryOverheadFactor` it has the defaults for applications that do not say them.

| Property | Value | Default | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_properties_is_the_table() {
    let mut keys = anymaster_spark_rpc::KEYS.to_vec();
    keys.sort_by_key(|info| info.name);
    let mut text = INTRODUCTION.to_owned();
    for info in keys {
        text += &info.reference_row();
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/gateway.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "it is out of date: UPDATE_DOCS=1 cargo test -p anymaster-spark-rpc --test reference"
    );
}

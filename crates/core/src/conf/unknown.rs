//! Names that nobody knows, and the known ones that were probably meant.

use super::keys::{self, KeyInfo};

/// The names that Spark 3.5 to 4.3 have in their classes, sorted; `tests/clusters/spark/property-names`
/// prints them.
const NAMES: &str = include_str!("names.txt");

/// What follows these is free.
const FAMILIES: [&str; 14] = [
    "spark.driver.resource.",
    "spark.executor.resource.",
    "spark.executorEnv.",
    "spark.files.io.",
    "spark.hadoop.",
    "spark.hive.",
    "spark.metrics.conf.",
    "spark.rpc.io.",
    "spark.shuffle.io.",
    "spark.sql.catalog.",
    "spark.ssl.",
    "spark.task.resource.",
    "spark.worker.resource.",
    "spark.yarn.appMasterEnv.",
];

/// The shortest last part by which two names are taken for the same property.
const TELLING: usize = 8;

/// The name that was probably meant by one that is unknown: to Spark, to us, and to `tables` of backends.
/// `None` if it is known, or if nothing is like it: other programs have properties, too.
pub fn probably_meant(name: &str, tables: &[&[&'static KeyInfo]]) -> Option<&'static str> {
    if FAMILIES.iter().any(|family| name.starts_with(family)) || is_of_spark(name) {
        return None;
    }
    let ours = || tables.iter().flat_map(|table| table.iter()).copied().chain(keys::table());
    let is_ours = |info: &KeyInfo| info.describes(name) || info.old_names.contains(&name);
    if ours().any(is_ours) {
        return None;
    }
    let known = NAMES.lines().chain(ours().map(|info| info.name));
    known
        .filter(|known| !known.contains('*') && known.matches('.').count() > 1)
        .filter_map(|known| Some((unlikeness(name, known)?, known)))
        .min()
        .map(|(_, known)| known)
}

fn is_of_spark(name: &str) -> bool {
    NAMES.lines().any(|known| known == name)
}

/// How far a name is from a known one; `None` if it is another one.
fn unlikeness(name: &str, known: &str) -> Option<usize> {
    if name.eq_ignore_ascii_case(known) {
        return Some(0);
    }
    let most = if name.len() < 24 { 1 } else { 2 };
    if name.len().abs_diff(known.len()) <= most {
        let distance = strsim::damerau_levenshtein(name, known);
        // Numbered names are each other's neighbours.
        let is_numbered = name.ends_with(|c: char| c.is_ascii_digit());
        if distance <= most && !is_numbered {
            return Some(distance);
        }
    }
    is_shortened(name, known).then_some(most + 1)
}

/// Whether a name is a known one without one of its parts, the last of which says much.
fn is_shortened(name: &str, known: &str) -> bool {
    let (name, known): (Vec<_>, Vec<_>) = (name.split('.').collect(), known.split('.').collect());
    let is_telling = name.len() > 2 && name.last().is_some_and(|last| last.len() >= TELLING);
    is_telling
        && name.last() == known.last()
        && known.len() == name.len() + 1
        && (1..known.len() - 1).any(|left_out| {
            let rest = known.iter().enumerate().filter(|(at, _)| *at != left_out);
            rest.map(|(_, part)| part).eq(name.iter())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_have_the_one_that_was_meant() {
        for (name, meant) in [
            ("spark.executor.instance", "spark.executor.instances"),
            ("spark.dynamicAllocation.enable", "spark.dynamicAllocation.enabled"),
            ("spark.dynamicallocation.enabled", "spark.dynamicAllocation.enabled"),
            ("spark.sql.shuffle.partition", "spark.sql.shuffle.partitions"),
            ("spark.excutor.memory", "spark.executor.memory"),
            ("spark.sql.execution.arrow.enabld", "spark.sql.execution.arrow.enabled"),
        ] {
            assert_eq!(probably_meant(name, &[]), Some(meant), "{name}");
        }
    }

    #[test]
    fn what_others_read_is_no_mistake() {
        for name in [
            "spark.executor.memory",
            "spark.driver.host",
            "spark.yarn.queue",
            "spark.sql.catalog.mine.warehouse",
            "spark.hadoop.fs.s3a.endpoint",
            "spark.databricks.delta.retentionDurationCheck.enabled",
            "spark.databricks.cluster.profile",
            "spark.rapids.sql.enabled",
            "spark.hudi.config",
            "spark.hoodie.parquet.max.file.size",
            "spark.sql.iceberg.handle-timestamp-without-timezone",
            "spark.openlineage.transport.url",
            "spark.com.example.app.setting",
            "spark.executor.resource.gpu.amount",
            "spark.ssl.historyServer.keyStore",
            "spark.myapp.input",
            "spark.yarn.executor.memoryOverhead",
            "spark.gluten.enabled",
            "spark.celeborn.master.endpoints",
            "spark.mongodb.input.uri",
            "spark.cassandra.connection.host",
            "spark.eventLog.enabled",
            "spark.kryo.registrator",
            "spark.locality.wait.node",
        ] {
            assert_eq!(probably_meant(name, &[]), None, "{name}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_has_names_only() {
        assert!(NAMES.lines().is_sorted());
        assert!(NAMES.lines().all(|name| name.starts_with("spark.")));
    }
}

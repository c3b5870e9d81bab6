//! The classes of each line of Spark releases, as their jars describe them: data that
//! `tests/clusters/spark/descriptors` makes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::error::{Result, WireError};
use crate::java::{ClassDescription, FieldDescription, SERIALIZABLE};

/// The classes of one line of releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    classes: HashMap<Arc<str>, ClassDescription>,
}

/// The classes of which a master writes objects. Their super classes are in a table as well.
const WRITTEN: [&str; 22] = [
    "org.apache.spark.deploy.DeployMessages$ApplicationRemoved",
    "org.apache.spark.deploy.DeployMessages$DriverStatusResponse",
    "org.apache.spark.deploy.DeployMessages$ExecutorAdded",
    "org.apache.spark.deploy.DeployMessages$ExecutorUpdated",
    "org.apache.spark.deploy.DeployMessages$KillDriverResponse",
    "org.apache.spark.deploy.DeployMessages$MasterChanged",
    "org.apache.spark.deploy.DeployMessages$RegisteredApplication",
    "org.apache.spark.deploy.DeployMessages$SubmitDriverResponse",
    "org.apache.spark.deploy.DeployMessages$WorkerRemoved",
    "org.apache.spark.deploy.ExecutorState$",
    "org.apache.spark.deploy.master.DriverState$",
    "org.apache.spark.rpc.RpcAddress",
    "org.apache.spark.rpc.RpcEndpointAddress",
    "org.apache.spark.rpc.RpcTimeout",
    "org.apache.spark.rpc.netty.NettyRpcEndpointRef",
    "scala.Enumeration$Val",
    "scala.None$",
    "scala.Some",
    "scala.concurrent.duration.FiniteDuration",
    "java.lang.Boolean",
    "java.lang.Integer",
    "java.util.concurrent.TimeUnit",
];

/// The classes of a reference to an endpoint: a driver sends its own, and gets ours as it wrote them.
const REFERENCE: [&str; 5] = [
    "org.apache.spark.rpc.RpcAddress",
    "org.apache.spark.rpc.RpcEndpointAddress",
    "org.apache.spark.rpc.RpcEndpointRef",
    "org.apache.spark.rpc.RpcTimeout",
    "org.apache.spark.rpc.netty.NettyRpcEndpointRef",
];

/// More fields no class of a reference has.
const MAX_FIELDS: usize = 16;
/// Bytes of the name of a field that a driver may describe.
const MAX_NAME: usize = 256;

/// Spark 3.4 and 3.5, built for Scala 2.12.
pub(crate) static V3_5: LazyLock<Table> =
    LazyLock::new(|| built_in(include_str!("../tables/3.5.tsv")));
/// Spark 4.0.
pub(crate) static V4_0: LazyLock<Table> =
    LazyLock::new(|| built_in(include_str!("../tables/4.0.tsv")));
/// Spark 4.1 and later.
pub(crate) static V4_1: LazyLock<Table> =
    LazyLock::new(|| built_in(include_str!("../tables/4.1.tsv")));

fn built_in(text: &str) -> Table {
    match Table::parse(text) {
        Ok(table) => table,
        // A test reads all of them.
        Err(error) => unreachable!("a table that is part of this crate: {error}"),
    }
}

impl Table {
    /// Reads a table: a class a line, with its name, `serialVersionUID`, flags, super class or `-`, and
    /// fields as `name:type` or `-`, separated by tabs. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// Names the line that cannot be read, or the class that is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let mut classes = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let class = row(line).ok_or_else(|| {
                WireError::malformed(format!("line {} of the table: {line}", number + 1))
            })?;
            classes.insert(class.name.clone(), class);
        }
        let table = Self { classes };
        table.check()?;
        Ok(table)
    }

    /// Every class that is written is there, with all that it extends, which is no circle.
    fn check(&self) -> Result<()> {
        let mut wanted = WRITTEN.to_vec();
        if self.is_scala_2_13() {
            wanted.push(MODULE_PROXY);
        }
        for written in wanted {
            let mut class = Some(written);
            let mut depth = 0;
            while let Some(name) = class {
                let found = self.classes.get(name).filter(|_| depth < 8);
                let found = found.ok_or_else(|| {
                    WireError::malformed(format!("the table lacks {name}, or it extends itself"))
                })?;
                (class, depth) = (found.super_class.as_deref(), depth + 1);
            }
        }
        Ok(())
    }

    /// A class that [`check`](Self::check) has found.
    pub(crate) fn class(&self, name: &str) -> &ClassDescription {
        match self.classes.get(name) {
            Some(class) => class,
            None => unreachable!("{name} was checked when the table was read"),
        }
    }

    pub(crate) fn class_opt(&self, name: &str) -> Option<&ClassDescription> {
        self.classes.get(name)
    }

    /// All of its classes.
    pub fn classes(&self) -> impl Iterator<Item = &ClassDescription> {
        self.classes.values()
    }

    /// Whether it is of a Spark that was built for Scala 2.13: a module is serialised by a proxy.
    pub(crate) fn is_scala_2_13(&self) -> bool {
        self.classes.contains_key(MODULE_PROXY)
    }

    /// The same, with the classes of a reference as a driver has described them: in a release that is not
    /// known here it is mostly they that differ. Those that could not be written are left as they are.
    #[must_use]
    pub(crate) fn learned<'a>(
        &self,
        from_driver: impl Iterator<Item = &'a ClassDescription>,
    ) -> Self {
        let mut table = self.clone();
        for theirs in from_driver.filter(|class| REFERENCE.contains(&&*class.name)) {
            let Some(ours) = table.classes.get_mut(&*theirs.name) else { continue };
            let fits = theirs.flags == ours.flags
                && theirs.super_class == ours.super_class
                && theirs.fields.len() <= MAX_FIELDS
                && theirs.fields.iter().all(|field| field.name.len() <= MAX_NAME);
            if fits {
                ours.clone_from(theirs);
            }
        }
        table
    }
}

/// The class that stands for a module in Scala 2.13.
pub(crate) const MODULE_PROXY: &str = "scala.runtime.ModuleSerializationProxy";

fn row(line: &str) -> Option<ClassDescription> {
    let mut cells = line.split('\t');
    let (name, version, flags) = (cells.next()?, cells.next()?, cells.next()?);
    let (super_class, fields) = (cells.next()?, cells.next()?);
    let is_given = |text: &&str| *text != "-";
    let field = |text: &str| {
        let (name, type_name) = text.split_once(':')?;
        let is_type = type_name.starts_with(['B', 'C', 'D', 'F', 'I', 'J', 'L', 'S', 'Z', '[']);
        is_type.then(|| FieldDescription { name: name.to_owned(), type_name: type_name.into() })
    };
    Some(ClassDescription {
        name: name.into(),
        serial_version: version.parse().ok()?,
        flags: flags.parse().ok().filter(|flags: &u8| flags & SERIALIZABLE != 0)?,
        super_class: Some(super_class).filter(is_given).map(Arc::from),
        fields: Some(fields)
            .filter(is_given)
            .map_or(Some(Vec::new()), |fields| fields.split(' ').map(field).collect())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        for table in [&*V3_5, &*V4_0, &*V4_1] {
            assert!(table.classes().count() > 40);
        }
        assert!(!V3_5.is_scala_2_13());
        assert!(V4_0.is_scala_2_13());
    }

    #[test]
    fn a_table_that_lacks_a_class_is_refused() {
        let whole = include_str!("../tables/4.0.tsv");
        for missing in WRITTEN {
            let cut: String = whole
                .lines()
                .filter(|line| !line.starts_with(&format!("{missing}\t")))
                .fold(String::new(), |text, line| text + line + "\n");
            let error = Table::parse(&cut).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        for bad in ["a\t1\t2\t-", "a\tx\t2\t-\t-", "a\t1\t4\t-\t-", "a\t1\t2\t-\tf"] {
            assert!(Table::parse(bad).unwrap_err().to_string().contains("line 1"), "{bad}");
        }
    }

    #[test]
    fn what_a_driver_describes_oddly_is_not_learned() {
        let table = &*V4_0;
        let mut odd = table.class("org.apache.spark.rpc.RpcEndpointRef").clone();
        odd.super_class = Some("org.apache.spark.rpc.RpcEndpointRef".into());
        assert_eq!(table.learned([&odd].into_iter()), *table);
        odd.super_class = None;
        odd.serial_version = 5;
        let learned = table.learned([&odd].into_iter());
        assert_eq!(learned.class("org.apache.spark.rpc.RpcEndpointRef").serial_version, 5);
        let mut other = table.class("scala.Some").clone();
        other.serial_version = 5;
        assert_eq!(table.learned([&other].into_iter()), *table);
    }
}

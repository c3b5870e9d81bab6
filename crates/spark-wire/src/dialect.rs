//! Which Spark is on the other side, and how it is written to.

use std::sync::Arc;

use crate::error::{Result, WireError};
use crate::java::Stream;
use crate::tables::{Table, V3_5, V4_0, V4_1};

/// What a driver asks first, to find out whether there is a master.
pub(crate) const CHECK_EXISTENCE: &str =
    "org.apache.spark.rpc.netty.RpcEndpointVerifier$CheckExistence";
const ENDPOINT_REF: &str = "org.apache.spark.rpc.RpcEndpointRef";

/// How a Spark process is written to.
#[derive(Debug, Clone)]
pub struct Dialect {
    table: Arc<Table>,
    release: Release,
}

/// What is known of a driver's Spark by the classes that it sends. Releases of one line have the same
/// ones, so that it is no exact version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Release {
    /// The version of Scala that it was built for: `2.12` or `2.13`.
    pub scala: &'static str,
    /// The line of releases, if it is known.
    pub line: Option<ReleaseLine>,
}

/// Releases of Spark with the same classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReleaseLine {
    /// 3.4 and 3.5.
    V3,
    /// 4.0.
    V4_0,
    /// 4.1 and later.
    V4_1,
}

impl ReleaseLine {
    /// The line of a version, such as `4.1.4`.
    pub fn of_version(version: &str) -> Option<Self> {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
        match (numbers.next()??, numbers.next()??) {
            (3, 4..) => Some(Self::V3),
            (4, 0) => Some(Self::V4_0),
            (4, 1..) => Some(Self::V4_1),
            _ => None,
        }
    }

    /// For people: `3.5`, `4.0`, `4.1 or later`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "3.5",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1 or later",
        }
    }
}

impl Dialect {
    /// The dialect of a process whose question for an endpoint is this: it is what each sends first.
    ///
    /// # Errors
    /// [`Unsupported`](crate::WireErrorKind::Unsupported) for a Spark that is not known here, with the
    /// ones that are.
    pub fn of_question(stream: &Stream) -> Result<Self> {
        let version = stream
            .classes()
            .find(|class| &*class.name == CHECK_EXISTENCE)
            .map(|class| class.serial_version)
            .ok_or_else(|| WireError::malformed("it does not ask for an endpoint"))?;
        let known = [(&*V3_5, "2.12"), (&*V4_0, "2.13")];
        let is_meant = |table: &Table| {
            table.class_opt(CHECK_EXISTENCE).is_some_and(|it| it.serial_version == version)
        };
        let found = known.into_iter().find(|(table, _)| is_meant(table));
        let (table, scala) = found.ok_or_else(|| {
            WireError::unsupported(format!(
                "a Spark whose classes are not known here (serialVersionUID {version} of \
                 {CHECK_EXISTENCE}): drivers of Spark 3.4, 3.5 and 4.x are served"
            ))
        })?;
        Ok(Self { table: Arc::new(table.clone()), release: Release { scala, line: None } })
    }

    /// Takes in what a driver has sent with its registration: the classes of its own reference are those
    /// by which it reads ours.
    pub fn learn(&mut self, registration: &Stream) {
        let theirs = registration.classes().find(|class| &*class.name == ENDPOINT_REF);
        if let Some(theirs) = theirs {
            let known = [
                (V3_5.class(ENDPOINT_REF).serial_version, ReleaseLine::V3),
                // Spark 3.5 built for Scala 2.13.
                (7_061_521_101_402_579_207, ReleaseLine::V3),
                (V4_0.class(ENDPOINT_REF).serial_version, ReleaseLine::V4_0),
                (V4_1.class(ENDPOINT_REF).serial_version, ReleaseLine::V4_1),
            ];
            let found = known.iter().find(|(version, _)| *version == theirs.serial_version);
            self.release.line = found.map(|(_, line)| *line);
        }
        self.table = Arc::new(self.table.learned(registration.classes()));
    }

    /// What is known of the driver's Spark.
    pub fn release(&self) -> Release {
        self.release
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }
}

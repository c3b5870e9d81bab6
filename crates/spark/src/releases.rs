//! The JVM options and class path that Spark's launchers add for a driver, by release
//! (`JavaModuleOptions`, `AbstractCommandBuilder.buildClassPath`, `SparkSubmitCommandBuilder`).

use anymaster_core::SparkRelease;

/// How a release starts the JVM of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The first and the last release.
    first: (u32, u32),
    last: (u32, u32),
    /// The options after those that open packages of the JDK ([`OPENED`]).
    options: &'static [&'static str],
    /// 4.0 and later: slf4j comes first in the class path, `SPARK_API_MODE` is set for shells, and
    /// the vector module is added.
    pub(crate) is_4: bool,
    /// The default of `spark.driver.defaultExtraClassPath`.
    pub(crate) default_class_path: &'static str,
}

/// The packages of the JDK that are opened for Spark.
const OPENED: [&str; 15] = [
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
];

const METHOD_HANDLES: &str = "-Djdk.reflect.useDirectMethodHandle=false";
const NETTY: &str = "-Dio.netty.tryReflectionSetAccessible=true";
const NETTY_POOLED: &str = "-Dio.netty.allocator.type=pooled";
const NETTY_TLS: &str = "-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE";
const UNSAFE: &str = "--sun-misc-unsafe-memory-access=allow";
const NATIVE: &str = "--enable-native-access=ALL-UNNAMED";
const DERBY: &str = "-Dderby.connection.requireAuthentication=false";

const RELEASES: [Launch; 4] = [
    Launch {
        first: (3, 3),
        last: (3, 5),
        options: &[METHOD_HANDLES],
        is_4: false,
        default_class_path: "",
    },
    Launch {
        first: (4, 0),
        last: (4, 0),
        options: &[METHOD_HANDLES, NETTY, DERBY],
        is_4: true,
        default_class_path: "hive-jackson/*",
    },
    Launch {
        first: (4, 1),
        last: (4, 1),
        options: &[METHOD_HANDLES, NETTY, NETTY_POOLED, NETTY_TLS, NATIVE, DERBY],
        is_4: true,
        default_class_path: "",
    },
    Launch {
        first: (4, 2),
        last: (4, 3),
        options: &[NETTY, NETTY_POOLED, NETTY_TLS, UNSAFE, NATIVE, DERBY],
        is_4: true,
        default_class_path: "",
    },
];

/// The options that a release of Spark starts its JVMs with, in front of those of the application
/// (`JavaModuleOptions`). A newer one than is known gets those of the newest; one that cannot be told, those of 3.5.
pub fn jvm_options(release: Option<&SparkRelease>) -> Vec<String> {
    let launch = Launch::of(release).unwrap_or(&RELEASES[RELEASES.len() - 1]);
    launch.options().collect()
}

impl Launch {
    /// The options of a release; `None` for an unknown one. A Spark whose release cannot be
    /// determined is treated as 3.5.
    pub(crate) fn of(release: Option<&SparkRelease>) -> Option<&'static Self> {
        let release = release.map_or((3, 5), SparkRelease::number);
        RELEASES.iter().find(|launch| launch.first <= release && release <= launch.last)
    }

    /// The JVM options in front of the main class.
    pub(crate) fn options(&self) -> impl Iterator<Item = String> {
        let unrecognized = ["-XX:+IgnoreUnrecognizedVMOptions"];
        let vector = self.is_4.then_some("--add-modules=jdk.incubator.vector");
        let opened = OPENED.iter().map(|package| format!("--add-opens={package}=ALL-UNNAMED"));
        let first = unrecognized.into_iter().chain(vector).map(str::to_owned);
        first.chain(opened).chain(self.options.iter().map(|option| (*option).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_release_has_one_row_and_a_newer_one_has_none() {
        let launch = |release: &str| Launch::of(Some(&release.parse().unwrap()));
        for release in ["3.3.0", "3.5.9", "4.0.5", "4.1.4", "4.2.1", SparkRelease::NEWEST] {
            assert_eq!(launch(release).unwrap().is_4, release.starts_with('4'), "{release}");
        }
        assert_eq!(launch("4.4.0"), None);
        assert_eq!(launch("3.2.4"), None);
        assert_eq!(Launch::of(None), launch("3.5.9"));
    }
}

//! The properties of a shuffle service: Spark's own.

use std::time::Duration;

use anymaster_core::conf::keys::Kind;
use anymaster_core::conf::{SizeUnit, TimeUnit};

anymaster_core::property_keys! {
    /// Whether a worker has a shuffle service, and executors of an application use one.
    ENABLED: bool = "spark.shuffle.service.enabled", Kind::Flag, Some("false"), "1.2.0", Honoured;
    /// The port of the service, the same on all machines of an application.
    PORT: u32 = "spark.shuffle.service.port", Kind::Count, Some("7337"), "1.2.0", Honoured;
    /// Whether a worker removes what an executor that has ended has left, but for blocks of shuffles and cached RDDs.
    CLEANS_EXECUTORS: bool = "spark.storage.cleanupFilesAfterExecutorExit", Kind::Flag, Some("true"), "2.4.0", Honoured;
    /// The memory for the indexes of shuffle files.
    INDEX_CACHE: u64 = "spark.shuffle.service.index.cache.size", Kind::Size(SizeUnit::Byte), Some("100m"), "2.3.0", Honoured;
    /// How long a connection may be silent, and how long an executor may take to receive 2 MiB. `spark.network.timeout` where it is unset.
    CONNECTION_TIMEOUT: Duration = "spark.shuffle.io.connectionTimeout", Kind::Time(TimeUnit::Second), None, "1.2.0", Honoured;
    /// The same, for all kinds of connections.
    NETWORK_TIMEOUT: Duration = "spark.network.timeout", Kind::Time(TimeUnit::Second), Some("120s"), "1.3.0", Honoured;
    /// TLS around connections for blocks. Use `spark.network.crypto.enabled` with `spark.network.crypto.cipher=AES/GCM/NoPadding`.
    TLS_ENABLED: bool = "spark.ssl.rpc.enabled", Kind::Flag, Some("false"), "4.0.0", Refused;
}

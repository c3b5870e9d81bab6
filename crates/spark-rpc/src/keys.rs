//! The properties of a gateway, beside those of core and of its cluster.

use anymaster_core::conf::keys::Kind;

anymaster_core::property_keys! {
    /// The directories of the Sparks that executors run, one of each release that drivers have, with commas between them. `SPARK_HOME` where it is unset.
    SPARK_HOMES: String = "spark.anymaster.gateway.sparkHomes", Kind::List, None, "0.1.0", Honoured;
    /// Where executors that run elsewhere, as in an image, find Spark.
    EXECUTOR_SPARK_HOME: String = "spark.anymaster.gateway.executorSparkHome", Kind::Text, Some("/opt/spark"), "0.1.0", Honoured;
    /// The cores of an application that does not set `spark.cores.max`; all of them where it is unset and the cluster has a known number.
    DEFAULT_CORES: u32 = "spark.deploy.defaultCores", Kind::Count, None, "0.9.0", Honoured;
    /// How many executors of an application may fail while none of it runs.
    MAX_EXECUTOR_RETRIES: u32 = "spark.deploy.maxExecutorRetries", Kind::Count, Some("10"), "1.6.3", Honoured;
    /// A file with the secret of `spark.authenticate`, instead of `spark.authenticate.secret`.
    SECRET_FILE: String = "spark.anymaster.authenticate.secretFile", Kind::Text, None, "0.1.0", Honoured;
    /// Encryption by SASL.
    SASL_ENCRYPTION: bool = "spark.authenticate.enableSaslEncryption", Kind::Flag, Some("false"), "1.4.0", Refused;
    /// Whether connections are encrypted by AES, which needs `spark.authenticate`.
    CRYPTO_ENABLED: bool = "spark.network.crypto.enabled", Kind::Flag, Some("false"), "2.2.0", Honoured;
    /// How they are encrypted: `AES/CTR/NoPadding` or `AES/GCM/NoPadding`.
    CRYPTO_CIPHER: String = "spark.network.crypto.cipher", Kind::Text, Some("AES/CTR/NoPadding"), "4.0.0", Honoured;
    /// How the key is derived: 1 or 2, as drivers have it.
    CRYPTO_ENGINE_VERSION: u32 = "spark.network.crypto.authEngineVersion", Kind::Count, Some("1"), "3.4.3", Honoured;
    /// Whether drivers that do not encrypt may prove themselves by SASL.
    CRYPTO_SASL_FALLBACK: bool = "spark.network.crypto.saslFallback", Kind::Flag, Some("true"), "2.2.0", Honoured;
    /// Whether connections are TLS (Spark 4.0 and later).
    TLS_ENABLED: bool = "spark.ssl.rpc.enabled", Kind::Flag, Some("false"), "4.0.0", Honoured;
    /// The certificate of the gateway for TLS, with those between it and its CA: a PEM file.
    TLS_CERTIFICATES: String = "spark.ssl.rpc.certChain", Kind::Text, None, "4.0.0", Honoured;
    /// Its key: a PEM file.
    TLS_KEY: String = "spark.ssl.rpc.privateKey", Kind::Text, None, "4.0.0", Honoured;
}

//! Properties of everything that listens.

use anymaster_core::conf::keys::Kind;

anymaster_core::property_keys! {
    /// Whether all connections of masters, workers and clients are encrypted with TLS.
    ENABLED: bool = "spark.ssl.enabled", Kind::Flag, Some("false"), "1.6.0", Honoured;
    /// A PEM file with the certificate by which a daemon is known, and those up to its authority.
    CERTIFICATES: String = "spark.ssl.certChain", Kind::Text, None, "4.0.0", Honoured;
    /// A PEM file with the key of that certificate.
    PRIVATE_KEY: String = "spark.ssl.privateKey", Kind::Text, None, "4.0.0", Honoured;
    /// A PEM file with the authorities that are believed; those of the system are not.
    AUTHORITIES: String = "spark.anymaster.ssl.authorities", Kind::Text, None, "0.1.0", Honoured;
    /// Java's form of a key; a PEM file is needed instead.
    KEY_STORE: String = "spark.ssl.keyStore", Kind::Text, None, "1.6.0", Refused;
    /// Java's form of authorities; a PEM file is needed instead.
    TRUST_STORE: String = "spark.ssl.trustStore", Kind::Text, None, "1.6.0", Refused;
    /// More names by which browsers may reach pages and REST ports that ask for no token, for example of a proxy or ingress; `*.example.org` is all below it, `*` any.
    ALLOWED_HOSTS: Vec<String> = "spark.anymaster.http.allowedHosts", Kind::List, None, "0.1.0", Honoured;
}

//! The properties of a staging server.

use std::time::Duration;

use anymaster_core::conf::keys::Kind;
use anymaster_core::conf::{SizeUnit, TimeUnit};

anymaster_core::property_keys! {
    /// A file with the token by which submitters are known, of at least 16 characters.
    TOKEN_FILE: String = "spark.anymaster.staging.tokenFile", Kind::Text, None, "0.1.0", Honoured;
    /// The URL by which drivers reach the server, if it is another one than that of submitters: that of a service, for example.
    PUBLIC_URL: String = "spark.anymaster.staging.publicUrl", Kind::Text, None, "0.1.0", Honoured;
    /// The largest file.
    MAX_FILE_SIZE: u64 = "spark.anymaster.staging.maxFileSize", Kind::Size(SizeUnit::Byte), Some("4g"), "0.1.0", Honoured;
    /// The most bytes of the files of one application.
    APPLICATION_QUOTA: u64 = "spark.anymaster.staging.applicationQuota", Kind::Size(SizeUnit::Byte), Some("10g"), "0.1.0", Honoured;
    /// The most files of one application.
    APPLICATION_FILES: u32 = "spark.anymaster.staging.applicationFiles", Kind::Count, Some("1000"), "0.1.0", Honoured;
    /// The most bytes that the server stores; what is being uploaded counts with its announced size.
    QUOTA: u64 = "spark.anymaster.staging.quota", Kind::Size(SizeUnit::Byte), Some("50g"), "0.1.0", Honoured;
    /// The ends of names that are taken, for example `.jar,.py,.zip`; any, if it is unset.
    NAMES: Vec<String> = "spark.anymaster.staging.names", Kind::List, None, "0.1.0", Honoured;
    /// How long a file is kept if nobody says that its application has ended.
    MAX_AGE: Duration = "spark.anymaster.staging.maxAge", Kind::Time(TimeUnit::Second), Some("7d"), "0.1.0", Honoured;
    /// How long an upload that is not finished is kept after its last byte.
    UPLOAD_MAX_AGE: Duration = "spark.anymaster.staging.uploadMaxAge", Kind::Time(TimeUnit::Second), Some("1h"), "0.1.0", Honoured;
}

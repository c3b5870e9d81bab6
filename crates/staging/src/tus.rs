//! The headers of resumable uploads: those of tus 1.0.0 (core, creation, termination, expiration).

use anymaster_core::{Error, Result};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::fault::Fault;
use crate::ids::ContentDigest;
use crate::names::FileName;

/// The version of the protocol.
pub(crate) const VERSION: &str = "1.0.0";
/// The type of the bodies of PATCH.
pub(crate) const OCTETS: &str = "application/offset+octet-stream";
/// What is spoken beyond the core.
pub(crate) const EXTENSIONS: &str = "creation,termination,expiration";

/// What a submitter says of a file before it sends it (`Upload-Metadata`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadMetadata {
    /// `filename`: the name of the file.
    pub name: FileName,
    /// `sha256`: the digest that its content will have, if the submitter knows it.
    pub(crate) digest: Option<ContentDigest>,
}

/// Reads `Upload-Metadata`: pairs with commas between them, each a key, a space, and a value in Base64.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if `filename` is missing or no name of a file, or `sha256`
/// no digest. Other keys are ignored.
pub fn upload_metadata(header: &str) -> Result<UploadMetadata> {
    let (mut name, mut digest) = (None, None);
    for pair in header.split(',') {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        let decoded = || {
            let bytes = BASE64_STANDARD.decode(value.trim()).ok()?;
            String::from_utf8(bytes).ok()
        };
        let not_base64 =
            || Error::invalid(format!("Upload-Metadata: {key} is no text in UTF-8 and Base64"));
        match key {
            "filename" => name = Some(FileName::new(&decoded().ok_or_else(not_base64)?)?),
            "sha256" => {
                let text = decoded().ok_or_else(not_base64)?.to_ascii_lowercase();
                digest = Some(ContentDigest::parse(&text).ok_or_else(|| {
                    Error::invalid("Upload-Metadata: sha256 is not 64 hexadecimal digits")
                })?);
            }
            _ => {}
        }
    }
    let name = name.ok_or_else(|| Error::invalid("Upload-Metadata: there is no filename"))?;
    Ok(UploadMetadata { name, digest })
}

/// A header that is a number of bytes.
pub(crate) fn number(headers: &HeaderMap, name: &str) -> Result<u64, Fault> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::bad_request(format!("{name} is missing, or not a number of bytes")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn metadata_has_a_name_and_perhaps_a_digest() {
        let pair = |key: &str, value: &str| format!("{key} {}", BASE64_STANDARD.encode(value));
        let digest = "ab".repeat(32);
        let both = format!("{},{}, other", pair("filename", "a b.jar"), pair("sha256", &digest));
        let read = upload_metadata(&both).unwrap();
        assert_eq!(read.name.as_str(), "a b.jar");
        assert_eq!(read.digest.unwrap().to_string(), digest);
        for bad in [
            "",
            "filename",
            "filename !",
            &pair("filename", "../x"),
            &pair("sha256", &digest),
            &format!("{},{}", pair("filename", "a"), pair("sha256", "ab")),
        ] {
            assert!(upload_metadata(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_metadata_or_an_error(text in "[ -~]{0,80}") {
            if let Ok(read) = upload_metadata(&text) {
                prop_assert!(!read.name.as_str().contains('/'));
            }
        }
    }
}

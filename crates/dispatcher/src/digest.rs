//! Whether two specifications are the same.

use anymaster_core::model::ApplicationSpec;
use anymaster_core::{Error, Result};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a specification: tells whether two are the same without keeping what is in them.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn digest(app: &ApplicationSpec) -> Result<String> {
    let text = serde_json::to_vec(app).map_err(|error| {
        Error::invalid("the specification cannot be written").with_source(error)
    })?;
    Ok(Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect())
}

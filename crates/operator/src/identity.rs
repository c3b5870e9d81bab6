//! Submission ids. They are derived from the application and the number of the attempt, so that a submission that is
//! made again, by this process or by the next one, finds the driver of the first.

use anymaster_core::text::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Fields that may change without a new submission.
const NOT_SUBMITTED: [&str; 2] = ["suspend", "timeToLiveSeconds"];

/// The id of an attempt to submit a specification, as a UUID of version 8 (RFC 9562).
pub(crate) fn submission_id(uid: &str, spec: &Value, attempt: i32) -> String {
    let mut hash = Sha256::new();
    hash.update(uid);
    hash.update([0]);
    hash.update(fingerprint(spec));
    hash.update(attempt.to_be_bytes());
    let mut bytes = hash.finalize();
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex(&bytes[..16]);
    let part = |from: usize, to: usize| &hex[from..to];
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A hash of the part of a specification of which a driver is made. JSON objects are sorted by their names.
fn fingerprint(spec: &Value) -> Vec<u8> {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        for field in NOT_SUBMITTED {
            fields.remove(field);
        }
    }
    spec.sort_all_objects();
    Sha256::digest(spec.to_string()).to_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_depend_on_application_specification_and_attempt() {
        let spec = json!({"image": "a", "sparkConf": {"a": "1", "b": "2"}});
        let id = submission_id("u", &spec, 1);
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'8'), "{id}");
        let again = json!({"sparkConf": {"b": "2", "a": "1"}, "suspend": true, "image": "a", "timeToLiveSeconds": 1});
        assert_eq!(id, submission_id("u", &again, 1));
        let others = [
            submission_id("v", &spec, 1),
            submission_id("u", &spec, 2),
            submission_id("u", &json!({"image": "b"}), 1),
        ];
        assert!(!others.contains(&id));
    }
}

//! Submission ids. They are derived from the application, its specification and the attempt, so that a submission that
//! is made again, by this process or by the next one, finds the driver of the first.

use anymaster_core::text::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Fields that may change without a new submission.
const NOT_SUBMITTED: [&str; 2] = ["suspend", "timeToLiveSeconds"];

/// An attempt to submit an application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// The uid of the application.
    pub(crate) uid: &'a str,
    /// The specification as it is written.
    pub(crate) spec: &'a Value,
    /// The id of the submission before, or nothing. With it, no id comes a second time, even if an earlier
    /// specification does.
    pub(crate) before: &'a str,
    /// The number of the attempt, from 1.
    pub(crate) number: i32,
}

/// The id of an attempt, as a UUID of version 8 (RFC 9562). Its first 48 bits are those of the specification.
pub(crate) fn submission_id(attempt: Attempt<'_>) -> String {
    let fingerprint = fingerprint(attempt.spec);
    let mut hash = Sha256::new();
    for part in [attempt.uid.as_bytes(), &fingerprint, attempt.before.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(attempt.number.to_be_bytes());
    let mut bytes = hash.finalize();
    bytes[..6].copy_from_slice(&fingerprint[..6]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex(&bytes[..16]);
    let part = |from: usize, to: usize| &hex[from..to];
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Whether an id is of a submission of another specification. Ids of other operators do not say it.
pub(crate) fn is_of_another(id: &str, spec: &Value) -> bool {
    let is_ours = id.len() == 36 && id.as_bytes()[14] == b'8';
    let digits: String = id.chars().filter(|digit| *digit != '-').take(12).collect();
    is_ours && digits != hex(&fingerprint(spec)[..6])
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
        let attempt = Attempt { uid: "u", spec: &spec, before: "", number: 1 };
        let id = submission_id(attempt);
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'8'), "{id}");
        let again = json!({"sparkConf": {"b": "2", "a": "1"}, "suspend": true, "image": "a", "timeToLiveSeconds": 1});
        assert_eq!(id, submission_id(Attempt { spec: &again, ..attempt }));
        let other = json!({"image": "b"});
        let others = [
            submission_id(Attempt { uid: "v", ..attempt }),
            submission_id(Attempt { number: 2, ..attempt }),
            submission_id(Attempt { before: "x", ..attempt }),
            submission_id(Attempt { spec: &other, ..attempt }),
        ];
        assert!(!others.contains(&id));
    }

    #[test]
    fn an_id_tells_whether_the_specification_is_another_one() {
        let (spec, other) = (json!({"image": "a"}), json!({"image": "b"}));
        let id = submission_id(Attempt { uid: "u", spec: &spec, before: "x", number: 3 });
        assert!(!is_of_another(&id, &spec) && is_of_another(&id, &other), "{id}");
        for foreign in ["", "0a1b2c3d-0000-4000-8000-000000000000", "my-submission"] {
            assert!(!is_of_another(foreign, &other), "{foreign}");
        }
    }
}

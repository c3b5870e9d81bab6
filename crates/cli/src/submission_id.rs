//! Makes ids for submissions that were given none.

use std::hash::{BuildHasher as _, RandomState};

use anymaster_core::model::SubmissionId;
use anymaster_core::{Result, SubmissionIdForm};
use jiff::Timestamp;

/// An id in the form that the tools around a kind of cluster look for.
///
/// # Errors
/// None: such an id is always valid.
pub(crate) fn of_form(form: SubmissionIdForm, now: Timestamp) -> Result<SubmissionId> {
    match form {
        // As masters make them themselves, where the last part counts up from 0000.
        SubmissionIdForm::Driver => {
            SubmissionId::new(&format!("driver-{}-{:08}", stamp(now), random()))
        }
        _ => new(now),
    }
}

/// `app-20260102030405-1a2b3c`: sorts by time, and differs between submissions of one second.
///
/// # Errors
/// None: such an id is always valid.
pub(crate) fn new(now: Timestamp) -> Result<SubmissionId> {
    SubmissionId::new(&format!("app-{}-{:06x}", stamp(now), random()))
}

fn stamp(now: Timestamp) -> String {
    now.strftime("%Y%m%d%H%M%S").to_string()
}

/// The standard library seeds each `RandomState` at random, and no two of a process alike.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id()) & 0xff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (one, other) = (new(now).unwrap(), new(now).unwrap());
        assert!(one.as_str().starts_with("app-20270115080000-"), "{one}");
        assert_ne!(one, other);
        // What Airflow looks for, and asks about.
        let id = of_form(SubmissionIdForm::Driver, now).unwrap();
        let digits = id.as_str().strip_prefix("driver-20270115080000-").unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    }
}

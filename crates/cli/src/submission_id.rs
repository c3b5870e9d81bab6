//! Makes ids for submissions that were given none.

use std::hash::{BuildHasher as _, RandomState};

use anymaster_core::Result;
use anymaster_core::model::SubmissionId;
use jiff::Timestamp;

/// `app-20260102030405-1a2b3c`: sorts by time, and differs between submissions of one second.
///
/// # Errors
/// None: such an id is always valid.
pub(crate) fn new(now: Timestamp) -> Result<SubmissionId> {
    // The standard library seeds each `RandomState` at random, and no two of a process alike.
    let random = RandomState::new().hash_one(std::process::id()) & 0xff_ffff;
    SubmissionId::new(&format!("app-{}-{random:06x}", now.strftime("%Y%m%d%H%M%S")))
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
    }
}

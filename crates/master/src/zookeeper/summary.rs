//! By what is noticed that records in ZooKeeper are damaged, missing or older than they should be: each
//! has a checksum behind it, and a summary has the number of the last write and a checksum of all.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::ACCEPT_LOSS;
use anymaster_core::Error;

const SUM: usize = 16;

/// The first half of SHA-256.
pub(super) type Sum = [u8; SUM];

fn sum(name: &str, value: &[u8]) -> Sum {
    let hash = Sha256::new().chain_update(name).chain_update([0]).chain_update(value).finalize();
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash[..SUM]);
    sum
}

/// A record with its checksum behind it, and that.
pub(super) fn seal(name: &str, value: &[u8]) -> (Vec<u8>, Sum) {
    let sum = sum(name, value);
    ([value, &sum].concat(), sum)
}

/// A record without its checksum, and that; `None`: it is not what was written under this name.
pub(super) fn unseal(name: &str, mut sealed: Vec<u8>) -> Option<(Vec<u8>, Sum)> {
    let length = sealed.len().checked_sub(SUM)?;
    let is = sum(name, &sealed[..length]);
    let is_sound = sealed[length..] == is;
    sealed.truncate(length);
    is_sound.then_some((sealed, is))
}

/// What is written down with each write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Of the last write.
    pub(super) number: u64,
    /// How many records there are.
    records: u64,
    /// The checksums of all of them, each bit added to those of the others.
    sum: Sum,
}

/// The records that exist, as far as is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) summary: Summary,
    sums: HashMap<String, Sum>,
    /// There is a summary.
    pub(super) is_summed_up: bool,
}

impl Known {
    pub(super) fn has(&self, node: &str) -> bool {
        self.sums.contains_key(node)
    }

    /// Counts a record in, or, without a checksum, out.
    pub(super) fn note(&mut self, node: &str, sum: Option<Sum>) {
        let before = match sum {
            Some(sum) => self.sums.insert(node.to_owned(), sum),
            None => self.sums.remove(node),
        };
        for sum in before.iter().chain(&sum) {
            for (all, one) in self.summary.sum.iter_mut().zip(sum) {
                *all ^= one;
            }
        }
        self.summary.records = self.sums.len() as u64;
    }

    /// What is wrong, if these records are not those of the summary that was found, `unreadable` being
    /// damaged.
    pub(super) fn fault(&self, found: Option<&Summary>, unreadable: &[String]) -> Option<String> {
        if let Some(node) = unreadable.first() {
            return Some(format!("{node} is not what a master wrote there"));
        }
        match found {
            None if self.sums.is_empty() => None,
            None => Some("there are records, and no summary that can be read".to_owned()),
            Some(found) if found.records > self.summary.records => {
                let missing = found.records - self.summary.records;
                Some(format!("{missing} of {} records are missing", found.records))
            }
            Some(found) if found.sum != self.summary.sum => {
                Some("some records are older or newer than the summary".to_owned())
            }
            Some(_) => None,
        }
    }
}

/// What is said of damage up to this write.
pub(super) fn refusal(dir: &str, fault: &str, number: u64) -> Error {
    Error::protocol(format!("what ZooKeeper keeps at {dir} is damaged: {fault}")).with_hint(format!(
        "restore it in ZooKeeper; or lose what is damaged, once, with --conf {ACCEPT_LOSS}={number}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(records: &[(&str, &str)]) -> Known {
        let mut known = Known::default();
        for (node, value) in records {
            known.note(node, Some(seal(node, value.as_bytes()).1));
        }
        known
    }

    #[test]
    fn a_record_with_any_byte_flipped_or_under_another_name_is_damaged() {
        let (sealed, sum) = seal("app:a", b"{}");
        assert_eq!(unseal("app:a", sealed.clone()), Some((b"{}".to_vec(), sum)));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(unseal("app:a", flipped), None, "byte {at}");
            assert_eq!(unseal("app:a", sealed[..at].to_vec()), None, "{at} bytes");
        }
        assert_eq!(unseal("app:b", sealed), None);
    }

    #[test]
    fn records_that_are_missing_or_older_are_noticed() {
        let mut all = known(&[("a", "1"), ("b", "2"), ("c", "3")]);
        all.note("b", Some(seal("b", b"4").1));
        all.note("c", None);
        let summary = all.summary.clone();
        assert_eq!(summary, known(&[("b", "4"), ("a", "1")]).summary, "in any order");
        let fault = |records: &[(&str, &str)]| known(records).fault(Some(&summary), &[]);
        assert_eq!(fault(&[("a", "1"), ("b", "4")]), None);
        assert_eq!(fault(&[("a", "1")]).unwrap(), "1 of 2 records are missing");
        assert!(fault(&[("a", "1"), ("b", "2")]).unwrap().contains("older"));
        assert!(fault(&[("a", "1"), ("b", "4"), ("c", "3")]).is_some());
        assert_eq!(Known::default().fault(None, &[]), None, "it is a new one");
        assert!(all.fault(None, &[]).unwrap().contains("no summary"));
        assert!(all.fault(Some(&summary), &["a".to_owned()]).is_some());
    }
}

//! How much of what: resources as they are counted.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use anymaster_core::model::ResourceProfile;
use serde::{Deserialize, Serialize};

/// Cores, counted in thousandths, as Mesos counts them.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "Number", from = "f64")]
pub struct Cores(u64);

/// As Spark writes cores in JSON: a whole number where it is one.
#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Fraction(f64),
}

impl Cores {
    /// No limit.
    pub const ALL: Self = Self(u64::MAX);

    /// So many whole ones.
    pub const fn whole(cores: u32) -> Self {
        Self(cores as u64 * 1_000)
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// So many times as many.
    pub(crate) fn times(self, many: u64) -> Self {
        Self(self.0.saturating_mul(many))
    }
}

impl From<f64> for Cores {
    /// Rounded to thousandths; below none is none.
    fn from(cores: f64) -> Self {
        Self((cores * 1_000.0).round() as u64)
    }
}

impl From<Cores> for Number {
    fn from(cores: Cores) -> Self {
        match cores.0 % 1_000 {
            0 => Self::Whole(cores.0 / 1_000),
            _ => Self::Fraction(cores.as_f64()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Add for Cores {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cores {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Cores {
    type Output = Self;

    /// Down to none.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Cores {
    fn sum<I: Iterator<Item = Self>>(cores: I) -> Self {
        cores.fold(Self::default(), Add::add)
    }
}

/// What a worker has left, or a process takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount {
    /// Cores.
    pub cores: Cores,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Other resources by name (`gpu`), in whole units.
    pub extra: BTreeMap<String, u64>,
}

impl Amount {
    /// What a process of this shape takes of a worker: as Spark's master counts, without the overhead.
    pub fn of(profile: &ResourceProfile) -> Self {
        Self {
            cores: profile.cores.into(),
            memory_mib: profile.memory_mib,
            extra: profile.extra.clone(),
        }
    }

    /// Whether `times` of `need` fit in it.
    pub(crate) fn holds(&self, need: &Self, times: u32) -> bool {
        let many = u64::from(times);
        self.cores >= need.cores.times(many)
            && self.memory_mib >= need.memory_mib.saturating_mul(many)
            && need.extra.iter().all(|(name, amount)| {
                self.extra.get(name).copied().unwrap_or(0) >= amount.saturating_mul(many)
            })
    }

    pub(crate) fn take(&mut self, need: &Self) {
        self.cores = self.cores - need.cores;
        self.memory_mib = self.memory_mib.saturating_sub(need.memory_mib);
        for (name, amount) in &need.extra {
            if let Some(left) = self.extra.get_mut(name) {
                *left = left.saturating_sub(*amount);
            }
        }
    }

    pub(crate) fn give_back(&mut self, need: &Self) {
        self.cores += need.cores;
        self.memory_mib += need.memory_mib;
        for (name, amount) in &need.extra {
            if let Some(left) = self.extra.get_mut(name) {
                *left += amount;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_written_as_spark_writes_them() {
        let text = |cores: f64| serde_json::to_string(&Cores::from(cores)).unwrap();
        assert_eq!((text(2.0).as_str(), text(0.01).as_str()), ("2", "0.01"));
        let read: Cores = serde_json::from_str("0.25").unwrap();
        assert_eq!((read, read.to_string()), (Cores::from(0.25), "0.25".to_owned()));
        assert_eq!(Cores::from(3.0), Cores::whole(3));
    }
}

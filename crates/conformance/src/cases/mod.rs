//! The cases, a file per promise.

mod ends;
mod errors;
mod external;
mod leaks;
mod output;
mod targets;
mod watching;

use crate::case::{Needs, Run};

/// A group's name, a case's name, what it needs, and the case.
pub(crate) type Entry = (&'static str, &'static str, Needs, Run);

/// Lists the cases of a file: `needs => function`.
macro_rules! cases {
    ($group:literal: $($needs:ident => $case:ident),* $(,)?) => {
        pub(crate) const CASES: &[$crate::cases::Entry] = &[$((
            $group,
            stringify!($case),
            $crate::case::Needs::$needs,
            |case| Box::pin($case(case)),
        )),*];
    };
}
use cases;

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Entry> {
    let groups = [
        targets::CASES,
        ends::CASES,
        external::CASES,
        watching::CASES,
        leaks::CASES,
        errors::CASES,
        output::CASES,
    ];
    groups.into_iter().flatten().copied()
}

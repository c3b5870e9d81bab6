//! Executors as pods, for programs that are not Spark: whoever declares a target keeps them at it.

pub(crate) mod janitor;

mod batch;
mod claims;
mod cleaner;
mod keeper;
mod kept;
mod leftovers;
mod limiter;
mod maker;
mod policy;

pub(crate) use self::keeper::{Anchor, Keeper, delete_executors, delete_params};
pub(crate) use self::kept::{Kept, KeptHere};
pub(crate) use self::leftovers::sweep;
pub(crate) use self::maker::Maker;
pub(crate) use self::policy::policy;

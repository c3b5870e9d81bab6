//! Differences that are meant, each with its reason.

use crate::compare::Difference;

/// A kind of difference that is as it should be.
struct Explained {
    reason: &'static str,
    covers: Covers,
}

enum Covers {
    /// Ours refuses the line, in words with this in them.
    Refusal(&'static str),
    /// Spark refuses it, in words with this in them.
    RefusalOfSpark(&'static str),
    /// What is at a path with this in it.
    #[expect(dead_code, reason = "the objects of all lines are the same at present")]
    Path(&'static str),
}

use Covers::{Path, Refusal, RefusalOfSpark};

const fn explained(reason: &'static str, covers: Covers) -> Explained {
    Explained { reason, covers }
}

const NO_OBJECT: &str =
    "the API server would refuse the object: it is refused before anything is made";

const BY_DRIVER: &str =
    "the driver would refuse the value as it reads it: it is refused before there is one";

const TABLE: &[Explained] = &[
    explained(
        "no property is ignored: one that cannot be honoured is refused by name",
        Refusal("cannot be honoured"),
    ),
    explained(BY_DRIVER, Refusal("is not a flag")),
    explained(BY_DRIVER, Refusal("is not a size")),
    explained(BY_DRIVER, Refusal("is not a time")),
    explained(BY_DRIVER, Refusal("is not valid")),
    explained(BY_DRIVER, Refusal("must be above 0")),
    explained(NO_OBJECT, Refusal("is required for ")),
    explained(NO_OBJECT, Refusal("cannot be the name of a pod")),
    explained(
        "an empty template is as good as none; Spark's reader throws a NullPointerException",
        RefusalOfSpark(
            "because the return value of \"io.fabric8.kubernetes.api.model.Pod.getSpec()\" is null",
        ),
    ),
];

/// The reason for a difference, if there is one.
pub(crate) fn reason(difference: &Difference) -> Option<&'static str> {
    let covers = |explained: &&Explained| match (&explained.covers, difference) {
        (Refusal(words), Difference::OursFails(said))
        | (RefusalOfSpark(words), Difference::SparkFails(said)) => said.contains(words),
        (Path(part), Difference::Object(what)) => what.contains(part),
        _ => false,
    };
    TABLE.iter().find(covers).map(|explained| explained.reason)
}

//! Which agents may be used, by their attributes (`spark.mesos.constraints`; Spark 3.5,
//! `MesosSchedulerUtils.parseConstraintString` and `matchesAttributeRequirements`).
//!
//! One thing differs from Spark, where an attribute of ranges never fits anything but "it is there": its
//! comparison is made with another type than masters send. Here a range fits a number inside it, as
//! Spark's documentation has it.

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::{Error, Result};

use crate::model::Attribute;

/// What the attributes of an agent have to be, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints(BTreeMap<String, BTreeSet<String>>);

impl Constraints {
    /// `os:centos7;zone:a,b;ssd:`: names and values; a name without values has to be there.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("Bad constraint string: {text}"))
                .with_hint("write for example os:centos7;zone:a,b")
        };
        let mut constraints = BTreeMap::new();
        if text.trim().is_empty() {
            return Ok(Self(constraints));
        }
        for piece in text.split(';') {
            let (name, values) = piece.trim().split_once(':').ok_or_else(bad)?;
            if name.is_empty() || values.contains(':') {
                return Err(bad());
            }
            let values = match values {
                "" => BTreeSet::new(),
                values => values.split(',').map(str::to_owned).collect(),
            };
            if constraints.insert(name.to_owned(), values).is_some() {
                return Err(bad());
            }
        }
        Ok(Self(constraints))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one that does not hold; `None` if all of them do.
    pub fn unmet(&self, attributes: &[Attribute]) -> Option<&str> {
        let unmet = self.0.iter().find(|(name, values)| {
            let named = attributes.iter().filter(|attribute| attribute.name == **name);
            !named.into_iter().any(|attribute| values.is_empty() || fits(attribute, values))
        });
        unmet.map(|(name, _)| name.as_str())
    }
}

fn fits(attribute: &Attribute, values: &BTreeSet<String>) -> bool {
    let Attribute { scalar, ranges, set, text, .. } = attribute;
    match (attribute.kind.as_str(), scalar, ranges, set, text) {
        ("TEXT", _, _, _, Some(text)) => values.contains(&text.value),
        ("SET", _, _, Some(set), _) => values.iter().all(|value| set.item.contains(value)),
        ("SCALAR", Some(offered), ..) => {
            values.iter().any(|value| value.parse().is_ok_and(|value: f64| value <= offered.value))
        }
        ("RANGES", _, Some(ranges), ..) => values.iter().any(|value| {
            value.parse().is_ok_and(|value: u64| {
                ranges.range.iter().any(|range| (range.begin..=range.end).contains(&value))
            })
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes() -> Vec<Attribute> {
        serde_json::from_value(json!([
            {"name": "os", "type": "TEXT", "text": {"value": "centos7"}},
            {"name": "zone", "type": "SET", "set": {"item": ["a", "b", "c"]}},
            {"name": "speed", "type": "SCALAR", "scalar": {"value": 3.5}},
            {"name": "slots", "type": "RANGES", "ranges": {"range": [{"begin": 7, "end": 9}, {"begin": 20, "end": 20}]}},
        ]))
        .unwrap()
    }

    #[test]
    fn attributes_fit_by_their_kind() {
        for (text, unmet) in [
            ("", None),
            ("os:centos7", None),
            ("os:debian,centos7", None),
            ("os:debian", Some("os")),
            ("os:", None),
            ("gpu:", Some("gpu")),
            ("zone:a,c", None),
            ("zone:a,d", Some("zone")),
            ("speed:3", None),
            ("speed:3.5", None),
            ("speed:4", Some("speed")),
            ("speed:fast", Some("speed")),
            ("slots:8", None),
            ("slots:10,20", None),
            ("slots:10", Some("slots")),
            ("os:centos7;zone:d", Some("zone")),
        ] {
            let constraints = Constraints::parse(text).unwrap();
            assert_eq!(constraints.unmet(&attributes()), unmet, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["os", "os:a;", ";", "os:a:b", ":a", "os:a;os:b"] {
            let error = Constraints::parse(text).unwrap_err();
            assert_eq!(error.message(), format!("Bad constraint string: {text}"));
        }
    }
}

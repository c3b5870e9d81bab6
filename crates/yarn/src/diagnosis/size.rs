//! Amounts of resources, as the ResourceManager's reports have them.

use std::collections::BTreeMap;
use std::fmt;

use anymaster_core::counted;
use serde::Deserialize;

/// Memory in MiB, cores, and others by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Reported")]
pub(super) struct Size {
    pub(super) memory: i64,
    pub(super) cores: i64,
    pub(super) others: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported {
    #[serde(default)]
    memory: i64,
    #[serde(default, rename = "vCores")]
    cores: i64,
    #[serde(default)]
    resource_informations: Informations,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Informations {
    #[serde(default)]
    resource_information: Vec<Information>,
}

#[derive(Deserialize)]
struct Information {
    name: String,
    #[serde(default)]
    value: i64,
}

impl From<Reported> for Size {
    fn from(reported: Reported) -> Self {
        let all = reported.resource_informations.resource_information.into_iter();
        let others = all.filter(|it| !matches!(it.name.as_str(), "memory-mb" | "vcores"));
        Self {
            memory: reported.memory,
            cores: reported.cores,
            others: others.map(|it| (it.name, it.value)).collect(),
        }
    }
}

impl Size {
    /// Whether it fits into another. What a limit does not name, it does not limit.
    pub(super) fn fits(&self, into: &Self) -> bool {
        self.lacking(into).is_empty()
    }

    /// Of which resources it has more than another, by their names.
    pub(super) fn lacking(&self, into: &Self) -> Vec<&str> {
        let mut lacking = Vec::new();
        lacking.extend((self.memory > into.memory).then_some("memory"));
        lacking.extend((self.cores > into.cores).then_some("cores"));
        let more = |(name, wanted): (&String, &i64)| {
            *wanted > into.others.get(name).copied().unwrap_or(i64::MAX)
        };
        lacking.extend(self.others.iter().filter(|it| more(*it)).map(|(name, _)| name.as_str()));
        lacking
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.memory = sum.memory.saturating_add(other.memory);
        sum.cores = sum.cores.saturating_add(other.cores);
        for (name, amount) in &other.others {
            let all = sum.others.entry(name.clone()).or_default();
            *all = all.saturating_add(*amount);
        }
        sum
    }
}

impl fmt::Display for Size {
    /// `1024 MiB and 1 core`; `1024 MiB, 1 core and 2 of yarn.io/gpu`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![format!("{} MiB", self.memory), counted(self.cores, "core")];
        let others = self.others.iter().filter(|(_, amount)| **amount != 0);
        parts.extend(others.map(|(name, amount)| format!("{amount} of {name}")));
        let last = parts.pop().unwrap_or_default();
        write!(f, "{} and {last}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_compared_and_told() {
        let size = |text: &str| serde_json::from_str::<Size>(text).unwrap();
        let plain = size(r#"{"memory":1024,"vCores":1}"#);
        assert_eq!(plain.to_string(), "1024 MiB and 1 core");
        let gpu = size(
            r#"{"memory":512,"vCores":2,"resourceInformations":{"resourceInformation":[
            {"name":"memory-mb","value":512},{"name":"vcores","value":2},{"name":"yarn.io/gpu","value":1}]}}"#,
        );
        assert_eq!(gpu.to_string(), "512 MiB, 2 cores and 1 of yarn.io/gpu");
        assert_eq!(gpu.lacking(&plain), ["cores"]);
        let none = Size { others: [("yarn.io/gpu".to_owned(), 0)].into(), ..gpu.clone() };
        assert_eq!(gpu.lacking(&none), ["yarn.io/gpu"]);
        assert_eq!(gpu.plus(&plain).to_string(), "1536 MiB, 3 cores and 1 of yarn.io/gpu");
        assert!(plain.fits(&plain) && !plain.fits(&gpu));
    }
}

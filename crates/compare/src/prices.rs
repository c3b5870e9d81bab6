//! What a run costs, by a list of prices.

use anymaster_core::model::{ExecutorTarget, ResourceProfile};
use anymaster_core::{Error, Result};
use config::{Config, File, FileFormat};
use serde::Deserialize;

use crate::timeline::{Bar, Timeline};

const EXAMPLE: &str = "for example\n\
    currency = \"EUR\"\n\
    core-hour = 0.033\n\
    gib-hour = 0.0044\n\
    [[cluster]]\n\
    master = \"k8s://*\"\n\
    core-hour = 0.048\n\
    gib-hour = 0.0053";

/// A list of prices: one for all clusters, and others for those that are named.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Prices {
    /// The currency, as it is shown.
    #[serde(default)]
    pub currency: String,
    /// Of a core for an hour, where no cluster's own price is given.
    core_hour: Option<f64>,
    /// Of a GiB of memory for an hour.
    gib_hour: Option<f64>,
    /// Of single clusters.
    #[serde(default)]
    cluster: Vec<OfCluster>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OfCluster {
    /// A master URL; `*` stands for any text.
    master: String,
    core_hour: f64,
    gib_hour: f64,
}

/// The prices of one cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Of a core for an hour.
    pub core_hour: f64,
    /// Of a GiB of memory for an hour.
    pub gib_hour: f64,
}

impl Prices {
    /// Reads a list in TOML.
    ///
    /// # Errors
    /// If it is none; if a price is missing, negative or no number.
    pub fn parse(text: &str) -> Result<Self> {
        let read = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
        let prices: Self = read.and_then(Config::try_deserialize).map_err(|error| {
            Error::invalid(format!("it is no list of prices: {error}")).with_hint(EXAMPLE)
        })?;
        if prices.core_hour.is_some() != prices.gib_hour.is_some() {
            return Err(Error::invalid("core-hour and gib-hour belong together").with_hint(EXAMPLE));
        }
        if prices.core_hour.is_none() && prices.cluster.is_empty() {
            return Err(Error::invalid("there is no price in it").with_hint(EXAMPLE));
        }
        let all = prices.cluster.iter().flat_map(|cluster| [cluster.core_hour, cluster.gib_hour]);
        let mut all = all.chain(prices.core_hour).chain(prices.gib_hour);
        match all.find(|price| !price.is_finite() || *price < 0.0) {
            Some(price) => Err(Error::invalid(format!("{price} is no price"))),
            None => Ok(prices),
        }
    }

    /// The prices of a cluster: of the first entry that names it, else those for all.
    pub fn of(&self, master: &str) -> Option<Price> {
        let named = self.cluster.iter().find(|cluster| fits(&cluster.master, master));
        let named = named.map(|it| Price { core_hour: it.core_hour, gib_hour: it.gib_hour });
        named.or_else(|| {
            let (core_hour, gib_hour) = self.core_hour.zip(self.gib_hour)?;
            Some(Price { core_hour, gib_hour })
        })
    }
}

/// Whether a pattern, in which `*` stands for any text, fits all of a text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// What a process of this shape costs for so many seconds.
fn cost(price: Price, profile: &ResourceProfile, seconds: f64) -> f64 {
    let gib = profile.memory_limit_mib() as f64 / 1024.0;
    (profile.cores * price.core_hour + gib * price.gib_hour) * seconds / 3600.0
}

/// The shapes of the processes of a job.
#[derive(Debug, Clone)]
pub struct Shapes {
    /// The driver's.
    pub driver: ResourceProfile,
    /// The executors' where no target of ours says it.
    pub executor: ResourceProfile,
}

impl Price {
    /// What the driver and the executors of a run cost, each from when it ran to its end, or to the end of
    /// the timeline: cores and memory as they were asked for. Memory that is not limited costs nothing.
    pub(crate) fn of_run(
        self,
        timeline: &Timeline,
        shapes: &Shapes,
        target: Option<&ExecutorTarget>,
    ) -> f64 {
        let seconds = |bar: &Bar| {
            let to = bar.ended.unwrap_or(timeline.length);
            bar.started.map_or(0.0, |from| to - from)
        };
        let executors = timeline.executors.iter().map(|bar| {
            let declared = target.and_then(|target| target.profiles.get(&bar.profile));
            let profile = declared.map_or(&shapes.executor, |declared| &declared.profile);
            cost(self, profile, seconds(bar))
        });
        cost(self, &shapes.driver, seconds(&timeline.driver)) + executors.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::timeline::Marks;

    const LIST: &str = "currency = \"EUR\"\ncore-hour = 1.0\ngib-hour = 0.5\n\
        [[cluster]]\nmaster = \"k8s://*\"\ncore-hour = 2.0\ngib-hour = 0\n";

    #[test]
    fn a_cluster_may_have_prices_of_its_own() {
        let prices = Prices::parse(LIST).unwrap();
        assert_eq!(prices.of("local[2]"), Some(Price { core_hour: 1.0, gib_hour: 0.5 }));
        assert_eq!(prices.of("k8s://https://h"), Some(Price { core_hour: 2.0, gib_hour: 0.0 }));
        let named = LIST.lines().skip(3).collect::<Vec<_>>().join("\n");
        assert_eq!(Prices::parse(&named).unwrap().of("local[2]"), None);
    }

    #[test]
    fn patterns_fit_the_whole_url() {
        let cases = [
            ("local[2]", "local[2]", true),
            ("local*", "local[2]", true),
            ("local", "local[2]", false),
            ("*:7077", "spark://h:7077", true),
            ("spark://*:7077", "spark://a:7077,b:7078", false),
            ("s*a*a", "spark://a", true),
            ("a*a", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for list in [
            "",
            "core-hour = 1",
            "core-hour = -1\ngib-hour = 1",
            "core-hours = 1",
            "a",
            "core-hour = nan\ngib-hour = 1",
        ] {
            let error = Prices::parse(list).unwrap_err();
            assert_eq!(error.kind(), anymaster_core::ErrorKind::InvalidSpec, "{list}: {error}");
        }
    }

    #[test]
    fn a_run_costs_what_its_processes_had_for_as_long_as_they_ran() {
        let bar = |started, ended| Bar { started, ended, ..Bar::default() };
        let timeline = Timeline {
            began: Timestamp::UNIX_EPOCH,
            length: 7200.0,
            marks: Marks::default(),
            driver: bar(Some(0.0), Some(3600.0)),
            // One that never ran, and one that still does.
            executors: vec![bar(None, Some(3600.0)), bar(Some(3600.0), None)],
            lost: 0,
            replaced: 0,
        };
        let shapes = Shapes {
            driver: ResourceProfile::new(1.0, 0),
            executor: ResourceProfile::new(2.0, 1024).with_overhead(1024),
        };
        let price = Price { core_hour: 1.0, gib_hour: 0.5 };
        assert!((price.of_run(&timeline, &shapes, None) - (1.0 + 2.0 + 1.0)).abs() < 1e-9);
    }
}

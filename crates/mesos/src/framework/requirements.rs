//! The requirements of applications on offers: amounts of resources, constraints and ports.

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::Key;
use anymaster_core::model::{DriverSpec, ExecutorTemplate, Payload, ResourceProfile};
use anymaster_core::native::{self, Placeholder};
use anymaster_core::{Error, Result};
use anymaster_engine::{Amount, ProcessSpec};

use super::decline_stats::Reason;
use crate::keys;
use crate::model::{Offer, Range};
use crate::offers::constraints::Constraints;
use crate::task::memory::memory_with_overhead;
use crate::task::{Role, container};

/// Mesos' name for what profiles call `gpu`.
pub(super) const GPUS: &str = "gpus";
pub(super) const PORTS: &str = "ports";
/// The properties with fixed ports of Spark's executors (Spark 3.5, `MesosSchedulerUtils`).
const PORT_KEYS: [&str; 2] = ["spark.blockManager.port", "spark.executor.port"];

/// The requirements of an application beyond amounts, from its properties.
#[derive(Debug, Default)]
pub(super) struct OfferRequirements {
    executors: Constraints,
    driver: Constraints,
    /// Fixed ports of each executor.
    ports: Vec<u16>,
    /// Host ports that are mapped to each container.
    mapped: Vec<u16>,
    /// The limit of GPUs of all executors together, where the profile requests none.
    pub(super) gpus_max: u32,
    /// Cores that are reported to executors in addition to those that they take.
    pub(super) extra_cores: u32,
}

impl OfferRequirements {
    pub(super) fn of(conf: &Conf) -> Result<Self> {
        let constraints = |key| {
            let text: Option<String> = conf.read_optional(key)?;
            Constraints::parse(&text.unwrap_or_default())
                .map_err(|error| error.context(key.info.name))
        };
        let mut ports = Vec::new();
        for key in PORT_KEYS {
            match conf.get(key).map(|text| (text, text.trim().parse())) {
                None | Some((_, Ok(0))) => {}
                Some((_, Ok(port))) => ports.push(port),
                Some((text, Err(_))) => {
                    return Err(Error::invalid(format!("{key}: {text:?} is not a port")));
                }
            }
        }
        Ok(Self {
            executors: constraints(&keys::CONSTRAINTS)?,
            driver: constraints(&keys::DRIVER_CONSTRAINTS)?,
            ports,
            mapped: container::mapped_ports(conf)?,
            gpus_max: conf.read(&keys::GPUS_MAX)?,
            extra_cores: conf.read(&keys::EXTRA_CORES)?,
        })
    }

    /// The ports that the driver, or each executor, needs.
    pub(super) fn ports(&self, is_driver: bool) -> impl Iterator<Item = u16> {
        let own = if is_driver { &[][..] } else { &self.ports };
        own.iter().chain(&self.mapped).copied()
    }

    /// DeclineStats the offers of an agent cannot be used, apart from amounts.
    pub(super) fn objection(&self, offers: &[Offer], is_driver: bool) -> Option<Reason> {
        let offer = offers.first()?;
        let constraints = if is_driver { &self.driver } else { &self.executors };
        if let Some(name) = constraints.unmet(&offer.attributes) {
            return Some(Reason::Constraint(name.to_owned()));
        }
        self.ports(is_driver).find(|port| !has_port(offers, *port)).map(Reason::Port)
    }
}

fn has_port(offers: &[Offer], port: u16) -> bool {
    let port = u64::from(port);
    let mut ranges = offers
        .iter()
        .flat_map(|offer| &offer.resources)
        .filter(|resource| resource.name == PORTS)
        .filter_map(|resource| resource.ranges.as_ref())
        .flat_map(|ranges| &ranges.range);
    ranges.any(|Range { begin, end }| (*begin..=*end).contains(&port))
}

/// The amounts that a driver or executor takes from offers.
pub(super) fn need(conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount> {
    let rules = OfferRequirements::of(conf)?;
    let (profile, memory_mib, ports) = match process {
        ProcessSpec::Driver(DriverSpec { payload: Payload::Spark(_), resources, .. }) => {
            let memory = memory_with_overhead(conf, resources.memory_mib, Role::Driver)?;
            (resources, memory, rules.ports(true).count())
        }
        ProcessSpec::Driver(spec) => {
            let memory = memory_mib(conf, &keys::DRIVER_MEMORY_OVERHEAD, &spec.resources)?;
            (&spec.resources, memory, 1 + rules.ports(true).count())
        }
        ProcessSpec::Executor(profile, template) => {
            let ports = named_ports(template)?.len() + rules.ports(false).count();
            let memory = memory_mib(conf, &keys::EXECUTOR_MEMORY_OVERHEAD, profile)?;
            (profile, memory, ports)
        }
    };
    positive(profile)?;
    let mut extra: BTreeMap<String, u64> =
        others(profile).map(|(name, amount)| (name.to_owned(), amount)).collect();
    if ports > 0 {
        extra.insert(PORTS.to_owned(), ports as u64);
    }
    Ok(Amount { cores: profile.cores.into(), memory_mib, extra })
}

/// The resources of a profile except cores and memory, by their names in Mesos.
pub(super) fn others(profile: &ResourceProfile) -> impl Iterator<Item = (&str, u64)> {
    profile.extra.iter().map(|(name, amount)| match name.as_str() {
        "gpu" => (GPUS, *amount),
        name => (name, *amount),
    })
}

/// The number of GPUs that a profile requests.
pub(super) fn own_gpus(profile: &ResourceProfile) -> u64 {
    others(profile).filter(|(name, _)| *name == GPUS).map(|(_, amount)| amount).sum()
}

/// The memory of a native program: that of its profile, with the overhead of the property `key` or else of the
/// profile.
pub(super) fn memory_mib(conf: &Conf, key: &Key<u64>, profile: &ResourceProfile) -> Result<u64> {
    let overhead = conf.read_optional(key)?.unwrap_or(profile.overhead_mib);
    Ok(profile.memory_mib.saturating_add(overhead))
}

fn positive(profile: &ResourceProfile) -> Result<()> {
    if profile.cores >= 0.001 && profile.cores.is_finite() {
        return Ok(());
    }
    Err(Error::invalid(format!("{} cores: the smallest amount in Mesos is 0.001", profile.cores))
        .with_hint("set spark.executor.cores and spark.driver.cores to 0.001 or more"))
}

/// The names of the ports in an executor's command line and environment (`{{executor.port.NAME}}`).
pub(super) fn named_ports(template: &ExecutorTemplate) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    let command = &template.command;
    let dir = template.working_dir.as_ref().map(|dir| dir.to_string_lossy());
    let texts = [command.program.as_str()]
        .into_iter()
        .chain(command.args.iter().map(String::as_str))
        .chain(template.env.values().map(String::as_str))
        .chain(dir.as_deref());
    for text in texts {
        native::expand(text, |placeholder| {
            if let Placeholder::ExecutorPort(port) = placeholder
                && !ports.iter().any(|known| known == port)
            {
                ports.push(port.to_owned());
            }
            Some(String::new())
        })?;
    }
    Ok(ports)
}

/// The sum of an agent's offers.
pub(super) fn sum(offers: &[Offer]) -> Amount {
    let mut amount = Amount::default();
    let (mut cpus, mut memory) = (0.0, 0.0);
    let mut add = |name: &str, more: u64| match amount.extra.get_mut(name) {
        Some(known) => *known += more,
        None => {
            amount.extra.insert(name.to_owned(), more);
        }
    };
    for resource in offers.iter().flat_map(|offer| &offer.resources) {
        match (resource.name.as_bytes(), resource.scalar, &resource.ranges) {
            (b"cpus", Some(scalar), _) => cpus += scalar.value,
            (b"mem", Some(scalar), _) => memory += scalar.value,
            // Disk space is not allocated.
            (b"disk", ..) => {}
            (_, Some(scalar), _) => add(resource.name.as_str(), scalar.value as u64),
            (b"ports", _, Some(ranges)) => {
                add(PORTS, ranges.range.iter().map(|range| range.end - range.begin + 1).sum());
            }
            _ => {}
        }
    }
    (amount.cores, amount.memory_mib) = (cpus.into(), memory as u64);
    amount
}

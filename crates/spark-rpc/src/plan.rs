//! What a registration asks of the cluster. No I/O.

use std::fmt;

use anymaster_core::conf::{Conf, keys};
use anymaster_core::model::{ExecutorTemplate, ExternalDriver, ProfileId, ResourceProfile};
use anymaster_core::{Result, WorkerShape};
use anymaster_spark_wire::Release;
use anymaster_spark_wire::messages::{self, RegisterApplication};

use crate::demand::Demand;
use crate::executor_command::template;
use crate::keys::{DEFAULT_CORES, MAX_EXECUTOR_RETRIES};
use crate::sparks::Sparks;

/// The memory in MiB beyond its heap of an executor that is not limited: half a pebibyte.
const UNLIMITED_MIB: u64 = 1 << 29;
/// Executors of an application that says nothing, where nothing else does: as on Kubernetes.
const DEFAULT_EXECUTORS: u32 = 2;

/// How registrations become applications.
pub(crate) struct Settings {
    pub(crate) conf: Conf,
    pub(crate) sparks: Sparks,
    /// The workers of the cluster, if their number is known.
    pub(crate) workers: Option<WorkerShape>,
    /// Whether the cluster shares out what it has as Spark's master does.
    pub(crate) shares_all: bool,
    /// The address of executors; that of their own machine if unset.
    pub(crate) executor_host: Option<String>,
    /// Whether an executor is ended when it uses more than its heap and its overhead.
    pub(crate) limits_memory: bool,
    /// The secret of `spark.authenticate`, for executors.
    pub(crate) secret: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("sparks", &self.sparks).finish_non_exhaustive()
    }
}

/// A registration as the cluster is asked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) driver: ExternalDriver,
    pub(crate) template: ExecutorTemplate,
    pub(crate) demand: Demand,
    pub(crate) shapes: Shapes,
}

/// Turns profiles of a driver into those of the cluster.
#[derive(Debug)]
pub(crate) struct Shapes {
    default: messages::ResourceProfile,
    /// The cores of an executor whose profile does not say it.
    cores: u32,
    limits_memory: bool,
    overhead: Conf,
}

impl Plan {
    pub(crate) fn new(
        registration: &RegisterApplication,
        release: Release,
        settings: &Settings,
    ) -> Result<Self> {
        let RegisterApplication { application, driver, .. } = registration;
        let home = application.command.environment.get("SPARK_HOME").map(String::as_str);
        let spark = settings.sparks.find(release, home)?;
        let host = settings.executor_host.as_deref().unwrap_or("{{executor.host}}");
        let template = template(&application.command, &spark, host, settings.secret.as_deref())?;
        let default_cores = settings.conf.read_optional(&DEFAULT_CORES)?;
        let max_cores = application.max_cores.or(default_cores);
        let shapes = Shapes {
            default: application.default_profile.clone(),
            cores: settings.cores_of_executor(max_cores)?,
            limits_memory: settings.limits_memory,
            overhead: settings.conf.clone(),
        };
        let shape = shapes.of(&application.default_profile)?;
        let total = match (application.initial_executor_limit, max_cores, settings.workers) {
            (Some(limit), ..) => limit,
            _ if settings.shares_all => u32::MAX,
            (None, Some(_), _) => u32::MAX,
            (None, None, Some(workers)) => {
                // `as` cuts at the ends of the range.
                workers.count.saturating_mul((f64::from(workers.cores) / shape.cores) as u32)
            }
            (None, None, None) => {
                settings.conf.read_optional(&keys::EXECUTOR_INSTANCES)?.unwrap_or(DEFAULT_EXECUTORS)
            }
        };
        // Such a cluster keeps to the limit itself.
        let mut demand = Demand::new(max_cores.filter(|_| !settings.shares_all));
        let cores = application.default_profile.cores();
        let conf = settings.conf_of(&application.name, cores, shape.cores, max_cores)?;
        demand.request(vec![(ProfileId(0), shape, total)]);
        let driver =
            ExternalDriver::new(&*application.name, &*driver.host, driver.port).with_conf(conf);
        driver.check()?;
        demand.target(&template).check()?;
        Ok(Self { driver, template, demand, shapes })
    }
}

impl Settings {
    /// Spark's standalone master gives an executor all cores of its worker unless the application says
    /// how many it wants.
    fn cores_of_executor(&self, max_cores: Option<u32>) -> Result<u32> {
        let given = self.conf.get(keys::EXECUTOR_CORES.info.name).is_some();
        Ok(match (given, self.workers) {
            (false, Some(workers)) => {
                let share = max_cores.map(|max| max / workers.count.max(1));
                share.unwrap_or(workers.cores).clamp(1, workers.cores.max(1))
            }
            // `as` cuts at the ends of the range.
            _ => (self.conf.read(&keys::EXECUTOR_CORES)? as u32).max(1),
        })
    }

    /// The properties by which a cluster that keeps targets itself allocates executors.
    fn conf_of(
        &self,
        name: &str,
        asked: Option<u32>,
        cores: f64,
        max_cores: Option<u32>,
    ) -> Result<Conf> {
        let mut conf = Conf::new();
        conf.set(keys::APP_NAME.info.name, name);
        if asked.is_some() || !self.shares_all {
            // Executors have the cores of their profile, and not all that a worker has.
            conf.set(keys::EXECUTOR_CORES.info.name, cores.to_string());
        }
        if let Some(max) = max_cores {
            conf.set(keys::CORES_MAX.info.name, max.to_string());
        }
        if self.shares_all {
            // It has a rule of its own, Spark's: so many with none running.
            conf.set(keys::EXECUTOR_MAX_FAILURES.info.name, u32::MAX.to_string());
            return Ok(conf);
        }
        let failures = self.conf.read_optional(&keys::EXECUTOR_MAX_FAILURES)?;
        let failures = failures.map_or_else(|| self.conf.read(&MAX_EXECUTOR_RETRIES), Ok)?;
        conf.set(keys::EXECUTOR_MAX_FAILURES.info.name, failures.to_string());
        Ok(conf)
    }
}

impl Shapes {
    /// The shape of executors of a profile.
    pub(crate) fn of(&self, profile: &messages::ResourceProfile) -> Result<ResourceProfile> {
        // One that is about tasks only has the executors of the default profile.
        let meant = match profile.is_of_tasks && profile.executor.is_empty() {
            true => &self.default,
            false => profile,
        };
        let cores = meant.cores().or_else(|| self.default.cores()).unwrap_or(self.cores);
        let mut shape = ResourceProfile::new(f64::from(cores), meant.memory_mib());
        shape.overhead_mib = match self.limits_memory {
            true => self.overhead_mib(meant)?.saturating_add(meant.off_heap_mib()),
            false => UNLIMITED_MIB,
        };
        shape.extra = meant.other().map(|(name, amount)| (name.to_owned(), amount)).collect();
        Ok(shape)
    }

    /// A standalone master has no such memory: it is that of containers, as Spark reckons it elsewhere.
    fn overhead_mib(&self, profile: &messages::ResourceProfile) -> Result<u64> {
        if let Some(overhead) = profile.memory_overhead_mib() {
            return Ok(overhead);
        }
        let mut conf = self.overhead.clone();
        conf.set(keys::EXECUTOR_MEMORY.info.name, format!("{}m", profile.memory_mib().max(1)));
        Ok(ResourceProfile::of_executors(&conf)?.overhead_mib)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anymaster_spark_wire::messages::{ApplicationDescription, CommandDescription};
    use anymaster_spark_wire::{ReleaseLine, RpcAddress};

    use super::*;
    use crate::executor_command::SparkInstallation;

    const RELEASE: Release = Release { scala: "2.13", line: Some(ReleaseLine::V4_0) };

    fn registration(
        max_cores: Option<u32>,
        limit: Option<u32>,
        resources: &[(&str, i64)],
    ) -> RegisterApplication {
        let executor = resources.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
        RegisterApplication {
            application: ApplicationDescription {
                name: "app".to_owned(),
                max_cores,
                command: CommandDescription {
                    main_class: "Backend".to_owned(),
                    arguments: Vec::new(),
                    environment: BTreeMap::new(),
                    class_path: Vec::new(),
                    library_path: Vec::new(),
                    java_options: Vec::new(),
                },
                ui_url: String::new(),
                default_profile: messages::ResourceProfile {
                    id: 0,
                    executor: executor.collect(),
                    is_of_tasks: false,
                },
                initial_executor_limit: limit,
                user: "me".to_owned(),
            },
            driver: RpcAddress { host: "driver".to_owned(), port: 7 },
            endpoint: "AppClient".to_owned(),
        }
    }

    fn settings(workers: Option<WorkerShape>, conf: &[(&str, &str)]) -> Settings {
        Settings {
            conf: conf.iter().copied().collect(),
            sparks: Sparks::Elsewhere(SparkInstallation::at("/opt/spark")),
            workers,
            shares_all: false,
            executor_host: None,
            limits_memory: workers.is_none(),
            secret: None,
        }
    }

    /// Executors, the cores of each, and the limit of its memory in MiB.
    fn executors(registration: &RegisterApplication, settings: &Settings) -> (u32, f64, u64) {
        let plan = Plan::new(registration, RELEASE, settings).unwrap();
        let target = plan.demand.target(&plan.template);
        let profile = &target.profiles[&ProfileId(0)];
        (profile.executors, profile.profile.cores, profile.profile.memory_limit_mib())
    }

    #[test]
    fn an_application_that_says_nothing_gets_all_of_a_cluster_of_known_size() {
        let one = settings(Some(WorkerShape { count: 1, cores: 4 }), &[]);
        let three = settings(Some(WorkerShape { count: 3, cores: 2 }), &[]);
        let says_nothing = registration(None, None, &[("memory", 1024)]);
        let count_and_cores = |settings| {
            let (count, cores, _) = executors(&says_nothing, settings);
            (count, cores)
        };
        assert_eq!(count_and_cores(&one), (1, 4.0));
        assert_eq!(count_and_cores(&three), (3, 2.0));
        let (count, cores, _) = executors(&registration(None, None, &[("cores", 1)]), &three);
        assert_eq!((count, cores), (6, 1.0));
        let (count, cores, _) = executors(&registration(Some(2), None, &[]), &one);
        assert_eq!((count, cores), (1, 2.0));
    }

    #[test]
    fn elsewhere_it_gets_a_few_unless_the_gateway_says_how_many() {
        let says_nothing = registration(None, None, &[("memory", 1000)]);
        assert_eq!(executors(&says_nothing, &settings(None, &[])), (2, 1.0, 1384));
        let five = settings(None, &[("spark.executor.instances", "5")]);
        assert_eq!(executors(&says_nothing, &five).0, 5);
        let cores = [("spark.deploy.defaultCores", "9"), ("spark.executor.cores", "2")];
        assert_eq!(executors(&says_nothing, &settings(None, &cores)), (4, 2.0, 1384));
        // What the application says counts more.
        let asks = registration(Some(3), None, &[("cores", 1), ("memory", 1000)]);
        assert_eq!(executors(&asks, &settings(None, &cores)), (3, 1.0, 1384));
        let dynamic = registration(None, Some(0), &[]);
        assert_eq!(executors(&dynamic, &five).0, 0);
    }

    #[test]
    fn a_cluster_that_shares_all_is_asked_for_all_and_keeps_to_the_limits_itself() {
        let mut settings = settings(None, &[]);
        settings.shares_all = true;
        let asked = |registration: &RegisterApplication| {
            let plan = Plan::new(registration, RELEASE, &settings).unwrap();
            let many = plan.demand.target(&plan.template).profiles[&ProfileId(0)].executors;
            let conf = plan.driver.conf;
            let get = |name: &str| conf.get(name).map(str::to_owned);
            (many, get("spark.executor.cores"), get("spark.cores.max"))
        };
        let says_nothing = registration(None, None, &[("memory", 1024)]);
        assert_eq!(asked(&says_nothing), (u32::MAX, None, None));
        let limited = registration(Some(4), None, &[("cores", 2)]);
        assert_eq!(asked(&limited), (u32::MAX, Some("2".to_owned()), Some("4".to_owned())));
        assert_eq!(asked(&registration(None, Some(0), &[])), (0, None, None));
    }

    #[test]
    fn the_limit_of_a_container_has_all_that_spark_reckons() {
        let all = registration(
            None,
            None,
            &[("memory", 1000), ("memoryOverhead", 100), ("offHeap", 10), ("pyspark.memory", 1)],
        );
        assert_eq!(executors(&all, &settings(None, &[])).2, 1111);
        let factor = settings(None, &[("spark.executor.memoryOverheadFactor", "0.5")]);
        assert_eq!(executors(&registration(None, None, &[("memory", 1000)]), &factor).2, 1500);
    }

    #[test]
    fn a_profile_of_tasks_has_the_executors_of_the_default_one() {
        let settings = settings(None, &[]);
        let default = registration(None, None, &[("cores", 3), ("memory", 2000)]);
        let plan = Plan::new(&default, RELEASE, &settings).unwrap();
        let of_tasks =
            messages::ResourceProfile { id: 4, executor: BTreeMap::new(), is_of_tasks: true };
        let shape = plan.shapes.of(&of_tasks).unwrap();
        assert_eq!((shape.cores, shape.memory_mib), (3.0, 2000));
    }
}

//! The table itself: one entry a property.

use super::*;

const MEBI: Kind = Kind::Size(SizeUnit::Mebi);
const BYTES: Kind = Kind::Size(SizeUnit::Byte);
const MILLIS: Kind = Kind::Time(TimeUnit::Millisecond);
const SECONDS: Kind = Kind::Time(TimeUnit::Second);

crate::property_keys! {
    /// Where the cluster is.
    MASTER: String = "spark.master", Kind::Text, Some("local[*]"), "0.9.0", Honoured;
    /// The application's name, for people.
    APP_NAME: String = "spark.app.name", Kind::Text, None, "0.9.0", Honoured;
    /// The application's id, where the submitter chooses it.
    APP_ID: String = "spark.app.id", Kind::Text, None, "1.4.0", Honoured;
    /// Where the driver runs: `client`, with the submitter, or `cluster`.
    DEPLOY_MODE: String = "spark.submit.deployMode", Kind::Text, Some("client"), "1.5.0", Honoured;
    /// Which properties are secret and never shown.
    REDACTION_REGEX: String = "spark.redaction.regex", Kind::Text, Some("(?i)secret|password|token|access[.]?key"), "2.1.2", Honoured;

    /// The driver's memory.
    DRIVER_MEMORY: u64 = "spark.driver.memory", MEBI, Some("1g"), "1.1.1", Honoured;
    /// The driver's cores, in cluster mode.
    DRIVER_CORES: f64 = "spark.driver.cores", Kind::Number, Some("1"), "1.3.0", Honoured;
    /// Memory of the driver's process on top of its heap.
    DRIVER_MEMORY_OVERHEAD: u64 = "spark.driver.memoryOverhead", MEBI, None, "2.3.0", Honoured, was "spark.yarn.driver.memoryOverhead" "spark.kubernetes.driver.memoryOverhead";
    /// That memory as a share of the heap, where it is not given.
    DRIVER_MEMORY_OVERHEAD_FACTOR: f64 = "spark.driver.memoryOverheadFactor", Kind::Number, Some("0.1"), "3.3.0", Honoured;
    /// The least such memory.
    DRIVER_MIN_MEMORY_OVERHEAD: u64 = "spark.driver.minMemoryOverhead", MEBI, Some("384m"), "4.0.0", Honoured;
    /// The address under which executors reach the driver.
    DRIVER_HOST: String = "spark.driver.host", Kind::Text, None, "0.7.0", Honoured;
    /// The port under which executors reach the driver; a free one if it is 0.
    DRIVER_PORT: u32 = "spark.driver.port", Kind::Count, Some("0"), "0.7.0", Honoured;
    /// The address on which the driver listens.
    DRIVER_BIND_ADDRESS: String = "spark.driver.bindAddress", Kind::Text, None, "2.1.0", Passed;
    /// Class path entries before all others of the driver.
    DRIVER_CLASS_PATH: String = "spark.driver.extraClassPath", Kind::Text, None, "1.0.0", Honoured;
    /// JVM options of the driver; the heap is `spark.driver.memory`.
    DRIVER_JAVA_OPTIONS: String = "spark.driver.extraJavaOptions", Kind::Text, None, "1.0.0", Honoured;
    /// JVM options of the driver that the administrator sets; they come first.
    DRIVER_DEFAULT_JAVA_OPTIONS: String = "spark.driver.defaultJavaOptions", Kind::Text, None, "3.0.0", Honoured;
    /// Where the driver finds native libraries.
    DRIVER_LIBRARY_PATH: String = "spark.driver.extraLibraryPath", Kind::Text, None, "1.0.0", Honoured;
    /// Whether a driver that fails is started again, where the cluster can do that.
    DRIVER_SUPERVISE: bool = "spark.driver.supervise", Kind::Flag, Some("false"), "1.3.0", Honoured;
    /// The user's class path comes before Spark's.
    DRIVER_USER_CLASS_PATH_FIRST: bool = "spark.driver.userClassPathFirst", Kind::Flag, Some("false"), "1.3.0", Passed;

    /// How many executors a static allocation has.
    EXECUTOR_INSTANCES: u32 = "spark.executor.instances", Kind::Count, None, "1.0.0", Honoured;
    /// Cores of each executor.
    EXECUTOR_CORES: f64 = "spark.executor.cores", Kind::Number, Some("1"), "1.0.0", Honoured;
    /// Memory of each executor.
    EXECUTOR_MEMORY: u64 = "spark.executor.memory", MEBI, Some("1g"), "0.7.0", Honoured;
    /// Memory of an executor's process on top of its heap.
    EXECUTOR_MEMORY_OVERHEAD: u64 = "spark.executor.memoryOverhead", MEBI, None, "2.3.0", Honoured, was "spark.yarn.executor.memoryOverhead" "spark.kubernetes.executor.memoryOverhead";
    /// That memory as a share of the heap, where it is not given.
    EXECUTOR_MEMORY_OVERHEAD_FACTOR: f64 = "spark.executor.memoryOverheadFactor", Kind::Number, Some("0.1"), "3.3.0", Honoured;
    /// The least such memory.
    EXECUTOR_MIN_MEMORY_OVERHEAD: u64 = "spark.executor.minMemoryOverhead", MEBI, Some("384m"), "4.0.0", Honoured;
    /// Whether executors use memory outside of their heap.
    OFF_HEAP_ENABLED: bool = "spark.memory.offHeap.enabled", Kind::Flag, Some("false"), "1.6.0", Honoured;
    /// How much: on Kubernetes it is part of what an executor's pod gets.
    OFF_HEAP_SIZE: u64 = "spark.memory.offHeap.size", BYTES, Some("0"), "1.6.0", Honoured;
    /// How many executors may fail before no more are started; twice the target and at least 3 where it is unset.
    EXECUTOR_MAX_FAILURES: u32 = "spark.executor.maxNumFailures", Kind::Count, None, "3.5.0", Honoured, was "spark.yarn.max.executor.failures";
    /// How long a failure counts towards that limit; for ever where it is unset.
    EXECUTOR_FAILURES_VALIDITY_INTERVAL: Duration = "spark.executor.failuresValidityInterval", MILLIS, None, "3.5.0", Honoured, was "spark.yarn.executor.failuresValidityInterval";
    /// How an executor's output is rotated: `size`, or empty for not at all.
    EXECUTOR_LOGS_STRATEGY: String = "spark.executor.logs.rolling.strategy", Kind::Text, Some("size"), "1.1.0", Honoured;
    /// At which size a log file is rotated.
    EXECUTOR_LOGS_MAX_SIZE: u64 = "spark.executor.logs.rolling.maxSize", BYTES, Some("128m"), "1.4.0", Honoured, was "spark.executor.logs.rolling.size.maxBytes";
    /// How many rotated files are kept.
    EXECUTOR_LOGS_MAX_RETAINED: u32 = "spark.executor.logs.rolling.maxRetainedFiles", Kind::Count, Some("4"), "1.1.0", Honoured;
    /// The most cores an application takes, on clusters that share cores out.
    CORES_MAX: u32 = "spark.cores.max", Kind::Count, None, "0.6.0", Honoured;

    /// Jars for driver and executors.
    JARS: Vec<String> = "spark.jars", Kind::List, None, "0.9.0", Honoured;
    /// Files put into each executor's working directory.
    FILES: Vec<String> = "spark.files", Kind::List, None, "1.0.0", Honoured;
    /// Archives unpacked into each executor's working directory.
    ARCHIVES: Vec<String> = "spark.archives", Kind::List, None, "3.1.0", Honoured;
    /// Python files for the Python path.
    PY_FILES: Vec<String> = "spark.submit.pyFiles", Kind::List, None, "1.0.1", Honoured;
    /// Maven coordinates of jars for driver and executors.
    JARS_PACKAGES: Vec<String> = "spark.jars.packages", Kind::List, None, "1.5.0", Passed;
    /// Maven coordinates that are left out.
    JARS_EXCLUDES: Vec<String> = "spark.jars.excludes", Kind::List, None, "1.5.0", Passed;
    /// More Maven repositories.
    JARS_REPOSITORIES: Vec<String> = "spark.jars.repositories", Kind::List, None, "2.3.0", Passed;

    /// As whom the driver logs in to Hadoop's services, with a keytab.
    KERBEROS_PRINCIPAL: String = "spark.kerberos.principal", Kind::Text, None, "3.0.0", Honoured, was "spark.yarn.principal";
    /// The keytab of that principal: a file here, or with `local:` one in the image.
    KERBEROS_KEYTAB: String = "spark.kerberos.keytab", Kind::Text, None, "3.0.0", Honoured, was "spark.yarn.keytab";
    /// With what the driver gets new tokens of Hadoop's services.
    KERBEROS_RENEWAL: String = "spark.kerberos.renewal.credentials", Kind::Choice(&["keytab", "ccache"]), Some("keytab"), "3.0.0", Passed;

    /// Whether the number of executors follows the work.
    DYNAMIC_ALLOCATION: bool = "spark.dynamicAllocation.enabled", Kind::Flag, Some("false"), "1.2.0", Passed;
    /// The least number of executors.
    DYNAMIC_ALLOCATION_MIN: u32 = "spark.dynamicAllocation.minExecutors", Kind::Count, Some("0"), "1.2.0", Honoured;
    /// The greatest number of executors.
    DYNAMIC_ALLOCATION_MAX: u32 = "spark.dynamicAllocation.maxExecutors", Kind::Count, Some("2147483647"), "1.2.0", Honoured;
    /// How many executors there are at the beginning; else the least number.
    DYNAMIC_ALLOCATION_INITIAL: u32 = "spark.dynamicAllocation.initialExecutors", Kind::Count, None, "1.3.0", Honoured;
    /// How long work waits before executors are added for it.
    DYNAMIC_ALLOCATION_BACKLOG_TIMEOUT: Duration = "spark.dynamicAllocation.schedulerBacklogTimeout", SECONDS, Some("1s"), "1.2.0", Honoured;
    /// How long work waits before more of them are added; else as long as at first.
    DYNAMIC_ALLOCATION_SUSTAINED_BACKLOG_TIMEOUT: Duration = "spark.dynamicAllocation.sustainedSchedulerBacklogTimeout", SECONDS, None, "1.2.0", Honoured;
    /// How long an executor is idle before it is removed.
    DYNAMIC_ALLOCATION_IDLE_TIMEOUT: Duration = "spark.dynamicAllocation.executorIdleTimeout", SECONDS, Some("60s"), "1.2.0", Honoured;
    /// The same of an executor that holds cached data; unset, it is kept.
    DYNAMIC_ALLOCATION_CACHED_IDLE_TIMEOUT: Duration = "spark.dynamicAllocation.cachedExecutorIdleTimeout", SECONDS, None, "1.4.0", Honoured;
    /// The same of an executor that holds what others may still read; unset, it is kept.
    DYNAMIC_ALLOCATION_SHUFFLE_TIMEOUT: Duration = "spark.dynamicAllocation.shuffleTracking.timeout", MILLIS, None, "3.0.0", Honoured;
    /// Which part of the executors that would do all work at once there are.
    DYNAMIC_ALLOCATION_RATIO: f64 = "spark.dynamicAllocation.executorAllocationRatio", Kind::Number, Some("1.0"), "2.4.0", Honoured;
    /// Whether Spark's processes prove to each other that they share a secret.
    AUTHENTICATE: bool = "spark.authenticate", Kind::Flag, Some("false"), "1.0.0", Passed;
    /// That secret.
    AUTHENTICATE_SECRET: String = "spark.authenticate.secret", Kind::Text, None, "1.0.0", Passed;
    /// The secret that a driver outside of the cluster shares with its executors. Set by its library: not a setting.
    APPLICATION_SECRET: String = "spark.anymaster.application.secret", Kind::Text, None, "0.1.0", Passed;

    /// How many executors are asked for at once.
    ALLOCATION_BATCH_SIZE: u32 = "spark.anymaster.allocation.batchSize", Kind::Count, Some("1000"), "0.1.0", Honoured;
    /// Least time between two batches.
    ALLOCATION_BATCH_DELAY: Duration = "spark.anymaster.allocation.batchDelay", MILLIS, Some("0"), "0.1.0", Honoured;
    /// How many executors may be asked for and not yet run.
    ALLOCATION_MAX_PENDING: u32 = "spark.anymaster.allocation.maxPending", Kind::Count, Some("4294967295"), "0.1.0", Honoured;
    /// How long an executor that is to end has before it is made to.
    EXECUTOR_STOP_GRACE: Duration = "spark.anymaster.executor.stopGrace", SECONDS, Some("10s"), "0.1.0", Honoured;
    /// Whether Spark's driver in client mode starts from a class archive (Java's CDS): `auto`, if there is one; `create`, and write it when the application ends; or `off`.
    CLIENT_CLASS_ARCHIVE: String = "spark.anymaster.client.classArchive", Kind::Text, Some("auto"), "0.1.0", Honoured;
    /// How many applications that ended a local cluster keeps, with their logs.
    LOCAL_RETAINED_APPLICATIONS: u32 = "spark.anymaster.local.retainedApplications", Kind::Count, Some("200"), "0.1.0", Honoured;
}

//! Spark's properties for YARN, and what becomes of each in cluster mode (Spark 3.5 and 4.x,
//! `org.apache.spark.deploy.yarn.config`).

use std::time::Duration;

use anymaster_core::conf::keys::Kind;
use anymaster_core::conf::{SizeUnit, TimeUnit};

const MEBI: Kind = Kind::Size(SizeUnit::Mebi);
const MILLIS: Kind = Kind::Time(TimeUnit::Millisecond);
const SECONDS: Kind = Kind::Time(TimeUnit::Second);

anymaster_core::property_keys! {
    /// The queue that the application is submitted to.
    QUEUE: String = "spark.yarn.queue", Kind::Text, Some("default"), "1.0.0", Honoured;
    /// Tags of the application, separated by commas. They are written in lower case: YARN finds no others.
    TAGS: Vec<String> = "spark.yarn.tags", Kind::List, None, "1.5.0", Honoured;
    /// The priority of the application within its queue: higher goes first.
    PRIORITY: u32 = "spark.yarn.priority", Kind::Count, None, "3.0.0", Honoured;
    /// The type of the application, as lists have it.
    APPLICATION_TYPE: String = "spark.yarn.applicationType", Kind::Text, Some("SPARK"), "3.1.0", Honoured;
    /// How often the driver is started at most [default: as the cluster says].
    MAX_APP_ATTEMPTS: u32 = "spark.yarn.maxAppAttempts", Kind::Count, None, "1.3.0", Honoured;
    /// Attempts that failed longer ago than this no longer count.
    AM_FAILURES_VALIDITY_INTERVAL: Duration = "spark.yarn.am.attemptFailuresValidityInterval", MILLIS, None, "1.6.0", Honoured;
    /// The label of nodes that may run the driver.
    AM_NODE_LABEL: String = "spark.yarn.am.nodeLabelExpression", Kind::Text, None, "1.6.0", Honoured;
    /// Which of the configuration goes to the ResourceManager with delegation tokens; only with Kerberos.
    AM_TOKEN_CONF_REGEX: String = "spark.yarn.am.tokenConfRegex", Kind::Text, None, "3.3.0", Refused;
    /// Memory of the application master in client mode, where Spark's own JVM submits.
    AM_MEMORY: u64 = "spark.yarn.am.memory", MEBI, Some("512m"), "1.3.0", Passed;
    /// Cores of the application master in client mode.
    AM_CORES: u32 = "spark.yarn.am.cores", Kind::Count, Some("1"), "1.3.0", Passed;
    /// Memory of the application master beyond its heap, in client mode.
    AM_MEMORY_OVERHEAD: u64 = "spark.yarn.am.memoryOverhead", MEBI, None, "1.3.0", Passed;
    /// Options of the JVM of the application master, in client mode.
    AM_JAVA_OPTIONS: String = "spark.yarn.am.extraJavaOptions", Kind::Text, None, "1.3.0", Passed;
    /// Native libraries of the application master, in client mode.
    AM_LIBRARY_PATH: String = "spark.yarn.am.extraLibraryPath", Kind::Text, None, "1.4.0", Passed;
    /// Other resources of the application master in client mode: `spark.yarn.am.resource.NAME.amount`.
    AM_RESOURCES: String = "spark.yarn.am.resource.*", Kind::Text, None, "3.0.0", Passed;
    /// Other resources of the driver, by the names that YARN has for them: `spark.yarn.driver.resource.NAME.amount`.
    DRIVER_RESOURCES: String = "spark.yarn.driver.resource.*", Kind::Text, None, "3.0.0", Honoured;
    /// Other resources of executors, by the names that YARN has for them: `spark.yarn.executor.resource.NAME.amount`.
    EXECUTOR_RESOURCES: String = "spark.yarn.executor.resource.*", Kind::Text, None, "3.0.0", Passed;
    /// What YARN calls the resource `gpu`.
    GPU_NAME: String = "spark.yarn.resourceGpuDeviceName", Kind::Text, Some("yarn.io/gpu"), "3.2.1", Honoured;
    /// What YARN calls the resource `fpga`.
    FPGA_NAME: String = "spark.yarn.resourceFpgaDeviceName", Kind::Text, Some("yarn.io/fpga"), "3.2.1", Honoured;
    /// An archive with Spark's jars, at a place that all machines reach. Without it and `spark.yarn.jars` those of this machine are uploaded once, and found there by later submissions.
    ARCHIVE: String = "spark.yarn.archive", Kind::Text, None, "2.0.0", Honoured;
    /// Spark's jars one by one, at places that all machines reach; with `*` in names.
    JARS: Vec<String> = "spark.yarn.jars", Kind::List, None, "2.0.0", Honoured;
    /// Archives that are unpacked in the working directory of driver and executors.
    DIST_ARCHIVES: Vec<String> = "spark.yarn.dist.archives", Kind::List, None, "1.0.0", Honoured;
    /// Files in the working directory of driver and executors.
    DIST_FILES: Vec<String> = "spark.yarn.dist.files", Kind::List, None, "1.0.0", Honoured;
    /// Jars on the class path of driver and executors.
    DIST_JARS: Vec<String> = "spark.yarn.dist.jars", Kind::List, None, "2.0.0", Honoured;
    /// Files and archives on the Python path of driver and executors; the same as `--py-files`.
    DIST_PY_FILES: Vec<String> = "spark.yarn.dist.pyFiles", Kind::List, None, "2.2.1", Honoured;
    /// Schemes of jars that are downloaded before they are distributed, by Spark's own client.
    FORCE_DOWNLOAD_SCHEMES: Vec<String> = "spark.yarn.dist.forceDownloadSchemes", Kind::List, None, "2.3.0", Dropped;
    /// Where files of submissions go, in a directory of each [default: the user's directory on the default file system].
    STAGING_DIR: String = "spark.yarn.stagingDir", Kind::Text, None, "2.0.0", Honoured;
    /// Whether files of a submission stay when its application has ended.
    PRESERVE_STAGING_FILES: bool = "spark.yarn.preserve.staging.files", Kind::Flag, Some("false"), "1.1.0", Honoured;
    /// How many copies there are of each file that is uploaded [default: as the file system says].
    SUBMIT_REPLICATION: u32 = "spark.yarn.submit.file.replication", Kind::Count, None, "0.8.1", Honoured;
    /// Whether the submission waits until the application ends.
    WAIT_APP_COMPLETION: bool = "spark.yarn.submit.waitAppCompletion", Kind::Flag, Some("true"), "1.4.0", Honoured;
    /// How often the state of the application is asked for.
    REPORT_INTERVAL: Duration = "spark.yarn.report.interval", MILLIS, Some("1s"), "0.9.0", Honoured;
    /// After how many reports an unchanged state is told again, by Spark's own client.
    REPORT_LOGGING_FREQUENCY: u32 = "spark.yarn.report.loggingFrequency", Kind::Count, Some("30"), "3.5.0", Dropped;
    /// Whether reports have the place of the driver's logs; `anymaster logs` shows them.
    INCLUDE_DRIVER_LOGS_LINK: bool = "spark.yarn.includeDriverLogsLink", Kind::Flag, Some("false"), "3.1.0", Dropped;
    /// Whether the application's own jars come before Spark's.
    USER_CLASS_PATH_FIRST: bool = "spark.yarn.user.classpath.first", Kind::Flag, Some("false"), "1.3.0", Honoured;
    /// Whether the class path has that of Hadoop on the nodes [default: true for a Spark without Hadoop].
    POPULATE_HADOOP_CLASSPATH: bool = "spark.yarn.populateHadoopClasspath", Kind::Flag, None, "2.4.6", Honoured;
    /// A path of this machine that is another one on the nodes.
    GATEWAY_PATH: String = "spark.yarn.config.gatewayPath", Kind::Text, None, "1.5.0", Honoured;
    /// What that path is on the nodes; it may have `{{VARIABLES}}` of theirs.
    REPLACEMENT_PATH: String = "spark.yarn.config.replacementPath", Kind::Text, None, "1.5.0", Honoured;
    /// The names of log files that are aggregated while the application runs, as a regular expression.
    ROLLED_LOG_INCLUDE: String = "spark.yarn.rolledLog.includePattern", Kind::Text, None, "2.0.0", Honoured;
    /// The names of log files that are not.
    ROLLED_LOG_EXCLUDE: String = "spark.yarn.rolledLog.excludePattern", Kind::Text, None, "2.0.0", Honoured;
    /// A variable of the driver: `spark.yarn.appMasterEnv.NAME`. NodeManagers replace `$NAME` and `{{NAME}}` in it.
    AM_ENV: String = "spark.yarn.appMasterEnv.*", Kind::Text, None, "1.1.0", Honoured;
    /// The history server to which YARN's page links when the application has ended.
    HISTORY_SERVER: String = "spark.yarn.historyServer.address", Kind::Text, None, "1.0.0", Passed;
    /// Whether the history server may be the page of the application itself.
    HISTORY_SERVER_TRACKING: bool = "spark.yarn.historyServer.allowTracking", Kind::Flag, Some("false"), "2.2.0", Passed;
    /// Whether the application master runs in the submitting process. Only in client mode, by Spark's own JVM.
    UNMANAGED_AM: bool = "spark.yarn.unmanagedAM.enabled", Kind::Flag, Some("false"), "3.0.0", Passed;
    /// How often Spark's own JVM looks at its launcher, in client mode.
    CLIENT_LAUNCH_MONITOR_INTERVAL: Duration = "spark.yarn.clientLaunchMonitorInterval", MILLIS, Some("1s"), "3.3.0", Passed;
    /// Whether the client ends when the application master does, in client mode.
    AM_CLIENT_MODE_EXIT_ON_ERROR: bool = "spark.yarn.am.clientModeExitOnError", Kind::Flag, Some("false"), "3.3.0", Passed;
    /// Whether a connection of the driver that ends is a failure, in client mode.
    AM_DISCONNECT_AS_FAILED: bool = "spark.yarn.am.clientModeTreatDisconnectAsFailed", Kind::Flag, Some("false"), "3.3.0", Passed;
    /// Whether Spark's own client lists directories at once; here they always are.
    STAT_CACHE_PRELOAD: bool = "spark.yarn.client.statCache.preload.enabled", Kind::Flag, Some("false"), "4.0.0", Dropped;
    /// From how many files of a directory on it does.
    STAT_CACHE_THRESHOLD: u32 = "spark.yarn.client.statCache.preload.perDirectoryThreshold", Kind::Count, Some("5"), "4.0.0", Dropped;
    /// How long the application master waits for the driver's context.
    AM_WAIT_TIME: Duration = "spark.yarn.am.waitTime", MILLIS, Some("100s"), "1.3.0", Passed;
    /// The longest message at the end of an application.
    AM_FINAL_MESSAGE_LIMIT: u64 = "spark.yarn.am.finalMessageLimit", Kind::Size(SizeUnit::Byte), Some("1m"), "2.4.0", Passed;
    /// How many containers the application master starts at once.
    CONTAINER_LAUNCHER_THREADS: u32 = "spark.yarn.containerLauncherMaxThreads", Kind::Count, Some("25"), "1.2.0", Passed;
    /// The longest pause between two requests of the application master.
    HEARTBEAT_INTERVAL: Duration = "spark.yarn.scheduler.heartbeat.interval-ms", MILLIS, Some("3s"), "0.8.1", Passed;
    /// The first pause of the application master while containers are missing.
    INITIAL_ALLOCATION_INTERVAL: Duration = "spark.yarn.scheduler.initial-allocation.interval", MILLIS, Some("200ms"), "1.4.0", Passed;
    /// How many requests of the application master may fail in a row.
    REPORTER_THREAD_MAX_FAILURES: u32 = "spark.yarn.scheduler.reporterThread.maxFailures", Kind::Count, Some("5"), "1.2.0", Passed;
    /// The label of nodes that may run executors.
    EXECUTOR_NODE_LABEL: String = "spark.yarn.executor.nodeLabelExpression", Kind::Text, None, "1.4.0", Passed;
    /// Nodes that get no executors.
    EXCLUDE_NODES: Vec<String> = "spark.yarn.exclude.nodes", Kind::List, None, "3.0.0", Passed;
    /// Whether nodes on which executors fail to start get no more of them.
    EXCLUDE_ON_LAUNCH_FAILURE: bool = "spark.yarn.executor.launch.excludeOnFailure.enabled", Kind::Flag, Some("false"), "3.1.0", Passed;
    /// Under which name metrics of the application master are reported.
    METRICS_NAMESPACE: String = "spark.yarn.metrics.namespace", Kind::Text, None, "2.4.0", Passed;
    /// Properties of YARN's shuffle service.
    SHUFFLE: String = "spark.yarn.shuffle.*", Kind::Text, None, "1.2.0", Passed;
    /// File systems whose tokens Spark's driver gets itself; only with Kerberos.
    KERBEROS_FILE_SYSTEMS: Vec<String> = "spark.kerberos.access.hadoopFileSystems", Kind::List, None, "3.0.0", Passed;
    /// Memory of the Python workers of an executor, in addition to what it has else.
    PYSPARK_MEMORY: u64 = "spark.executor.pyspark.memory", MEBI, None, "2.4.0", Honoured;
    /// The program `anymaster` for the application masters of drivers that are programs: a URI, or `local:/PATH` if all nodes have it there [default: the one that submits is uploaded once, and found there by later submissions].
    PROGRAM: String = "spark.anymaster.yarn.program", Kind::Text, None, "0.1.0", Honoured;
    /// How long the client waits for the end of a kill.
    KILL_TIMEOUT: Duration = "spark.anymaster.yarn.killTimeout", SECONDS, Some("30s"), "0.1.0", Honoured;
}

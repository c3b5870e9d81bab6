//! Spark's properties for Kubernetes, and what becomes of each at submission (Spark 3.5,
//! `org.apache.spark.deploy.k8s.Config`; 4.x where noted).

use std::time::Duration;

use anymaster_core::conf::keys::{KeyInfo, Kind, Treatment};
use anymaster_core::conf::{Conf, TimeUnit};
use anymaster_core::{Error, Result, SparkRelease};

const MILLIS: Kind = Kind::Time(TimeUnit::Millisecond);
const SECONDS: Kind = Kind::Time(TimeUnit::Second);

anymaster_core::property_keys! {
    /// The namespace of the application. Commands such as `ps` default to that of the kubeconfig's context.
    NAMESPACE: String = "spark.kubernetes.namespace", Kind::Text, Some("default"), "2.3.0", Honoured, was "spark.kubernetes.driver.namespace";
    /// The context of the kubeconfig, instead of the current one.
    CONTEXT: String = "spark.kubernetes.context", Kind::Text, None, "3.0.0", Honoured;
    /// Whether the API server's certificate is trusted without verification. Anybody on the network path can then read and change the traffic.
    TRUST_CERTIFICATES: bool = "spark.kubernetes.trust.certificates", Kind::Flag, Some("false"), "3.2.0", Honoured;
    /// The image of driver and executors.
    IMAGE: String = "spark.kubernetes.container.image", Kind::Text, None, "2.3.0", Honoured;
    /// The driver's image.
    DRIVER_IMAGE: String = "spark.kubernetes.driver.container.image", Kind::Text, None, "2.3.0", Honoured, was "spark.kubernetes.driver.docker.image";
    /// The executors' image.
    EXECUTOR_IMAGE: String = "spark.kubernetes.executor.container.image", Kind::Text, None, "2.3.0", Passed, was "spark.kubernetes.executor.docker.image";
    /// The pull policy of images.
    IMAGE_PULL_POLICY: String = "spark.kubernetes.container.image.pullPolicy", Kind::Choice(&["Always", "Never", "IfNotPresent"]), Some("IfNotPresent"), "2.3.0", Honoured, was "spark.kubernetes.docker.image.pullPolicy";
    /// Secrets with the credentials of image registries.
    IMAGE_PULL_SECRETS: Vec<String> = "spark.kubernetes.container.image.pullSecrets", Kind::List, None, "2.4.0", Honoured;

    /// The service account of the driver's pod.
    DRIVER_SERVICE_ACCOUNT: String = "spark.kubernetes.authenticate.driver.serviceAccountName", Kind::Text, None, "2.3.0", Honoured;
    /// The service account of the executors' pods.
    EXECUTOR_SERVICE_ACCOUNT: String = "spark.kubernetes.authenticate.executor.serviceAccountName", Kind::Text, None, "3.1.0", Passed;
    /// A file with the CA certificate of the API server, for the submission.
    SUBMISSION_CA_CERT_FILE: String = "spark.kubernetes.authenticate.submission.caCertFile", Kind::Text, None, "2.3.0", Honoured;
    /// A file with the key of the submitter's certificate.
    SUBMISSION_CLIENT_KEY_FILE: String = "spark.kubernetes.authenticate.submission.clientKeyFile", Kind::Text, None, "2.3.0", Honoured;
    /// A file with the submitter's certificate.
    SUBMISSION_CLIENT_CERT_FILE: String = "spark.kubernetes.authenticate.submission.clientCertFile", Kind::Text, None, "2.3.0", Honoured;
    /// The submitter's token.
    SUBMISSION_OAUTH_TOKEN: String = "spark.kubernetes.authenticate.submission.oauthToken", Kind::Text, None, "2.3.0", Honoured;
    /// A file with the submitter's token; read again when it changes.
    SUBMISSION_OAUTH_TOKEN_FILE: String = "spark.kubernetes.authenticate.submission.oauthTokenFile", Kind::Text, None, "2.3.0", Honoured;
    /// A local file that is mounted into the driver's pod from a secret: CA certificate, key or certificate (`caCertFile`, `clientKeyFile`, `clientCertFile`); or a token (`oauthToken`, the token itself).
    DRIVER_CREDENTIALS: String = "spark.kubernetes.authenticate.driver.*", Kind::Text, None, "2.3.0", Honoured;
    /// The paths of these files in the driver's pod, if they exist there (`caCertFile`, `clientKeyFile`, `clientCertFile`, `oauthTokenFile`).
    DRIVER_MOUNTED_CREDENTIALS: String = "spark.kubernetes.authenticate.driver.mounted.*", Kind::Text, None, "2.3.0", Honoured;
    /// Credentials of a driver in client mode.
    CLIENT_CREDENTIALS: String = "spark.kubernetes.authenticate.*", Kind::Text, None, "2.4.0", Passed;

    /// The connection time-out of the submission.
    SUBMISSION_CONNECTION_TIMEOUT: Duration = "spark.kubernetes.submission.connectionTimeout", MILLIS, Some("10000"), "3.0.0", Honoured;
    /// The request time-out of the submission.
    SUBMISSION_REQUEST_TIMEOUT: Duration = "spark.kubernetes.submission.requestTimeout", MILLIS, Some("10000"), "3.0.0", Honoured;
    /// Whether the submission waits until the application ends.
    WAIT_APP_COMPLETION: bool = "spark.kubernetes.submission.waitAppCompletion", Kind::Flag, Some("true"), "2.3.0", Honoured;
    /// How often a waiting submission reports the application's state.
    REPORT_INTERVAL: Duration = "spark.kubernetes.report.interval", MILLIS, Some("1s"), "2.3.0", Honoured;
    /// The grace period of pods after `--kill`, in seconds.
    KILL_GRACE_PERIOD: u32 = "spark.kubernetes.appKillPodDeletionGracePeriod", Kind::Count, None, "3.0.0", Honoured;
    /// Where local dependencies are uploaded to: an object store, or a staging server (`anymaster://HOST:PORT`).
    FILE_UPLOAD_PATH: String = "spark.kubernetes.file.upload.path", Kind::Text, None, "3.0.0", Honoured;
    /// The staging server to which local dependencies are uploaded instead, `https://HOST:PORT`; `spark.kubernetes.file.upload.path=anymaster://HOST:PORT` is the same, with HTTPS.
    STAGING_URL: String = "spark.anymaster.staging.url", Kind::Text, None, "0.1.0", Honoured;
    /// The file with the token of the staging server.
    STAGING_TOKEN_FILE: String = "spark.anymaster.staging.tokenFile", Kind::Text, None, "0.1.0", Honoured;
    /// A PEM file with the authorities of the staging server's certificate; those of the system, if it is unset.
    STAGING_CA_CERT_FILE: String = "spark.anymaster.staging.caCertFile", Kind::Text, None, "0.1.0", Honoured;
    /// The most bytes of configuration files that go into a config map.
    CONFIG_MAP_MAX_SIZE: u64 = "spark.kubernetes.configMap.maxSize", Kind::Count, Some("1048576"), "3.1.0", Honoured;

    /// The name of the driver's pod; in client mode, of the pod that the driver runs in, if it should own the executors.
    DRIVER_POD_NAME: String = "spark.kubernetes.driver.pod.name", Kind::Text, None, "2.3.0", Honoured;
    /// The prefix of the names of the driver's objects.
    DRIVER_RESOURCE_NAME_PREFIX: String = "spark.kubernetes.driver.resourceNamePrefix", Kind::Text, None, "3.0.0", Honoured;
    /// The prefix of the names of executors' pods.
    EXECUTOR_POD_NAME_PREFIX: String = "spark.kubernetes.executor.podNamePrefix", Kind::Text, None, "2.3.0", Passed;
    /// The CPU that the driver's pod requests, for example `500m` [default: spark.driver.cores].
    DRIVER_REQUEST_CORES: String = "spark.kubernetes.driver.request.cores", Kind::Text, None, "3.0.0", Honoured;
    /// The CPU limit of the driver's pod.
    DRIVER_LIMIT_CORES: String = "spark.kubernetes.driver.limit.cores", Kind::Text, None, "2.3.0", Honoured;
    /// The CPU that executors' pods request.
    EXECUTOR_REQUEST_CORES: String = "spark.kubernetes.executor.request.cores", Kind::Text, None, "2.4.0", Passed;
    /// The CPU limit of executors' pods.
    EXECUTOR_LIMIT_CORES: String = "spark.kubernetes.executor.limit.cores", Kind::Text, None, "2.3.0", Passed;
    /// The memory overhead as a fraction of the heap: 0.1 for Java, 0.4 for Python and R.
    MEMORY_OVERHEAD_FACTOR: f64 = "spark.kubernetes.memoryOverheadFactor", Kind::Number, Some("0.1"), "2.4.0", Honoured;

    /// A label of the driver's pod.
    DRIVER_LABEL: String = "spark.kubernetes.driver.label.*", Kind::Text, None, "2.3.0", Honoured;
    /// An annotation of the driver's pod. `{{APP_ID}}` stands for the application's id.
    DRIVER_ANNOTATION: String = "spark.kubernetes.driver.annotation.*", Kind::Text, None, "2.3.0", Honoured;
    /// A label of the driver's service.
    SERVICE_LABEL: String = "spark.kubernetes.driver.service.label.*", Kind::Text, None, "3.4.0", Honoured;
    /// An annotation of the driver's service.
    SERVICE_ANNOTATION: String = "spark.kubernetes.driver.service.annotation.*", Kind::Text, None, "3.0.0", Honoured;
    /// The IP family policy of the driver's service.
    SERVICE_IP_FAMILY_POLICY: String = "spark.kubernetes.driver.service.ipFamilyPolicy", Kind::Choice(&["SingleStack", "PreferDualStack", "RequireDualStack"]), Some("SingleStack"), "3.4.0", Honoured;
    /// The IP families of the driver's service: `IPv4`, `IPv6`, or both.
    SERVICE_IP_FAMILIES: Vec<String> = "spark.kubernetes.driver.service.ipFamilies", Kind::List, Some("IPv4"), "3.4.0", Honoured;
    /// Whether the driver's service publishes the address of its pod before that is ready (from 4.3).
    SERVICE_PUBLISH_NOT_READY: bool = "spark.kubernetes.driver.service.publishNotReadyAddresses", Kind::Flag, Some("false"), "4.3.0", Honoured;
    /// Whether the driver's pod gets an annotation with the exception with which the driver exited.
    DRIVER_ANNOTATE_EXIT: bool = "spark.kubernetes.driver.annotateExitException", Kind::Flag, Some("false"), "4.1.0", Passed;
    /// Whether the driver deletes its service when it ends.
    SERVICE_DELETE_ON_TERMINATION: bool = "spark.kubernetes.driver.service.deleteOnTermination", Kind::Flag, Some("true"), "3.2.0", Passed;
    /// Whether processes in driver and executors may gain more privileges than their parent has (from 4.3: no).
    PRIVILEGE_ESCALATION: bool = "spark.kubernetes.securityContext.allowPrivilegeEscalation", Kind::Flag, Some("false"), "4.3.0", Honoured;
    /// The same, for the driver [default: spark.kubernetes.securityContext.allowPrivilegeEscalation].
    DRIVER_PRIVILEGE_ESCALATION: bool = "spark.kubernetes.driver.securityContext.allowPrivilegeEscalation", Kind::Flag, None, "4.3.0", Honoured;
    /// A label that nodes must have, for driver and executors.
    NODE_SELECTOR: String = "spark.kubernetes.node.selector.*", Kind::Text, None, "2.3.0", Honoured;
    /// A label that the driver's node must have.
    DRIVER_NODE_SELECTOR: String = "spark.kubernetes.driver.node.selector.*", Kind::Text, None, "3.3.0", Honoured;
    /// An environment variable of the driver.
    DRIVER_ENV: String = "spark.kubernetes.driverEnv.*", Kind::Text, None, "2.3.0", Honoured;
    /// A secret that is mounted into the driver's pod at this path.
    DRIVER_SECRETS: String = "spark.kubernetes.driver.secrets.*", Kind::Text, None, "2.3.0", Honoured;
    /// An environment variable of the driver that comes from a secret: `name:key`.
    DRIVER_SECRET_KEY_REF: String = "spark.kubernetes.driver.secretKeyRef.*", Kind::Text, None, "2.4.0", Honoured;
    /// A volume of the driver's pod: `hostPath`, `emptyDir`, `nfs` or `persistentVolumeClaim`, a name, and `mount.path`, `mount.subPath`, `mount.readOnly` or `options.…`.
    DRIVER_VOLUMES: String = "spark.kubernetes.driver.volumes.*", Kind::Text, None, "2.4.0", Honoured;
    /// A volume of the executors' pods. Checked at submission, so that errors are found before anything starts.
    EXECUTOR_VOLUMES: String = "spark.kubernetes.executor.volumes.*", Kind::Text, None, "2.4.0", Honoured;
    /// Whether claims made on demand may be used by several pods of a node (`ReadWriteOnce`) or by one pod (`ReadWriteOncePod`) [default: true for 3.x, false from 4.0].
    LEGACY_READ_WRITE_ONCE: bool = "spark.kubernetes.legacy.useReadWriteOnceAccessMode", Kind::Flag, None, "3.4.3", Honoured;
    /// The scheduler of driver and executors.
    SCHEDULER_NAME: String = "spark.kubernetes.scheduler.name", Kind::Text, None, "3.3.0", Honoured;
    /// The driver's scheduler.
    DRIVER_SCHEDULER_NAME: String = "spark.kubernetes.driver.scheduler.name", Kind::Text, None, "3.3.0", Honoured;
    /// The executors' scheduler.
    EXECUTOR_SCHEDULER_NAME: String = "spark.kubernetes.executor.scheduler.name", Kind::Text, None, "3.0.0", Passed;
    /// Whether local directories are in memory (tmpfs).
    LOCAL_DIRS_TMPFS: bool = "spark.kubernetes.local.dirs.tmpfs", Kind::Flag, Some("false"), "3.0.0", Honoured;

    /// A pod template for the driver: YAML or JSON.
    DRIVER_POD_TEMPLATE: String = "spark.kubernetes.driver.podTemplateFile", Kind::Text, None, "3.0.0", Honoured;
    /// The template's container that becomes the driver's [default: the first].
    DRIVER_POD_TEMPLATE_CONTAINER: String = "spark.kubernetes.driver.podTemplateContainerName", Kind::Text, None, "3.0.0", Honoured;
    /// A pod template for executors, which the driver gets in a config map.
    EXECUTOR_POD_TEMPLATE: String = "spark.kubernetes.executor.podTemplateFile", Kind::Text, None, "3.0.0", Honoured;
    /// That template's container that becomes an executor's.
    EXECUTOR_POD_TEMPLATE_CONTAINER: String = "spark.kubernetes.executor.podTemplateContainerName", Kind::Text, None, "3.0.0", Honoured;
    /// Java classes that change the driver's pod. They would need a JVM at submission; use a pod template instead.
    DRIVER_FEATURE_STEPS: Vec<String> = "spark.kubernetes.driver.pod.featureSteps", Kind::List, None, "3.2.0", Refused;
    /// The class names of Spark's feature steps that are excluded for the driver (from 4.1).
    DRIVER_EXCLUDED_FEATURE_STEPS: Vec<String> = "spark.kubernetes.driver.pod.excludedFeatureSteps", Kind::List, None, "4.1.0", Honoured;
    /// Java classes that change executors' pods.
    EXECUTOR_FEATURE_STEPS: Vec<String> = "spark.kubernetes.executor.pod.featureSteps", Kind::List, None, "3.2.0", Passed;
    /// A template of a Volcano pod group, which a Java class would create at submission. Create the pod group yourself, and name it in an annotation of a pod template.
    VOLCANO_POD_GROUP_TEMPLATE: String = "spark.kubernetes.scheduler.volcano.podGroupTemplateFile", Kind::Text, None, "3.3.0", Refused;

    /// A config map with Hadoop's configuration, instead of `$HADOOP_CONF_DIR`.
    HADOOP_CONFIG_MAP: String = "spark.kubernetes.hadoop.configMapName", Kind::Text, None, "3.0.0", Honoured;
    /// The local file `krb5.conf`, which the driver gets in a config map.
    KRB5_PATH: String = "spark.kubernetes.kerberos.krb5.path", Kind::Text, None, "3.0.0", Honoured;
    /// A config map with `krb5.conf`.
    KRB5_CONFIG_MAP: String = "spark.kubernetes.kerberos.krb5.configMapName", Kind::Text, None, "3.0.0", Honoured;
    /// A secret with delegation tokens.
    TOKEN_SECRET_NAME: String = "spark.kubernetes.kerberos.tokenSecret.name", Kind::Text, None, "3.0.0", Honoured;
    /// The key of the tokens in that secret.
    TOKEN_SECRET_KEY: String = "spark.kubernetes.kerberos.tokenSecret.itemKey", Kind::Text, None, "3.0.0", Honoured;

    /// The URL of the API server for the driver.
    DRIVER_MASTER: String = "spark.kubernetes.driver.master", Kind::Text, Some("https://kubernetes.default.svc"), "3.0.0", Passed;
    /// Whether the driver's pod owns the PersistentVolumeClaims of its executors.
    OWN_PVC: bool = "spark.kubernetes.driver.ownPersistentVolumeClaim", Kind::Flag, Some("true"), "3.2.0", Passed;
    /// Whether claims of ended executors are reused for new ones.
    REUSE_PVC: bool = "spark.kubernetes.driver.reusePersistentVolumeClaim", Kind::Flag, Some("true"), "3.2.0", Passed;
    /// Whether to wait for reusable claims instead of creating more than there are executors.
    WAIT_TO_REUSE_PVC: bool = "spark.kubernetes.driver.waitToReusePersistentVolumeClaim", Kind::Flag, Some("false"), "3.4.0", Passed;
    /// The connection time-out of the driver.
    DRIVER_CONNECTION_TIMEOUT: Duration = "spark.kubernetes.driver.connectionTimeout", MILLIS, Some("10000"), "3.0.0", Passed;
    /// The request time-out of the driver.
    DRIVER_REQUEST_TIMEOUT: Duration = "spark.kubernetes.driver.requestTimeout", MILLIS, Some("10000"), "3.0.0", Passed;
    /// Set by the submission for the driver; not a user's setting.
    SUBMIT_IN_DRIVER: bool = "spark.kubernetes.submitInDriver", Kind::Flag, Some("false"), "2.4.0", Honoured;
    /// Set by the submission for the driver.
    RESOURCE_TYPE: String = "spark.kubernetes.resource.type", Kind::Choice(&["java", "python", "r"]), None, "2.4.1", Honoured;
    /// How many executors are requested in one batch [default: 5 for Spark's driver, 10 from 4.0, 20 from 4.3; for others adapted to the API server's responses].
    ALLOCATION_BATCH_SIZE: u32 = "spark.kubernetes.allocation.batch.size", Kind::Count, None, "2.3.0", Passed;
    /// The least time between two batches [default: 1s for Spark's driver, none for others].
    ALLOCATION_BATCH_DELAY: Duration = "spark.kubernetes.allocation.batch.delay", MILLIS, None, "2.3.0", Passed;
    /// How many executors may be pending.
    ALLOCATION_MAX_PENDING_PODS: u32 = "spark.kubernetes.allocation.maxPendingPods", Kind::Count, None, "3.2.0", Passed;
    /// How long the driver waits for its own pod to be ready before it requests executors.
    ALLOCATION_DRIVER_READINESS_TIMEOUT: Duration = "spark.kubernetes.allocation.driver.readinessTimeout", SECONDS, Some("1s"), "3.1.3", Passed;
    /// How long an executor's pod may take to appear before another one is created.
    ALLOCATION_EXECUTOR_TIMEOUT: Duration = "spark.kubernetes.allocation.executor.timeout", MILLIS, Some("600s"), "3.1.0", Passed;
    /// The allocator of executors' pods. Other values than `direct` work for Spark's driver only.
    ALLOCATION_PODS_ALLOCATOR: String = "spark.kubernetes.allocation.pods.allocator", Kind::Text, Some("direct"), "3.3.0", Passed;
    /// Other settings of the driver's allocator.
    ALLOCATION: String = "spark.kubernetes.allocation.*", Kind::Text, None, "2.3.0", Passed;
    /// Whether executors' pods are deleted after their end; otherwise they are labelled `spark-exec-inactive`.
    DELETE_ON_TERMINATION: bool = "spark.kubernetes.executor.deleteOnTermination", Kind::Flag, Some("true"), "3.0.0", Passed;
    /// How long the ends of executors are collected before their pods are deleted.
    EVENT_PROCESSING_INTERVAL: Duration = "spark.kubernetes.executor.eventProcessingInterval", MILLIS, Some("1s"), "2.4.0", Passed;
    /// How long a watch on executors may be silent before it is reopened; how often Spark's driver lists them.
    API_POLLING_INTERVAL: Duration = "spark.kubernetes.executor.apiPollingInterval", MILLIS, Some("30s"), "2.4.0", Passed;
    /// Whether an executor fails if any container of its pod fails, or only if its main container does [default: false for 3.x, true from 4.0; false for other programs].
    CHECK_ALL_CONTAINERS: bool = "spark.kubernetes.executor.checkAllContainers", Kind::Flag, None, "3.1.0", Passed;
    /// How Spark's driver chooses an executor to replace.
    EXECUTOR_ROLL_POLICY: String = "spark.kubernetes.executor.rollPolicy", Kind::Choice(&["ADD_TIME", "AVERAGE_DURATION", "DISK_USED", "FAILED_TASKS", "ID", "OUTLIER", "OUTLIER_NO_FALLBACK", "PEAK_JVM_OFFHEAP_MEMORY", "PEAK_JVM_ONHEAP_MEMORY", "TOTAL_DURATION", "TOTAL_GC_TIME", "TOTAL_SHUFFLE_WRITE"]), Some("OUTLIER"), "3.3.0", Passed;
    /// A label that is set on executors to be decommissioned.
    DECOMMISSION_LABEL: String = "spark.kubernetes.executor.decommissionLabel", Kind::Text, None, "3.3.0", Passed;
    /// That label's value.
    DECOMMISSION_LABEL_VALUE: String = "spark.kubernetes.executor.decommissionLabelValue", Kind::Text, None, "3.3.0", Passed;
    /// Settings of the driver for dynamic allocation.
    DYNAMIC_ALLOCATION: String = "spark.kubernetes.dynamicAllocation.*", Kind::Text, None, "3.0.0", Passed;
    /// The script that decommissions an executor.
    DECOMMISSION_SCRIPT: String = "spark.kubernetes.decommission.script", Kind::Text, Some("/opt/decom.sh"), "3.2.0", Passed;
    /// Other settings of executors, which the driver reads.
    EXECUTOR: String = "spark.kubernetes.executor.*", Kind::Text, None, "2.3.0", Passed;
    /// How long the driver waits for its pod watchers when it ends.
    SNAPSHOTS_GRACE: Duration = "spark.kubernetes.executorSnapshotsSubscribersShutdownGracePeriod", SECONDS, Some("20s"), "3.4.0", Passed;

    /// Init containers for dependencies were removed in 2.4: leave it out.
    INIT_CONTAINER_IMAGE: String = "spark.kubernetes.initcontainer.*", Kind::Text, None, "2.2.0", Dropped;
    /// The same.
    INIT_CONTAINER: String = "spark.kubernetes.initContainer.*", Kind::Text, None, "2.3.0", Dropped;
    /// Removed: uploads go to `spark.kubernetes.file.upload.path`.
    MOUNT_DEPENDENCIES: String = "spark.kubernetes.mountDependencies.*", Kind::Text, None, "2.3.0", Dropped;
    /// An external shuffle service on Kubernetes existed in a fork of 2.2 only. Use `spark.dynamicAllocation.shuffleTracking.enabled=true`.
    SHUFFLE_SERVICE: String = "spark.kubernetes.shuffle.*", Kind::Text, None, "2.2.0", Dropped;
    /// The resource staging server of a fork of 2.2: uploads go to `spark.kubernetes.file.upload.path`.
    RESOURCE_STAGING_SERVER: String = "spark.kubernetes.resourceStagingServer.*", Kind::Text, None, "2.2.0", Dropped;
    /// The image decides: set `spark.pyspark.python` for another one.
    PYTHON_VERSION: String = "spark.kubernetes.pyspark.pythonVersion", Kind::Text, None, "2.4.0", Dropped;
    /// Labels in one list, in a fork of 2.2: write `spark.kubernetes.driver.label.NAME=VALUE` for each.
    DRIVER_LABELS: Vec<String> = "spark.kubernetes.driver.labels", Kind::List, None, "2.2.0", Refused;
    /// Annotations in one list, in a fork of 2.2: write `spark.kubernetes.driver.annotation.NAME=VALUE` for each.
    DRIVER_ANNOTATIONS: Vec<String> = "spark.kubernetes.driver.annotations", Kind::List, None, "2.2.0", Refused;

    /// How long after its end a driver's pod is deleted, with all it owns; never if unset. Done by `anymaster serve`, and if 0 by a waiting `submit`.
    TTL: Duration = "spark.anymaster.ttlSecondsAfterFinished", SECONDS, None, "0.1.0", Honoured;
    /// Where the driver's log is saved before its deletion: a directory, or the URL of an object store.
    LOGS_DIR: String = "spark.anymaster.logs.dir", Kind::Text, None, "0.1.0", Honoured;
    /// How many requests for executors are in flight at most; fewer when the API server is overloaded. For programs other than Spark.
    ALLOCATION_IN_FLIGHT: u32 = "spark.anymaster.kubernetes.requestsInFlight", Kind::Count, Some("50"), "0.1.0", Honoured;
    /// How many pods of ended executors are retained until the driver ends, for their logs. For programs other than Spark.
    RETAINED_EXECUTORS: u32 = "spark.anymaster.kubernetes.retainedExecutors", Kind::Count, Some("10"), "0.1.0", Honoured;
    /// An image with the program `anymaster`. It runs as a sidecar of drivers other than Spark's, and deletes their executors if the driver is killed.
    JANITOR_IMAGE: String = "spark.anymaster.kubernetes.janitor.image", Kind::Text, None, "0.1.0", Honoured;
    /// The Spark release of the image, for example `4.0.1`, on which some objects depend [default: that of `$SPARK_HOME`, else the newest supported one, 4.3].
    SPARK_VERSION: String = "spark.anymaster.sparkVersion", Kind::Text, None, "0.1.0", Honoured;
}

/// The description of a property: that of the exact name, else that of the longest matching
/// pattern.
pub(crate) fn describe(name: &str) -> Option<&'static KeyInfo> {
    TABLE
        .iter()
        .copied()
        .filter(|info| info.describes(name))
        .max_by_key(|info| (!info.name.contains('*'), info.name.len()))
}

/// Refuses a Python version other than 3, as Spark 3 does.
pub(crate) fn check_python_version(conf: &Conf) -> Result<()> {
    let name = PYTHON_VERSION.info.name;
    match conf.get(name) {
        Some(version) if version != "3" => Err(Error::invalid(format!(
            "{name}: {version:?} is not 3, and nothing else is possible"
        ))
        .with_hint("leave it out, and set spark.pyspark.python for another Python")),
        _ => Ok(()),
    }
}

/// Warnings about properties that the driver's Spark release does not have yet.
pub(crate) fn unsupported_by_release(conf: &Conf, release: &SparkRelease) -> Vec<String> {
    let since = |name: &str| {
        let of_spark = || anymaster_core::conf::keys::table().find(|info| info.name == name);
        describe(name).or_else(of_spark)?.since.parse::<SparkRelease>().ok()
    };
    let new = conf.iter().filter_map(|(name, _)| Some((name, since(name)?)));
    new.filter(|(_, since)| release.precedes(since))
        .map(|(name, since)| {
            format!("{name} has no effect: Spark {release} does not have it, it came with {since}")
        })
        .collect()
}

/// Migrates properties of the Kubernetes fork of Spark 2.2, which had a shuffle service and
/// accepted fractions of cores. Returns warnings.
fn migrate_spark_2_2_fork(conf: &mut Conf) -> Vec<String> {
    let mut warnings = Vec::new();
    let wants_service = conf.get("spark.shuffle.service.enabled") == Some("true");
    if wants_service && conf.with_prefix("spark.kubernetes.shuffle.").next().is_some() {
        conf.set("spark.shuffle.service.enabled", "false");
        conf.set_default("spark.dynamicAllocation.shuffleTracking.enabled", "true");
        warnings.push(
            "spark.shuffle.service.enabled has no effect: there is no shuffle service on Kubernetes; \
             spark.dynamicAllocation.shuffleTracking.enabled=true is used instead"
                .to_owned(),
        );
    }
    if let Some(cores) =
        conf.get("spark.driver.cores").filter(|cores| cores.trim().parse::<u32>().is_err())
    {
        let cores = cores.to_owned();
        conf.remove("spark.driver.cores");
        warnings.push(format!(
            "spark.driver.cores={cores} is not a whole number, read as {}",
            DRIVER_REQUEST_CORES.info.name
        ));
        conf.set_default(DRIVER_REQUEST_CORES.info.name, cores);
    }
    warnings
}

/// Adds deprecated properties by their current names. Properties without effect are passed on, as
/// Spark does.
///
/// Returns warnings.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a property that cannot be honoured.
pub(crate) fn migrate_deprecated(conf: &mut Conf) -> Result<Vec<String>> {
    let mut warnings = migrate_spark_2_2_fork(conf);
    let names: Vec<String> = conf
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("spark.kubernetes."))
        .collect();
    for name in names {
        if let Some(current) = TABLE.iter().find(|info| info.old_names.contains(&name.as_str())) {
            warnings.push(format!("{name} is an old name, read as {}", current.name));
            // The driver gets both names, as it gets every property that was set.
            if let Some(value) = conf.get(&name).map(str::to_owned) {
                conf.set_default(current.name, value);
            }
            continue;
        }
        let Some(info) = describe(&name) else { continue };
        match info.treatment {
            Treatment::Refused => {
                return Err(Error::invalid(format!("{name} cannot be honoured"))
                    .with_hint(info.doc.to_owned()));
            }
            Treatment::Dropped => warnings.push(format!("{name} has no effect: {}", info.doc)),
            Treatment::Honoured | Treatment::Passed => {}
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deprecated_names_are_migrated_and_unsupported_properties_refused() {
        let mut conf: Conf = [
            ("spark.kubernetes.driver.docker.image", "old"),
            ("spark.kubernetes.initcontainer.docker.image", "x"),
            ("spark.kubernetes.shuffle.labels", "a=b"),
            ("spark.kubernetes.somethingNew", "kept"),
        ]
        .into_iter()
        .collect();
        let warnings = migrate_deprecated(&mut conf).unwrap();
        let left: Vec<_> = conf.iter().collect();
        assert_eq!(
            left,
            [
                ("spark.kubernetes.driver.container.image", "old"),
                ("spark.kubernetes.driver.docker.image", "old"),
                ("spark.kubernetes.initcontainer.docker.image", "x"),
                ("spark.kubernetes.shuffle.labels", "a=b"),
                ("spark.kubernetes.somethingNew", "kept")
            ]
        );
        assert_eq!(warnings.len(), 3);
        assert!(warnings[0].contains("read as spark.kubernetes.driver.container.image"));
        assert!(warnings[2].contains("shuffleTracking"), "{warnings:?}");

        conf.set("spark.kubernetes.driver.pod.featureSteps", "com.example.Step");
        let error = migrate_deprecated(&mut conf).unwrap_err();
        assert!(error.hint().unwrap().contains("pod template"));
    }

    #[test]
    fn properties_of_the_fork_of_2_2_are_migrated() {
        let mut conf: Conf = [
            ("spark.dynamicAllocation.enabled", "true"),
            ("spark.shuffle.service.enabled", "true"),
            ("spark.kubernetes.shuffle.namespace", "default"),
            ("spark.driver.cores", "400m"),
        ]
        .into_iter()
        .collect();
        assert_eq!(migrate_deprecated(&mut conf).unwrap().len(), 3);
        assert_eq!(conf.get("spark.shuffle.service.enabled"), Some("false"));
        assert_eq!(conf.get("spark.dynamicAllocation.shuffleTracking.enabled"), Some("true"));
        assert_eq!(conf.get("spark.kubernetes.driver.request.cores"), Some("400m"));
        assert_eq!(conf.get("spark.driver.cores"), None);
    }

    #[test]
    fn the_most_specific_description_is_used() {
        for (name, described) in [
            (
                "spark.kubernetes.executor.volumes.hostPath.a.mount.path",
                "spark.kubernetes.executor.volumes.*",
            ),
            ("spark.kubernetes.executor.rollInterval", "spark.kubernetes.executor.*"),
            (
                "spark.kubernetes.authenticate.driver.mounted.caCertFile",
                "spark.kubernetes.authenticate.driver.mounted.*",
            ),
            (
                "spark.kubernetes.authenticate.driver.serviceAccountName",
                "spark.kubernetes.authenticate.driver.serviceAccountName",
            ),
        ] {
            assert_eq!(describe(name).unwrap().name, described);
        }
        assert!(describe("spark.kubernetes.else").is_none());
        assert!(describe("spark.kubernetes.driver.label.").is_none());
    }
}

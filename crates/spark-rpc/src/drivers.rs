//! Drivers that `spark-submit --deploy-mode cluster` submits by Spark's RPC (Spark 3.5, `ClientEndpoint`), with the
//! answers of Spark's master.

use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::{APP_NAME, AUTHENTICATE_SECRET};
use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, Filter, ResourceProfile, SparkJob, SparkLanguage,
    State, Status, Subject,
};
use anymaster_core::{ClusterManager, ErrorKind, Result, SubmissionIdForm};
use anymaster_spark_wire::messages::{DriverDescription, DriverState, ToDriver};
use jiff::Timestamp;

use crate::keys::SECRET_FILE;
use crate::report;

/// How long a driver has to end by itself (Spark 3.5, `DriverRunner`).
const GRACE: Duration = Duration::from_secs(10);
/// What Spark's worker starts, with two placeholders before the class that is meant.
const WRAPPER: &str = "org.apache.spark.deploy.worker.DriverWrapper";
/// Variables of the submitter's machine (Spark 3.5, `RestSubmissionClient`, which sends no others but Spark's).
const OF_SUBMITTER: [&str; 5] =
    ["SPARK_HOME", "SPARK_CONF_DIR", "SPARK_ENV_LOADED", "SPARK_LOCAL_IP", "SPARK_LOCAL_HOSTNAME"];

/// Submits a driver.
pub(crate) async fn submit(cluster: &dyn ClusterManager, driver: &DriverDescription) -> ToDriver {
    let submitted = async {
        let id = SubmissionIdForm::Driver.generate(Timestamp::now())?;
        cluster.launch_driver(&id, &application(driver)?).await
    };
    let (driver_id, message) = match submitted.await {
        Ok(launched) => {
            let id = launched.driver.submission.to_string();
            let message = format!("Driver successfully submitted as {id}");
            (Some(id), message)
        }
        Err(error) => {
            tracing::warn!("a driver was refused: {error}");
            (None, error.to_string())
        }
    };
    ToDriver::SubmitDriverResponse {
        success: driver_id.is_some(),
        driver_id,
        message,
        master: None,
    }
}

/// Ends a driver.
pub(crate) async fn kill(cluster: &dyn ClusterManager, driver_id: String) -> ToDriver {
    let killed = async {
        match find(cluster, &driver_id).await? {
            Some(driver) if !driver.state.is_ended() => {
                cluster.kill(&Subject::Driver(driver.submission), GRACE).await.map(|()| true)
            }
            _ => Ok(false),
        }
    };
    let (success, message) = match killed.await {
        Ok(true) => (true, format!("Kill request for {driver_id} submitted")),
        Ok(false) => (false, format!("Driver {driver_id} has already finished or does not exist")),
        Err(error) => (false, error.to_string()),
    };
    ToDriver::KillDriverResponse { success, driver_id, message, master: None }
}

/// How a driver is.
pub(crate) async fn status(cluster: &dyn ClusterManager, driver_id: &str) -> ToDriver {
    let driver = find(cluster, driver_id).await.unwrap_or_else(|error| {
        tracing::warn!("a driver cannot be asked about: {error}");
        None
    });
    let host = driver.as_ref().and_then(|driver| driver.host.as_deref());
    ToDriver::DriverStatusResponse {
        found: driver.is_some(),
        state: driver.as_ref().map(|driver| state(&driver.state)),
        worker_id: host.map(|host| report::worker(cluster.name(), host)),
        worker_host_port: host.map(|host| format!("{host}:0")),
    }
}

async fn find(cluster: &dyn ClusterManager, id: &str) -> Result<Option<DriverStatus>> {
    let Ok(app) = AppId::new(id) else { return Ok(None) };
    match cluster.list(&Filter::of(&app)).await {
        Ok(statuses) => Ok(statuses.into_iter().find_map(|status| match status {
            Status::Driver(driver) => Some(driver),
            _ => None,
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn state(state: &State) -> DriverState {
    match state {
        State::Pending { .. } => DriverState::Submitted,
        State::Ended(end) => match end.cause {
            Cause::Finished => DriverState::Finished,
            Cause::Killed { .. } => DriverState::Killed,
            Cause::CouldNotStart { .. } => DriverState::Error,
            _ => DriverState::Failed,
        },
        _ => DriverState::Running,
    }
}

/// What is submitted. The properties are among the options of its JVM, which has all of them.
fn application(driver: &DriverDescription) -> Result<ApplicationSpec> {
    let command = &driver.command;
    let property = |option: &String| {
        let (key, value) = option.strip_prefix("-D")?.split_once('=')?;
        key.starts_with("spark.").then(|| (key.to_owned(), value.to_owned()))
    };
    let mut conf = Conf::new();
    for (key, value) in command.java_options.iter().filter_map(property) {
        conf.set(key, value);
    }
    // By these somebody is known to the whole cluster: not the application's business.
    for key in [AUTHENTICATE_SECRET.info.name, SECRET_FILE.info.name] {
        conf.remove(key);
    }
    let mut args = command.arguments.iter().cloned();
    let main_class = match command.main_class == WRAPPER {
        true => args.by_ref().nth(2),
        false => Some(command.main_class.clone()),
    };
    let job = SparkJob {
        language: SparkLanguage::Java,
        primary_resource: driver.jar_url.clone(),
        main_class: main_class.clone(),
        args: args.collect(),
        proxy_user: None,
    };
    let name = conf.get(APP_NAME.info.name).map(str::to_owned).or(main_class);
    let mut app = ApplicationSpec::new(name.unwrap_or_default(), job);
    let is_passed = |name: &str| {
        ["SPARK_", "PYSPARK_"].iter().any(|begin| name.starts_with(begin))
            && !OF_SUBMITTER.contains(&name)
    };
    let passed = command.environment.iter().filter(|(name, _)| is_passed(name));
    app.driver.env = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
    app.driver.resources = ResourceProfile::new(driver.cores.into(), driver.memory_mib.into());
    app.driver.supervise = driver.supervise;
    Ok(app.with_conf(conf))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anymaster_core::model::Payload;
    use anymaster_core::testing::FakeCluster;
    use anymaster_spark_wire::messages::CommandDescription;

    use super::*;

    fn description() -> DriverDescription {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let variables = [
            ("SPARK_USER", "me"),
            ("SPARK_HOME", "/theirs"),
            ("TOKEN", "hidden"),
            ("_SPARK_A", "x"),
        ];
        let variable = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        DriverDescription {
            jar_url: "file:/app.jar".to_owned(),
            memory_mib: 512,
            cores: 2,
            supervise: true,
            command: CommandDescription {
                main_class: WRAPPER.to_owned(),
                arguments: texts(&["{{WORKER_URL}}", "{{USER_JAR}}", "example.Main", "10"]),
                environment: variables.into_iter().map(variable).collect::<BTreeMap<_, _>>(),
                class_path: Vec::new(),
                library_path: Vec::new(),
                java_options: texts(&[
                    "-Dspark.app.name=a name",
                    "-Dspark.authenticate.secret=hidden",
                    "-Dspark.executor.memory=1g",
                    "-Dother=1",
                    "-Xss4m",
                ]),
            },
        }
    }

    #[test]
    fn what_is_submitted_is_what_the_wrapper_would_have_run() {
        let app = application(&description()).unwrap();
        let Payload::Spark(job) = &app.driver.payload else { panic!("{app:?}") };
        assert_eq!(job.main_class.as_deref(), Some("example.Main"));
        assert_eq!((&*job.primary_resource, &*job.args), ("file:/app.jar", &["10".to_owned()][..]));
        assert_eq!((app.name.as_str(), app.driver.supervise), ("a name", true));
        assert_eq!((app.driver.resources.cores, app.driver.resources.memory_mib), (2.0, 512));
        assert_eq!(app.driver.env.keys().collect::<Vec<_>>(), ["SPARK_USER"]);
        let conf: Vec<_> = app.conf.iter().map(|(key, _)| key).collect();
        assert_eq!(conf, ["spark.app.name", "spark.executor.memory"]);
    }

    #[tokio::test]
    async fn a_driver_that_is_not_known_is_neither_found_nor_killed() {
        let cluster = FakeCluster::new();
        for id in ["driver-20260101000000-0000", "no id/at all"] {
            let found = status(&cluster, id).await;
            assert!(
                matches!(found, ToDriver::DriverStatusResponse { found: false, .. }),
                "{found:?}"
            );
            let killed = kill(&cluster, id.to_owned()).await;
            let ToDriver::KillDriverResponse { success: false, message, .. } = killed else {
                panic!("{killed:?}")
            };
            assert!(message.ends_with("has already finished or does not exist"), "{message}");
        }
    }
}

//! Spark's submission protocol, as this master answers it.

mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use anymaster_core::conf::{Conf, Redaction, keys as spark};
use anymaster_core::model::{
    ApplicationSpec, Cause, CommandLine, Payload, ResourceProfile, SparkJob, SparkLanguage, State,
};
use anymaster_core::{Error, HostPort, Result};
use anymaster_engine::{Engine, Killed, QueueState, Submission};
use anymaster_spark_rest::{Create, Driver, NOT_FOUND, Submissions};
use async_trait::async_trait;
use axum::Router;

use super::leadership::{Daemon, Leadership};
use super::shared::Shared;
use anymaster_native::keys;
use anymaster_native::masters;

/// Variables of the submitter's machine (Spark 3.5, `StandaloneSubmitRequestServlet`).
const LOCAL_VARIABLES: [&str; 2] = ["SPARK_LOCAL_IP", "SPARK_LOCAL_HOSTNAME"];
/// The class that Spark's documentation gives for a program in Python (SPARK-46095).
const SUBMIT: &str = "org.apache.spark.deploy.SparkSubmit";

/// The paths of the protocol.
pub(super) fn router(leadership: &Arc<Leadership>, redaction: Redaction) -> Router {
    anymaster_spark_rest::router(Arc::new(Rest { leadership: Arc::clone(leadership), redaction }))
}

struct Rest {
    leadership: Arc<Leadership>,
    /// Which of the master's variables are secret.
    redaction: Redaction,
}

impl Rest {
    /// The cluster, or Spark's words for why not.
    fn lead(&self, what: &str) -> Result<Arc<Shared>> {
        self.leadership.lead().map_err(|error| {
            Error::new(error.kind(), format!("{}{what} in ALIVE state.", error.message()))
        })
    }
}

#[async_trait]
impl Submissions for Rest {
    async fn create(&self, request: Create) -> Result<String> {
        let shared = self.lead(" Can only accept driver submissions")?;
        let daemon = self.leadership.daemon();
        let request = match daemon.is_dispatcher() {
            // Spark 4 has no dispatcher, and 3.5 does not do it.
            true => request,
            false => {
                let of_master = |name: &str| std::env::var(name).ok();
                variables::replace(request, of_master, &self.redaction)?
            }
        };
        let app = application(request, daemon)?;
        let driver = shared.accept(|engine| engine.submit(&app), |new| new.app.clone()).await?;
        Ok(driver.submission.to_string())
    }

    async fn kill(&self, id: &str) -> Result<(bool, Option<String>)> {
        let shared = self.lead(" Can only kill drivers")?;
        let killed = shared.commit(|engine| Ok(engine.kill_submission(id))).await?;
        let words = self.leadership.daemon().is_dispatcher().then(|| words(killed).to_owned());
        Ok((matches!(killed, Killed::Was(_)), words))
    }

    async fn kill_all(&self) -> Result<()> {
        let shared = self.lead(" Can only kill drivers")?;
        let change = |engine: &mut Engine| {
            engine.kill_all();
            Ok(())
        };
        shared.commit(change).await
    }

    async fn clear(&self) -> Result<()> {
        let shared = self.lead(" Can only clear drivers")?;
        let change = |engine: &mut Engine| {
            engine.clear();
            Ok(())
        };
        shared.commit(change).await
    }

    async fn status(&self, id: &str) -> Result<Option<Driver>> {
        let shared = self.lead(" Can only request driver status")?;
        let known = shared.read_written(|engine| engine.submission(id)).await;
        Ok(match self.leadership.daemon().is_dispatcher() {
            true => Some(known.map_or_else(unknown_driver, dispatched_driver)),
            false => known.map(driver),
        })
    }

    async fn ready(&self) -> bool {
        self.leadership.leading().is_some()
    }
}

/// What Spark's dispatcher says of a request to end a driver (Spark 3.5, `MesosClusterScheduler.killDriver`).
fn words(killed: Killed) -> &'static str {
    match killed {
        Killed::Unknown => "Cannot find driver",
        Killed::HadEnded => "Driver already terminated",
        Killed::Was(QueueState::Queued) => "Removed driver while it's still pending",
        Killed::Was(QueueState::Retrying) => "Removed driver while it's being retried",
        Killed::Was(QueueState::Running | QueueState::Finished) => "Killing running driver",
    }
}

/// What Spark's master says of a driver (Spark 3.5, `StandaloneStatusRequestServlet`).
fn driver(Submission { state, worker, .. }: Submission) -> Driver {
    let message = state.end().and_then(|end| match &end.cause {
        Cause::CouldNotStart { why, .. } | Cause::Lost { why } => {
            Some(format!("Exception from the cluster:\n{why}"))
        }
        _ => None,
    });
    Driver { state: state.driver_word(), message, worker: worker.map(with_address) }
}

/// What Spark's dispatcher says of a driver (Spark 3.5, `MesosStatusRequestServlet`).
fn dispatched_driver(Submission { state, queue, worker }: Submission) -> Driver {
    let message = match &state {
        State::Ended(end) => Some(end.cause.to_string()),
        State::Pending { why } => why.as_deref().map(str::to_owned),
        _ => None,
    };
    Driver { state: queue.word(), message, worker: worker.map(with_address) }
}

/// What Spark's dispatcher says of a driver that it does not know.
fn unknown_driver() -> Driver {
    Driver { state: NOT_FOUND, message: None, worker: None }
}

fn with_address((id, address): (String, Option<String>)) -> (String, String) {
    (id, address.unwrap_or_else(|| "gone".to_owned()))
}

/// What is submitted.
fn application(request: Create, daemon: &Daemon) -> Result<ApplicationSpec> {
    let Create {
        app_args, app_resource, environment_variables, main_class, spark_properties, ..
    } = request;
    let (args, resource) = (app_args.unwrap_or_default(), app_resource.unwrap_or_default());
    let main_class = main_class.filter(|class| !class.is_empty());
    let has_class = main_class.is_some() && !daemon.is_dispatcher();
    if resource.is_empty() && !has_class || resource.starts_with('-') {
        return Err(Error::invalid(format!("appResource: {resource:?} is no file")).with_hint(
            "write a URI, or the path of a program; a mainClass that is in spark.jars needs none",
        ));
    }
    let conf: Conf = spark_properties.unwrap_or_default().into_iter().collect();
    // Spark's client sends by what its user is known to the cluster: not the application's business.
    let mut conf = keys::without_secrets(&conf);
    if !daemon.is_dispatcher() {
        conf.set("spark.master", master(conf.get("spark.master"), daemon));
        conf.remove(keys::REST_ENABLED.info.name);
    }
    let mut env: BTreeMap<_, _> = environment_variables.unwrap_or_default();
    LOCAL_VARIABLES.iter().for_each(|name| {
        env.remove(*name);
    });
    // The arguments of Spark's own submission are a command line, which names what is to run.
    let needs_no_resource = resource.is_empty() || main_class.as_deref() == Some(SUBMIT);
    let payload = match language(&resource) {
        _ if has_class && needs_no_resource => Payload::Spark(SparkJob {
            language: SparkLanguage::Java,
            primary_resource: keys::NO_RESOURCE.to_owned(),
            main_class,
            args,
            proxy_user: None,
        }),
        None if main_class.is_none() => Payload::Command(CommandLine::new(resource).args(args)),
        language => Payload::Spark(SparkJob {
            language: language.unwrap_or(SparkLanguage::Java),
            primary_resource: resource,
            main_class,
            args,
            proxy_user: None,
        }),
    };
    let flag = |key: &str| conf.get(key).is_some_and(|value| value == "true");
    let mut app = ApplicationSpec::new(conf.get("spark.app.name").unwrap_or_default(), payload);
    app.driver.env = env;
    // Spark takes whole ones only.
    let cores = conf.read(&spark::DRIVER_CORES)?.trunc();
    app.driver.resources = ResourceProfile::new(cores, conf.read(&spark::DRIVER_MEMORY)?);
    app.driver.supervise = flag("spark.driver.supervise");
    Ok(app.with_conf(conf))
}

/// The master as the driver is to reach it, which asks for executors: not at the REST port. Of several it
/// is replaced, as Spark does it (Spark 3.5, `StandaloneSubmitRequestServlet`).
fn master(said: Option<&str>, daemon: &Daemon) -> String {
    let port = |url: &str| url.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let own = (daemon.rest.as_deref().and_then(port), port(&daemon.master));
    let said = said.and_then(|url| masters(&url.parse().ok()?).ok());
    match (said, own) {
        (Some(mut masters), (Some(rest), Some(own))) if masters.len() > 1 => {
            let at_rest = masters.iter_mut().filter(|master| master.port == rest);
            at_rest.for_each(|master| master.port = own);
            let masters: Vec<_> = masters.iter().map(HostPort::to_string).collect();
            format!("spark://{}", masters.join(","))
        }
        _ => daemon.master.clone(),
    }
}

/// Which of Spark's runners a resource is for; any other is a program.
fn language(resource: &str) -> Option<SparkLanguage> {
    match resource.rsplit_once('.')?.1 {
        "jar" => Some(SparkLanguage::Java),
        "py" => Some(SparkLanguage::Python),
        "R" | "r" => Some(SparkLanguage::R),
        _ => None,
    }
}

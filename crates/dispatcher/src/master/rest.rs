//! Spark's submission protocol, as this master answers it.

mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use anymaster_core::conf::{Conf, Redaction, keys as spark};
use anymaster_core::model::{
    ApplicationSpec, CommandLine, Payload, ResourceProfile, SparkJob, SparkLanguage,
};
use anymaster_core::{Error, HostPort, Result};
use anymaster_net::rest::{Create, Driver, Submissions};
use async_trait::async_trait;
use axum::Router;

use super::cluster::{Cluster, Policy};
use super::seat::Seat;
use super::shared::Shared;
use crate::client::masters;
use crate::keys;

/// Variables of the submitter's machine (Spark 3.5, `StandaloneSubmitRequestServlet`).
const LOCAL_VARIABLES: [&str; 2] = ["SPARK_LOCAL_IP", "SPARK_LOCAL_HOSTNAME"];
/// The class that Spark's documentation gives for a program in Python (SPARK-46095).
const SUBMIT: &str = "org.apache.spark.deploy.SparkSubmit";

/// The paths of the protocol.
pub(super) fn router(seat: &Arc<Seat>, redaction: Redaction) -> Router {
    anymaster_net::rest::router(Arc::new(Rest { seat: Arc::clone(seat), redaction }))
}

struct Rest {
    seat: Arc<Seat>,
    /// Which of the master's variables are secret.
    redaction: Redaction,
}

impl Rest {
    /// The cluster, or Spark's words for why not.
    fn lead(&self, what: &str) -> Result<Arc<Shared>> {
        self.seat.lead().map_err(|error| {
            Error::new(error.kind(), format!("{}{what} in ALIVE state.", error.message()))
        })
    }
}

#[async_trait]
impl Submissions for Rest {
    async fn create(&self, request: Create) -> Result<String> {
        let shared = self.lead(" Can only accept driver submissions")?;
        let policy = self.seat.policy();
        let request = match policy.lending {
            // Spark 4 has no dispatcher, and 3.5 does not do it.
            Some(_) => request,
            None => {
                let of_master = |name: &str| std::env::var(name).ok();
                variables::replace(request, of_master, &self.redaction)?
            }
        };
        let app = application(request, policy)?;
        let driver = shared.take_in(|cluster| cluster.submit(&app), |new| new.app.clone()).await?;
        Ok(driver.submission.to_string())
    }

    async fn kill(&self, id: &str) -> Result<(bool, Option<String>)> {
        let shared = self.lead(" Can only kill drivers")?;
        shared.commit(|cluster| Ok(cluster.kill_submission(id))).await
    }

    async fn kill_all(&self) -> Result<()> {
        let shared = self.lead(" Can only kill drivers")?;
        shared.commit(Cluster::kill_all).await
    }

    async fn clear(&self) -> Result<()> {
        let shared = self.lead(" Can only clear drivers")?;
        shared.commit(Cluster::clear).await
    }

    async fn status(&self, id: &str) -> Result<Option<Driver>> {
        let shared = self.lead(" Can only request driver status")?;
        Ok(shared.read_written(|cluster| cluster.submission(id)).await)
    }

    async fn ready(&self) -> bool {
        self.seat.leading().is_some()
    }
}

/// What is submitted.
fn application(request: Create, policy: &Policy) -> Result<ApplicationSpec> {
    let Create {
        app_args, app_resource, environment_variables, main_class, spark_properties, ..
    } = request;
    let (args, resource) = (app_args.unwrap_or_default(), app_resource.unwrap_or_default());
    let main_class = main_class.filter(|class| !class.is_empty());
    let has_class = main_class.is_some() && policy.lending.is_none();
    if resource.is_empty() && !has_class || resource.starts_with('-') {
        return Err(Error::invalid(format!("appResource: {resource:?} is no file")).with_hint(
            "write a URI, or the path of a program; a mainClass that is in spark.jars needs none",
        ));
    }
    let conf: Conf = spark_properties.unwrap_or_default().into_iter().collect();
    // Spark's client sends by what its user is known to the cluster: not the application's business.
    let mut conf = keys::without_secrets(&conf);
    if policy.lending.is_none() {
        conf.set("spark.master", master(conf.get("spark.master"), policy));
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
fn master(said: Option<&str>, policy: &Policy) -> String {
    let port = |url: &str| url.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let own = (policy.rest.as_deref().and_then(port), port(&policy.master));
    let said = said.and_then(|url| masters(&url.parse().ok()?).ok());
    match (said, own) {
        (Some(mut masters), (Some(rest), Some(own))) if masters.len() > 1 => {
            let at_rest = masters.iter_mut().filter(|master| master.port == rest);
            at_rest.for_each(|master| master.port = own);
            let masters: Vec<_> = masters.iter().map(HostPort::to_string).collect();
            format!("spark://{}", masters.join(","))
        }
        _ => policy.master.clone(),
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

//! A master that is spoken to in Spark's submission protocol: Spark's own, or ours through its REST
//! port. It knows drivers one by one, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, Cursor, DriverStatus, Event, ExecutorTarget, Filter, KilledBy,
    Payload, StartFailure, State, Status, Subject, SubmissionId,
};
use anymaster_core::{
    Capabilities, ClusterManager, ConnectOptions, Error, EventStream, Finding, Launched,
    LogOptions, LogStream, Result, WatchOptions,
};
use anymaster_spark_rest::{Answer, Client, Create};
use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::backend::INFO;
use crate::keys;

/// How often a driver that is watched is asked about: the protocol has no other way.
const PACE: Duration = Duration::from_secs(1);

/// Masters that speak Spark's submission protocol.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    client: Client,
    /// As it is told to drivers.
    url: String,
    multi_tenant: bool,
}

impl Rest {
    pub(super) fn new(client: Client, options: &ConnectOptions) -> Self {
        Self { client, url: options.master.to_string(), multi_tenant: options.multi_tenant }
    }

    async fn driver(&self, id: &SubmissionId) -> Result<DriverStatus> {
        match self.client.status(id.as_str()).await? {
            Some(answer) => status(id, answer),
            None => Err(Error::not_found(format!("the master knows no driver {id}"))),
        }
    }
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("Spark's submission protocol cannot {what}"))
        .with_hint("with a master of anymaster's, write the port of workers (7077) into the URL")
}

/// What a driver's state of Spark's means.
fn status(id: &SubmissionId, answer: Answer) -> Result<DriverStatus> {
    let message = answer.message.unwrap_or_default();
    let first = message.lines().nth(1).or_else(|| message.lines().next()).unwrap_or_default();
    let ended = |cause| State::ended(cause, Timestamp::now());
    let state = match answer.driver_state.as_deref().unwrap_or_default() {
        "SUBMITTED" | "QUEUED" => State::Pending { why: None },
        "RUNNING" => State::Running,
        "RELAUNCHING" | "RETRYING" => State::Pending { why: Some("it is started again".into()) },
        "FINISHED" => ended(Cause::Finished),
        "KILLED" => ended(Cause::Killed { by: KilledBy::Request }),
        // The protocol does not say with which code.
        "FAILED" => ended(Cause::Exited { code: 1 }),
        "ERROR" => {
            let why = if first.is_empty() { "the master does not say why" } else { first };
            ended(Cause::CouldNotStart { failure: StartFailure::Other, why: why.into() })
        }
        other => return Err(Error::protocol(format!("the master says that {id} is {other:?}"))),
    };
    let mut driver = DriverStatus::new(id.clone(), AppId::new(id.as_str())?, "").with_state(state);
    driver.host = answer.worker_host_port.map(|at| match at.rsplit_once(':') {
        Some((host, _)) => host.into(),
        None => at.into(),
    });
    Ok(driver)
}

/// What Spark's client sends of its environment.
fn environment() -> BTreeMap<String, String> {
    const NOT: [&str; 3] = ["SPARK_ENV_LOADED", "SPARK_HOME", "SPARK_CONF_DIR"];
    std::env::vars()
        .filter(|(name, _)| {
            (name.starts_with("SPARK_") || name.starts_with("MESOS_")) && !NOT.contains(&&**name)
        })
        .collect()
}

/// What is sent for an application; of other people's, nothing of this process' environment.
fn request(app: &ApplicationSpec, url: &str, multi_tenant: bool) -> Create {
    // What its submitter is known by is not the application's business.
    let mut conf = keys::without_secrets(&app.conf);
    conf.set("spark.master", url);
    conf.set("spark.submit.deployMode", "cluster");
    conf.set("spark.driver.supervise", app.driver.supervise.to_string());
    conf.set_default("spark.app.name", app.name.as_str());
    conf.set_default("spark.driver.memory", format!("{}m", app.driver.resources.memory_mib));
    conf.set_default("spark.app.submitTime", Timestamp::now().as_millisecond().to_string());
    let (resource, main_class, args) = match &app.driver.payload {
        Payload::Command(command) => (command.program.clone(), String::new(), command.args.clone()),
        Payload::Spark(job) => {
            let (resource, jars) = (&job.primary_resource, conf.get("spark.jars").unwrap_or(""));
            if resource.ends_with(".jar") && !jars.split(',').any(|jar| jar == resource) {
                let all = [jars, resource].into_iter().filter(|jar| !jar.is_empty());
                let all = all.collect::<Vec<_>>().join(",");
                conf.set("spark.jars", all);
            }
            (resource.clone(), job.main_class.clone().unwrap_or_default(), job.args.clone())
        }
    };
    let mut environment_variables = if multi_tenant { BTreeMap::new() } else { environment() };
    environment_variables.extend(app.driver.env.clone());
    Create {
        app_args: Some(args),
        app_resource: Some(resource),
        environment_variables: Some(environment_variables),
        main_class: Some(main_class),
        spark_properties: Some(
            conf.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ),
        ..Create::default()
    }
}

#[async_trait]
impl ClusterManager for Rest {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new();
        can.detached_drivers = true;
        can
    }

    /// The master gives the id: the one that was chosen is not used.
    async fn launch_driver(&self, _: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        app.check()?;
        app.templates.refuse()?;
        let id = SubmissionId::new(
            &self.client.create(request(app, &self.url, self.multi_tenant)).await?,
        )?;
        let mut driver = self.driver(&id).await?;
        driver.name = app.name.as_str().into();
        Ok(Launched::new(driver))
    }

    async fn request_executors(&self, _: &AppId, _: &ExecutorTarget) -> Result<()> {
        Err(unsupported("ask for executors"))
    }

    async fn kill(&self, subject: &Subject, _: Duration) -> Result<()> {
        let Subject::Driver(id) = subject else { return Err(unsupported("end an executor")) };
        let (killed, message) = self.client.kill(id.as_str()).await?;
        // One that has ended has been killed as well as can be.
        if killed || self.client.status(id.as_str()).await?.is_some() {
            return Ok(());
        }
        Err(Error::not_found(message))
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        let app = options.app.as_ref().ok_or_else(|| unsupported("tell of all applications"))?;
        let (this, id) = (self.clone(), SubmissionId::new(app.as_str())?);
        let first = self.driver(&id).await?;
        let synced = Event::Synced(Cursor("rest".to_owned()));
        let begun = [Event::Restarted, Event::Changed(Status::Driver(first.clone())), synced];
        let more = stream::unfold((this, id, first), |(this, id, before)| async {
            loop {
                tokio::time::sleep(PACE).await;
                match this.driver(&id).await {
                    Ok(now) if now.state.rank() > before.state.rank() => {
                        let event = Event::Changed(Status::Driver(now.clone()));
                        return Some((Ok(event), (this, id, now)));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind().is_retryable() => tracing::info!(%error),
                    Err(error) => return Some((Err(error), (this, id, before))),
                }
            }
        });
        Ok(stream::iter(begun.map(Ok)).chain(more).boxed())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let app = filter.app.as_ref().ok_or_else(|| unsupported("list applications"))?;
        let driver = self.driver(&SubmissionId::new(app.as_str())?).await?;
        let is_meant = !(filter.live && driver.state.is_ended());
        Ok(is_meant.then_some(Status::Driver(driver)).into_iter().collect())
    }

    async fn logs(&self, _: &Subject, _: &LogOptions) -> Result<LogStream> {
        Err(unsupported("give out output"))
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        self.driver(&SubmissionId::new(app.as_str())?).await.map(|_| Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::CommandLine;

    use super::*;

    #[test]
    fn what_is_sent_says_nothing_of_the_clusters_secret() {
        let conf = [
            ("spark.authenticate.secret", "s3cret"),
            ("spark.anymaster.authenticate.secretFile", "/etc/s3cret"),
            ("spark.app.name", "pi"),
        ];
        let app = ApplicationSpec::new("pi", CommandLine::new("true"))
            .with_conf(conf.into_iter().collect());
        let sent = serde_json::to_string(&request(&app, "spark://h:6066", false)).unwrap();
        assert!(sent.contains("\"spark.app.name\":\"pi\""), "{sent}");
        assert!(!sent.contains("s3cret"), "{sent}");
    }
}

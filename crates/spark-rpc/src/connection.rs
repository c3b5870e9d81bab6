//! A connection: of a driver, of `spark-submit`, of an executor that asks for its worker, or of a stranger.
//!
//! One task reads and answers, another writes: what an application has to say does not wait for what its
//! driver asks.

use std::sync::Arc;

use anymaster_core::model::{AppId, Cause};
use anymaster_core::{Error, ErrorKind, Result, SubmissionIdForm};
use anymaster_net::{Admitted, Lease, Stream as NetStream};
use anymaster_spark_wire::auth::{Ciphers, Opener, Proof, Sealer, Step};
use anymaster_spark_wire::messages::{
    self, MASTER, RegisterApplication, ToDriver, ToMaster, VERIFIER, WORKER,
};
use anymaster_spark_wire::{
    Dialect, Envelope, Frame, FrameDecoder, Limits, Stream, WireError, WireErrorKind,
};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, ReadHalf};
use tokio::sync::{mpsc, oneshot};

use crate::application::{Application, Runner};
use crate::drivers;
use crate::gateway::Shared;
use crate::link::{DriverLink, Outgoing, QUEUE, write};
use crate::plan::Plan;
use crate::record::Record;

/// The longest frame that is accepted. A registration has some kilobytes, a request about 100,000
/// executors less than two megabytes.
const MAX_FRAME: usize = 4 << 20;
/// The longest question for an endpoint.
const MAX_QUESTION: usize = 16 << 10;
/// What is read at once.
const CHUNK: usize = 16 << 10;

/// What a master says that waits for its turn.
const STANDBY: &str = "Current state is not alive: STANDBY";
/// What is said to those who submit drivers.
const NO_DRIVERS: &str = "This gateway runs executors, not drivers: submit with --deploy-mode client, \
                          or to the cluster itself with anymaster submit.";

/// Serves one connection to its end. An application that it has ends with it, unless this is dropped before.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: NetStream,
    admitted: Arc<Admitted>,
    leads: bool,
) -> Result<()> {
    let (frames, queue) = mpsc::channel(QUEUE);
    let connection = Connection {
        lease: admitted.lease(false),
        proof: shared.authentication.clone().map(Proof::new),
        ..Connection::new(shared, admitted, frames, leads)
    };
    connection.serve(stream, queue, None).await
}

/// A driver that was taken over.
pub(crate) struct Taken {
    pub(crate) dialect: Dialect,
    pub(crate) application: Arc<Application>,
    /// How the connection is encrypted, if it is.
    pub(crate) ciphers: Option<Box<Ciphers>>,
    /// Told when the driver has acknowledged that.
    pub(crate) acknowledged: oneshot::Sender<()>,
}

/// Serves the connection to a driver that was taken over, as [`serve`] does. `frames`: what is sent there.
pub(crate) async fn serve_taken(
    shared: Arc<Shared>,
    stream: NetStream,
    admitted: Arc<Admitted>,
    (frames, queue): (mpsc::Sender<Outgoing>, mpsc::Receiver<Outgoing>),
    taken: Taken,
) -> Result<()> {
    let Taken { dialect, application, ciphers, acknowledged } = taken;
    let (opener, sealer) = ciphers.map(|ciphers| (ciphers.opener, ciphers.sealer)).unzip();
    let connection = Connection {
        dialect: Some(dialect),
        application: Some(application),
        opener,
        acknowledged: Some(acknowledged),
        ..Connection::new(shared, admitted, frames, true)
    };
    connection.serve(stream, queue, sealer).await
}

struct Connection {
    shared: Arc<Shared>,
    /// Whether this is the master that leads.
    leads: bool,
    admitted: Arc<Admitted>,
    lease: Lease,
    decoder: FrameDecoder,
    frames: mpsc::Sender<Outgoing>,
    /// What the caller has yet to prove.
    proof: Option<Proof>,
    /// What comes in is encrypted.
    opener: Option<Opener>,
    /// How the caller asked for an endpoint, and its Spark, which is known by that.
    question: Vec<u8>,
    dialect: Option<Dialect>,
    application: Option<Arc<Application>>,
    /// Of a driver that was taken over and has not acknowledged that yet.
    acknowledged: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// Of somebody who has nothing to prove.
    fn new(
        shared: Arc<Shared>,
        admitted: Arc<Admitted>,
        frames: mpsc::Sender<Outgoing>,
        leads: bool,
    ) -> Self {
        let (lease, decoder) = (admitted.lease(true), FrameDecoder::new(MAX_FRAME));
        let (proof, opener, dialect, application, acknowledged) = Default::default();
        let question = Vec::new();
        Self {
            shared,
            leads,
            admitted,
            lease,
            decoder,
            frames,
            proof,
            opener,
            question,
            dialect,
            application,
            acknowledged,
        }
    }

    /// `sealer`: how what is sent is encrypted from the beginning.
    async fn serve(
        mut self,
        stream: NetStream,
        queue: mpsc::Receiver<Outgoing>,
        sealer: Option<Sealer>,
    ) -> Result<()> {
        let (reader, writer) = tokio::io::split(stream);
        let served = tokio::select! {
            read = self.read(reader) => read,
            written = write(writer, queue, sealer) => written,
        };
        if let Some(application) = self.application {
            application.end(Cause::Lost { why: "the connection to its driver is gone".into() });
        }
        served
    }

    async fn read(&mut self, mut reader: ReadHalf<NetStream>) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut chunk).await;
            let count =
                count.map_err(|error| Error::unavailable("a driver is gone").with_source(error))?;
            if count == 0 {
                return Ok(());
            }
            self.admitted.touch();
            match &mut self.opener {
                None => self.decoder.push(&chunk[..count]),
                Some(opener) => {
                    self.decoder.push(&opener.open(&chunk[..count]).map_err(broken)?);
                }
            }
            while let Some(frame) = self.decoder.next_frame().map_err(broken)? {
                self.answer(frame).await?;
            }
            match self.decoder.announced().map_err(broken)? {
                0 => self.lease.clear(),
                announced => self.lease.grow_to(announced).await,
            }
        }
    }

    async fn answer(&mut self, frame: Frame) -> Result<()> {
        match frame {
            frame if self.proof.is_some() => self.prove(frame).await,
            Frame::RpcRequest { id, body } => {
                let answer = match self.ask(&body).await {
                    Ok(body) => Frame::RpcResponse { id, body },
                    Err(error) => {
                        tracing::warn!("a question cannot be answered: {error}");
                        Frame::RpcFailure { id, text: format!("anymaster: {error}") }
                    }
                };
                self.send(answer.encode()).await
            }
            Frame::OneWay { body } => self.tell(&body),
            // Nothing was asked.
            Frame::RpcResponse { .. } | Frame::RpcFailure { .. } => Ok(()),
        }
    }

    /// Before anything else, a caller proves that it knows the secret.
    async fn prove(&mut self, frame: Frame) -> Result<()> {
        let (Frame::RpcRequest { id, body }, Some(proof)) = (frame, &mut self.proof) else {
            return Err(Error::protocol("a message of somebody who has proved nothing"));
        };
        match proof.step(&body).map_err(broken)? {
            Step::Continue(body) => self.send(Frame::RpcResponse { id, body }.encode()).await,
            Step::Refused(text) => self.send(Frame::RpcFailure { id, text }.encode()).await,
            Step::Wrong(text) => {
                self.admitted.authentication_failed("the secret of Spark's drivers").await;
                self.send(Frame::RpcFailure { id, text }.encode()).await?;
                // It is written before the connection is closed.
                self.frames.reserve_many(QUEUE).await.map(drop).map_err(|_| closed())?;
                Err(Error::new(ErrorKind::Unauthenticated, "a caller with another secret"))
            }
            Step::Proved(body, ciphers) => {
                self.proof = None;
                self.send(Frame::RpcResponse { id, body }.encode()).await?;
                if let Some(ciphers) = ciphers {
                    let Ciphers { mut opener, sealer } = *ciphers;
                    let sent = self.frames.send(Outgoing::Encrypt(sealer)).await;
                    sent.map_err(|_| closed())?;
                    let rest = opener.open(&self.decoder.take_rest()).map_err(broken)?;
                    self.decoder.push(&rest);
                    self.opener = Some(opener);
                }
                Ok(())
            }
        }
    }

    async fn send(&mut self, frame: Vec<u8>) -> Result<()> {
        let sent = self.frames.send(Outgoing::Frame(frame)).await;
        sent.map_err(|_| closed())
    }

    /// A question; its answer as a Java object stream.
    async fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        let (envelope, content) = Envelope::decode(body).map_err(broken)?;
        let stream = Stream::read(content, Limits::default());
        if envelope.endpoint == VERIFIER {
            let stream = stream.map_err(broken)?;
            let dialect = Dialect::of_question(&stream).map_err(broken)?;
            let ToMaster::CheckExistence { name } = messages::read(&stream).map_err(broken)? else {
                return Err(Error::protocol("the verifier is asked whether an endpoint exists"));
            };
            if content.len() > MAX_QUESTION {
                return Err(Error::protocol("a question for an endpoint that is too long"));
            }
            self.question = content.to_vec();
            let exists = [MASTER, WORKER].contains(&name.as_str());
            let answer = ToDriver::Boolean(exists).encode(&dialect);
            self.dialect = Some(dialect);
            return Ok(answer);
        }
        let dialect = self.known()?;
        if envelope.endpoint != MASTER {
            return Err(Error::not_found(format!("Could not find {}.", envelope.endpoint)));
        }
        let answer = match stream.and_then(|stream| messages::read(&stream)) {
            Ok(message) => self.answer_to(message, content).await,
            // A failure would make a driver ask again and again.
            Err(error) if error.kind() == WireErrorKind::Unsupported => {
                tracing::warn!("a question of a driver is not understood: {error}");
                ToDriver::Boolean(false)
            }
            Err(error) => return Err(broken(error)),
        };
        Ok(answer.encode(&dialect))
    }

    fn known(&self) -> Result<Dialect> {
        let known = self.dialect.clone();
        known.ok_or_else(|| Error::protocol("a message before the question for an endpoint"))
    }

    /// `content`: the message as it came.
    async fn answer_to(&mut self, message: ToMaster, content: &[u8]) -> ToDriver {
        let cluster = &*self.shared.cluster;
        let runs_drivers = self.leads && self.shared.settings.shares_all;
        match message {
            ToMaster::RequestSubmitDriver(driver) if runs_drivers => {
                drivers::submit(cluster, &driver).await
            }
            ToMaster::RequestKillDriver { driver_id } if runs_drivers => {
                drivers::kill(cluster, driver_id).await
            }
            ToMaster::RequestDriverStatus { driver_id } if runs_drivers => {
                drivers::status(cluster, &driver_id).await
            }
            ToMaster::RequestExecutors { app_id, totals } => {
                let Some(application) = self.own(&app_id) else {
                    return ToDriver::Boolean(false);
                };
                if let Err(error) = application.request(&totals, content) {
                    tracing::warn!(app = app_id, %error, "executors that cannot be");
                    return ToDriver::Boolean(false);
                }
                ToDriver::Boolean(true)
            }
            ToMaster::KillExecutors { app_id, executor_ids } => {
                let application = self.own(&app_id);
                if let Some(application) = application {
                    application.kill(&executor_ids);
                }
                ToDriver::Boolean(application.is_some())
            }
            ToMaster::RequestSubmitDriver(_) => ToDriver::SubmitDriverResponse {
                success: false,
                driver_id: None,
                message: match self.leads {
                    true => NO_DRIVERS.to_owned(),
                    // By these words `spark-submit` knows that another master is to be asked.
                    false => {
                        format!("{STANDBY}. Can only accept driver submissions in ALIVE state.")
                    }
                },
                master: None,
            },
            ToMaster::RequestKillDriver { driver_id } => ToDriver::KillDriverResponse {
                success: false,
                message: match self.leads {
                    true => format!("Driver {driver_id} has already finished or does not exist"),
                    false => format!("{STANDBY}. Can only kill drivers in ALIVE state."),
                },
                driver_id,
                master: None,
            },
            ToMaster::RequestDriverStatus { .. } => ToDriver::DriverStatusResponse {
                found: false,
                state: None,
                worker_id: None,
                worker_host_port: None,
            },
            other => {
                tracing::warn!("a question that is none for a master: {other:?}");
                ToDriver::Boolean(false)
            }
        }
    }

    /// The application of this connection: nobody asks for those of others.
    fn own(&self, app_id: &str) -> Option<&Application> {
        self.application.as_deref().filter(|own| own.id.as_str() == app_id)
    }

    /// A message without an answer.
    fn tell(&mut self, body: &[u8]) -> Result<()> {
        let (envelope, content) = Envelope::decode(body).map_err(broken)?;
        let stream = Stream::read(content, Limits::default()).map_err(broken)?;
        match messages::read(&stream).map_err(broken)? {
            // A driver asks all masters, until one answers.
            ToMaster::RegisterApplication(_) if !self.leads => Ok(()),
            ToMaster::RegisterApplication(registration) => {
                self.register(&envelope, (&stream, content), *registration)
            }
            ToMaster::UnregisterApplication { app_id } => {
                if let Some(application) = self.own(&app_id) {
                    application.end(Cause::Finished);
                }
                Ok(())
            }
            ToMaster::MasterChangeAcknowledged { app_id } => self.acknowledge(&app_id),
            other => {
                tracing::debug!("a message that is none for this gateway: {other:?}");
                Ok(())
            }
        }
    }

    /// A driver that was taken over says so.
    fn acknowledge(&mut self, app_id: &str) -> Result<()> {
        let Some(acknowledged) = self.acknowledged.take() else { return Ok(()) };
        if self.own(app_id).is_none() {
            return Err(Error::conflict(format!("another driver answers there, that of {app_id}")));
        }
        tracing::info!(app = app_id, "its driver was taken over");
        // An error: nobody waits for it any more.
        let _ = acknowledged.send(());
        Ok(())
    }

    fn register(
        &mut self,
        envelope: &Envelope,
        (stream, content): (&Stream, &[u8]),
        registration: RegisterApplication,
    ) -> Result<()> {
        if self.application.is_some() {
            // A driver repeats itself until it is answered; the answer is on its way.
            return Ok(());
        }
        let mut dialect = self.known()?;
        dialect.learn(stream);
        self.admitted.set_authenticated()?;
        self.lease = self.admitted.lease(true);
        // The driver compares our address with the one it knows, to notice when we are gone.
        let master = envelope.receiver.clone().unwrap_or_else(|| self.shared.address.clone());
        let link = DriverLink {
            frames: self.frames.clone(),
            dialect,
            sender: Some(master.clone()),
            receiver: registration.driver.clone(),
            endpoint: registration.endpoint.clone(),
        };
        self.dialect = Some(link.dialect.clone());
        let release = link.dialect.release();
        let plan = Plan::new(&registration, release, &self.shared.settings);
        let (plan, id) = match plan.and_then(|plan| Ok((plan, new_id()?))) {
            Ok(planned) => planned,
            Err(error) => {
                tracing::warn!(name = registration.application.name, %error, "an application was refused");
                self.shared.spawn(async move { link.remove_application(&error).await });
                return Ok(());
            }
        };
        let shared = &self.shared;
        let executor_host = shared.settings.executor_host.clone();
        let cluster = Arc::clone(&shared.cluster);
        let record = Record::new(&self.question, content);
        let runner = Runner::new(plan, id, cluster, link, master, executor_host).recorded(record);
        self.application = Some(Arc::clone(&runner.application));
        shared.run(runner);
        Ok(())
    }
}

fn new_id() -> Result<AppId> {
    AppId::new(SubmissionIdForm::Application.generate(Timestamp::now())?.as_str())
}

fn closed() -> Error {
    Error::unavailable("the connection is closed")
}

pub(crate) fn broken(error: WireError) -> Error {
    match error.kind() {
        WireErrorKind::Unsupported => Error::unsupported(error.to_string()),
        _ => Error::protocol(error.to_string()),
    }
}

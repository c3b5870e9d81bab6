//! A master that begins to lead takes over the drivers that are recorded (Spark 3.5, `Master.beginRecovery`): it
//! connects to each and says where the new master is. Executors and tasks go on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{AppId, Cause};
use anymaster_core::{Backoff, Error, ErrorKind, Result};
use anymaster_net::{Admission, Stream};
use anymaster_spark_wire::auth::{Authentication, Call, Caller, Ciphers};
use anymaster_spark_wire::{Frame, FrameDecoder, RpcAddress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::application::{Application, Runner};
use crate::connection::{self, Taken, broken};
use crate::gateway::Shared;
use crate::link::{DriverLink, QUEUE};
use crate::plan::Plan;
use crate::record::Record;

/// How long a driver may take to answer (Spark 3.5: `spark.worker.timeout`).
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one attempt to connect takes at most.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest answer before it has proved itself.
const MAX_ANSWER: usize = 16 << 10;
/// The first and the longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Takes over the application of this record: what has to be done until its driver is gone.
///
/// # Errors
/// If the record makes no sense.
pub(crate) fn take_over(
    shared: &Arc<Shared>,
    id: AppId,
    record: &[u8],
    admission: &Admission,
    web_url: &str,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let record = Record::decode(record)?;
    let restored = record.restore()?;
    let registration = &restored.registration;
    let plan = Plan::new(registration, restored.dialect.release(), &shared.settings)?;
    let (frames, queue) = mpsc::channel(QUEUE);
    let driver = registration.driver.clone();
    let link = DriverLink {
        frames: frames.clone(),
        dialect: restored.dialect.clone(),
        sender: Some(shared.address.clone()),
        receiver: driver.clone(),
        endpoint: registration.endpoint.clone(),
    };
    let executor_host = shared.settings.executor_host.clone();
    let cluster = Arc::clone(&shared.cluster);
    let runner = Runner::new(plan, id, cluster, link, shared.address.clone(), executor_host)
        .resumed(record, &restored, web_url)?;
    let application = Arc::clone(&runner.application);
    shared.run(runner);
    let (shared, admission) = (Arc::clone(shared), admission.clone());
    let dialect = restored.dialect;
    Ok(async move {
        let followed = async {
            let stream = connect(&driver, &application).await?;
            let admitted = Arc::new(admission.admit(stream.peer_addr().map_err(gone)?.ip())?);
            admitted.set_authenticated()?;
            let proving = prove(stream, shared.authentication.clone());
            let (stream, ciphers) = tokio::time::timeout(PATIENCE, proving)
                .await
                .map_err(|_| Error::unavailable("it does not prove that it knows the secret"))??;
            let (acknowledged, answer) = oneshot::channel();
            let application = Arc::clone(&application);
            let taken = Taken { dialect, application, ciphers, acknowledged };
            let channel = (frames, queue);
            let serving = connection::serve_taken(shared, stream, admitted, channel, taken);
            let silence = async {
                // It is dropped with the connection, whose end is told by the other one.
                match tokio::time::timeout(PATIENCE, answer).await {
                    Ok(_) => std::future::pending().await,
                    Err(_) => Error::unavailable("it does not answer its new master"),
                }
            };
            tokio::select! {
                served = serving => served,
                error = silence => Err(error),
            }
        };
        if let Err(error) = followed.await {
            tracing::warn!(app = %application.id, "its driver was not taken over: {error}");
            let why = format!(
                "its driver at {}:{} was not taken over: {error}",
                driver.host, driver.port
            );
            application.end(Cause::Lost { why: why.into() });
        }
    })
}

/// Connects to a driver, which may be behind a network that is not there at once.
async fn connect(driver: &RpcAddress, application: &Application) -> Result<TcpStream> {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let connecting = async {
        loop {
            let connect = TcpStream::connect((&*driver.host, driver.port));
            match tokio::time::timeout(CONNECT, connect).await {
                Ok(Ok(stream)) => break Ok(stream),
                // Nobody listens there: it has ended.
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    break Err(gone(error));
                }
                Ok(Err(error)) => {
                    tracing::debug!(app = %application.id, %error, "no connection yet")
                }
                Err(_) => tracing::debug!(app = %application.id, "no connection yet"),
            }
            backoff.failed(None);
            backoff.pause().await;
        }
    };
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(Error::unavailable("it cannot be reached")),
    }
}

/// Proves to a driver that this side knows the secret, if there is one, and has it prove the same.
async fn prove(
    mut stream: TcpStream,
    authentication: Option<Authentication>,
) -> Result<(Stream, Option<Box<Ciphers>>)> {
    let Some(authentication) = authentication else { return Ok((Box::new(stream), None)) };
    let (mut caller, mut body) = Caller::new(authentication).map_err(broken)?;
    let mut decoder = FrameDecoder::new(MAX_ANSWER);
    let mut bytes = vec![0; MAX_ANSWER];
    for id in 0.. {
        stream.write_all(&Frame::RpcRequest { id, body }.encode()).await.map_err(gone)?;
        let frame = loop {
            if let Some(frame) = decoder.next_frame().map_err(broken)? {
                break frame;
            }
            match stream.read(&mut bytes).await.map_err(gone)? {
                0 => return Err(Error::new(ErrorKind::Unauthenticated, "it hangs up on a secret")),
                count => decoder.push(&bytes[..count]),
            }
        };
        let call = match &frame {
            Frame::RpcResponse { id: of, body } if *of == id => caller.answered(Ok(body)),
            Frame::RpcFailure { id: of, text } if *of == id => caller.answered(Err(text)),
            _ => return Err(Error::protocol("it answers what was not asked")),
        };
        match call.map_err(broken)? {
            Call::Ask(next) => body = next,
            // It says nothing before it is told something.
            Call::Proved(ciphers) => return Ok((Box::new(stream), ciphers)),
        }
    }
    Err(Error::protocol("it asks for ever"))
}

fn gone(error: std::io::Error) -> Error {
    Error::unavailable("its driver is gone").with_source(error)
}

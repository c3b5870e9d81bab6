//! The connection of a worker.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;

use super::routes::{Orders, order_queue};
use super::shared::Shared;
use anymaster_native::wire::{Channel, FromWorker, Incoming, Outgoing, ToWorker};

/// How many messages are written at once.
const AT_ONCE: usize = 256;
/// How long it takes at most to find out whether somebody still listens.
const PROBE: Duration = Duration::from_secs(2);

/// The URLs of the master and of its page, which workers are told.
pub(super) type Urls<'a> = (&'a str, &'a str);

/// Serves a worker until its connection ends.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut channel: Channel,
    urls: Urls<'_>,
) -> Result<()> {
    let FromWorker::Register { worker, reports, leaving } = channel.expect().await? else {
        return Err(Error::protocol("a worker did not say who it is"));
    };
    let (id, address) = (worker.id.clone(), format!("{}:{}", worker.host, worker.port));
    let (queue, orders) = order_queue();
    let session = shared.register(worker, reports, leaving, queue);
    let (incoming, outgoing) = channel.split();
    let ended = tokio::select! {
        read = read(shared, &id, incoming) => read,
        written = write(orders, outgoing, urls) => written,
    };
    shared.worker_disconnected(&id, session);
    // Where nobody listens any more, there is nothing to wait for.
    if is_gone(&address).await {
        shared.change(|engine| engine.worker_dead(&id, session));
    }
    ended
}

async fn read(shared: &Shared, id: &str, mut incoming: Incoming) -> Result<()> {
    while let Some(message) = incoming.receive::<FromWorker>().await? {
        // A second registration on the same connection says nothing new.
        if let Some(message) = message.into_engine() {
            shared.change(|engine| engine.on_worker_message(id, message));
        }
    }
    Ok(())
}

async fn write(
    Orders { mut orders, overflow }: Orders,
    mut outgoing: Outgoing,
    urls: Urls<'_>,
) -> Result<()> {
    let mut some = Vec::new();
    // None: the engine has ended this session, or another connection of the same worker has taken its place.
    while orders.recv_many(&mut some, AT_ONCE).await > 0 {
        let messages: Vec<_> = some.drain(..).map(|order| ToWorker::new(order, urls)).collect();
        tokio::select! {
            sent = outgoing.send_all(&messages) => sent?,
            () = overflow.notified() => return Err(Error::new(
                ErrorKind::Timeout,
                "a worker does not read: too many orders wait for it",
            )),
        }
    }
    Ok(())
}

/// Whether the machine says that nobody listens there.
async fn is_gone(address: &str) -> bool {
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    let probe = tokio::time::timeout(PROBE, TcpStream::connect(address)).await;
    matches!(probe, Ok(Err(error)) if refused(&error))
}

//! The connection of a worker.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cluster::{Link, Messages};
use super::shared::Shared;
use crate::wire::{Channel, FromWorker, Incoming, Outgoing, ToWorker};

/// How many messages are written at once.
const AT_ONCE: usize = 256;
/// How many messages may wait for a worker that does not read, and how often that is looked at.
const MOST_UNREAD: usize = 100_000;
const LOOK: Duration = Duration::from_secs(1);
/// How long it takes at most to find out whether somebody still listens.
const PROBE: Duration = Duration::from_secs(2);

/// Serves a worker until its connection ends.
pub(super) async fn serve(shared: &Arc<Shared>, mut channel: Channel) -> Result<()> {
    let FromWorker::Register { worker, held, leaving } = channel.expect().await? else {
        return Err(Error::protocol("a worker did not say who it is"));
    };
    let (id, address) = (worker.id.clone(), format!("{}:{}", worker.host, worker.port));
    let session = shared.new_session();
    let (sender, queue) = mpsc::unbounded_channel();
    let link = Link { session, messages: Messages::Own(sender) };
    shared.change(|cluster| cluster.register(worker, held, leaving, link, Instant::now()));
    let (incoming, outgoing) = channel.split();
    let ended = tokio::select! {
        read = read(shared, &id, incoming) => read,
        written = write(queue, outgoing) => written,
    };
    shared.change(|cluster| cluster.away(&id, session, Instant::now()));
    shared.set_clock();
    // Where nobody listens any more, there is nothing to wait for.
    if is_gone(&address).await {
        shared.change(|cluster| cluster.gone(&id, session, Instant::now()));
    }
    ended
}

async fn read(shared: &Shared, id: &str, mut incoming: Incoming) -> Result<()> {
    while let Some(message) = incoming.receive().await? {
        shared.change(|cluster| cluster.heard(id, message, Instant::now()));
    }
    Ok(())
}

async fn write(mut queue: mpsc::UnboundedReceiver<ToWorker>, mut outgoing: Outgoing) -> Result<()> {
    let mut messages = Vec::new();
    // None: another connection of the same worker has taken its place.
    while queue.recv_many(&mut messages, AT_ONCE).await > 0 {
        let too_many = async {
            while queue.len() < MOST_UNREAD {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            sent = outgoing.send_all(&messages) => sent?,
            () = too_many => return Err(Error::new(
                ErrorKind::Timeout,
                format!("a worker does not read: {MOST_UNREAD} messages wait for it"),
            )),
        }
        messages.clear();
    }
    Ok(())
}

/// Whether the machine says that nobody listens there.
async fn is_gone(address: &str) -> bool {
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    let probe = tokio::time::timeout(PROBE, TcpStream::connect(address)).await;
    matches!(probe, Ok(Err(error)) if refused(&error))
}

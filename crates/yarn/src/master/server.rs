//! Answers those who know the application's key.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anymaster_core::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Master;
use crate::control::{Answer, Connection, PULSE, Request, Told};

/// How many connections there may be of those who know the key.
const MAX_CONNECTIONS: usize = 256;
/// How many there may be of those who have not shown yet that they do.
const MAX_STRANGERS: usize = 64;
/// How long one who asks nothing is kept, and how long one who does not read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes a port on this address, or, where this machine does not have it itself, on all that it has.
pub(crate) async fn listen(host: &str) -> Result<TcpListener> {
    if let Ok(listener) = TcpListener::bind((host.trim_matches(['[', ']']), 0)).await {
        return Ok(listener);
    }
    let all = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    TcpListener::bind(all).await.map_err(|error| {
        Error::unavailable("the application master has no port").with_source(error)
    })
}

/// Accepts connections until the application is over, and all who watch know it.
pub(super) async fn run(master: Weak<Master>, listener: TcpListener, key: Arc<[u8]>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    let mut connections = JoinSet::new();
    let Some(mut done) = master.upgrade().map(|master| master.done.subscribe()) else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = done.wait_for(|done| *done) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of files that are open, there may be too many for a moment.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
            tracing::warn!(%peer, "there are too many connections");
            continue;
        };
        let (master, key, places) = (master.clone(), Arc::clone(&key), Arc::clone(&places));
        connections.spawn(async move {
            let serving = async {
                let connection = Connection::accept(stream, &key).await?;
                drop(stranger);
                let Ok(_place) = places.try_acquire() else {
                    return Err(Error::unavailable("there are too many connections"));
                };
                serve(master, connection).await
            };
            if let Err(error) = serving.await {
                tracing::info!(%peer, %error, "a connection has ended");
            }
        });
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(PATIENCE, rest).await;
}

async fn serve(master: Weak<Master>, mut connection: Connection) -> Result<()> {
    let request = timeout(PATIENCE, connection.next::<Request>()).await;
    let Some(request) = request.map_err(|_| Error::unavailable("nothing is asked"))?? else {
        return Ok(());
    };
    let Some(master) = master.upgrade() else { return Ok(()) };
    let answer = match request {
        Request::Watch => return watch(&master, connection).await,
        Request::Target(target) => master.request(target).await.map(|()| Answer::Done),
        Request::KillDriver { grace } => {
            master.kill_driver(grace);
            Ok(Answer::Done)
        }
        Request::KillExecutor { id, grace } => {
            master.kill_executor(id, grace).map(|()| Answer::Done)
        }
        Request::Place(id) => master.place_of(id).map(Answer::Place),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Refused {
        kind: error.kind(),
        message: error.message().to_owned(),
        hint: error.hint().map(str::to_owned),
    });
    connection.send(&answer).await
}

async fn watch(master: &Arc<Master>, mut connection: Connection) -> Result<()> {
    let mut done = master.done.subscribe();
    let (mut known, mut events) = master.roster().watch();
    loop {
        for told in known.drain(..) {
            send(&mut connection, &told).await?;
        }
        let over = async { done.wait_for(|done| *done).await.map(drop) };
        let told = tokio::select! {
            biased;
            told = events.recv() => told,
            _ = over => loop {
                match events.try_recv() {
                    Ok(told) => send(&mut connection, &told).await?,
                    Err(TryRecvError::Lagged(_)) => {}
                    Err(_) => return Ok(()),
                }
            },
            () = tokio::time::sleep(PULSE) => Ok(Told::Pulse),
        };
        match told {
            Ok(told) => send(&mut connection, &told).await?,
            // It was too slow: it begins anew.
            Err(RecvError::Lagged(_)) => (known, events) = master.roster().watch(),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn send(connection: &mut Connection, told: &Told) -> Result<()> {
    let sending = timeout(PATIENCE, connection.send(told)).await;
    sending.map_err(|_| Error::unavailable("who watches does not read"))?
}

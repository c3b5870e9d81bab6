//! The worker's connection to the leading master: registration, heartbeats, messages, reconnection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::tasks::Tasks;
use anymaster_native::wire::{Credentials, FromWorker, Incoming, Outgoing, ToWorker, connect};

/// How long to look for a leading master before giving up (Spark 3.5, `Worker`: 16 attempts).
const GIVE_UP_AFTER: Duration = Duration::from_secs(11 * 60);
/// Pauses between rounds of attempts: the first, the longest during an election, and the longest.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)];
/// How long an election of a leader may take.
const ELECTION: Duration = Duration::from_secs(60);
/// The grace period of processes that are ended because the worker is fenced.
const GRACE: Duration = Duration::from_secs(10);
/// The largest number of messages in one write.
const MAX_BATCH: usize = 256;

/// Stays registered with the leading master; returns the error that makes this impossible.
pub(super) async fn run(
    tasks: &Arc<Tasks>,
    masters: &[HostPort],
    credentials: &Credentials,
    fence_after: Duration,
    registered: impl FnOnce(&str),
) -> Error {
    let mut registered = Some(registered);
    let mut pause = PAUSES[0];
    let mut disconnected_since = Instant::now();
    let mut is_fenced = false;
    loop {
        // Masters that will never accept this worker, and why.
        let mut refusals = Vec::new();
        for master in masters {
            let mut on_registered = |name: &str| {
                (pause, is_fenced) = (PAUSES[0], false);
                match registered.take() {
                    Some(registered) => registered(name),
                    None => tracing::info!("registered again with {name}"),
                }
            };
            let mut was_registered = false;
            let ended = serve(tasks, &master.to_string(), credentials, |name| {
                was_registered = true;
                on_registered(name);
            })
            .await;
            tasks.detach();
            if was_registered {
                disconnected_since = Instant::now();
            }
            match ended {
                Err(error) if was_registered => tracing::warn!("{master}: {error}"),
                // Once registered, a master that refuses is not a reason to end what runs here.
                Err(error) if registered.is_some() && is_final(&error) => refusals.push(error),
                // The message names the master.
                Err(error) => tracing::warn!("{error}"),
                Ok(never) => match never {},
            }
        }
        let all_refused = refusals.len() == masters.len();
        let last = refusals.pop_if(|_| all_refused);
        refusals.iter().for_each(|error| tracing::warn!("{error}"));
        if let Some(error) = last {
            return error;
        }
        if !is_fenced && disconnected_since.elapsed() >= fence_after {
            // The master has declared this worker dead, or will: it starts replacements elsewhere.
            tracing::warn!(
                "no master reached for {} s: ending all processes",
                fence_after.as_secs()
            );
            tasks.fence(GRACE);
            is_fenced = true;
        }
        if disconnected_since.elapsed() >= GIVE_UP_AFTER {
            return Error::unavailable("All masters are unresponsive! Giving up.")
                .with_hint("are they running, and reachable from here?");
        }
        let wait = pause.mul_f64(rand::random_range(0.5..1.5));
        tokio::time::sleep(wait).await;
        let longest = if disconnected_since.elapsed() < ELECTION { PAUSES[1] } else { PAUSES[2] };
        pause = (pause * 2).min(longest);
    }
}

/// Whether retrying is useless: the master has another secret, or speaks another protocol version.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Protocol)
}

/// Serves a master until its connection ends.
async fn serve(
    tasks: &Arc<Tasks>,
    master: &str,
    credentials: &Credentials,
    mut registered: impl FnMut(&str),
) -> Result<Infallible> {
    let mut channel = connect(master, credentials).await?;
    let (sender, to_master) = mpsc::unbounded_channel();
    let (reports, leaving) = tasks.attach(sender);
    let worker = tasks.info().clone();
    channel.send(&FromWorker::Register { worker, reports, leaving }).await?;
    let heartbeat = match channel.expect().await? {
        ToWorker::Registered { master, web, heartbeat } => {
            tasks.registered_with(&master, web);
            registered(&master);
            heartbeat
        }
        _ => return Err(Error::protocol("the master did not answer the registration")),
    };
    let (incoming, outgoing) = channel.split();
    tokio::select! {
        ended = read(tasks, incoming) => ended,
        ended = write(to_master, outgoing, heartbeat) => ended,
    }
}

async fn read(tasks: &Arc<Tasks>, mut incoming: Incoming) -> Result<Infallible> {
    loop {
        let message = incoming
            .receive()
            .await?
            .ok_or_else(|| Error::unavailable("the master closed the connection"))?;
        match message {
            ToWorker::Application(application) => tasks.add_application(*application),
            ToWorker::StartDriver(order) => tasks.accept_driver(*order),
            ToWorker::Confirmed { app, attempt } => tasks.start_driver(&app, attempt),
            ToWorker::StartExecutor(order) => tasks.start_executor(*order),
            ToWorker::Stop { app, task, stop } => tasks.stop(&app, task, stop),
            ToWorker::TaskAck { app, task } => tasks.acknowledged(app, task),
            ToWorker::ForgetApp { app } => tasks.forget_application(&app),
            ToWorker::Registered { .. } => {}
        }
    }
}

async fn write(
    mut to_master: mpsc::UnboundedReceiver<FromWorker>,
    mut outgoing: Outgoing,
    heartbeat: Duration,
) -> Result<Infallible> {
    let mut ticks = tokio::time::interval(heartbeat.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut messages = Vec::new();
    loop {
        let heartbeat = tokio::select! {
            many = to_master.recv_many(&mut messages, MAX_BATCH) => {
                if many == 0 {
                    return Err(Error::unavailable("another connection has replaced this one"));
                }
                false
            }
            _ = ticks.tick() => true,
        };
        if heartbeat {
            outgoing.send(&FromWorker::Heartbeat).await?;
        } else {
            outgoing.send_all(&messages).await?;
            messages.clear();
        }
    }
}

//! The connection to the master that leads.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::tasks::Tasks;
use anymaster_dispatcher::wire::{Credentials, FromWorker, Incoming, Outgoing, ToWorker, connect};

/// How long no master may be found before it is given up (Spark 3.5, `Worker`: 16 attempts).
const PATIENCE: Duration = Duration::from_secs(11 * 60);
/// The pause between two rounds of attempts: the first, the longest while another master may be about to
/// lead, and the longest.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)];
/// How long that may take.
const ELECTION: Duration = Duration::from_secs(60);
/// How long processes have to end when they are fenced.
const GRACE: Duration = Duration::from_secs(10);
/// How many messages are written at once.
const AT_ONCE: usize = 256;

/// Keeps to a master for ever; says why that is not possible any more.
pub(super) async fn keep(
    tasks: &Arc<Tasks>,
    masters: &[HostPort],
    credentials: &Credentials,
    fence_after: Duration,
    registered: impl FnOnce(&str),
) -> Error {
    let mut registered = Some(registered);
    let mut pause = PAUSES[0];
    let mut alone_since = Instant::now();
    let mut is_fenced = false;
    loop {
        // Why each of them will never have this worker.
        let mut refusals = Vec::new();
        for master in masters {
            let mut greet = |name: &str| {
                (pause, is_fenced) = (PAUSES[0], false);
                match registered.take() {
                    Some(registered) => registered(name),
                    None => tracing::info!("registered again with {name}"),
                }
            };
            let mut was_there = false;
            let ended = serve(tasks, &master.to_string(), credentials, |name| {
                was_there = true;
                greet(name);
            })
            .await;
            tasks.be_silent();
            if was_there {
                alone_since = Instant::now();
            }
            match ended {
                Err(error) if was_there => tracing::warn!("{master}: {error}"),
                // Later it may be one that was started wrongly: what runs is not its to end.
                Err(error) if registered.is_some() && is_final(&error) => refusals.push(error),
                // It says of whom it speaks.
                Err(error) => tracing::warn!("{error}"),
                Ok(never) => match never {},
            }
        }
        let nobody_is_left = refusals.len() == masters.len();
        let last = refusals.pop_if(|_| nobody_is_left);
        refusals.iter().for_each(|error| tracing::warn!("{error}"));
        if let Some(error) = last {
            return error;
        }
        if !is_fenced && alone_since.elapsed() >= fence_after {
            // The master has given them up, or will: nobody counts them any more.
            tracing::warn!("no master for {} s: processes are ended", fence_after.as_secs());
            tasks.fence(GRACE);
            is_fenced = true;
        }
        if alone_since.elapsed() >= PATIENCE {
            return Error::unavailable("All masters are unresponsive! Giving up.")
                .with_hint("are they running, and reachable from here?");
        }
        let wait = pause.mul_f64(rand::random_range(0.5..1.5));
        tokio::time::sleep(wait).await;
        let longest = if alone_since.elapsed() < ELECTION { PAUSES[1] } else { PAUSES[2] };
        pause = (pause * 2).min(longest);
    }
}

/// Whether a master that says so will say it again: it has another secret, or is of another release.
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
    let (sender, news) = mpsc::unbounded_channel();
    let (held, leaving) = tasks.tell(sender);
    let worker = tasks.info().clone();
    channel.send(&FromWorker::Register { worker, held, leaving }).await?;
    let heartbeat = match channel.expect().await? {
        ToWorker::Registered { master, web, heartbeat } => {
            tasks.set_master(&master, web);
            registered(&master);
            heartbeat
        }
        _ => return Err(Error::protocol("a master did not answer a registration")),
    };
    let (incoming, outgoing) = channel.split();
    tokio::select! {
        ended = read(tasks, incoming) => ended,
        ended = write(news, outgoing, heartbeat) => ended,
    }
}

async fn read(tasks: &Arc<Tasks>, mut incoming: Incoming) -> Result<Infallible> {
    loop {
        let message = incoming
            .receive()
            .await?
            .ok_or_else(|| Error::unavailable("the master closed the connection"))?;
        match message {
            ToWorker::Application(application) => tasks.introduce(*application),
            ToWorker::StartDriver(order) => tasks.accept_driver(*order),
            ToWorker::Confirmed { app, attempt } => tasks.start_driver(&app, attempt),
            ToWorker::StartExecutor(order) => tasks.start_executor(*order),
            ToWorker::Stop { app, task, stop } => tasks.stop(&app, task, stop),
            ToWorker::Noted { app, task } => tasks.noted(app, task),
            ToWorker::Over { app } => tasks.is_over(&app),
            ToWorker::Registered { .. } => {}
        }
    }
}

async fn write(
    mut news: mpsc::UnboundedReceiver<FromWorker>,
    mut outgoing: Outgoing,
    heartbeat: Duration,
) -> Result<Infallible> {
    let mut ticks = tokio::time::interval(heartbeat.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut messages = Vec::new();
    loop {
        let heartbeat = tokio::select! {
            many = news.recv_many(&mut messages, AT_ONCE) => {
                if many == 0 {
                    return Err(Error::unavailable("another connection has taken this one's place"));
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

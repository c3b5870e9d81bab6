//! The connection of a client: a call and its answer, then the next call.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{AppId, Cursor, Event, ExternalDriver, Filter, Status};
use anymaster_core::{Error, ErrorKind, Launched, LogChunk, LogOptions, LogStream, Result};
use anymaster_engine::OutputLocation;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use tokio::time::timeout;
use tracing::{Instrument as _, debug_span};

use super::leadership::Daemon;
use super::output;
use super::shared::{ExternalSession, Shared};
use super::subscription::Subscription;
use anymaster_native::wire::{Channel, Item, Reply, Request};

/// How many items are written at once.
const AT_ONCE: usize = 512;
/// How long a client may be silent between two calls. One whose machine is gone is noticed earlier, by the
/// system.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// Serves a client until its connection ends. `only`: the application that it may ask about, if not
/// all of them.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    daemon: &Daemon,
    mut channel: Channel,
    only: Option<&AppId>,
) -> Result<()> {
    while let Some(call) = next_call(&mut channel).await? {
        // One call a turn: whoever sends many at once does not keep others waiting.
        tokio::task::yield_now().await;
        if let Some(only) = only.filter(|only| call.concerns() != Some(only)) {
            let error = Error::new(
                ErrorKind::Denied,
                format!("this is the business of others than {only}"),
            )
            .with_hint("who has the secret of the cluster may ask for it");
            channel.send(&Reply::Failed((&error).into())).await?;
            continue;
        }
        let span = debug_span!("rpc", method = call.method());
        match answer(shared, daemon, channel, call).instrument(span).await? {
            Some(back) => channel = back,
            None => break,
        }
    }
    Ok(())
}

/// Answers a call. The channel comes back for the next one, unless what follows an answer took it.
async fn answer(
    shared: &Arc<Shared>,
    daemon: &Daemon,
    mut channel: Channel,
    call: Request,
) -> Result<Option<Channel>> {
    let reply = match call {
        Request::Launch { id, spec } => {
            let launched = shared
                .accept(|engine| engine.launch(&id, &spec), |launched| launched.driver.app.clone())
                .await;
            launched.map(|Launched { driver, existed, .. }| Reply::Driver {
                driver: Box::new(driver),
                existed,
            })
        }
        Request::Executors { app, target } => {
            let requested = shared.commit(|engine| engine.request(&app, *target)).await;
            requested.map(|()| Reply::Done)
        }
        Request::Kill { subject, grace } => {
            let killed = shared.commit(|engine| engine.kill(&subject, grace)).await;
            killed.map(|()| Reply::Done)
        }
        Request::Locate { subject } => {
            let found = shared.read(|engine| engine.locate(&subject));
            found.map(|at| match at {
                Some((location, app, task)) => {
                    let address = match location {
                        OutputLocation::Worker(address) => address,
                        // This daemon asks the agent for it.
                        OutputLocation::Agent { .. } => daemon.address.clone(),
                    };
                    Reply::At { address, app, task }
                }
                None => Reply::Nowhere,
            })
        }
        Request::Diagnose { app } => {
            let now = shared.now();
            Ok(Reply::Findings(shared.read(|engine| engine.diagnose(&app, now))))
        }
        Request::List { filter } => {
            let filter = Filter::from(&filter);
            match shared.read_written(|engine| engine.list(&filter)).await {
                Ok(statuses) => {
                    channel.send(&Reply::Stream).await?;
                    send_statuses(&mut channel, statuses).await?;
                    channel.send(&Item::End).await?;
                    return Ok(Some(channel));
                }
                Err(error) => Err(error),
            }
        }
        Request::Watch { app, from } => {
            watch(shared, channel, app.as_ref(), from.as_ref()).await?;
            return Ok(None);
        }
        Request::Attach { app, name, host, port, conf } => {
            let driver = ExternalDriver::new(name, host, port).with_conf(conf);
            match shared.attach(&app, &driver).await {
                Ok(session) => {
                    attend(shared, channel, &app, session, &Reply::Done).await?;
                    return Ok(None);
                }
                Err(error) => Err(error),
            }
        }
        Request::Register { id, driver } => match shared.register_application(&id, &driver).await {
            Ok((Launched { driver, existed, .. }, session)) => {
                let app = driver.app.clone();
                let reply = Reply::Driver { driver: Box::new(driver), existed };
                attend(shared, channel, &app, session, &reply).await?;
                return Ok(None);
            }
            Err(error) => Err(error),
        },
        Request::Unregister { app, cause } => {
            let ended = shared.commit(|engine| engine.unregister_application(&app, &cause)).await;
            ended.map(|()| Reply::Done)
        }
        Request::Logs { app, task, follow, tail, source } => {
            let mut options = LogOptions::default();
            (options.follow, options.tail) = (follow, tail);
            options.source = source.map(Into::into);
            match output::of_agent(shared, daemon, &app, task, &options).await {
                Ok(output) => {
                    pass_on(channel, output).await?;
                    return Ok(None);
                }
                Err(error) => Err(error),
            }
        }
    };
    let reply = reply.unwrap_or_else(|error| Reply::Failed((&error).into()));
    channel.send(&reply).await?;
    Ok(Some(channel))
}

/// The next call; `None` if the client has gone, or asks nothing for too long: then its place is for
/// others. It calls again when it has something to ask.
async fn next_call(channel: &mut Channel) -> Result<Option<Request>> {
    // An error: nothing came in time.
    timeout(IDLE, channel.receive()).await.unwrap_or(Ok(None))
}

/// Sends output on, until all of it is there or they go.
async fn pass_on(mut channel: Channel, mut output: LogStream) -> Result<()> {
    channel.send(&Reply::Stream).await?;
    let (mut incoming, mut outgoing) = channel.split();
    let sending = async {
        while let Some(LogChunk { source, bytes }) = output.next().await.transpose()? {
            let bytes = BASE64_STANDARD.encode(bytes);
            outgoing.send(&Item::Output { source: source.into(), bytes }).await?;
        }
        outgoing.send(&Item::End).await
    };
    tokio::select! {
        sent = sending => sent,
        // It says nothing more: what comes is its end.
        said = incoming.receive::<Request>() => said.map(|_| ()),
    }
}

async fn send_statuses(channel: &mut Channel, statuses: Vec<Status>) -> Result<()> {
    let mut items = statuses.into_iter().map(|status| Item::Changed(Box::new(status)));
    loop {
        let some: Vec<_> = items.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        channel.send_all(&some).await?;
    }
}

/// An external driver is there for as long as its connection, and a little longer: it may come back.
async fn attend(
    shared: &Arc<Shared>,
    mut channel: Channel,
    app: &AppId,
    ExternalSession { id, mut ends }: ExternalSession,
    reply: &Reply,
) -> Result<()> {
    let ended = async {
        channel.send(reply).await?;
        tokio::select! {
            // It says nothing more: what comes is its end.
            said = channel.receive::<Request>() => said.map(|_| ()),
            _ = ends.wait_for(|over| *over) => Ok(()),
        }
    };
    let ended = ended.await;
    shared.external_disconnected(app, id);
    ended
}

/// What happens, until the client goes.
async fn watch(
    shared: &Arc<Shared>,
    channel: Channel,
    app: Option<&AppId>,
    from: Option<&Cursor>,
) -> Result<()> {
    let (mut incoming, mut outgoing) = channel.split();
    let mut subscription = match Subscription::begin(shared, app, from).await {
        Ok(begun) => begun,
        Err(error) => return outgoing.send(&Reply::Failed((&error).into())).await,
    };
    outgoing.send(&Reply::Stream).await?;
    let telling = async {
        loop {
            let mut items = subscription.next().await?.into_iter().map(item);
            loop {
                let some: Vec<_> = items.by_ref().take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                outgoing.send_all(&some).await?;
            }
        }
    };
    tokio::select! {
        told = telling => told,
        // It says nothing more: what comes is its end.
        said = incoming.receive::<Request>() => said.map(|_| ()),
    }
}

fn item(event: Event) -> Item {
    match event {
        Event::Restarted => Item::Restarted,
        Event::Changed(status) => Item::Changed(Box::new(status)),
        Event::Synced(cursor) => Item::Synced(cursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_nothing_for_long_is_left() {
        let (theirs, ours) = tokio::io::duplex(64 << 10);
        let (mut client, mut ours) =
            (Channel::greeting(Box::new(theirs)), Channel::greeting(Box::new(ours)));
        let call = || Request::Diagnose { app: AppId::new("app").unwrap() };
        for _ in 0..3 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            client.send(&call()).await.unwrap();
            assert!(next_call(&mut ours).await.unwrap().is_some());
        }
        let began = tokio::time::Instant::now();
        assert!(next_call(&mut ours).await.unwrap().is_none());
        assert_eq!(began.elapsed(), IDLE);
        drop(client);
        assert!(next_call(&mut ours).await.unwrap().is_none(), "it has gone");
    }
}

//! The connection of a client: a call and its answer, then the next call.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{AppId, Cursor, Event, Status};
use anymaster_core::{Error, ErrorKind, Launched, LogChunk, LogOptions, LogStream, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug_span};

use super::cluster::{Cluster, Session};
use super::news::Place;
use super::shared::Shared;
use crate::wire::{Call, Channel, Item, Reply, Task};

/// How many items are written at once.
const AT_ONCE: usize = 512;
/// How long a client may be silent between two calls. One whose machine is gone is noticed earlier, by the
/// system.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// Serves a client until its connection ends. `only`: the application that it may ask about, if not
/// all of them.
pub(super) async fn serve(
    shared: &Arc<Shared>,
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
        match answer(shared, channel, call).instrument(span).await? {
            Some(back) => channel = back,
            None => break,
        }
    }
    Ok(())
}

/// Answers a call. The channel comes back for the next one, unless what follows an answer took it.
async fn answer(shared: &Arc<Shared>, mut channel: Channel, call: Call) -> Result<Option<Channel>> {
    let reply = match call {
        Call::Launch { id, spec } => {
            let launched = shared
                .take_in(
                    |cluster| cluster.launch(&id, &spec),
                    |launched| launched.driver.app.clone(),
                )
                .await;
            launched.map(|Launched { driver, existed, .. }| Reply::Driver {
                driver: Box::new(driver),
                existed,
            })
        }
        Call::Executors { app, target } => {
            let requested = shared.commit(|cluster| cluster.request(&app, *target)).await;
            requested.map(|()| Reply::Done)
        }
        Call::Kill { subject, grace } => {
            let killed = shared.commit(|cluster| cluster.kill(&subject, grace)).await;
            killed.map(|()| Reply::Done)
        }
        Call::Locate { subject } => {
            let found = shared.read(|cluster| cluster.locate(&subject));
            found.map(|at| match at {
                Some((address, app, task)) => Reply::At { address, app, task },
                None => Reply::Nowhere,
            })
        }
        Call::Diagnose { app } => {
            Ok(Reply::Findings(shared.read(|cluster| cluster.diagnose(&app, Instant::now()))))
        }
        Call::List { filter } => match shared.read_written(|cluster| cluster.list(&filter)).await {
            Ok(statuses) => {
                channel.send(&Reply::Stream).await?;
                send_statuses(&mut channel, statuses).await?;
                channel.send(&Item::End).await?;
                return Ok(Some(channel));
            }
            Err(error) => Err(error),
        },
        Call::Watch { app, from } => {
            watch(shared, channel, app.as_ref(), from.as_ref()).await?;
            return Ok(None);
        }
        Call::Attach { app, name, host, port, conf } => {
            let (over, ends) = watch::channel(false);
            let session = Session { number: shared.new_session(), over };
            let number = session.number;
            let attached = shared
                .take_in(
                    |cluster| cluster.attach(&app, &name, &host, port, &conf, session),
                    |()| app.clone(),
                )
                .await;
            match attached {
                Ok(()) => {
                    attend(shared, channel, &app, number, ends).await?;
                    return Ok(None);
                }
                Err(error) => Err(error),
            }
        }
        Call::Logs { app, task, follow, tail, source } => {
            let mut options = LogOptions::default();
            (options.follow, options.tail) = (follow, tail);
            options.source = source.map(Into::into);
            match output(shared, &app, task, &options).await {
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
async fn next_call(channel: &mut Channel) -> Result<Option<Call>> {
    // An error: nothing came in time.
    timeout(IDLE, channel.receive()).await.unwrap_or(Ok(None))
}

/// The output of a process on an agent.
async fn output(
    shared: &Arc<Shared>,
    app: &AppId,
    task: Task,
    options: &LogOptions,
) -> Result<LogStream> {
    let (ended, is_over) = watch::channel(false);
    let (located, mut news) =
        shared.read(|cluster| (cluster.on_agent(app, task), cluster.news().listen()));
    let (lender, agent, attempt) = located?;
    let (shared, id) = (Arc::clone(shared), app.clone());
    tokio::spawn(async move {
        let until = async {
            loop {
                news.mark_unchanged();
                if shared.read(|cluster| cluster.has_ended(&id, task)) {
                    break;
                }
                if news.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = until => { ended.send_replace(true); }
            // Nobody reads any more.
            () = ended.closed() => {}
        }
    });
    lender.output(&agent, (app, task, attempt), options, is_over).await
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
        said = incoming.receive::<Call>() => said.map(|_| ()),
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

/// A driver that is not one of our processes is there for as long as its connection, and a little
/// longer: it may come back.
async fn attend(
    shared: &Arc<Shared>,
    mut channel: Channel,
    app: &AppId,
    session: u64,
    mut ends: watch::Receiver<bool>,
) -> Result<()> {
    let ended = async {
        channel.send(&Reply::Done).await?;
        tokio::select! {
            // It says nothing more: what comes is its end.
            said = channel.receive::<Call>() => said.map(|_| ()),
            _ = ends.wait_for(|over| *over) => Ok(()),
        }
    };
    let ended = ended.await;
    let (shared, app) = (Arc::clone(shared), app.clone());
    tokio::spawn(async move {
        let return_time = shared.read(|cluster| cluster.policy().return_time);
        tokio::time::sleep(return_time).await;
        shared.change(|cluster| cluster.detach(&app, session));
    });
    ended
}

/// What happens, until the client goes.
async fn watch(
    shared: &Shared,
    channel: Channel,
    app: Option<&AppId>,
    from: Option<&Cursor>,
) -> Result<()> {
    let (mut incoming, mut outgoing) = channel.split();
    let look = |cluster: &Cluster| {
        let latest = cluster.news().listen();
        let known = from.and_then(Place::parse);
        let known = known.filter(|place| cluster.news().since(*place, app, 0).is_some());
        let begun = match known {
            Some(place) => Ok((vec![Event::Synced(place.cursor())], place)),
            None => state(cluster, app).map(|state| (state, cluster.news().place())),
        };
        (begun, latest)
    };
    let (begun, mut latest) = shared.read_written(look).await;
    let (mut events, mut place) = match begun {
        Ok(begun) => begun,
        Err(error) => return outgoing.send(&Reply::Failed((&error).into())).await,
    };
    outgoing.send(&Reply::Stream).await?;
    let telling = async {
        loop {
            for some in events.chunks(AT_ONCE) {
                let items: Vec<_> = some.iter().cloned().map(item).collect();
                outgoing.send_all(&items).await?;
            }
            events = loop {
                // Before looking, so that nothing is missed in between.
                latest.mark_unchanged();
                let look = |cluster: &Cluster| match cluster.news().since(place, app, AT_ONCE) {
                    Some((changes, behind)) => Ok((changes, behind)),
                    None => Err((state(cluster, app), cluster.news().place())),
                };
                let mut more = shared.read(look);
                if more.is_err() {
                    // Too far behind: it begins anew with a state, which has to be durable.
                    more = shared.read_written(look).await;
                }
                match more {
                    Ok((changes, behind)) if behind == place => {
                        debug_assert!(changes.is_empty());
                        if latest.changed().await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok((changes, behind)) => {
                        place = behind;
                        if changes.is_empty() {
                            continue;
                        }
                        let changes = changes.into_iter().map(Event::Changed);
                        break changes.chain([Event::Synced(place.cursor())]).collect();
                    }
                    Err((state, now)) => {
                        place = now;
                        break state?;
                    }
                }
            };
        }
    };
    tokio::select! {
        told = telling => told,
        // It says nothing more: what comes is its end.
        said = incoming.receive::<Call>() => said.map(|_| ()),
    }
}

fn state(cluster: &Cluster, app: Option<&AppId>) -> Result<Vec<Event>> {
    let statuses = cluster.statuses(app);
    if let Some(app) = app.filter(|_| statuses.is_empty()) {
        return Err(Error::not_found(format!("there is no application {app}")));
    }
    let changes = statuses.into_iter().map(Event::Changed);
    let synced = Event::Synced(cluster.news().place().cursor());
    Ok(std::iter::once(Event::Restarted).chain(changes).chain([synced]).collect())
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
    use crate::wire::pair;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_nothing_for_long_is_left() {
        let (mut client, mut ours) = pair();
        let call = || Call::Diagnose { app: AppId::new("app").unwrap() };
        for _ in 0..3 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            client.send(&call()).await.unwrap();
            assert!(next_call(&mut ours).await.unwrap().is_some());
        }
        let began = Instant::now();
        assert!(next_call(&mut ours).await.unwrap().is_none());
        assert_eq!(began.elapsed(), IDLE);
        drop(client);
        assert!(next_call(&mut ours).await.unwrap().is_none(), "it has gone");
    }
}

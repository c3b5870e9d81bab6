//! What happens, for one subscriber: the state, and every change after it.

use std::sync::Arc;

use anymaster_core::model::{AppId, Cursor, Event};
use anymaster_core::{Error, Result};
use anymaster_engine::{Engine, Position};
use tokio::sync::watch;

use super::shared::Shared;

/// How many changes are read at once.
const AT_ONCE: usize = 512;

/// A subscriber to the changes of one application, or of all.
#[derive(Debug)]
pub(super) struct Subscription {
    shared: Arc<Shared>,
    app: Option<AppId>,
    latest: watch::Receiver<u64>,
    position: Position,
    first: Vec<Event>,
}

impl Subscription {
    /// Begins behind a cursor, if everything behind it is known, and otherwise with the state.
    ///
    /// # Errors
    /// [`NotFound`](anymaster_core::ErrorKind::NotFound) for an application that is unknown.
    pub(super) async fn begin(
        shared: &Arc<Shared>,
        app: Option<&AppId>,
        from: Option<&Cursor>,
    ) -> Result<Self> {
        // Before looking, so that nothing is missed in between.
        let latest = shared.subscribe(app);
        let look = |engine: &Engine| {
            let known = from.and_then(Position::parse);
            let known = known.filter(|at| engine.events().since(*at, app, 0).is_some());
            match known {
                Some(position) => Ok((vec![Event::Synced(position.cursor())], position)),
                None => state(engine, app).map(|state| (state, engine.events().position())),
            }
        };
        let (first, position) = shared.read_written(look).await?;
        Ok(Self { shared: Arc::clone(shared), app: app.cloned(), latest, position, first })
    }

    /// Waits for what comes next: at most a few hundred changes, or the whole state.
    ///
    /// # Errors
    /// [`NotFound`](anymaster_core::ErrorKind::NotFound) if the subscriber was too slow, and the application is forgotten
    /// meanwhile.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>> {
        if !self.first.is_empty() {
            return Ok(std::mem::take(&mut self.first));
        }
        let Self { shared, app, latest, position, .. } = self;
        let app = app.as_ref();
        loop {
            // Before looking, so that nothing is missed in between.
            latest.mark_unchanged();
            let from = *position;
            let look = |engine: &Engine| match engine.events().since(from, app, AT_ONCE) {
                Some((changes, behind)) => Ok((changes, behind)),
                None => Err((state(engine, app), engine.events().position())),
            };
            let mut more = shared.read(look);
            if more.is_err() {
                // Too far behind: it begins again with a state, which has to be durable.
                more = shared.read_written(look).await;
            }
            match more {
                Ok((changes, behind)) => {
                    let is_new = behind != from;
                    *position = behind;
                    if !changes.is_empty() {
                        let changes = changes.into_iter().map(Event::Changed);
                        return Ok(changes.chain([Event::Synced(behind.cursor())]).collect());
                    }
                    if !is_new && latest.changed().await.is_err() {
                        // The engine is gone: nothing comes any more.
                        std::future::pending::<()>().await;
                    }
                }
                Err((state, now)) => {
                    *position = now;
                    return state;
                }
            }
        }
    }
}

fn state(engine: &Engine, app: Option<&AppId>) -> Result<Vec<Event>> {
    let statuses = engine.statuses(app);
    if let Some(app) = app.filter(|_| statuses.is_empty()) {
        return Err(Error::not_found(format!("there is no application {app}")));
    }
    let changes = statuses.into_iter().map(Event::Changed);
    let synced = Event::Synced(engine.events().position().cursor());
    Ok(std::iter::once(Event::Restarted).chain(changes).chain([synced]).collect())
}

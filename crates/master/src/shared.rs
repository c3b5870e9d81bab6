//! The engine of a master that leads, as its tasks share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::model::{AppId, ExternalDriver, SubmissionId};
use anymaster_core::{Error, ErrorKind, Launched, Result};
use anymaster_engine::{
    Amount, Demand, Engine, Flush, Instant as EngineTime, Now, TaskReport, WorkerInfo,
};
use jiff::Timestamp;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::debug_span;

use super::routes::{OrderQueue, Routes};
use super::store::Store;

/// When what could not be written is tried again.
const REWRITE: Duration = Duration::from_secs(1);

/// Tells the engine what time it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Now {
        let at = EngineTime::after_start(self.0.elapsed());
        Now { at, wall: Timestamp::now() }
    }

    /// When it is that time.
    fn when(self, at: EngineTime) -> Instant {
        self.0 + at.since_start()
    }
}

/// The engine, and where its effects go.
#[derive(Debug)]
struct State {
    engine: Engine,
    routes: Routes,
}

/// What the tasks of a master share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    /// Something has changed: a pass may have something to do.
    due: Notify,
    /// A timer may be due earlier than was thought.
    timer: Notify,
    /// How long passes take, in seconds.
    passes: Histogram,
    store: Option<Arc<dyn Store>>,
    /// Held while something is written: what comes meanwhile is written together.
    writing: tokio::sync::Mutex<()>,
}

/// The session of an external driver.
#[derive(Debug)]
pub(super) struct ExternalSession {
    pub(super) id: u64,
    /// Turns to `true`, or is closed, when the driver has ended, or has to.
    pub(super) ends: watch::Receiver<bool>,
}

/// What is being written: who waits for that may go away.
struct Underway<'a> {
    shared: &'a Shared,
    flush: Option<Flush>,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some(flush) = self.flush.take() {
            self.shared.change(|engine| engine.flush_undone(flush));
        }
    }
}

impl Shared {
    /// An engine, and where what has to survive is stored.
    pub(super) fn new(engine: Engine, clock: Clock, store: Option<Arc<dyn Store>>) -> Self {
        Self {
            state: Mutex::new(State { engine, routes: Routes::default() }),
            clock,
            due: Notify::new(),
            timer: Notify::new(),
            passes: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            store,
            writing: tokio::sync::Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is for the engine.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// How long a record may be, in bytes; `None`: nothing survives the master.
    pub(super) fn max_record(&self) -> Option<usize> {
        self.store.as_ref().map(|store| store.max_record())
    }

    pub(super) fn passes(&self) -> &Histogram {
        &self.passes
    }

    /// Looks at the engine, and returns what is there only when that survives the master: what was reported to have
    /// ended has. While nothing can be written it is returned nevertheless.
    pub(super) async fn read_written<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        let seen = self.read(look);
        if let Err(error) = self.write().await {
            tracing::debug!("what is told is not written down: {error}");
        }
        seen
    }

    /// Looks at the engine.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.lock().engine)
    }

    /// Changes the engine, and carries out what follows.
    fn update<T>(&self, change: impl FnOnce(&mut Engine, &mut Routes) -> T) -> T {
        let mut state = self.lock();
        let State { engine, routes } = &mut *state;
        // Under the lock, so that it does not go back.
        let changed = change(engine.at(self.clock.now()), routes);
        routes.carry_out(engine);
        changed
    }

    /// Changes the engine; a scheduling pass follows.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Engine) -> T) -> T {
        let changed = self.update(|engine, _| change(engine));
        self.due.notify_one();
        changed
    }

    /// A worker registers; returns the session.
    pub(super) fn register(
        &self,
        worker: WorkerInfo,
        reports: Vec<TaskReport>,
        is_leaving: bool,
        queue: OrderQueue,
    ) -> u64 {
        let session = self.update(|engine, routes| {
            let session = routes.add_worker(worker.id.clone(), queue);
            engine.register(worker, reports, is_leaving, session);
            session
        });
        self.due.notify_one();
        session
    }

    /// The connection of a worker ended.
    pub(super) fn worker_disconnected(&self, worker: &str, session: u64) {
        self.update(|engine, routes| {
            routes.remove_worker(worker, session);
            engine.worker_disconnected(worker, session);
        });
        self.set_timer();
    }

    /// An external driver attaches itself. When this returns, that survives the master.
    pub(super) async fn attach(
        &self,
        app: &AppId,
        driver: &ExternalDriver,
    ) -> Result<ExternalSession> {
        let attach = |engine: &mut Engine, session| engine.attach(app, driver, session);
        self.add_external(attach, |()| app.clone()).await.map(|((), session)| session)
    }

    /// Registers the application of an external driver. When this returns, the registration survives a restart of
    /// the master.
    pub(super) async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<(Launched, ExternalSession)> {
        let register =
            |engine: &mut Engine, session| engine.register_application(id, driver, session);
        let registered = self.add_external(register, |launched| launched.driver.app.clone()).await;
        let (launched, session) = registered?;
        if launched.driver.state.is_ended() {
            // There is nothing to wait for.
            self.lock().routes.remove_driver(session.id);
        }
        Ok((launched, session))
    }

    async fn add_external<T>(
        &self,
        add: impl FnOnce(&mut Engine, u64) -> Result<T>,
        whose: impl FnOnce(&T) -> AppId,
    ) -> Result<(T, ExternalSession)> {
        let (id, ends) = self.lock().routes.add_driver();
        match self.accept(|engine| add(engine, id), whose).await {
            Ok(added) => Ok((added, ExternalSession { id, ends })),
            Err(error) => {
                self.lock().routes.remove_driver(id);
                Err(error)
            }
        }
    }

    /// The connection of an external driver ended.
    pub(super) fn external_disconnected(&self, app: &AppId, session: u64) {
        self.update(|engine, routes| {
            routes.remove_driver(session);
            engine.external_disconnected(app, session);
        });
        self.set_timer();
    }

    /// Changes when something new may be read, of one application or of any.
    pub(super) fn subscribe(&self, app: Option<&AppId>) -> watch::Receiver<u64> {
        self.lock().routes.subscribe(app)
    }

    /// Changes with whether offers are wanted.
    pub(super) fn demand(&self) -> watch::Receiver<Demand> {
        self.lock().routes.demand()
    }

    /// Changes the engine; when this returns, the change survives the master.
    pub(super) async fn commit<T>(
        &self,
        change: impl FnOnce(&mut Engine) -> Result<T>,
    ) -> Result<T> {
        match self.change(change) {
            Ok(changed) => {
                self.write().await?;
                Ok(changed)
            }
            Err(error) => Err(self.refusal(error).await),
        }
    }

    /// What is said instead of a change. A master that was paused may know less than the one that leads meanwhile, so
    /// that something is unknown, or otherwise, is only said by one that leads.
    async fn refusal(&self, error: Error) -> Error {
        let depends_on_state = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict);
        match &self.store {
            Some(store) if depends_on_state => store.confirm().await.err().unwrap_or(error),
            _ => error,
        }
    }

    /// Accepts an application; when this returns, it survives the master, or it was not accepted. `whose`: which one it
    /// is.
    pub(super) async fn accept<T>(
        &self,
        change: impl FnOnce(&mut Engine) -> Result<T>,
        whose: impl FnOnce(&T) -> AppId,
    ) -> Result<T> {
        let accepted = match self.change(change) {
            Ok(accepted) => accepted,
            Err(error) => return Err(self.refusal(error).await),
        };
        let written = self.write().await;
        // It may have been written, or not, together with what others changed before.
        if self.read(|engine| engine.is_durable(&whose(&accepted))) {
            return Ok(accepted);
        }
        Err(written.err().unwrap_or_else(|| {
            Error::unavailable("the master cannot write down what it is to remember")
        }))
    }

    /// Runs a scheduling pass on what is offered just now; when this returns, what came of it survives the master.
    pub(super) async fn offer(&self, offers: Vec<(String, Amount)>) -> Result<()> {
        self.pass(|engine| engine.offer(offers));
        self.write().await
    }

    /// A scheduling pass.
    fn pass(&self, pass: impl FnOnce(&mut Engine)) {
        let began = Instant::now();
        self.update(|engine, _| debug_span!("schedule").in_scope(|| pass(engine)));
        self.passes.observe(began.elapsed().as_secs_f64());
    }

    /// Writes what is to survive.
    async fn write(&self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let Some(flush) = self.update(|engine, _| engine.begin_flush()) else { return Ok(()) };
        let changes = Arc::clone(&flush.changes);
        let mut underway = Underway { shared: self, flush: Some(flush) };
        let written = store.write(&changes).await;
        if let Some(flush) = underway.flush.take() {
            self.change(|engine| match &written {
                Ok(()) => engine.flushed(flush),
                Err(_) => engine.flush_failed(flush),
            });
        }
        written
    }

    /// Finds out anew when a timer is due.
    pub(super) fn set_timer(&self) {
        self.timer.notify_one();
    }

    /// Does what has to be done, for as long as this master leads.
    pub(super) async fn run(&self) {
        tokio::select! {
            () = self.run_scheduling() => {}
            () = self.run_timer() => {}
        }
    }

    /// Schedules whenever there is something to.
    async fn run_scheduling(&self) {
        loop {
            self.due.notified().await;
            self.pass(Engine::schedule);
            if let Err(error) = self.write().await {
                tracing::error!("{error}");
                tokio::time::sleep(REWRITE).await;
                self.due.notify_one();
            }
            // Changes that come at the same time are for one pass.
            tokio::task::yield_now().await;
        }
    }

    /// Does what is due by time.
    async fn run_timer(&self) {
        loop {
            let next = self.change(Engine::on_timer);
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.when(next)) => {}
                () = self.timer.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use anymaster_core::conf::Conf;
    use anymaster_core::model::{
        ApplicationSpec, Cause, CommandLine, DriverStatus, ResourceProfile,
    };
    use async_trait::async_trait;

    use super::*;
    use crate::serve::settings;
    use crate::store::Change;

    /// Writes nothing, and says so only if it is full; each write takes a turn of its own.
    #[derive(Debug, Default)]
    struct Disk {
        is_full: AtomicBool,
        is_anothers: AtomicBool,
    }

    #[async_trait]
    impl Store for Disk {
        async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
            Ok(Vec::new())
        }

        async fn write(&self, _: &Arc<[Change]>) -> Result<()> {
            tokio::task::yield_now().await;
            match self.is_full.load(Ordering::Relaxed) {
                true => Err(Error::unavailable("it is full")),
                false => Ok(()),
            }
        }

        async fn confirm(&self) -> Result<()> {
            match self.is_anothers.load(Ordering::Relaxed) {
                true => Err(Error::new(ErrorKind::NotLeader, "another one leads")),
                false => Ok(()),
            }
        }
    }

    fn scene() -> (Arc<Disk>, Shared) {
        let disk = Arc::new(Disk::default());
        let settings = settings(&Conf::new(), None).unwrap();
        let clock = Clock::start();
        let mut engine = Engine::new(settings, [7; 32], clock.now());
        engine.persist();
        (Arc::clone(&disk), Shared::new(engine, clock, Some(disk)))
    }

    async fn submit(shared: &Shared) -> Result<DriverStatus> {
        let spec = ApplicationSpec::new("app", CommandLine::new("driver"))
            .with_driver_resources(ResourceProfile::new(1.0, 100));
        shared.accept(|engine| engine.submit(&spec), |new| new.app.clone()).await
    }

    #[tokio::test]
    async fn one_that_leads_no_more_does_not_say_that_something_is_unknown() {
        let (disk, shared) = scene();
        let app = AppId::new("app-of-another").unwrap();
        let request = |engine: &mut Engine| engine.unregister_application(&app, &Cause::Finished);
        let unknown = shared.commit(request).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
        disk.is_anothers.store(true, Ordering::Relaxed);
        assert_eq!(shared.commit(request).await.unwrap_err().kind(), ErrorKind::NotLeader);
    }

    #[tokio::test]
    async fn what_is_refused_as_it_cannot_be_written_down_is_not_taken_in() {
        let (disk, shared) = scene();
        let kept = submit(&shared).await.unwrap();
        disk.is_full.store(true, Ordering::Relaxed);
        // One of them writes for all.
        let refused = tokio::join!(submit(&shared), submit(&shared), submit(&shared));
        for refused in [refused.0, refused.1, refused.2] {
            assert!(refused.is_err(), "{refused:?}");
        }
        disk.is_full.store(false, Ordering::Relaxed);
        let more = submit(&shared).await.unwrap();
        let known = shared.read(|engine| engine.statuses(None));
        let known: Vec<_> = known.iter().map(|status| status.app().clone()).collect();
        assert_eq!(known, [kept.app, more.app]);
    }

    #[tokio::test]
    async fn what_somebody_did_not_wait_for_is_written_nevertheless() {
        let (_, shared) = scene();
        {
            let mut submitting = std::pin::pin!(submit(&shared));
            assert!(futures::poll!(&mut submitting).is_pending());
        }
        shared.write().await.unwrap();
        let app = shared.read(|engine| engine.statuses(None))[0].app().clone();
        assert!(shared.read(|engine| engine.is_durable(&app)));
    }
}

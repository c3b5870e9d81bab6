//! The signals by which a user or a supervisor ends us.

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anymaster_core::{Error, Result};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::printer::Printer;

/// How long there is to end by itself after the second signal.
const PATIENCE: Duration = Duration::from_secs(10);

/// Receives SIGINT, SIGTERM and SIGHUP from now on.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupts {
    /// Takes the signals over. Whatever happens to the work that is to end on them: the process ends with
    /// the third one, and some seconds after the second.
    ///
    /// # Errors
    /// If the system refuses a handler or a thread.
    pub(crate) fn new(printer: Printer) -> Result<Self> {
        let failed =
            |error| Error::unavailable("cannot start a thread for signals").with_source(error);
        let (told, built) = mpsc::channel();
        let insisting = move || {
            // Here: where a runtime works, none may be dropped, as it would be without this thread.
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            // Whoever asked waits for it.
            match runtime {
                Ok(runtime) => told.send(Ok(())).map(|()| runtime.block_on(insist(printer))),
                Err(error) => told.send(Err(error)),
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(insisting).map_err(failed)?;
        let ended = |_| Err(std::io::Error::other("it ended"));
        built.recv().unwrap_or_else(ended).map_err(failed)?;
        Self::listen()
    }

    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::unavailable("cannot handle signals").with_source(error))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The number of the next one.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            Some(()) = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            Some(()) = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            Some(()) = self.hang_up.recv() => SignalKind::hangup().as_raw_value(),
            // No more signals can come once all three are closed.
            else => std::future::pending().await,
        }
    }

    /// What `work` comes to; the number of a signal if one comes before.
    pub(crate) async fn or<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, i32> {
        tokio::select! {
            biased;
            signal = self.next() => Err(signal),
            done = work => Ok(done),
        }
    }
}

/// Ends the process when it was asked often enough. On a thread and a runtime of its own: those of the
/// work may be what does not go on.
#[expect(clippy::exit, reason = "nobody is left who could return")]
async fn insist(printer: Printer) {
    let Ok(mut interrupts) = Interrupts::listen() else { return };
    let first = interrupts.next().await;
    interrupts.next().await;
    // Either way it ends.
    let _ = tokio::time::timeout(PATIENCE, interrupts.next()).await;
    printer.warn("it does not end by itself: it is ended; its watchdog ends what it started here");
    process::exit(128 + first);
}

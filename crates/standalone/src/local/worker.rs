//! A worker process of `local-cluster[n,c,m]`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::model::{ExecutorId, KilledBy, Stop};
use anymaster_core::{Error, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::workers::{Command, Report, write_line};
use crate::host::limits::Enforcement;
use crate::host::process::Host;

/// The grace period of executors after the owner has exited.
const GRACE: Duration = Duration::from_secs(1);
/// The capacity of the queue of reports; when it is full, executors wait.
const QUEUE: usize = 256;

/// Serves the owner over standard input and output (JSON lines) until standard input is closed.
///
/// # Errors
/// If standard input cannot be read, or a line is not a command.
pub async fn serve() -> Result<()> {
    let program = std::env::current_exe().ok();
    let host = Host::start(Enforcement::detect(), program.as_deref(), &[])?;
    let (reports, mut queue) = mpsc::channel::<Report>(QUEUE);
    let writing = tokio::spawn(async move {
        let mut stdout = tokio::io::stdout();
        while let Some(report) = queue.recv().await {
            if write_line(&mut stdout, &report).await.is_err() {
                return;
            }
        }
    });
    let stops: Arc<Mutex<HashMap<ExecutorId, watch::Sender<Option<Stop>>>>> = Arc::default();
    let known = || stops.lock().unwrap_or_else(PoisonError::into_inner);
    let mut running = JoinSet::new();
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let outcome = loop {
        while running.try_join_next().is_some() {}
        let command = match commands.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line),
            Ok(None) => break Ok(()),
            Err(error) => break Err(Error::protocol("cannot read commands").with_source(error)),
        };
        match command {
            Ok(Command::Start { id, launch }) => {
                let (stop, requests) = watch::channel(None);
                known().insert(id, stop);
                let (host, stops, reports) = (host.clone(), stops.clone(), reports.clone());
                running.spawn(async move {
                    let to_owner = reports.clone();
                    let started = move |process| {
                        // Awaited below, so that the start precedes the end in the queue.
                        tokio::spawn(
                            async move { to_owner.send(Report::Started { id, process }).await },
                        )
                    };
                    let mut under_way = None;
                    let outcome = host
                        .run(launch, requests, |process| under_way = Some(started(process)))
                        .await;
                    if let Some(under_way) = under_way {
                        // Fails only if the owner has exited.
                        let _ = under_way.await;
                    }
                    stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    let _ = reports.send(Report::Ended { id, outcome }).await;
                });
            }
            Ok(Command::Stop { id, stop }) => {
                if let Some(requests) = known().get(&id) {
                    requests.send_replace(Some(stop));
                }
            }
            Err(error) => break Err(Error::protocol("invalid command").with_source(error)),
        }
    };
    for requests in known().values() {
        requests.send_replace(Some(Stop { by: KilledBy::DriverEnd, grace: GRACE }));
    }
    while running.join_next().await.is_some() {}
    drop(reports);
    // It ends when the last report was written or the owner has exited.
    let _ = writing.await;
    outcome
}

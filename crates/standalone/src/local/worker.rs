//! A worker of `local-cluster[n,c,m]`: the process behind `anymaster local-worker`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::model::{ExecutorId, KilledBy, Stop};
use anymaster_core::{Error, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::workers::{Order, Report, write_line};
use crate::host::limits::Enforcement;
use crate::host::process::Host;

/// How long executors have to end when the owner is gone.
const GRACE: Duration = Duration::from_secs(1);
/// How many reports may wait to be written; executors that have more to report wait.
const QUEUE: usize = 256;

/// Runs executors for the owner at the other end of standard input and output, until that is closed.
///
/// # Errors
/// If an order is none, or the owner does not read.
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
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let outcome = loop {
        while running.try_join_next().is_some() {}
        let order = match orders.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line),
            Ok(None) => break Ok(()),
            Err(error) => break Err(Error::protocol("cannot read orders").with_source(error)),
        };
        match order {
            Ok(Order::Start { id, launch }) => {
                let (stop, requests) = watch::channel(None);
                known().insert(id, stop);
                let (host, stops, reports) = (host.clone(), stops.clone(), reports.clone());
                running.spawn(async move {
                    let told = reports.clone();
                    let started = move |process| {
                        // The start precedes the end in the queue: sent before this task goes on.
                        tokio::spawn(
                            async move { told.send(Report::Started { id, process }).await },
                        )
                    };
                    let mut under_way = None;
                    let outcome = host
                        .run(launch, requests, |process| under_way = Some(started(process)))
                        .await;
                    if let Some(under_way) = under_way {
                        // It fails only if the owner is gone.
                        let _ = under_way.await;
                    }
                    stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    let _ = reports.send(Report::Ended { id, outcome }).await;
                });
            }
            Ok(Order::Stop { id, stop }) => {
                if let Some(requests) = known().get(&id) {
                    requests.send_replace(Some(stop));
                }
            }
            Err(error) => break Err(Error::protocol("an order is none").with_source(error)),
        }
    };
    for requests in known().values() {
        requests.send_replace(Some(Stop { by: KilledBy::DriverEnd, grace: GRACE }));
    }
    while running.join_next().await.is_some() {}
    drop(reports);
    // It ends when the last report is written or the owner is gone.
    let _ = writing.await;
    outcome
}

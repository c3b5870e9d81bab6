//! The driver: cuts the darts into units, and hands these to whoever asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anymaster::conf::keys;
use anymaster::{Driver, DriverContext};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Outcome;
use crate::protocol::{Hello, Hits, Unit};

/// Darts of one unit: small enough that the loss of an executor costs little.
const UNIT: u64 = 5_000_000;
/// How long a new connection has to prove that it is an executor's.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done, and what was.
#[derive(Default)]
struct Work {
    units: Mutex<VecDeque<Unit>>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    done: u64,
    hits: u64,
    /// Units that were handed out again because their executor was lost.
    lost: u64,
}

/// Computes Pi and prints it.
pub(crate) async fn run(context: DriverContext, millions: u64) -> Outcome {
    let began = Instant::now();
    let driver = Arc::new(context.connect().await?);
    let darts = millions * 1_000_000;
    let units = darts.div_ceil(UNIT);
    let work = Arc::new(Work::default());
    work.units
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend((0..units).map(|seed| Unit { seed, darts: UNIT.min(darts - seed * UNIT) }));

    let listener = TcpListener::bind((driver.host(), driver.port())).await?;
    let executors = driver.conf().read_optional(&keys::EXECUTOR_INSTANCES)?.unwrap_or(2);
    driver.request(executors).await?;
    tokio::spawn(serve(listener, driver.clone(), work.clone()));

    let mut progress = work.progress.subscribe();
    let all = tokio::select! {
        all = progress.wait_for(|progress| progress.done == units) => *all?,
        error = driver.executors().given_up() => return Err(error.into()),
    };
    println!(
        "Pi is roughly {:.7} ({millions} million darts in {units} units by {executors} executors, \
         {} units handed out again, {:.1} s)",
        4.0 * all.hits as f64 / darts as f64,
        all.lost,
        began.elapsed().as_secs_f64()
    );
    Ok(driver.release().await?)
}

async fn serve(listener: TcpListener, driver: Arc<Driver>, work: Arc<Work>) {
    while let Ok((executor, _)) = listener.accept().await {
        let (driver, work) = (driver.clone(), work.clone());
        tokio::spawn(async move {
            if let Err(error) = work.feed(executor, &driver).await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}

impl Work {
    /// Gives one executor's thread units, as long as there are any or may be again.
    async fn feed(&self, executor: TcpStream, driver: &Driver) -> Outcome {
        executor.set_nodelay(true)?;
        let (reader, mut writer) = executor.into_split();
        let mut lines = BufReader::new(reader).lines();
        let hello = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let hello: Hello = serde_json::from_str(&hello.ok_or("it said nothing")?)?;
        if !driver.secret().matches(&hello.secret) {
            return Err("it does not know the secret".into());
        }
        let mut progress = self.progress.subscribe();
        loop {
            let next = self.units.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(unit) = next else {
                // Others work on the last ones, and may yet be lost.
                progress.changed().await?;
                continue;
            };
            let hits = async {
                writer.write_all(format!("{}\n", serde_json::to_string(&unit)?).as_bytes()).await?;
                let line = lines.next_line().await?.ok_or("it closed the connection")?;
                Outcome::Ok(serde_json::from_str::<Hits>(&line)?.hits)
            };
            match hits.await {
                Ok(hits) => self.progress.send_modify(|progress| {
                    progress.done += 1;
                    progress.hits += hits;
                }),
                Err(error) => {
                    self.units.lock().unwrap_or_else(PoisonError::into_inner).push_front(unit);
                    self.progress.send_modify(|progress| progress.lost += 1);
                    return Err(format!("executor {}: {error}", hello.executor).into());
                }
            }
        }
    }
}

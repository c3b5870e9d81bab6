//! What a connection is asked, beside blocks.

use std::sync::Arc;

use anymaster_core::{Error, Result};
use anymaster_spark_wire::WireErrorKind;
use anymaster_spark_wire::blocks::{BlockMessage, LocalDirs};

use crate::connection::{Connection, NO_MERGE, broken, unregistered};
use crate::names::{self, BadName};
use crate::output::on_disk;
use crate::registry::{Executor, Refusal};
use crate::streams::{Stream, shuffle_blocks};

/// An answer, or why there is none.
pub(crate) type Answer = std::result::Result<Vec<u8>, String>;

impl Connection {
    /// Answers a question. An error closes the connection, and the caller tries again.
    pub(crate) async fn ask(&mut self, body: &[u8]) -> Result<Answer> {
        let message = match BlockMessage::decode(body) {
            Ok(message) => message,
            Err(error) if error.kind() == WireErrorKind::Unsupported => {
                return Ok(Err(format!("java.lang.IllegalArgumentException: {error}")));
            }
            Err(error) => return Err(broken(error)),
        };
        if let Some(refused) = app_of(&message).and_then(|app| self.refuses(app)) {
            return Ok(Err(refused));
        }
        match message {
            BlockMessage::RegisterExecutor { .. } => self.register(message).await,
            BlockMessage::FetchShuffleBlocks(fetch) => {
                let blocks = shuffle_blocks(&fetch);
                self.open(Stream::new(fetch.app, fetch.executor, blocks)).map(Ok)
            }
            BlockMessage::OpenBlocks { app, executor, blocks } => match names::blocks(&blocks) {
                Ok(blocks) => self.open(Stream::new(app, executor, blocks)).map(Ok),
                Err(BadName(text)) => Ok(Err(text)),
            },
            BlockMessage::GetLocalDirs { app, executors } => Ok(self.local_dirs(&app, executors)),
            BlockMessage::RemoveBlocks { app, executor, blocks } => {
                let Some(found) = self.shared.registry.find(&app, &executor) else {
                    return Ok(Err(unregistered(&app, &executor)));
                };
                let files = Arc::clone(&self.shared.files);
                let removing = on_disk(&self.shared.disk, move || files.remove(&found, &blocks));
                // There are fewer names than bytes in a frame.
                let removed = removing.await? as i32;
                Ok(Ok(BlockMessage::BlocksRemoved(removed).encode()))
            }
            BlockMessage::DiagnoseCorruption(asked) => {
                let Some(found) = self.shared.registry.find(&asked.app, &asked.executor) else {
                    return Ok(Err(unregistered(&asked.app, &asked.executor)));
                };
                let files = Arc::clone(&self.shared.files);
                let diagnosing = on_disk(&self.shared.disk, move || files.diagnose(&found, &asked));
                Ok(Ok(BlockMessage::CorruptionCause(diagnosing.await?).encode()))
            }
            BlockMessage::Merge { .. } => Ok(Err(NO_MERGE.to_owned())),
            other => Ok(Err(unexpected(&other))),
        }
    }

    /// Why an application is not the caller's.
    fn refuses(&self, app: &str) -> Option<String> {
        let own = self.app.as_deref().filter(|own| *own != app)?;
        Some(format!(
            "java.lang.SecurityException: Client for {own} not authorized for application {app}."
        ))
    }

    async fn register(&mut self, message: BlockMessage) -> Result<Answer> {
        let BlockMessage::RegisterExecutor { app, executor, local_dirs, sub_dirs, shuffle_manager } =
            message
        else {
            return Err(Error::protocol("no registration"));
        };
        let shared = Arc::clone(&self.shared);
        let (of, id) = (app.clone(), executor.clone());
        let entering = on_disk(&self.shared.disk, move || {
            shared.registry.register(&of, &id, local_dirs, sub_dirs, shuffle_manager)
        });
        let durable = match entering.await? {
            Ok(pending) => pending.durable().await,
            Err(Refusal::Final(text)) => {
                tracing::warn!(app, executor, "an executor was refused: {text}");
                return Ok(Err(text));
            }
            Err(Refusal::Later(error)) => Err(error),
        };
        if let Err(error) = durable {
            // Not registered: the executor comes again.
            self.shared.registry.forget(&app, &executor);
            return Err(error);
        }
        self.shared.metrics.registrations.inc();
        self.shared.count();
        tracing::info!(app, executor, "registered an executor");
        Ok(Ok(Vec::new()))
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`Quota`](anymaster_core::ErrorKind::Quota) if there is no memory for it.
    fn open(&mut self, stream: Stream) -> Result<Vec<u8>> {
        let id = self.shared.next_stream();
        // There are fewer blocks than bytes in a frame.
        let chunks = stream.blocks.len() as i32;
        self.streams.add(id, stream);
        self.streams_lease.try_grow_to(self.streams.bytes())?;
        Ok(BlockMessage::StreamHandle { stream: id, chunks }.encode())
    }

    fn local_dirs(&self, app: &str, mut executors: Vec<String>) -> Answer {
        executors.sort_unstable();
        executors.dedup();
        let dirs = |found: Arc<Executor>| {
            found.dirs().iter().map(|dir| dir.name().to_owned()).collect::<Vec<_>>()
        };
        let all =
            executors.into_iter().map(|executor| match self.shared.registry.find(app, &executor) {
                Some(found) => Ok(LocalDirs { dirs: dirs(found), executor }),
                None => Err(unregistered(app, &executor)),
            });
        Ok(BlockMessage::LocalDirs(all.collect::<std::result::Result<_, _>>()?).encode())
    }
}

/// The application that a message is about.
fn app_of(message: &BlockMessage) -> Option<&str> {
    match message {
        BlockMessage::OpenBlocks { app, .. }
        | BlockMessage::RegisterExecutor { app, .. }
        | BlockMessage::RegisterDriver { app, .. }
        | BlockMessage::Heartbeat { app }
        | BlockMessage::RemoveBlocks { app, .. }
        | BlockMessage::GetLocalDirs { app, .. } => Some(app),
        BlockMessage::FetchShuffleBlocks(fetch) => Some(&fetch.app),
        BlockMessage::DiagnoseCorruption(asked) => Some(&asked.app),
        _ => None,
    }
}

/// What is said to questions that are for others.
fn unexpected(message: &BlockMessage) -> String {
    let name = match message {
        BlockMessage::RegisterDriver { .. } => {
            "RegisterDriver (this is not the shuffle service of Mesos)"
        }
        BlockMessage::Heartbeat { .. } => "ShuffleServiceHeartbeat",
        BlockMessage::Upload { name } | BlockMessage::Merge { name } => name,
        _ => "an answer",
    };
    format!("java.lang.UnsupportedOperationException: Unexpected message: {name}")
}

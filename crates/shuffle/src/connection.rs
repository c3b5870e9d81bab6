//! A connection: of an executor, or of a driver that has blocks removed.
//!
//! What it asks is answered one after the other, and the next question is read when the last answer was taken: what
//! waits is in the socket, and not here.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use anymaster_net::{Admitted, Connection as Accepted, Lease, transfer_timeout};
use anymaster_spark_wire::auth::{Ciphers, Opener, Proof, Step};
use anymaster_spark_wire::blocks::{BlockFrame, StreamChunk, chunk_head, stream_head};
use anymaster_spark_wire::{Frame, FrameDecoder, WireError, WireErrorKind};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::files::{Fault, Segment};
use crate::output::{Output, on_disk};
use crate::questions::Answer;
use crate::roots::Patience;
use crate::service::Shared;
use crate::streams::{Stream, Streams};

/// The longest frame that is accepted: a question for a million blocks.
const MAX_FRAME: usize = 8 << 20;
/// The same, of a caller that has not proved itself.
const MAX_UNPROVED: usize = 64 << 10;
/// What is read at once.
const CHUNK: usize = 16 << 10;
/// How long a caller has to prove itself (Spark 3.5, `spark.network.auth.rpcTimeout`).
const PROOF: Duration = Duration::from_secs(30);
/// The longest block that is a frame: longer ones are asked for as streams.
const MAX_BLOCK: u64 = i32::MAX as u64 - 64;

/// What is not answered, as Spark says it.
pub(crate) const NO_MERGE: &str =
    "java.lang.UnsupportedOperationException: Cannot handle shuffle block merge";

pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    stream: Arc<TcpStream>,
    admitted: Arc<Admitted>,
    lease: Lease,
    /// The memory of streams.
    pub(crate) streams_lease: Lease,
    decoder: FrameDecoder,
    pub(crate) output: Output,
    /// What the caller has yet to prove.
    proof: Option<Proof>,
    /// The application of the caller, if it has proved that.
    pub(crate) app: Option<String>,
    /// What comes in is encrypted.
    opener: Option<Opener>,
    pub(crate) streams: Streams,
}

/// Counts a connection for as long as it is open.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(shared: Arc<Shared>, accepted: Accepted) -> Result<()> {
    let Accepted { stream, admitted } = accepted;
    shared.metrics.connections.inc();
    let _counted = Counted(Arc::clone(&shared));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection that waits before it sends: {error}");
    }
    let stream = Arc::new(stream);
    let proof = shared.authentication.clone().map(Proof::new);
    let limit = if proof.is_some() { MAX_UNPROVED } else { MAX_FRAME };
    let output = Output::new(
        Arc::clone(&stream),
        admitted.lease(false),
        Arc::clone(&shared.disk),
        shared.timeout,
    );
    let connection = Connection {
        lease: admitted.lease(false),
        streams_lease: admitted.lease(false),
        decoder: FrameDecoder::new(limit),
        streams: Streams::default(),
        app: None,
        opener: None,
        shared,
        stream,
        admitted,
        output,
        proof,
    };
    connection.run().await
}

pub(crate) fn broken(error: WireError) -> Error {
    match error.kind() {
        WireErrorKind::Unsupported => Error::unsupported(error.to_string()),
        _ => Error::protocol(error.to_string()),
    }
}

impl Connection {
    async fn run(mut self) -> Result<()> {
        let begun = Instant::now();
        let mut incomplete: Option<Instant> = None;
        loop {
            let announced = self.decoder.announced().map_err(broken)?;
            let now = Instant::now();
            let idle = now + self.shared.timeout;
            let deadline = match (announced, &self.proof) {
                (0, _) => {
                    incomplete = None;
                    idle
                }
                // However slowly it comes, a frame has to be whole one day.
                (length, _) => {
                    let since = *incomplete.get_or_insert(now);
                    idle.min(since + transfer_timeout(self.shared.timeout, length))
                }
            };
            let deadline = match self.proof {
                Some(_) => deadline.min(begun + PROOF),
                None => deadline,
            };
            self.lease.grow_to(announced).await;
            let silent = |_| Error::new(ErrorKind::Timeout, "an executor is silent");
            let readable = tokio::time::timeout_at(deadline, self.stream.readable()).await;
            readable
                .map_err(silent)?
                .map_err(|error| Error::unavailable("an executor is gone").with_source(error))?;
            match self.receive() {
                Ok(Some(0)) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(error) => return Err(error),
            }
            self.admitted.touch();
            self.output.begin();
            while let Some(frame) = self.decoder.next_bytes().map_err(broken)? {
                incomplete = None;
                let frame = BlockFrame::decode(frame).map_err(broken)?;
                self.answer(frame).await?;
            }
            self.output.flush().await?;
            self.output.rest();
            self.lease.clear();
        }
    }

    /// Takes in what has come: how many bytes. `None`: nothing has.
    fn receive(&mut self) -> Result<Option<usize>> {
        let mut chunk = [0; CHUNK];
        let count = match self.stream.try_read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => {
                return Err(Error::unavailable("an executor is gone").with_source(error));
            }
        };
        match &mut self.opener {
            None => self.decoder.push(&chunk[..count]),
            Some(opener) => self.decoder.push(&opener.open(&chunk[..count]).map_err(broken)?),
        }
        Ok(Some(count))
    }

    async fn answer(&mut self, frame: BlockFrame) -> Result<()> {
        match frame {
            frame if self.proof.is_some() => self.prove(frame).await,
            BlockFrame::ChunkFetchRequest(chunk) => self.fetch(chunk).await,
            BlockFrame::StreamRequest { id } => self.stream(id).await,
            BlockFrame::Message(Frame::RpcRequest { id, body }) => {
                let answer = self.ask(&body).await?;
                if let Err(text) = &answer {
                    tracing::debug!("a question was refused: {text}");
                }
                self.reply(id, answer).await
            }
            BlockFrame::MergedBlockMetaRequest { id } => {
                self.reply(id, Err(NO_MERGE.to_owned())).await
            }
            BlockFrame::UploadStream { id } => {
                self.reply(id, Err(NO_MERGE.to_owned())).await?;
                self.output.flush().await?;
                // What is uploaded follows the frame: nothing behind it can be read.
                Err(Error::unsupported("an upload of blocks"))
            }
            BlockFrame::Message(Frame::OneWay { body }) => {
                // Those that there are belong to push-based merging and to Mesos.
                tracing::debug!("a message of type {:?} is not answered", body.first());
                Ok(())
            }
            _ => Err(Error::protocol("an answer, where nothing was asked")),
        }
    }

    async fn reply(&mut self, id: i64, answer: Answer) -> Result<()> {
        let frame = match answer {
            Ok(body) => Frame::RpcResponse { id, body },
            Err(text) => Frame::RpcFailure { id, text },
        };
        self.output.put(&frame.encode()).await
    }

    /// Before anything else, a caller proves that it knows the secret.
    async fn prove(&mut self, frame: BlockFrame) -> Result<()> {
        let (BlockFrame::Message(Frame::RpcRequest { id, body }), Some(proof)) =
            (frame, &mut self.proof)
        else {
            return Err(Error::protocol("a message before the caller is authenticated"));
        };
        match proof.step(&body).map_err(broken)? {
            Step::Continue(body) => self.reply(id, Ok(body)).await,
            Step::Refused(text) => self.reply(id, Err(text)).await,
            Step::Wrong(text) => {
                self.shared.metrics.authentication_failures.inc();
                self.admitted.authentication_failed("the secret of a shuffle service").await;
                self.reply(id, Err(text)).await?;
                self.output.flush().await?;
                Err(Error::new(ErrorKind::Unauthenticated, "a caller with another secret"))
            }
            Step::Proved(body, ciphers) => {
                self.app = proof.user().map(str::to_owned);
                self.proof = None;
                self.admitted.set_authenticated()?;
                self.lease = self.admitted.lease(true);
                self.streams_lease = self.admitted.lease(true);
                self.decoder.set_limit(MAX_FRAME);
                self.reply(id, Ok(body)).await?;
                // The answer is the last one that anybody can read.
                self.output.flush().await?;
                if let Some(ciphers) = ciphers {
                    let Ciphers { mut opener, sealer } = *ciphers;
                    self.output.encrypt(sealer);
                    let rest = opener.open(&self.decoder.take_rest()).map_err(broken)?;
                    self.decoder.push(&rest);
                    self.opener = Some(opener);
                }
                Ok(())
            }
        }
    }

    /// A block of a stream.
    async fn fetch(&mut self, chunk: StreamChunk) -> Result<()> {
        let text = match self.block(chunk).await? {
            Ok(block) if block.length <= MAX_BLOCK => {
                self.output.put_block(&chunk_head(chunk, block.length), &block).await?;
                self.sent(&block);
                return Ok(());
            }
            Ok(block) => format!(
                "java.lang.IllegalArgumentException: a block of {} bytes is too large for memory: lower \
                 spark.network.maxRemoteBlockSizeFetchToMem",
                block.length
            ),
            Err(text) => text,
        };
        self.shared.metrics.failures.inc();
        self.output.put(&BlockFrame::ChunkFetchFailure { chunk, text }.encode()).await
    }

    /// The same, for a block that its reader does not keep in memory.
    async fn stream(&mut self, id: String) -> Result<()> {
        let found = match id.parse() {
            Ok(chunk) => self.block(chunk).await?,
            Err(error) => Err(format!("java.lang.IllegalArgumentException: {error}")),
        };
        match found {
            Ok(block) => {
                self.output.put_block(&stream_head(&id, block.length), &block).await?;
                self.sent(&block);
                Ok(())
            }
            Err(text) => {
                self.shared.metrics.failures.inc();
                self.output.put(&BlockFrame::StreamFailure { id, text }.encode()).await
            }
        }
    }

    fn sent(&self, block: &Segment) {
        self.admitted.touch();
        self.shared.metrics.blocks.inc();
        self.shared.metrics.bytes.inc_by(block.length);
    }

    /// The next block of a stream, or why there is none.
    async fn block(&mut self, chunk: StreamChunk) -> Result<std::result::Result<Segment, String>> {
        let (mut stream, block) = match self.streams.take(chunk) {
            Ok(taken) => taken,
            Err(text) => return Ok(Err(text)),
        };
        let Some(executor) = self.shared.registry.find(&stream.app, &stream.executor) else {
            let text = unregistered(&stream.app, &stream.executor);
            self.put_back(chunk.stream, stream);
            return Ok(Err(text));
        };
        let files = &self.shared.files;
        let mut found = files.find(&executor, block, &mut stream.opened, Patience::Cached);
        if matches!(found, Err(Fault::Disk)) {
            self.shared.metrics.disk_waits.inc();
            let (files, mut opened) = (Arc::clone(files), stream.opened.take());
            let searched = on_disk(&self.shared.disk, move || {
                let found = files.find(&executor, block, &mut opened, Patience::Disk);
                (found, opened)
            });
            (found, stream.opened) = searched.await?;
        }
        self.put_back(chunk.stream, stream);
        match found {
            Ok(segment) => Ok(Ok(segment)),
            Err(Fault::Final(text)) => {
                tracing::debug!("a block cannot be sent: {text}");
                Ok(Err(text))
            }
            Err(Fault::Later(error)) => {
                tracing::warn!("{error}");
                Err(error)
            }
            Err(Fault::Disk) => Err(Error::unavailable("the disk is busy")),
        }
    }

    fn put_back(&mut self, id: i64, stream: Stream) {
        self.streams.put_back(id, stream);
        if self.streams.bytes() == 0 {
            self.streams_lease.clear();
        }
    }
}

/// What is said of an executor that is not known.
pub(crate) fn unregistered(app: &str, executor: &str) -> String {
    format!(
        "java.lang.RuntimeException: Executor is not registered (appId={app}, execId={executor})"
    )
}

//! A service, and an executor that asks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anymaster_shuffle::{ShuffleHandle, ShuffleOptions, ShuffleService};
use anymaster_spark_wire::auth::Authentication;
use anymaster_spark_wire::blocks::{BlockFrame, BlockMessage, FetchShuffleBlocks, StreamChunk};
use anymaster_spark_wire::{Frame, FrameDecoder};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service, and its directory.
pub(crate) struct Running {
    place: TempDir,
    address: String,
    secret: Option<&'static str>,
    handle: ShuffleHandle,
    serving: Option<JoinHandle<()>>,
}

async fn start(
    place: &Path,
    port: u16,
    secret: Option<&str>,
) -> anymaster_core::Result<ShuffleService> {
    let mut options = ShuffleOptions::new(vec![place.to_owned()]);
    options.port = port;
    options.authentication =
        secret.map(|secret| Authentication { secret: secret.to_owned(), encryption: None });
    ShuffleService::bind(options).await
}

impl Running {
    pub(crate) async fn start(secret: Option<&'static str>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let service = start(place.path(), 0, secret).await.unwrap();
        let (address, handle) = (service.address().to_owned(), service.handle());
        let serving = Some(tokio::spawn(service.serve(std::future::pending())));
        Self { place, address, secret, handle, serving }
    }

    /// Ends it without a chance to do anything, and starts it again where it was.
    pub(crate) async fn start_again(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.abort();
        let _ = serving.await;
        let port = self.address.rsplit(':').next().unwrap().parse().unwrap();
        // What this process still knows of it has to go first.
        let place = tempfile::tempdir().unwrap();
        self.handle = start(place.path(), 0, None).await.unwrap().handle();
        let begun = tokio::time::Instant::now();
        let service = loop {
            match start(self.place.path(), port, self.secret).await {
                Ok(service) => break service,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        self.handle = service.handle();
        self.serving = Some(tokio::spawn(service.serve(std::future::pending())));
    }

    pub(crate) fn handle(&self) -> &ShuffleHandle {
        &self.handle
    }

    /// Makes a local directory.
    pub(crate) fn local_dir(&self, name: &str) -> String {
        let dir = self.place.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    /// Where a file is, with one local directory of 64 others.
    pub(crate) fn path(&self, dir: &str, name: &str) -> PathBuf {
        let hash =
            name.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        Path::new(dir).join(format!("{:02x}", hash.unsigned_abs() % 64)).join(name)
    }

    pub(crate) fn put(&self, dir: &str, name: &str, bytes: &[u8]) {
        let path = self.path(dir, name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// What a map task writes.
    pub(crate) fn shuffle(&self, dir: &str, name: &str, data: &[u8], offsets: &[i64]) {
        let index: Vec<u8> = offsets.iter().flat_map(|at| at.to_be_bytes()).collect();
        self.put(dir, &format!("{name}.data"), data);
        self.put(dir, &format!("{name}.index"), &index);
    }

    pub(crate) async fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        Client { stream, decoder: FrameDecoder::new(1 << 30), next: 0 }
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// A connection of an executor.
pub(crate) struct Client {
    stream: TcpStream,
    decoder: FrameDecoder,
    next: i64,
}

impl Client {
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, frame: &BlockFrame) {
        self.send_bytes(&frame.encode()).await;
    }

    async fn fill(&mut self) -> usize {
        let mut chunk = vec![0; 64 << 10];
        let reading = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        let count = reading.unwrap().unwrap_or(0);
        self.decoder.push(&chunk[..count]);
        count
    }

    pub(crate) async fn receive(&mut self) -> BlockFrame {
        loop {
            if let Some(frame) = self.decoder.next_bytes().unwrap() {
                return BlockFrame::decode(frame).unwrap();
            }
            assert!(self.fill().await > 0, "the connection is closed");
        }
    }

    /// Whether the service closes it; what it says before does not count.
    pub(crate) async fn is_closed(&mut self) -> bool {
        while self.fill().await > 0 {}
        true
    }

    /// The answer to a question; `None`: it is empty. Or why there is none.
    pub(crate) async fn ask(
        &mut self,
        message: &BlockMessage,
    ) -> Result<Option<BlockMessage>, String> {
        self.next += 1;
        let asked = self.next;
        self.send(&BlockFrame::Message(Frame::RpcRequest { id: asked, body: message.encode() }))
            .await;
        match self.receive().await {
            BlockFrame::Message(Frame::RpcResponse { id, body }) if id == asked => {
                let is_empty = body.is_empty();
                Ok((!is_empty).then(|| BlockMessage::decode(&body).unwrap()))
            }
            BlockFrame::Message(Frame::RpcFailure { id, text }) if id == asked => Err(text),
            other => panic!("{other:?}"),
        }
    }

    /// Opens a stream of so many blocks.
    pub(crate) async fn open(&mut self, question: &BlockMessage, expected: i32) -> i64 {
        match self.ask(question).await {
            Ok(Some(BlockMessage::StreamHandle { stream, chunks })) if chunks == expected => stream,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn request(&mut self, stream: i64, chunk: i32) {
        self.send(&BlockFrame::ChunkFetchRequest(StreamChunk { stream, chunk })).await;
    }

    pub(crate) async fn received(&mut self, stream: i64, number: i32) -> Result<Vec<u8>, String> {
        let expected = StreamChunk { stream, chunk: number };
        match self.receive().await {
            BlockFrame::ChunkFetchSuccess { chunk, body } if chunk == expected => Ok(body),
            BlockFrame::ChunkFetchFailure { chunk, text } if chunk == expected => Err(text),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn chunk(&mut self, stream: i64, chunk: i32) -> Result<Vec<u8>, String> {
        self.request(stream, chunk).await;
        self.received(stream, chunk).await
    }

    /// The block of a stream that has one.
    pub(crate) async fn one(&mut self, question: &BlockMessage) -> Result<Vec<u8>, String> {
        let stream = self.open(question, 1).await;
        self.chunk(stream, 0).await
    }

    pub(crate) async fn one_fails(&mut self, question: &BlockMessage, why: &str) {
        let error = self.one(question).await.unwrap_err();
        assert!(error.contains(why), "{error}, not {why}");
    }

    /// A block that is asked for as a stream.
    pub(crate) async fn stream(&mut self, id: &str) -> Result<Vec<u8>, String> {
        self.send(&BlockFrame::StreamRequest { id: id.to_owned() }).await;
        match self.receive().await {
            BlockFrame::StreamResponse { id: answered, byte_count } if answered == id => {
                let mut bytes = self.decoder.take_rest();
                while bytes.len() < byte_count as usize {
                    assert!(self.fill().await > 0, "the connection is closed");
                    bytes.extend(self.decoder.take_rest());
                }
                Ok(bytes)
            }
            BlockFrame::StreamFailure { id: answered, text } if answered == id => Err(text),
            other => panic!("{other:?}"),
        }
    }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn register(app: &str, executor: &str, dirs: &[&str]) -> BlockMessage {
    BlockMessage::RegisterExecutor {
        app: app.to_owned(),
        executor: executor.to_owned(),
        local_dirs: words(dirs),
        sub_dirs: 64,
        shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
    }
}

pub(crate) fn open(app: &str, executor: &str, blocks: &[&str]) -> BlockMessage {
    let (app, executor) = (app.to_owned(), executor.to_owned());
    BlockMessage::OpenBlocks { app, executor, blocks: words(blocks) }
}

pub(crate) fn fetch(
    app: &str,
    executor: &str,
    shuffle: i32,
    rows: &[(i64, &[i32])],
    batch: bool,
) -> BlockMessage {
    let mut end = 0;
    let mut ends = rows.iter().map(|(_, row)| {
        end += row.len() as u32;
        end
    });
    let ends = ends.by_ref().collect();
    BlockMessage::FetchShuffleBlocks(FetchShuffleBlocks {
        app: app.to_owned(),
        executor: executor.to_owned(),
        shuffle,
        maps: rows.iter().map(|(map, _)| *map).collect(),
        ends,
        reduces: rows.iter().flat_map(|(_, row)| row.to_vec()).collect(),
        batch,
    })
}

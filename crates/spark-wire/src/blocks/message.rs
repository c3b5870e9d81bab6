//! What the requests and responses of block transfer say (Spark 3.5, `BlockTransferMessage`), and how it is
//! written.

use super::frame::put_bytes;

pub(super) const OPEN_BLOCKS: u8 = 0;
pub(super) const UPLOAD_BLOCK: u8 = 1;
pub(super) const REGISTER_EXECUTOR: u8 = 2;
pub(super) const STREAM_HANDLE: u8 = 3;
pub(super) const REGISTER_DRIVER: u8 = 4;
pub(super) const HEARTBEAT: u8 = 5;
pub(super) const UPLOAD_BLOCK_STREAM: u8 = 6;
pub(super) const REMOVE_BLOCKS: u8 = 7;
pub(super) const BLOCKS_REMOVED: u8 = 8;
pub(super) const FETCH_SHUFFLE_BLOCKS: u8 = 9;
pub(super) const GET_LOCAL_DIRS: u8 = 10;
pub(super) const LOCAL_DIRS: u8 = 11;
pub(super) const PUSH_BLOCK_STREAM: u8 = 12;
pub(super) const FINALIZE_SHUFFLE_MERGE: u8 = 13;
pub(super) const MERGE_STATUSES: u8 = 14;
pub(super) const FETCH_SHUFFLE_BLOCK_CHUNKS: u8 = 15;
pub(super) const DIAGNOSE_CORRUPTION: u8 = 16;
pub(super) const CORRUPTION_CAUSE: u8 = 17;
pub(super) const BLOCK_PUSH_RETURN_CODE: u8 = 18;
pub(super) const REMOVE_SHUFFLE_MERGE: u8 = 19;

/// A message between an executor, or a driver, and a shuffle service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockMessage {
    /// Opens a stream of blocks by their names: cached blocks, and shuffle blocks of old readers.
    OpenBlocks {
        /// The application.
        app: String,
        /// The executor that wrote them.
        executor: String,
        /// The names of blocks: `shuffle_S_M_R` or `rdd_R_P`.
        blocks: Vec<String>,
    },
    /// An executor says where its blocks are. The answer is empty.
    RegisterExecutor {
        /// Its application.
        app: String,
        /// Its id.
        executor: String,
        /// Its local directories, in their order.
        local_dirs: Vec<String>,
        /// How many directories there are in each of these.
        sub_dirs: i32,
        /// The class of its shuffle manager.
        shuffle_manager: String,
    },
    /// A stream was opened.
    StreamHandle {
        /// Its id, which counts for the connection.
        stream: i64,
        /// How many blocks it has.
        chunks: i32,
    },
    /// A driver says that its blocks may go when it is silent for so long (Mesos, Spark 3.5).
    RegisterDriver {
        /// The application.
        app: String,
        /// Milliseconds.
        heartbeat_timeout_ms: i64,
    },
    /// That it is not silent; it comes as a message without an answer (Mesos, Spark 3.5).
    Heartbeat {
        /// The application.
        app: String,
    },
    /// Removes blocks.
    RemoveBlocks {
        /// The application.
        app: String,
        /// The executor that wrote them.
        executor: String,
        /// The names of blocks, or of files of shuffles.
        blocks: Vec<String>,
    },
    /// How many were removed.
    BlocksRemoved(i32),
    /// Opens a stream of shuffle blocks.
    FetchShuffleBlocks(FetchShuffleBlocks),
    /// Asks for the local directories of executors.
    GetLocalDirs {
        /// The application.
        app: String,
        /// The executors.
        executors: Vec<String>,
    },
    /// The local directories of executors.
    LocalDirs(Vec<LocalDirs>),
    /// Asks why a block that was fetched is not what was written.
    DiagnoseCorruption(DiagnoseCorruption),
    /// Why.
    CorruptionCause(CorruptionCause),
    /// A message between executors: an upload of a block.
    Upload {
        /// Its name in Spark.
        name: &'static str,
    },
    /// A message of push-based merging.
    Merge {
        /// Its name in Spark.
        name: &'static str,
    },
}

/// Asks for shuffle blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchShuffleBlocks {
    /// The application.
    pub app: String,
    /// The executor that wrote them.
    pub executor: String,
    /// The shuffle.
    pub shuffle: i32,
    /// The map tasks.
    pub maps: Vec<i64>,
    /// For each of these, where its row in [`reduces`](Self::reduces) ends.
    pub ends: Vec<u32>,
    /// The reduce tasks, row by row; of a batch a row is the first one and the one behind the last.
    pub reduces: Vec<i32>,
    /// Whether the blocks of a row are adjacent, and are sent as one.
    pub batch: bool,
}

impl FetchShuffleBlocks {
    /// Each map task with its reduce tasks.
    pub fn rows(&self) -> impl Iterator<Item = (i64, &[i32])> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = begins.zip(self.ends.iter().copied());
        let rows = ranges.map(|(begin, end)| &self.reduces[begin as usize..end as usize]);
        self.maps.iter().copied().zip(rows)
    }
}

/// The local directories of an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDirs {
    /// The executor.
    pub executor: String,
    /// Its directories, in their order.
    pub dirs: Vec<String>,
}

/// Asks why a shuffle block is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnoseCorruption {
    /// The application.
    pub app: String,
    /// The executor that wrote it.
    pub executor: String,
    /// The shuffle.
    pub shuffle: i32,
    /// The map task.
    pub map: i64,
    /// The reduce task.
    pub reduce: i32,
    /// The checksum of what was received.
    pub checksum: i64,
    /// `ADLER32`, `CRC32` or `CRC32C`.
    pub algorithm: String,
}

/// Why a block is not what was written (Spark 3.5, `Cause`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorruptionCause {
    /// What is on the disk is not what was written.
    Disk = 0,
    /// What was received is not what is on the disk.
    Network = 1,
    /// It cannot be told.
    Unknown = 2,
    /// All checksums are the same.
    ChecksumVerified = 3,
    /// The algorithm is not known.
    UnsupportedAlgorithm = 4,
}

impl BlockMessage {
    /// The message in bytes. What only other services send is written by its type alone.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        match self {
            Self::OpenBlocks { app, executor, blocks } => {
                out.kind(OPEN_BLOCKS).text(app).text(executor).texts(blocks)
            }
            Self::RegisterExecutor { app, executor, local_dirs, sub_dirs, shuffle_manager } => out
                .kind(REGISTER_EXECUTOR)
                .text(app)
                .text(executor)
                .texts(local_dirs)
                .i32(*sub_dirs)
                .text(shuffle_manager),
            Self::StreamHandle { stream, chunks } => {
                out.kind(STREAM_HANDLE).i64(*stream).i32(*chunks)
            }
            Self::RegisterDriver { app, heartbeat_timeout_ms } => {
                out.kind(REGISTER_DRIVER).text(app).i64(*heartbeat_timeout_ms)
            }
            Self::Heartbeat { app } => out.kind(HEARTBEAT).text(app),
            Self::RemoveBlocks { app, executor, blocks } => {
                out.kind(REMOVE_BLOCKS).text(app).text(executor).texts(blocks)
            }
            Self::BlocksRemoved(count) => out.kind(BLOCKS_REMOVED).i32(*count),
            Self::FetchShuffleBlocks(fetch) => {
                out.kind(FETCH_SHUFFLE_BLOCKS).text(&fetch.app).text(&fetch.executor);
                out.i32(fetch.shuffle).count(fetch.maps.len());
                for map in &fetch.maps {
                    out.i64(*map);
                }
                out.count(fetch.ends.len());
                for (_, row) in fetch.rows() {
                    out.count(row.len());
                    for reduce in row {
                        out.i32(*reduce);
                    }
                }
                out.kind(fetch.batch.into())
            }
            Self::GetLocalDirs { app, executors } => {
                out.kind(GET_LOCAL_DIRS).text(app).texts(executors)
            }
            Self::LocalDirs(all) => {
                out.kind(LOCAL_DIRS).count(all.len());
                for of in all {
                    out.text(&of.executor);
                }
                out.count(all.len());
                for of in all {
                    out.count(of.dirs.len());
                }
                out.count(all.iter().map(|of| of.dirs.len()).sum());
                for dir in all.iter().flat_map(|of| &of.dirs) {
                    out.text(dir);
                }
                &mut out
            }
            Self::DiagnoseCorruption(asked) => out
                .kind(DIAGNOSE_CORRUPTION)
                .text(&asked.app)
                .text(&asked.executor)
                .i32(asked.shuffle)
                .i64(asked.map)
                .i32(asked.reduce)
                .i64(asked.checksum)
                .text(&asked.algorithm),
            Self::CorruptionCause(cause) => out.kind(CORRUPTION_CAUSE).kind(*cause as u8),
            Self::Upload { name } | Self::Merge { name } => {
                let named = NAMES.iter().find(|(_, known)| known == name);
                out.kind(named.map_or(u8::MAX, |(kind, _)| *kind))
            }
        };
        out.0
    }
}

/// The messages that are known by their names only.
pub(super) const NAMES: [(u8, &str); 8] = [
    (UPLOAD_BLOCK, "UploadBlock"),
    (UPLOAD_BLOCK_STREAM, "UploadBlockStream"),
    (PUSH_BLOCK_STREAM, "PushBlockStream"),
    (FINALIZE_SHUFFLE_MERGE, "FinalizeShuffleMerge"),
    (MERGE_STATUSES, "MergeStatuses"),
    (FETCH_SHUFFLE_BLOCK_CHUNKS, "FetchShuffleBlockChunks"),
    (BLOCK_PUSH_RETURN_CODE, "BlockPushReturnCode"),
    (REMOVE_SHUFFLE_MERGE, "RemoveShuffleMerge"),
];

struct Writer(Vec<u8>);

impl Writer {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.0.push(kind);
        self
    }

    fn i32(&mut self, number: i32) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn i64(&mut self, number: i64) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// No message of ours has 2^31 of anything.
    fn count(&mut self, count: usize) -> &mut Self {
        self.i32(count as i32)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        put_bytes(&mut self.0, text.as_bytes());
        self
    }

    fn texts(&mut self, texts: &[String]) -> &mut Self {
        self.count(texts.len());
        for text in texts {
            self.text(text);
        }
        self
    }
}

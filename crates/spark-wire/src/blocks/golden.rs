//! Frames between executors and the shuffle services of Spark 3.5.9 and 4.0.5 (`tests/samples/blocks`): all of them
//! are read, and written again with the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    BlockFrame, BlockMessage, CorruptionCause, DiagnoseCorruption, FetchShuffleBlocks, LocalDirs,
    StreamChunk, chunk_head, stream_head,
};
use crate::{Frame, FrameDecoder, WireErrorKind};

const VERSIONS: [&str; 2] = ["3.5.9", "4.0.5"];

fn directory(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/blocks").join(of)
}

/// The frames in a file.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let byte = |line: &str, at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    lines.map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect()).collect()
}

fn files(of: &str) -> Vec<(String, Vec<Vec<u8>>)> {
    let entries = fs::read_dir(directory(of)).unwrap().map(|entry| entry.unwrap().path());
    let paths = entries.filter(|path| path.is_file());
    let named =
        paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), frames(&path)));
    let mut named: Vec<_> = named.collect();
    named.sort();
    assert!(!named.is_empty(), "{of}");
    named
}

fn decode(bytes: &[u8]) -> BlockFrame {
    let mut decoder = FrameDecoder::new(1 << 20);
    decoder.push(bytes);
    BlockFrame::decode(decoder.next_bytes().unwrap().unwrap()).unwrap()
}

fn body(frame: &BlockFrame) -> Option<&[u8]> {
    match frame {
        BlockFrame::Message(
            Frame::RpcRequest { body, .. }
            | Frame::RpcResponse { body, .. }
            | Frame::OneWay { body },
        ) => Some(body),
        _ => None,
    }
}

#[test]
fn what_executors_and_services_send_is_read_and_written_with_the_same_bytes() {
    let mut messages = 0;
    for version in VERSIONS {
        for of in [version.to_owned(), format!("{version}/answers")] {
            for (name, frames) in files(&of) {
                for bytes in frames {
                    let frame = decode(&bytes);
                    if matches!(frame, BlockFrame::MergedBlockMetaRequest { .. }) {
                        continue;
                    }
                    assert_eq!(frame.encode(), bytes, "{of} {name}");
                    let Some(body) = body(&frame).filter(|body| !body.is_empty()) else { continue };
                    messages += 1;
                    match BlockMessage::decode(body) {
                        Ok(BlockMessage::Upload { .. } | BlockMessage::Merge { .. }) => {}
                        Ok(message) => assert_eq!(message.encode(), body, "{of} {name}"),
                        Err(error) => {
                            assert_eq!(error.kind(), WireErrorKind::Unsupported, "{of} {name}");
                            assert_eq!(error.to_string(), "Unknown message type: 99");
                        }
                    }
                }
            }
        }
    }
    assert!(messages > 80, "{messages} messages");
}

fn message(name: &str) -> BlockMessage {
    let bytes = &frames(&directory("3.5.9").join(format!("{name}.hex")))[0];
    BlockMessage::decode(body(&decode(bytes)).unwrap()).unwrap()
}

#[test]
fn their_fields_are_what_spark_says() {
    let BlockMessage::RegisterExecutor { app, executor, local_dirs, sub_dirs, shuffle_manager } =
        message("RpcRequest.RegisterExecutor")
    else {
        panic!("another message")
    };
    assert_eq!((app.as_str(), executor.as_str()), ("app-20261127233851-0000", "1"));
    assert_eq!((local_dirs.len(), sub_dirs), (1, 64));
    assert!(local_dirs[0].contains("/blockmgr-"), "{local_dirs:?}");
    assert_eq!(shuffle_manager, "org.apache.spark.shuffle.sort.SortShuffleManager");
    let BlockMessage::FetchShuffleBlocks(fetch) = message("RpcRequest.FetchShuffleBlocks") else {
        panic!("another message")
    };
    assert_eq!((fetch.shuffle, fetch.batch), (0, false));
    let rows: Vec<_> = fetch.rows().map(|(map, row)| (map, row.to_vec())).collect();
    assert_eq!(rows, [(5, vec![1]), (6, vec![1]), (9, vec![1]), (10, vec![1])]);
    let chunk = StreamChunk { stream: 1, chunk: 2 };
    let success = BlockFrame::ChunkFetchSuccess { chunk, body: b"block".to_vec() };
    assert_eq!([&chunk_head(chunk, 5)[..], b"block"].concat(), success.encode());
    let head = &frames(&directory("3.5.9").join("StreamResponse.hex"))[0];
    assert_eq!(&stream_head("1021553937000_0", 95993), head);
    assert_eq!("1021553937000_7".parse(), Ok(StreamChunk { stream: 1_021_553_937_000, chunk: 7 }));
    for id in ["", "_", "1", "1_", "_1", "1_2_3", "1_x"] {
        assert!(id.parse::<StreamChunk>().is_err(), "{id}");
    }
}

fn asked() -> Vec<BlockMessage> {
    let [app, executor] = ["app", "1"].map(str::to_owned);
    let fetch = FetchShuffleBlocks {
        app: app.clone(),
        executor: executor.clone(),
        shuffle: 3,
        maps: vec![1 << 40, -1],
        ends: vec![2, 2],
        reduces: vec![0, 4],
        batch: false,
    };
    let batch = FetchShuffleBlocks { maps: vec![7], ends: vec![2], batch: true, ..fetch.clone() };
    vec![
        BlockMessage::OpenBlocks {
            app: app.clone(),
            executor: executor.clone(),
            blocks: vec!["rdd_1_2".to_owned(), String::new()],
        },
        BlockMessage::FetchShuffleBlocks(fetch),
        BlockMessage::FetchShuffleBlocks(batch),
        BlockMessage::LocalDirs(vec![
            LocalDirs { executor: "1".to_owned(), dirs: vec!["/a".to_owned(), "/b".to_owned()] },
            LocalDirs { executor: "2".to_owned(), dirs: Vec::new() },
        ]),
        BlockMessage::DiagnoseCorruption(DiagnoseCorruption {
            app,
            executor,
            shuffle: 0,
            map: i64::MAX,
            reduce: 1,
            checksum: -1,
            algorithm: "CRC32C".to_owned(),
        }),
        BlockMessage::CorruptionCause(CorruptionCause::Network),
    ]
}

#[test]
fn messages_that_end_early_or_late_or_announce_too_much_are_refused() {
    for message in asked() {
        let bytes = message.encode();
        assert_eq!(BlockMessage::decode(&bytes).as_ref(), Ok(&message));
        for cut in 0..bytes.len() {
            assert!(BlockMessage::decode(&bytes[..cut]).is_err(), "{message:?} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(BlockMessage::decode(&longer).is_err(), "{message:?} with one byte more");
        for at in 0..bytes.len().saturating_sub(3) {
            let mut many = bytes.clone();
            many[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
            // Nothing is reserved for what is announced: this takes no memory.
            let _ = BlockMessage::decode(&many);
        }
    }
}

#[test]
fn a_batch_has_two_numbers_for_each_map_task() {
    let fetch = FetchShuffleBlocks {
        app: "app".to_owned(),
        executor: "1".to_owned(),
        shuffle: 0,
        maps: vec![1],
        ends: vec![3],
        reduces: vec![1, 2, 3],
        batch: true,
    };
    let error = BlockMessage::decode(&BlockMessage::FetchShuffleBlocks(fetch).encode());
    assert!(error.unwrap_err().to_string().contains("batch"));
}

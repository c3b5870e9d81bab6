//! The streams of a connection: which blocks were asked for, and which one is next (Spark 3.5,
//! `OneForOneStreamManager`).

use std::collections::HashMap;
use std::mem::size_of;

use anymaster_spark_wire::blocks::{FetchShuffleBlocks, StreamChunk};

use crate::files::Opened;
use crate::names::Block;

/// What a stream takes beside its blocks, about.
const STREAM: usize = 256;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) app: String,
    pub(crate) executor: String,
    pub(crate) blocks: Vec<Block>,
    next: usize,
    /// The file that it has open.
    pub(crate) opened: Option<Opened>,
}

impl Stream {
    pub(crate) fn new(app: String, executor: String, blocks: Vec<Block>) -> Self {
        Self { app, executor, blocks, next: 0, opened: None }
    }

    fn bytes(&self) -> usize {
        STREAM + self.blocks.len() * size_of::<Block>()
    }
}

/// The blocks of a question for shuffle blocks, in its order.
pub(crate) fn shuffle_blocks(fetch: &FetchShuffleBlocks) -> Vec<Block> {
    let shuffle = fetch.shuffle;
    let block = |map, begin, end| Block::Shuffle { shuffle, map, begin, end };
    let mut blocks = Vec::with_capacity(match fetch.batch {
        true => fetch.maps.len(),
        false => fetch.reduces.len(),
    });
    for (map, row) in fetch.rows() {
        match row {
            [begin, end] if fetch.batch => blocks.push(block(map, *begin, *end)),
            _ => blocks.extend(row.iter().map(|begin| block(map, *begin, begin.saturating_add(1)))),
        }
    }
    blocks
}

/// The streams of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: HashMap<i64, Stream>,
    bytes: usize,
}

impl Streams {
    /// The memory of all, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds one. It is gone with its last block: one without blocks never is there.
    pub(crate) fn add(&mut self, id: i64, stream: Stream) {
        if !stream.blocks.is_empty() {
            self.bytes += stream.bytes();
            self.streams.insert(id, stream);
        }
    }

    /// Goes on to a block, which has to be the next one of its stream: the block, and the stream for as long as it
    /// is looked for.
    ///
    /// # Errors
    /// Why there is no such block, in Spark's words.
    pub(crate) fn take(&mut self, chunk: StreamChunk) -> Result<(Stream, Block), String> {
        let Some(stream) = self.streams.get_mut(&chunk.stream) else {
            return Err(format!(
                "java.lang.IllegalStateException: Requested chunk not available since streamId {} is closed",
                chunk.stream
            ));
        };
        let next = stream.next;
        match usize::try_from(chunk.chunk).ok().filter(|asked| *asked == next) {
            Some(_) => stream.next += 1,
            None => {
                return Err(format!(
                    "java.lang.IllegalStateException: Received out-of-order chunk index {} (expected {next})",
                    chunk.chunk
                ));
            }
        }
        let block = stream.blocks[next];
        match self.streams.remove(&chunk.stream) {
            Some(stream) => Ok((stream, block)),
            // It was just there.
            None => Err("java.lang.IllegalStateException: Unknown stream ID.".to_owned()),
        }
    }

    /// Puts a stream back, unless that was its last block.
    pub(crate) fn put_back(&mut self, id: i64, stream: Stream) {
        match stream.next < stream.blocks.len() {
            true => drop(self.streams.insert(id, stream)),
            false => self.bytes -= stream.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_asked_for_in_order_and_a_stream_ends_with_its_last_one() {
        let mut streams = Streams::default();
        let blocks = [3, 4].map(|partition| Block::Rdd { rdd: 1, partition });
        streams.add(7, Stream::new("app".to_owned(), "1".to_owned(), blocks.to_vec()));
        streams.add(8, Stream::new("app".to_owned(), "1".to_owned(), Vec::new()));
        let chunk = |stream, chunk| StreamChunk { stream, chunk };
        assert!(streams.bytes() > 0);
        for out_of_order in [1, -1, i32::MAX] {
            let error = streams.take(chunk(7, out_of_order)).unwrap_err();
            assert!(error.ends_with(&format!("index {out_of_order} (expected 0)")), "{error}");
        }
        for (number, expected) in blocks.into_iter().enumerate() {
            let (stream, block) = streams.take(chunk(7, number as i32)).unwrap();
            assert_eq!(block, expected);
            streams.put_back(7, stream);
        }
        for closed in [7, 8, 9] {
            assert!(streams.take(chunk(closed, 0)).unwrap_err().contains("is closed"));
        }
        assert_eq!(streams.bytes(), 0);
    }

    #[test]
    fn batches_are_one_block_a_row() {
        let fetch = |batch| FetchShuffleBlocks {
            app: "app".to_owned(),
            executor: "1".to_owned(),
            shuffle: 5,
            maps: vec![1, 2],
            ends: vec![2, 4],
            reduces: vec![0, 3, 7, i32::MAX],
            batch,
        };
        let block = |map, begin, end| Block::Shuffle { shuffle: 5, map, begin, end };
        assert_eq!(shuffle_blocks(&fetch(true)), [block(1, 0, 3), block(2, 7, i32::MAX)]);
        let single = [block(1, 0, 1), block(1, 3, 4), block(2, 7, 8), block(2, i32::MAX, i32::MAX)];
        assert_eq!(shuffle_blocks(&fetch(false)), single);
    }
}

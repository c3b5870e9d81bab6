//! Any bytes are frames and messages of block transfer, which are written as they were read, or an error.

#![no_main]

use anymaster_spark_wire::blocks::{BlockFrame, BlockMessage};
use anymaster_spark_wire::{Frame, FrameDecoder};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = FrameDecoder::new(1 << 20);
    for piece in bytes.chunks(1000) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_bytes() {
            match BlockFrame::decode(frame) {
                Ok(BlockFrame::Message(
                    Frame::RpcRequest { body, .. }
                    | Frame::RpcResponse { body, .. }
                    | Frame::OneWay { body },
                )) => message(&body),
                Ok(frame) => assert!(!frame.encode().is_empty()),
                Err(_) => {}
            }
        }
        if decoder.announced().is_err() {
            break;
        }
    }
    message(bytes);
});

fn message(bytes: &[u8]) {
    let Ok(message) = BlockMessage::decode(bytes) else { return };
    if let BlockMessage::FetchShuffleBlocks(fetch) = &message {
        assert_eq!(fetch.rows().map(|(_, row)| row.len()).sum::<usize>(), fetch.reduces.len());
    }
    assert_eq!(BlockMessage::decode(&message.encode()), Ok(message));
}

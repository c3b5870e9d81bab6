//! Any bytes are frames of Spark's RPC with objects of Java in them, or an error.

#![no_main]

use anymaster_spark_wire::messages::{ToDriver, read};
use anymaster_spark_wire::{Dialect, Envelope, Frame, FrameDecoder, Limits, RpcAddress, Stream};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = FrameDecoder::new(1 << 20);
    for piece in bytes.chunks(1000) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            match frame {
                Frame::RpcRequest { body, .. } | Frame::OneWay { body } => {
                    if let Ok((_, content)) = Envelope::decode(&body) {
                        object(content);
                    }
                }
                Frame::RpcResponse { body, .. } => object(&body),
                Frame::RpcFailure { .. } => {}
            }
        }
        if decoder.announced().is_err() {
            break;
        }
    }
    object(bytes);
});

/// What was read can be asked and answered.
fn object(content: &[u8]) {
    let Ok(stream) = Stream::read(content, Limits::default()) else { return };
    let _ = read(&stream);
    if let Ok(mut dialect) = Dialect::of_question(&stream) {
        dialect.learn(&stream);
        let master = RpcAddress { host: "h".to_owned(), port: 1 };
        let answer = ToDriver::RegisteredApplication { app_id: "a".to_owned(), master };
        let bytes = answer.encode(&dialect);
        assert!(Stream::read(&bytes, Limits::default()).is_ok());
    }
}

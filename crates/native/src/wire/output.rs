//! The output of a process, from the worker that has it.

use anymaster_core::model::AppId;
use anymaster_core::{Error, LogChunk, LogOptions, LogStream, Result};
use anymaster_engine::Task;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::stream::{self, StreamExt as _};

use super::channel::Channel;
use super::handshake::{Credentials, connect};
use super::messages::{Item, Reply, Request};

fn unexpected() -> Error {
    Error::protocol("the worker gave the answer to another question")
}

/// Asks the worker at `HOST:PORT`.
pub async fn output(
    address: &str,
    credentials: &Credentials,
    app: AppId,
    task: Task,
    options: &LogOptions,
) -> Result<LogStream> {
    let mut channel = connect(address, credentials).await?;
    let LogOptions { follow, tail, source, .. } = *options;
    let call = Request::Logs { app, task, follow, tail, source: source.map(Into::into) };
    channel.send(&call).await?;
    match channel.expect().await? {
        Reply::Stream => Ok(chunks(channel)),
        Reply::Failed(fault) => Err(fault.into_error()),
        _ => Err(unexpected()),
    }
}

fn chunks(channel: Channel) -> LogStream {
    stream::unfold(Some(channel), |channel| async {
        let mut channel = channel?;
        let chunk = match channel.expect().await {
            Ok(Item::Output { source, bytes }) => BASE64_STANDARD
                .decode(bytes)
                .map(|bytes| LogChunk { source: source.into(), bytes: bytes.into() })
                .map_err(|error| Error::protocol("garbled output").with_source(error)),
            Ok(Item::End) => return None,
            Ok(_) => Err(unexpected()),
            Err(error) => Err(error),
        };
        let rest = chunk.is_ok().then_some(channel);
        Some((chunk, rest))
    })
    .boxed()
}

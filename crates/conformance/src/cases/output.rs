//! Output can be read after the fact and followed.

use std::time::Duration;

use anymaster_core::model::{ExecutorId, Subject};
use anymaster_core::{ErrorKind, LogOptions, LogSource};
use futures::StreamExt as _;

use super::cases;
use crate::case::{Case, Outcome, expect, told};

cases! { "output":
    Logs => a_drivers_output_is_kept,
    Logs => followed_output_ends_with_its_process,
    Logs => an_executors_output_is_its_own,
}

async fn read(case: &Case, subject: &Subject, options: LogOptions) -> Outcome<String> {
    let mut chunks = case.cluster.logs(subject, &options).await.map_err(told)?;
    let all = async {
        let mut text = Vec::new();
        while let Some(chunk) = chunks.next().await {
            text.extend_from_slice(&chunk.map_err(told)?.bytes);
        }
        Outcome::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = tokio::time::timeout(Duration::from_secs(30), all).await;
    text.map_err(|_| "the output does not end".to_owned())?
}

async fn a_drivers_output_is_kept(case: Case) -> Outcome {
    let mut observed = case.launch((case.programs().print)("a line of the driver")).await?;
    observed.until("the driver has ended", |seen| seen.is_over()).await?;
    let driver = case.driver();
    for (options, wanted) in [
        (LogOptions::default(), "a line of the driver\n"),
        (LogOptions::default().tail(1), "a line of the driver\n"),
        (LogOptions::default().tail(0), ""),
    ] {
        let text = read(&case, &driver, options).await?;
        expect(text == wanted, || format!("{options:?} gives {text:?}, not {wanted:?}"))?;
    }
    // It wrote nothing there; clusters that keep one log of both say so.
    let errors = LogOptions::default().source(LogSource::Stderr);
    match case.cluster.logs(&driver, &errors).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(error) => Err(told(error)),
        Ok(_) => {
            let text = read(&case, &driver, errors).await?;
            expect(text.is_empty(), || format!("it has not written {text:?} to stderr"))
        }
    }
}

async fn followed_output_ends_with_its_process(case: Case) -> Outcome {
    let spec = case.spec((case.programs().print)("the only line"));
    case.cluster.launch_driver(&case.id, &spec).await.map_err(told)?;
    let options = LogOptions::default().follow();
    let text = read(&case, &case.driver(), options).await?;
    expect(text == "the only line\n", || format!("{text:?}"))
}

async fn an_executors_output_is_its_own(case: Case) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    let target = case.target((case.programs().print)("a line of an executor"), 1);
    case.request(&target).await?;
    let id = ExecutorId(1);
    observed.until("executor 1 has ended", |seen| seen.end(id).is_some()).await?;
    let subject = Subject::Executor(case.app.clone(), id);
    let text = read(&case, &subject, LogOptions::default()).await?;
    expect(text == "a line of an executor\n", || format!("{text:?}"))?;
    case.finish(observed).await
}

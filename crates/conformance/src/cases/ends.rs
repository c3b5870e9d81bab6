//! Everything ends exactly once, with a cause that a program can match on.

use std::time::Duration;

use anymaster_core::model::{
    Cause, CommandLine, ExecutorId, ExecutorTarget, KilledBy, StartFailure, Subject,
};

use super::cases;
use crate::case::{Case, Outcome, expect, told};

cases! { "ends":
    Nothing => a_driver_that_finishes,
    Nothing => a_driver_that_fails_tells_its_code,
    Nothing => a_driver_without_a_program,
    Nothing => a_driver_that_is_killed,
    Executors => an_executor_that_fails_tells_its_code,
    Executors => an_executor_that_is_killed,
    Executors => executors_of_a_lowered_target,
    Executors => executors_without_a_program,
    NotExecutable => executors_that_cannot_be_executed,
    KillExecutor => an_executor_that_a_signal_ends,
    MemoryLimits => an_executor_that_uses_too_much_memory,
    Stubborn => a_driver_that_does_not_want_to_end,
    LoseNode => an_executor_whose_node_is_lost_is_replaced,
}

const FIRST: ExecutorId = ExecutorId(1);

async fn driver_ends(case: Case, command: CommandLine, so: fn(&Cause) -> bool) -> Outcome {
    let mut observed = case.launch(command).await?;
    observed.until("the driver has ended", |seen| seen.driver_end().is_some()).await?;
    let cause = observed.seen.driver_end().cloned();
    expect(cause.as_ref().is_some_and(so), || format!("the driver's cause is {cause:?}"))?;
    case.nothing_left().await
}

async fn a_driver_that_finishes(case: Case) -> Outcome {
    let command = (case.programs().exit)(0);
    driver_ends(case, command, |cause| *cause == Cause::Finished).await
}

async fn a_driver_that_fails_tells_its_code(case: Case) -> Outcome {
    let command = (case.programs().exit)(7);
    driver_ends(case, command, |cause| *cause == Cause::Exited { code: 7 }).await
}

fn bad_command(cause: &Cause) -> bool {
    matches!(cause, Cause::CouldNotStart { failure: StartFailure::BadCommand, .. })
}

async fn a_driver_without_a_program(case: Case) -> Outcome {
    let command = case.programs().missing;
    driver_ends(case, command, bad_command).await
}

async fn a_driver_that_is_killed(case: Case) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    let grace = Duration::from_secs(10);
    case.cluster.kill(&case.driver(), grace).await.map_err(told)?;
    observed.until("the driver has ended", |seen| seen.is_over()).await?;
    let cause = observed.seen.driver_end().cloned();
    let wanted = Some(Cause::Killed { by: KilledBy::Request });
    expect(cause == wanted, || format!("the driver's cause is {cause:?}"))?;
    case.nothing_left().await
}

/// Requests one executor and waits for the end of the first one.
async fn executor_ends(case: Case, target: ExecutorTarget, so: fn(&Cause) -> bool) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    case.request(&target).await?;
    observed.until("executor 1 has ended", |seen| seen.end(FIRST).is_some()).await?;
    let cause = observed.seen.end(FIRST).cloned();
    expect(cause.as_ref().is_some_and(so), || format!("its cause is {cause:?}"))?;
    case.finish(observed).await
}

async fn an_executor_that_fails_tells_its_code(case: Case) -> Outcome {
    let target = case.target((case.programs().exit)(9), 1);
    executor_ends(case, target, |cause| *cause == Cause::Exited { code: 9 }).await
}

async fn executors_without_a_program(case: Case) -> Outcome {
    let target = case.target(case.programs().missing, 1);
    executor_ends(case, target, bad_command).await
}

async fn executors_that_cannot_be_executed(case: Case) -> Outcome {
    let command = case.programs().not_executable.ok_or("no such program")?;
    let target = case.target(command, 1);
    executor_ends(case, target, bad_command).await
}

async fn an_executor_that_uses_too_much_memory(case: Case) -> Outcome {
    let command = case.programs().hungry.ok_or("no such program")?;
    let target = case.target(command, 1);
    executor_ends(case, target, |cause| *cause == Cause::OutOfMemory { limit_mib: Some(64) }).await
}

async fn an_executor_that_is_killed(case: Case) -> Outcome {
    let mut observed = case.running_executors(1).await?;
    let subject = Subject::Executor(case.app.clone(), FIRST);
    case.cluster.kill(&subject, Duration::from_secs(10)).await.map_err(told)?;
    observed.until("executor 1 has ended", |seen| seen.end(FIRST).is_some()).await?;
    let cause = observed.seen.end(FIRST).cloned();
    let wanted = Some(Cause::Killed { by: KilledBy::Request });
    expect(cause == wanted, || format!("its cause is {cause:?}"))?;
    case.finish(observed).await
}

async fn executors_of_a_lowered_target(case: Case) -> Outcome {
    let mut observed = case.running_executors(3).await?;
    case.request(&case.target(case.programs().wait, 1)).await?;
    observed.until("1 executor runs", |seen| seen.settled(1)).await?;
    for id in [2, 3].map(ExecutorId) {
        let cause = observed.seen.end(id).cloned();
        let wanted = Some(Cause::Killed { by: KilledBy::ScaleDown });
        expect(cause == wanted, || format!("the newest go first; {id} has {cause:?}"))?;
    }
    case.finish(observed).await
}

async fn an_executor_that_a_signal_ends(case: Case) -> Outcome {
    let mut observed = case.running_executors(1).await?;
    case.harness.kill_executor(&case.app, FIRST).await;
    observed.until("executor 1 has ended", |seen| seen.end(FIRST).is_some()).await?;
    let cause = observed.seen.end(FIRST).cloned();
    let wanted = Some(Cause::Signaled { signal: 9 });
    expect(cause == wanted, || format!("its cause is {cause:?}"))?;
    observed.until("it was replaced", |seen| seen.settled(1)).await?;
    case.finish(observed).await
}

async fn a_driver_that_does_not_want_to_end(case: Case) -> Outcome {
    let command = case.programs().stubborn.ok_or("no such program")?;
    let mut observed = case.launch(command).await?;
    observed.until("the driver runs", |seen| seen.driver_runs()).await?;
    let grace = Duration::from_millis(300);
    case.cluster.kill(&case.driver(), grace).await.map_err(told)?;
    observed.until("the driver has ended", |seen| seen.is_over()).await?;
    let cause = observed.seen.driver_end().cloned();
    let wanted = Some(Cause::Killed { by: KilledBy::Request });
    expect(cause == wanted, || format!("the driver's cause is {cause:?}"))?;
    case.nothing_left().await
}

async fn an_executor_whose_node_is_lost_is_replaced(case: Case) -> Outcome {
    let mut observed = case.running_executors(3).await?;
    case.harness.lose_node(&case.app, FIRST).await;
    observed.until("executor 1 has ended", |seen| seen.end(FIRST).is_some()).await?;
    let cause = observed.seen.end(FIRST).cloned();
    expect(matches!(cause, Some(Cause::Lost { .. })), || format!("its cause is {cause:?}"))?;
    observed.until("all were replaced", |seen| seen.settled(3)).await?;
    let failed = observed.seen.allocation.as_ref().map(|allocation| allocation.failed);
    expect(failed == Some(0), || {
        format!("a lost node is no failure of the application: {failed:?}")
    })?;
    case.finish(observed).await
}

//! Nothing leaks: when a driver ends, in whatever way, its executors end.

use std::time::{Duration, Instant};

use anymaster_core::model::{Cause, KilledBy};

use super::cases;
use crate::case::{Case, Outcome, expect, told};
use crate::observed::Observed;

cases! { "leaks":
    Executors => executors_end_with_a_driver_that_finishes,
    Executors => executors_end_with_a_driver_that_is_killed,
    OwningDriver => executors_end_with_a_driver_that_is_shot_at_any_moment,
}

fn executors_ended_by_driver(observed: &Observed) -> Outcome {
    for executor in observed.seen.executors.values() {
        let cause = executor.state.end().map(|end| &end.cause);
        let wanted = Some(&Cause::Killed { by: KilledBy::DriverEnd });
        expect(cause == wanted, || format!("executor {} has {cause:?}", executor.id))?;
    }
    Ok(())
}

async fn executors_end_with_a_driver_that_finishes(case: Case) -> Outcome {
    // It ends by itself while its executors run.
    let Some(owning) = case.programs().owning_driver else {
        // Where drivers can't be programs of ours, an end on request stands for it.
        return executors_end_with_a_driver_that_is_killed(case).await;
    };
    let mut command = owning(4);
    command.args.push("then-exit".to_owned());
    let mut observed = case.launch(command).await?;
    observed.until("the driver has ended", |seen| seen.is_over()).await?;
    let cause = observed.seen.driver_end().cloned();
    expect(cause == Some(Cause::Finished), || format!("the driver's cause is {cause:?}"))?;
    expect(observed.seen.executors.len() == 4, || format!("{:?}", observed.seen.executors))?;
    executors_ended_by_driver(&observed)?;
    case.nothing_left().await
}

async fn executors_end_with_a_driver_that_is_killed(case: Case) -> Outcome {
    let mut observed = case.running_executors(4).await?;
    let began = Instant::now();
    case.cluster.kill(&case.driver(), Duration::from_secs(1)).await.map_err(told)?;
    observed.until("all of the application has ended", |seen| seen.is_over()).await?;
    let took = began.elapsed();
    expect(took.as_secs() <= case.harness.leak_seconds(), || format!("it took {took:?}"))?;
    executors_ended_by_driver(&observed)?;
    // There may be something left to do, but not twice.
    for _ in 0..2 {
        case.cluster.cleanup(&case.app).await.map_err(told)?;
    }
    case.nothing_left().await
}

async fn executors_end_with_a_driver_that_is_shot_at_any_moment(case: Case) -> Outcome {
    let owning = case.programs().owning_driver.ok_or("no such driver")?;
    for round in 0..6_u64 {
        let case = Case::new(case.harness.clone(), case.cluster.clone());
        let mut observed = case.launch(owning(6)).await?;
        observed.until("the driver runs", |seen| seen.driver_runs()).await?;
        // From before its first executor to after its last one.
        let moment = Duration::from_millis(rand::random_range(0..=60) * round);
        observed.for_a_while(moment).await?;
        case.harness.kill_driver(&case.app).await;
        let began = Instant::now();
        observed.until("all of the application has ended", |seen| seen.is_over()).await?;
        case.nothing_left().await?;
        let took = began.elapsed();
        expect(took.as_secs() <= case.harness.leak_seconds(), || {
            format!("after {moment:?}, it took {took:?}")
        })?;
        let cause = observed.seen.driver_end().cloned();
        let wanted = Some(Cause::Signaled { signal: 9 });
        expect(cause == wanted, || format!("the driver's cause is {cause:?}"))?;
        executors_ended_by_driver(&observed)?;
    }
    Ok(())
}

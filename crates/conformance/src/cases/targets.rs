//! Targets are declarative, and held within a failure limit.

use std::time::Duration;

use anymaster_core::model::{ExecutorId, ProfileId, Subject};
use rand::seq::IndexedRandom as _;

use super::cases;
use crate::case::{Case, Outcome, expect, told};

cases! { "targets":
    Executors => asking_twice_gives_as_many,
    Executors => a_target_goes_up_and_down_to_none,
    Profiles => several_profiles_are_kept_apart,
    Executors => what_is_killed_is_replaced,
    KillExecutor => a_target_is_reached_although_executors_die,
    Executors => too_many_failures_end_it_with_a_reason_until_a_new_target,
    DropWatches => a_target_is_held_through_broken_connections,
}

async fn asking_twice_gives_as_many(case: Case) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    let target = case.target(case.programs().wait, 5);
    case.request(&target).await?;
    case.request(&target).await?;
    observed.until("5 executors run", |seen| seen.settled(5)).await?;
    case.request(&target).await?;
    observed.for_a_while(Duration::from_millis(300)).await?;
    let ids: Vec<_> = observed.seen.executors.keys().map(|id| id.0).collect();
    expect(ids == [1, 2, 3, 4, 5], || format!("executors {ids:?}, not 1 to 5"))?;
    case.finish(observed).await
}

async fn a_target_goes_up_and_down_to_none(case: Case) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    for executors in [5, 2, 5, 0, 3] {
        case.request(&case.target(case.programs().wait, executors)).await?;
        let so = format!("{executors} executors run");
        observed.until(&so, |seen| seen.settled(executors as usize)).await?;
    }
    let highest = observed.seen.executors.keys().last().copied();
    expect(highest == Some(ExecutorId(11)), || format!("5 + 3 + 3 were started, not {highest:?}"))?;
    case.finish(observed).await
}

async fn several_profiles_are_kept_apart(case: Case) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    for (first, second) in [(2, 3), (3, 1), (0, 2)] {
        let target = case.target(case.programs().wait, first).with_profile(
            ProfileId(7),
            case.profile(),
            second,
        );
        case.request(&target).await?;
        observed
            .until(&format!("{first} and {second} executors run"), |seen| {
                let of = |profile| {
                    let running = seen.running();
                    running.iter().filter(|id| seen.executors[id].profile == profile).count()
                };
                seen.settled((first + second) as usize)
                    && of(ProfileId(0)) == first as usize
                    && of(ProfileId(7)) == second as usize
            })
            .await?;
    }
    case.finish(observed).await
}

async fn what_is_killed_is_replaced(case: Case) -> Outcome {
    let mut observed = case.running_executors(2).await?;
    let victim = Subject::Executor(case.app.clone(), ExecutorId(1));
    case.cluster.kill(&victim, Duration::ZERO).await.map_err(told)?;
    observed
        .until("executor 3 runs in the place of 1", |seen| {
            seen.settled(2) && seen.end(ExecutorId(1)).is_some()
        })
        .await?;
    let ids = observed.seen.running();
    expect(ids == [ExecutorId(2), ExecutorId(3)], || format!("{ids:?} run"))?;
    case.finish(observed).await
}

async fn a_target_is_reached_although_executors_die(case: Case) -> Outcome {
    let mut spec = case.spec(case.programs().wait);
    spec.conf.set("spark.executor.maxNumFailures", "1000");
    let mut observed = case.launch_spec(&spec).await?;
    for executors in [0, 50, 3, 20] {
        case.request(&case.target(case.programs().wait, executors)).await?;
        // While it moves, some die.
        for _ in 0..5 {
            observed.for_a_while(Duration::from_millis(20)).await?;
            let victim = observed.seen.running().choose(&mut rand::rng()).copied();
            if let Some(victim) = victim {
                case.harness.kill_executor(&case.app, victim).await;
            }
        }
        let so = format!("{executors} executors run");
        observed.until(&so, |seen| seen.settled(executors as usize)).await?;
    }
    case.finish(observed).await
}

async fn too_many_failures_end_it_with_a_reason_until_a_new_target(case: Case) -> Outcome {
    let mut spec = case.spec(case.programs().wait);
    spec.conf.set("spark.executor.maxNumFailures", "4");
    let mut observed = case.launch_spec(&spec).await?;
    let programs = case.programs();
    case.request(&case.target((programs.exit)(3), 1)).await?;
    observed.until("it is given up", |seen| seen.given_up().is_some()).await?;
    let why = observed.seen.given_up().unwrap_or_default().to_owned();
    expect(
        why.contains("spark.executor.maxNumFailures") && why.contains("exited with code 3"),
        || format!("the reason names neither the property nor the last cause: {why}"),
    )?;
    let started = observed.seen.executors.len();
    expect(started == 5, || format!("{started} were started, not 5: the limit is 4 failures"))?;
    observed.for_a_while(Duration::from_millis(500)).await?;
    let later = observed.seen.executors.len();
    expect(later == started, || {
        format!("{later} were started after it was given up at {started}")
    })?;
    case.request(&case.target(programs.wait, 2)).await?;
    observed.until("2 executors run after a new target", |seen| seen.settled(2)).await?;
    case.finish(observed).await
}

async fn a_target_is_held_through_broken_connections(case: Case) -> Outcome {
    let _broken = case.running_executors(3).await?;
    case.harness.drop_watches().await;
    case.request(&case.target(case.programs().wait, 5)).await?;
    let mut observed = crate::observed::Observed::open(&*case.cluster, &case.app, None).await?;
    observed.until("5 executors run", |seen| seen.settled(5)).await?;
    case.finish(observed).await
}

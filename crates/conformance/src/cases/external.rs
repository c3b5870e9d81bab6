//! Applications whose driver somebody else runs, outside of the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use anymaster_core::ErrorKind;
use anymaster_core::model::{Cause, ExecutorId, ExternalDriver};

use super::cases;
use crate::case::{Case, Outcome, expect, told};
use crate::observed::Observed;

cases! { "external":
    ExternalDrivers => a_registered_application_has_executors_until_its_driver_ends,
    ExternalDrivers => registering_twice_is_one_application,
    ExternalDrivers => an_application_chooses_which_executors_it_gives_up,
    ExternalDrivers => a_registered_driver_can_be_killed,
}

fn driver(case: &Case) -> ExternalDriver {
    ExternalDriver::new("conformance", "127.0.0.1", 9).with_conf(case.harness.conf())
}

async fn registered(case: &Case) -> Outcome<Observed> {
    case.cluster.register_application(&case.id, &driver(case)).await.map_err(told)?;
    let mut observed = Observed::open(&*case.cluster, &case.app, None).await?;
    observed.until("the driver runs", |seen| seen.driver_runs()).await?;
    Ok(observed)
}

async fn a_registered_application_has_executors_until_its_driver_ends(case: Case) -> Outcome {
    let mut observed = registered(&case).await?;
    case.request(&case.target(case.programs().wait, 3)).await?;
    observed.until("3 executors run", |seen| seen.settled(3)).await?;
    case.cluster.unregister_application(&case.app, &Cause::Finished).await.map_err(told)?;
    observed.until("all of the application has ended", |seen| seen.is_over()).await?;
    let cause = observed.seen.driver_end();
    expect(cause == Some(&Cause::Finished), || format!("the driver's end is {cause:?}"))?;
    case.cluster.unregister_application(&case.app, &Cause::Finished).await.map_err(told)?;
    case.nothing_left().await
}

async fn registering_twice_is_one_application(case: Case) -> Outcome {
    let observed = registered(&case).await?;
    let again = case.cluster.register_application(&case.id, &driver(&case)).await;
    expect(again.as_ref().is_ok_and(|it| it.existed), || format!("the same again is {again:?}"))?;
    let mut other = driver(&case);
    other.port = 10;
    let error = case.cluster.register_application(&case.id, &other).await;
    let error = error.err().map(|error| error.kind());
    expect(error == Some(ErrorKind::Conflict), || format!("another driver is {error:?}"))?;
    case.finish(observed).await
}

async fn an_application_chooses_which_executors_it_gives_up(case: Case) -> Outcome {
    let mut observed = registered(&case).await?;
    let mut target = case.target(case.programs().wait, 4);
    case.request(&target).await?;
    observed.until("4 executors run", |seen| seen.settled(4)).await?;
    // The total is lowered with it, as a Spark driver does.
    for executors in &mut target.profiles.values_mut() {
        executors.executors = 3;
    }
    target.unwanted = BTreeSet::from([ExecutorId(2)]);
    case.request(&target).await?;
    observed.until("3 executors run", |seen| seen.settled(3)).await?;
    observed.for_a_while(Duration::from_millis(300)).await?;
    let left: Vec<_> = observed.seen.running().into_iter().map(|id| id.0).collect();
    expect(left == [1, 3, 4], || format!("executors {left:?} run, not 1, 3 and 4"))?;
    // And now while the total stands: it is replaced.
    target.unwanted.insert(ExecutorId(3));
    case.request(&target).await?;
    let so = |seen: &crate::observed::Seen| {
        seen.settled(3) && seen.running().iter().map(|id| id.0).eq([1, 4, 5])
    };
    observed.until("executor 3 is replaced", so).await?;
    case.finish(observed).await
}

async fn a_registered_driver_can_be_killed(case: Case) -> Outcome {
    let mut observed = registered(&case).await?;
    case.request(&case.target(case.programs().wait, 2)).await?;
    observed.until("2 executors run", |seen| seen.settled(2)).await?;
    case.finish(observed).await
}

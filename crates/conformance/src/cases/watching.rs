//! Nothing is missed, and everyone sees the same.

use anymaster_core::WatchOptions;
use std::time::{Duration, Instant};

use anymaster_core::model::{Cursor, Event, Filter, Status};
use futures::StreamExt as _;

use super::cases;
use crate::case::{Case, Outcome, expect, told};
use crate::observed::{Observed, Seen};

cases! { "watching":
    Nothing => a_watch_of_all_shows_a_new_application,
    Executors => another_manager_sees_the_same,
    Executors => a_cursor_goes_on_where_it_was_taken,
    Executors => a_cursor_that_is_none_begins_anew,
    Executors => a_list_is_the_snapshot_of_a_watch,
    DropWatches => a_broken_watch_goes_on_from_its_cursor,
}

/// How far what one watch tells may be behind another.
const MOMENT: Duration = Duration::from_secs(10);

async fn a_watch_of_all_shows_a_new_application(case: Case) -> Outcome {
    let mut events = case.cluster.watch(&WatchOptions::all()).await.map_err(told)?;
    let observed = case.waiting_driver().await?;
    let seen = async {
        while let Some(event) = events.next().await {
            match event.map_err(told)? {
                Event::Changed(status) if *status.app() == case.app => return Ok(()),
                _ => {}
            }
        }
        Err("the watch ended".to_owned())
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.map_err(|_| "not seen in 30 s")??;
    case.finish(observed).await
}

async fn another_manager_sees_the_same(case: Case) -> Outcome {
    let mut observed = case.waiting_driver().await?;
    let other = case.harness.connect().await.map_err(told)?;
    let mut others = Observed::open(&*other, &case.app, None).await?;
    case.request(&case.target(case.programs().wait, 2)).await?;
    observed.until("2 executors run", |seen| seen.settled(2)).await?;
    others.until("the other sees 2 executors run", |seen| seen.settled(2)).await?;
    // What the other asks for happens.
    let grace = Duration::from_secs(5);
    other.kill(&case.driver(), grace).await.map_err(told)?;
    observed.until("all has ended", |seen| seen.is_over()).await?;
    others.until("the other sees that all has ended", |seen| seen.is_over()).await?;
    let (ours, theirs) = (observed.seen.essence(), others.seen.essence());
    expect(ours.len() == theirs.len(), || format!("{ours:?} is not {theirs:?}"))?;
    case.nothing_left().await
}

async fn a_cursor_goes_on_where_it_was_taken(case: Case) -> Outcome {
    let mut observed = case.running_executors(3).await?;
    let cursor = observed.cursor.clone();
    case.request(&case.target(case.programs().wait, 1)).await?;
    observed.until("1 executor runs", |seen| seen.settled(1)).await?;
    // From the cursor: the two ends, whatever else; and nothing of the time before for those.
    let mut resumed = Observed::open(&*case.cluster, &case.app, cursor).await?;
    resumed
        .until("the ends of executors 2 and 3 from the cursor on", |seen| {
            seen.executors.values().filter(|executor| executor.state.is_ended()).count() == 2
        })
        .await?;
    case.finish(observed).await
}

async fn a_cursor_that_is_none_begins_anew(case: Case) -> Outcome {
    let observed = case.running_executors(1).await?;
    let cursor = Cursor("of another time".to_owned());
    let mut events =
        case.cluster.watch(&WatchOptions::of(&case.app).from(cursor)).await.map_err(told)?;
    let first = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
    let restarted = matches!(first, Ok(Some(Ok(Event::Restarted))));
    expect(restarted, || format!("it begins with {first:?}, not Restarted"))?;
    case.finish(observed).await
}

async fn a_list_is_the_snapshot_of_a_watch(case: Case) -> Outcome {
    let mut observed = case.running_executors(3).await?;
    case.request(&case.target(case.programs().wait, 2)).await?;
    observed.until("2 executors run", |seen| seen.settled(2)).await?;
    let list = async |live: bool, drivers_only: bool| {
        let mut filter = Filter::of(&case.app);
        (filter.live, filter.drivers_only) = (live, drivers_only);
        let mut seen = Seen::default();
        for status in case.cluster.list(&filter).await.map_err(told)? {
            match status {
                Status::Driver(driver) => seen.driver = Some(driver),
                Status::Executor(executor) => {
                    seen.executors.insert(executor.id, executor);
                }
                _ => {}
            }
        }
        Outcome::Ok(seen)
    };
    // What tells of an executor that has just ended may be a moment behind.
    let deadline = Instant::now() + MOMENT;
    let listed = loop {
        let all = list(false, false).await?;
        let fresh = Observed::open(&*case.cluster, &case.app, None).await?;
        let (listed, watched) = (all.essence(), fresh.seen.essence());
        if listed == watched {
            break listed;
        }
        expect(Instant::now() < deadline, || format!("listed {listed:?}, watched {watched:?}"))?;
        observed.for_a_while(Duration::from_millis(50)).await?;
    };
    let live = list(true, false).await?;
    let ids: Vec<_> = live.executors.keys().map(|id| id.0).collect();
    expect(ids == [1, 2], || format!("{ids:?} are listed as alive, of {listed:?}"))?;
    let filter = Filter::of(&case.app).live_executors();
    let statuses = case.cluster.list(&filter).await.map_err(told)?;
    let has_ended = |status: &Status| status.state().is_some_and(|state| state.is_ended());
    let executors = statuses.iter().filter(|status| matches!(status, Status::Executor(_))).count();
    let is_right = executors == 2 && !statuses.iter().any(has_ended);
    expect(is_right, || format!("{statuses:?} are listed without executors that ended"))?;
    let drivers = list(false, true).await?;
    expect(drivers.executors.is_empty() && drivers.driver.is_some(), || format!("{drivers:?}"))?;
    case.finish(observed).await
}

async fn a_broken_watch_goes_on_from_its_cursor(case: Case) -> Outcome {
    let observed = case.running_executors(2).await?;
    let cursor = observed.cursor.clone();
    case.harness.drop_watches().await;
    case.request(&case.target(case.programs().wait, 1)).await?;
    let mut resumed = Observed::open(&*case.cluster, &case.app, cursor).await?;
    resumed
        .until("the end of executor 2", |seen| {
            seen.executors.values().any(|executor| executor.state.is_ended())
        })
        .await?;
    let fresh = Observed::open(&*case.cluster, &case.app, None).await?;
    case.finish(fresh).await
}

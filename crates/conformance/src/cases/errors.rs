//! Errors have kinds, every call may run twice, and futures may be dropped.

use std::time::Duration;

use anymaster_core::model::{AppId, ExecutorId, Subject, SubmissionId};
use anymaster_core::{ErrorKind, Launched, Result, WatchOptions};
use futures::FutureExt as _;

use super::cases;
use crate::case::{Case, Outcome, expect, told};
use crate::observed::Observed;

cases! { "errors":
    Nothing => the_same_submission_is_one_driver,
    Nothing => the_same_id_with_another_application_is_a_conflict,
    Nothing => what_no_process_can_be_given_is_refused,
    Executors => executors_that_no_process_can_be_are_refused,
    Nothing => ending_what_has_ended_is_success,
    Nothing => what_was_never_known_is_not_found,
    Nothing => a_launch_that_is_dropped_is_done_or_undone,
    Executors => a_target_for_an_unknown_application_is_not_found,
    Executors => resources_that_are_not_there_are_refused,
    NoTemplates => templates_are_refused_where_nothing_takes_them,
    Nothing => secrets_are_not_shown,
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn the_same_submission_is_one_driver(case: Case) -> Outcome {
    let spec = case.spec(case.programs().wait);
    let both = futures::future::join(
        case.cluster.launch_driver(&case.id, &spec),
        case.cluster.launch_driver(&case.id, &spec),
    )
    .await;
    let (first, second) = (both.0.map_err(told)?, both.1.map_err(told)?);
    let submitted = |launched: &Launched| launched.driver.submitted;
    expect(submitted(&first) == submitted(&second), || format!("{first:?} and {second:?}"))?;
    expect(first.existed != second.existed, || format!("{first:?} and {second:?}"))?;
    let mut observed = Observed::open(&*case.cluster, &case.app, None).await?;
    observed.until("the driver runs", |seen| seen.driver_runs()).await?;
    let again = case.harness.connect().await.map_err(told)?;
    let third = again.launch_driver(&case.id, &spec).await.map_err(told)?;
    expect(submitted(&third) == submitted(&first), || format!("{first:?} and {third:?}"))?;
    expect(third.existed, || format!("{third:?}"))?;
    case.cluster.ping().await.map_err(told)?;
    for id in [&case.id, &third.driver.submission] {
        let got = again.get(id).await.map_err(told)?;
        expect(got.submission == third.driver.submission, || format!("{id} is {got:?}"))?;
    }
    case.finish(observed).await
}

async fn the_same_id_with_another_application_is_a_conflict(case: Case) -> Outcome {
    let observed = case.waiting_driver().await?;
    let other = case.spec((case.programs().exit)(0));
    let got = kind(case.cluster.launch_driver(&case.id, &other).await);
    expect(got == Some(ErrorKind::Conflict), || format!("it is {got:?}"))?;
    case.finish(observed).await
}

async fn what_no_process_can_be_given_is_refused(case: Case) -> Outcome {
    let programs = case.programs();
    let plain = || case.spec(programs.wait.clone());
    let mut nul_in_name = plain();
    nul_in_name.name = "a\0b".to_owned();
    let mut huge_name = plain();
    huge_name.name = "x".repeat(16 << 20);
    let nul_in_argument = case.spec(programs.wait.clone().args(["\0"]));
    let mut nul_in_property = plain();
    nul_in_property.conf.set("spark.app.comment", "\0");
    let mut nul_in_variable = plain();
    nul_in_variable.driver.env.insert("A".to_owned(), "\0".to_owned());
    let mut no_variable = plain();
    no_variable.driver.env.insert("A=B".to_owned(), String::new());
    let specs =
        [nul_in_name, huge_name, nul_in_argument, nul_in_property, nul_in_variable, no_variable];
    for (spec, number) in specs.iter().zip(1..) {
        let got = kind(case.cluster.launch_driver(&case.id, spec).await);
        expect(got == Some(ErrorKind::InvalidSpec), || format!("specification {number}: {got:?}"))?;
    }
    // Nothing is left of them: the id is free.
    let observed = case.waiting_driver().await?;
    case.finish(observed).await
}

async fn executors_that_no_process_can_be_are_refused(case: Case) -> Outcome {
    let observed = case.waiting_driver().await?;
    let target = case.target(case.programs().wait.args(["\0"]), 1);
    let got = kind(case.cluster.request_executors(&case.app, &target).await);
    expect(got == Some(ErrorKind::InvalidSpec), || format!("it is {got:?}"))?;
    case.finish(observed).await
}

async fn ending_what_has_ended_is_success(case: Case) -> Outcome {
    let observed = case.waiting_driver().await?;
    case.finish(observed).await?;
    case.cluster.kill(&case.driver(), Duration::ZERO).await.map_err(told)?;
    case.cluster.kill(&case.driver(), Duration::from_secs(1)).await.map_err(told)
}

async fn templates_are_refused_where_nothing_takes_them(case: Case) -> Outcome {
    let mut spec = case.spec(case.programs().wait);
    spec.templates.driver = Some(serde_json::json!({ "spec": {} }));
    let got = kind(case.cluster.launch_driver(&case.id, &spec).await);
    expect(got == Some(ErrorKind::Unsupported), || format!("it is {got:?}"))?;
    // Nothing is left of it: the id is free.
    let observed = case.waiting_driver().await?;
    case.finish(observed).await
}

async fn what_was_never_known_is_not_found(case: Case) -> Outcome {
    let nobody = SubmissionId::new("conformance-nobody").map_err(told)?;
    let app = AppId::new("conformance-nobody").map_err(told)?;
    let driver = Subject::Driver(nobody.clone());
    let observed = case.waiting_driver().await?;
    let executor = Subject::Executor(case.app.clone(), ExecutorId(999));
    let cluster = &case.cluster;
    let calls = [
        ("kill of a driver", kind(cluster.kill(&driver, Duration::ZERO).await)),
        ("kill of an executor", kind(cluster.kill(&executor, Duration::ZERO).await)),
        ("get", kind(cluster.get(&nobody).await)),
        ("watch", kind(cluster.watch(&WatchOptions::of(&app)).await)),
        ("logs", kind(cluster.logs(&driver, &Default::default()).await)),
    ];
    for (call, got) in calls {
        expect(got == Some(ErrorKind::NotFound), || format!("{call}: {got:?}"))?;
    }
    case.finish(observed).await
}

async fn a_launch_that_is_dropped_is_done_or_undone(case: Case) -> Outcome {
    let spec = case.spec(case.programs().wait);
    // Once around the scheduler, and gone.
    let launch = case.cluster.launch_driver(&case.id, &spec).now_or_never();
    drop(launch);
    case.cluster.launch_driver(&case.id, &spec).await.map_err(told)?;
    let mut observed = Observed::open(&*case.cluster, &case.app, None).await?;
    observed.until("the driver runs", |seen| seen.driver_runs()).await?;
    case.finish(observed).await
}

async fn a_target_for_an_unknown_application_is_not_found(case: Case) -> Outcome {
    let app = AppId::new("conformance-nobody").map_err(told)?;
    let target = case.target(case.programs().wait, 1);
    let got = kind(case.cluster.request_executors(&app, &target).await);
    expect(got == Some(ErrorKind::NotFound), || format!("it is {got:?}"))
}

async fn resources_that_are_not_there_are_refused(case: Case) -> Outcome {
    let observed = case.waiting_driver().await?;
    let mut target = case.target(case.programs().wait, 1);
    for profile in target.profiles.values_mut() {
        profile.profile.extra.insert("unobtainium".to_owned(), 1);
    }
    let error = case.cluster.request_executors(&case.app, &target).await.err();
    let refused = error.as_ref().is_some_and(|error| {
        matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidSpec)
            && error.to_string().contains("unobtainium")
    });
    expect(refused, || format!("it is {error:?}"))?;
    case.finish(observed).await
}

async fn secrets_are_not_shown(case: Case) -> Outcome {
    const SECRET: &str = "swordfish-4711";
    let mut spec = case.spec(case.programs().wait);
    spec.conf.set("spark.example.password", SECRET);
    let observed = case.launch_spec(&spec).await?;
    let listed = case.cluster.list(&Default::default()).await.map_err(told)?;
    let shown = format!("{:?} {:?} {listed:?} {spec:?}", case.cluster, observed.seen);
    expect(!shown.contains(SECRET), || "the secret is shown".to_owned())?;
    case.finish(observed).await
}

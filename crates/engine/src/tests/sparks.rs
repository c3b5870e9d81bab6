//! Executors that need a Spark go where it is.

use anymaster_core::ErrorKind;
use anymaster_core::model::{ExternalDriver, SparkVersions};

use super::*;
use crate::WorkerSpark;

fn worker(id: &str, releases: &[(&str, &str)]) -> WorkerInfo {
    let spark = |(release, scala): &(&str, &str)| WorkerSpark {
        release: (*release).to_owned(),
        scala: (*scala).to_owned(),
    };
    WorkerInfo { sparks: releases.iter().map(spark).collect(), ..info(id, 4) }
}

/// A cluster of these workers, and what becomes of executors that need Spark 4.0.
fn requested(workers: Vec<WorkerInfo>) -> (Scene, anymaster_core::Result<()>) {
    let mut scene = Scene::new(&[]);
    workers.into_iter().for_each(|worker| scene.meet(worker, Vec::new()));
    let driver = ExternalDriver::new("outside", "driver", 4040);
    let id = SubmissionId::new("app").unwrap();
    scene.engine().register_application(&id, &driver, 1000).unwrap();
    scene.work();
    let mut template = ExecutorTemplate::new(CommandLine::new("{{spark.java}}"));
    template.spark = Some(SparkVersions::new("2.13", (4, 0), (4, 0)));
    let target = ExecutorTarget::new(template, ResourceProfile::new(1.0, 100), 6);
    let requested = scene.engine().request(&app("app"), target);
    scene.work();
    (scene, requested)
}

#[test]
fn executors_go_to_workers_that_have_their_spark() {
    let (old, new) = (("3.5.9", "2.12"), ("4.0.5", "2.13"));
    let workers = vec![worker("a", &[old]), worker("b", &[old, new]), worker("c", &[])];
    let (mut scene, requested) = requested(workers);
    requested.unwrap();
    assert_eq!(scene.running("app"), hosts(&[("host-b", 4)]));
    scene.meet(worker("d", &[new]), Vec::new());
    scene.work();
    assert_eq!(scene.running("app"), hosts(&[("host-b", 4), ("host-d", 2)]));
}

#[test]
fn a_spark_that_no_worker_has_is_named_and_so_are_several() {
    let (_, none) = requested(vec![worker("a", &[("3.5.9", "2.12"), ("4.1.4", "2.13")])]);
    let error = none.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("need Spark 4.0 (Scala 2.13)"), "{error}");
    assert!(error.message().ends_with("there is 3.5.9, 4.1.4"), "{error}");
    let several = vec![worker("a", &[("4.0.5", "2.13")]), worker("b", &[("4.0.1", "2.13")])];
    let error = requested(several).1.unwrap_err();
    assert!(error.message().ends_with("4.0.1, 4.0.5"), "{error}");
    assert!(error.hint().unwrap().contains("spark.executorEnv.SPARK_HOME"), "{error}");
    // Before a worker is known, an application waits.
    requested(Vec::new()).1.unwrap();
}

//! The exact responses of the API, with a mocked cluster.

#![expect(clippy::unwrap_used, reason = "it is a test")]

use std::sync::Arc;

use anymaster_core::model::{AppId, Cause, DriverStatus, End, State, SubmissionId};
use anymaster_core::testing::{FakeBackend, FakeCluster, MockClusterManager};
use anymaster_core::{BackendInfo, Capabilities, Error, ErrorKind, Launched, Registry};
use anymaster_spark::Environment;
use anymaster_submitter::{Limits, Submitter, router};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use tower::ServiceExt as _;

const INFO: BackendInfo = BackendInfo::new("fake", &[("spark", "spark://h:1")], "in memory");

fn cluster(chosen_ids: bool) -> MockClusterManager {
    let mut cluster = MockClusterManager::new();
    let mut can = Capabilities::new();
    can.chosen_ids = chosen_ids;
    cluster.expect_capabilities().return_const(can);
    cluster
}

fn submitter(cluster: MockClusterManager) -> anymaster_core::Result<Submitter> {
    let backends = Registry::new().with(FakeBackend::new(&INFO, FakeCluster::new()));
    let master = "spark://h:7077".parse().unwrap();
    let environment = Environment::default();
    Submitter::new(Arc::new(cluster), master, backends, environment, Limits::default())
}

async fn post(cluster: MockClusterManager) -> (StatusCode, String) {
    let body = r#"{"submission_id": "one", "spark_submit_args": ["--master", "spark://h:7077",
        "--deploy-mode", "cluster", "--name", "sums", "--class", "Main", "local:///a.jar"]}"#;
    let request = Request::post("/api/v1/spark-submit").header("content-type", "application/json");
    let service = router(submitter(cluster).unwrap());
    let answer = service.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn driver(id: &str) -> DriverStatus {
    let (id, app) = (SubmissionId::new(id).unwrap(), AppId::new("spark-1").unwrap());
    let mut driver = DriverStatus::new(id, app, "sums").with_submitted(Timestamp::UNIX_EPOCH);
    driver.uid = Some("d1ce".into());
    driver
}

#[tokio::test]
async fn the_response_to_a_submission_is_exact() {
    let mut mock = cluster(true);
    mock.expect_launch_driver().returning(|_, _| Ok(Launched::new(driver("team:sums-1"))));
    let (status, body) = post(mock).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        body,
        r#"{"submission_id":"one","app_name":"sums","spark_app_id":"spark-1","driver_pod_name":"sums-1","driver_pod_uid":"d1ce","namespace":"team","submitted_at":"1970-01-01T00:00:00Z","duplicate_submission":false}"#
    );
}

#[tokio::test]
async fn the_same_id_is_the_same_submission_in_any_namespace() {
    // The cluster has another id for it, in another namespace.
    let mut mock = cluster(true);
    mock.expect_launch_driver().returning(|_, _| {
        let existing = SubmissionId::new("other:sums-1").unwrap();
        Err(Error::conflict("it exists with other properties").with_existing(existing))
    });
    mock.expect_get().withf(|id| id.as_str() == "other:sums-1").once().returning(|id| {
        let end = End::new(Cause::Finished, Timestamp::UNIX_EPOCH);
        Ok(driver(id.as_str()).with_state(State::Ended(Box::new(end))))
    });
    let (status, body) = post(mock).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        body.ends_with(r#""namespace":"other","submitted_at":"1970-01-01T00:00:00Z","duplicate_submission":true,"message":"this submission was made before; its driver pod exists"}"#),
        "{body}"
    );
}

#[tokio::test]
async fn an_object_of_another_submission_is_a_conflict() {
    let cases = [
        (Error::not_found("there is no driver of one"), 409, "DRIVER_POD_ALREADY_EXISTS"),
        (Error::unavailable("the API server is away"), 503, "SUBMITTER_OVERLOADED"),
    ];
    for (lookup, code, error) in cases {
        let mut mock = cluster(true);
        let taken = || Error::conflict("pod team/sums exists, from another submission");
        mock.expect_launch_driver().returning(move |_, _| Err(taken()));
        mock.expect_get().withf(|id| id.as_str() == "one").return_once(move |_| Err(lookup));
        let (status, body) = post(mock).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_u16(), body["error_code"].as_str()), (code, Some(error)), "{body}");
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_respond_is_not_ready() {
    for (ping, code) in [(Ok(()), 200), (Err(Error::unavailable("it is away")), 503)] {
        let mut mock = cluster(true);
        mock.expect_ping().return_once(move || ping);
        let service = router(submitter(mock).unwrap());
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap().status().as_u16(), code);
    }
}

#[test]
fn a_cluster_without_chosen_ids_is_refused() {
    let error = submitter(cluster(false)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

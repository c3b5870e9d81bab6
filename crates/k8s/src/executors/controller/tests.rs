//! Tests of the controller against a fake API server that fails on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;

use anymaster_core::model::{CommandLine, ExecutorTemplate, ProfileId, ResourceProfile};
use futures::future::join_all;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::submitter_env::SubmitterEnv;

/// A refusal: code, reason and message.
type Refusal = (u16, &'static str, &'static str);

/// A fake API server: pods and claims by path, the requests, and the refusals.
#[derive(Default)]
struct Server {
    objects: Mutex<BTreeMap<String, Value>>,
    /// `POST pods`, `DELETE pods/x`, in their order.
    requests: Mutex<Vec<String>>,
    /// Requests with this prefix are refused this many times.
    refusals: Mutex<Vec<(&'static str, usize, Refusal)>>,
    uids: AtomicUsize,
    /// Creations in flight, and their maximum.
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
}

impl Server {
    fn refuse(&self, what: &'static str, times: usize, refusal: Refusal) {
        self.refusals.lock().unwrap().push((what, times, refusal));
    }

    /// How many requests had this prefix.
    fn requests_like(&self, what: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|asked| asked.starts_with(what)).count()
    }

    /// The names of all objects of a kind.
    fn names_of(&self, kind: &str) -> BTreeSet<String> {
        let objects = self.objects.lock().unwrap();
        let names = objects.keys().filter_map(|path| path.strip_prefix(kind)?.strip_prefix('/'));
        names.map(str::to_owned).collect()
    }

    fn refused(&self, asked: &str) -> Option<Refusal> {
        let mut refuse = self.refusals.lock().unwrap();
        let (_, left, refusal) =
            refuse.iter_mut().find(|(what, left, _)| asked.starts_with(what) && *left > 0)?;
        *left -= 1;
        Some(*refusal)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<bytes::Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().rsplit_once("/namespaces/ns/").unwrap().1.to_owned();
        let asked = format!("{} {path}", parts.method);
        self.requests.lock().unwrap().push(asked.clone());
        if parts.method == Method::POST {
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.max_in_flight.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
        let answer = match self.refused(&asked) {
            Some(refusal) => Err(refusal),
            None => self.apply(&parts.method, path, &body),
        };
        if parts.method == Method::PATCH {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.requests.lock().unwrap().push(format!("answered {asked}"));
        }
        let (code, answer) = match answer {
            Ok(answer) => (200, answer),
            Err((code, reason, message)) => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": code, "reason": reason, "message": message});
                (code, status)
            }
        };
        let answer = Full::from(answer.to_string());
        Response::builder().status(code).body(answer).unwrap()
    }

    fn apply(&self, method: &Method, path: String, body: &[u8]) -> Result<Value, Refusal> {
        let mut objects = self.objects.lock().unwrap();
        match (method, path.contains('/')) {
            (&Method::POST, _) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let name = object["metadata"]["name"].as_str().unwrap();
                let path = format!("{path}/{name}");
                if objects.contains_key(&path) {
                    return Err((409, "AlreadyExists", "already exists"));
                }
                let uid = self.uids.fetch_add(1, Ordering::SeqCst);
                object["metadata"]["uid"] = json!(format!("uid-{uid}"));
                objects.insert(path, object.clone());
                Ok(object)
            }
            (&Method::GET, false) => {
                let items: Vec<_> = objects
                    .iter()
                    .filter(|(at, _)| at.starts_with(&path))
                    .map(|(_, o)| o)
                    .collect();
                Ok(json!({"metadata": {"resourceVersion": "1"}, "items": items}))
            }
            (&Method::GET | &Method::PATCH, true) => {
                objects.get(&path).cloned().ok_or((404, "NotFound", "not found"))
            }
            (&Method::DELETE, true) => objects.remove(&path).ok_or((404, "NotFound", "not found")),
            _ => Ok(json!({"metadata": {}, "items": []})),
        }
    }
}

/// A controller whose driver is a pod, and its server.
fn controller(pairs: &[(&str, &str)]) -> (Arc<Server>, Arc<ExecutorController>) {
    let driver: Pod = serde_json::from_value(json!({
        "metadata": {"name": "driver", "namespace": "ns", "uid": "uid-of-driver"},
        "spec": {"containers": []},
        "status": {"podIP": "10.0.0.1"},
    }))
    .unwrap();
    let owner = pod::owner(&driver);
    let (server, controller) = controller_at(pairs, DriverLocation::Pod(owner));
    let path = "pods/driver".to_owned();
    server.objects.lock().unwrap().insert(path, serde_json::to_value(driver).unwrap());
    (server, controller)
}

fn controller_at(
    pairs: &[(&str, &str)],
    driver_location: DriverLocation,
) -> (Arc<Server>, Arc<ExecutorController>) {
    let server = Arc::new(Server::default());
    let behind = Arc::clone(&server);
    let service = service_fn(move |request| {
        let server = Arc::clone(&behind);
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let connection = Connection {
        client: Client::new(service, "ns"),
        namespace: "ns".to_owned(),
        submissions: "ns".to_owned(),
        timeout: Duration::from_secs(10),
    };
    let mut conf: Conf = pairs.iter().copied().collect();
    conf.set("spark.kubernetes.container.image", "image");
    let (app, submitter) = (AppId::new("app").unwrap(), Arc::new(SubmitterEnv::default()));
    let (name, namespace) = ("app".to_owned(), "ns".to_owned());
    let pod_builder =
        ExecutorPodBuilder::new(app, name, namespace, conf, submitter, None, None).unwrap();
    (
        server,
        ExecutorController::new(connection, pod_builder, driver_location, SharedRecord::default())
            .unwrap(),
    )
}

fn launches(ids: impl IntoIterator<Item = u64>) -> Vec<ExecutorLaunch> {
    let template = Arc::new(ExecutorTemplate::new(CommandLine::new("worker")));
    let launch = |id| ExecutorLaunch {
        id: ExecutorId(id),
        profile_id: ProfileId(0),
        profile: ResourceProfile::default(),
        template: Arc::clone(&template),
    };
    ids.into_iter().map(launch).collect()
}

async fn start(
    controller: &ExecutorController,
    ids: impl IntoIterator<Item = u64>,
) -> Vec<Result<()>> {
    controller.start(&controller.pod_builder.app.clone(), launches(ids)).await
}

fn kinds(results: &[Result<()>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_conflict_on_a_quotas_usage_is_retried() {
    let (server, controller) = controller(&[]);
    let quota = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been \
                 modified; please apply your changes to the latest version and try again";
    server.refuse("POST pods", 1, (409, "Conflict", quota));
    assert_eq!(kinds(&start(&controller, [1]).await), [Some(ErrorKind::Unavailable)]);
    assert_eq!(kinds(&start(&controller, [1]).await), [None]);
    // The pod exists, and is this application's.
    assert_eq!(kinds(&start(&controller, [1]).await), [None]);
    assert_eq!((server.requests_like("POST pods"), server.names_of("pods").len()), (3, 2));
    // The pod existed and is gone.
    server.refuse("POST pods", 1, (409, "AlreadyExists", "already exists"));
    assert_eq!(kinds(&start(&controller, [2]).await), [Some(ErrorKind::Unavailable)]);
}

#[tokio::test(start_paused = true)]
async fn ids_are_reserved_before_any_batch_uses_them() {
    let (server, controller) = controller(&[]);
    join_all([start(&controller, [1]), start(&controller, [2])]).await;
    let asked = server.requests.lock().unwrap().clone();
    let place = |what: &str| asked.iter().position(|asked| asked == what).unwrap();
    assert!(place("answered PATCH pods/driver") < place("POST pods"), "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| *asked == "PATCH pods/driver").count(), 1);
}

#[tokio::test]
async fn a_polling_interval_of_zero_is_refused() {
    let (_, controller) = controller(&[]);
    let conf = [("spark.kubernetes.executor.apiPollingInterval", "0")].into_iter().collect();
    let submitter = Arc::new(SubmitterEnv::default());
    let app = controller.pod_builder.app.clone();
    let pod_builder =
        ExecutorPodBuilder::new(app, "app".into(), "ns".into(), conf, submitter, None, None)
            .unwrap();
    let (connection, driver_location) = (controller.connection.clone(), DriverLocation::Process);
    let error =
        ExecutorController::new(connection, pod_builder, driver_location, SharedRecord::default())
            .unwrap_err();
    assert!(error.message().starts_with("spark.kubernetes.executor.apiPollingInterval"));
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_requests_in_flight_holds_across_batches() {
    let (server, controller) = controller(&[("spark.anymaster.kubernetes.requestsInFlight", "8")]);
    let batches = (0..20).map(|batch| start(&controller, batch * 10 + 1..batch * 10 + 11));
    let results = join_all(batches).await.concat();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((results.len(), server.max_in_flight.load(Ordering::SeqCst)), (200, 8));
    // The limit falls to what the server accepts.
    server.refuse("POST pods", 40, (429, "TooManyRequests", "slow"));
    for id in 0..4 {
        start(&controller, [1_000 + id]).await;
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    server.refusals.lock().unwrap().clear();
    server.max_in_flight.store(0, Ordering::SeqCst);
    join_all((0..2).map(|id| start(&controller, [2_000 + id]))).await;
    assert_eq!(server.max_in_flight.load(Ordering::SeqCst), 1);
}

const VOLUME: &str = "spark.kubernetes.executor.volumes.persistentVolumeClaim";

/// Two claims for each executor, of the same class and size.
fn with_claims<'a>(more: &[(&'a str, &'a str)]) -> Vec<(String, &'a str)> {
    let mut pairs = Vec::new();
    for name in ["data", "more"] {
        let key = |rest: &str| format!("{VOLUME}.{name}.{rest}");
        pairs.push((key("mount.path"), if name == "data" { "/data" } else { "/more" }));
        pairs.push((key("options.claimName"), "OnDemand"));
        pairs.push((key("options.storageClass"), "fast"));
        pairs.push((key("options.sizeLimit"), "1Gi"));
    }
    pairs.extend(more.iter().map(|(key, value)| ((*key).to_owned(), *value)));
    pairs
}

fn controller_with_claims(more: &[(&str, &str)]) -> (Arc<Server>, Arc<ExecutorController>) {
    let pairs = with_claims(more);
    controller(&pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>())
}

/// The claims that pods of executors mount.
fn mounted(server: &Server) -> Vec<String> {
    let objects = server.objects.lock().unwrap();
    let pods = objects.iter().filter(|(path, _)| path.starts_with("pods/"));
    pods.flat_map(|(_, pod)| claims::names(&serde_json::from_value::<Pod>(pod.clone()).unwrap()))
        .collect()
}

/// An executor's pod is deleted, and its end is reported.
fn ended_error(server: &Server, controller: &ExecutorController, id: u64) {
    let name = controller.pod_builder.name(ExecutorId(id));
    server.objects.lock().unwrap().remove(&format!("pods/{name}"));
    controller.claims.release(ExecutorId(id));
}

#[tokio::test(start_paused = true)]
async fn a_batch_lists_once_and_reuses_each_claim_once() {
    let (server, controller) = controller_with_claims(&[]);
    assert!(start(&controller, 1..=10).await.iter().all(Result::is_ok));
    assert_eq!(server.names_of("persistentvolumeclaims").len(), 20);
    for id in 1..=10 {
        ended_error(&server, &controller, id);
    }
    let lists =
        || (server.requests_like("GET persistentvolumeclaims"), server.requests_like("GET pods"));
    let before = lists();
    assert!(start(&controller, 11..=22).await.iter().all(Result::is_ok));
    assert_eq!(lists(), (before.0 + 1, before.1 + 1));
    // Each existing claim is reused once; the rest is new.
    let mounted = mounted(&server);
    let different: BTreeSet<_> = mounted.iter().cloned().collect();
    assert_eq!((mounted.len(), different.len()), (24, 24));
    assert_eq!(server.names_of("persistentvolumeclaims"), different);
}

#[tokio::test(start_paused = true)]
async fn the_claims_of_a_terminating_executor_are_waited_for() {
    let (server, controller) = controller_with_claims(&[]);
    start(&controller, [1]).await;
    let claims = server.names_of("persistentvolumeclaims");
    let path = format!("pods/{}", controller.pod_builder.name(ExecutorId(1)));
    server.objects.lock().unwrap().get_mut(&path).unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    let lists = server.requests_like("GET pods");
    // It is deleted while the second one looks for claims.
    let goes = async {
        while server.requests_like("GET pods") < lists + 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ended_error(&server, &controller, 1);
    };
    futures::join!(start(&controller, [2]), goes);
    assert_eq!(server.names_of("persistentvolumeclaims"), claims);
    // A pod that is not deleted in time keeps its claims.
    let path = format!("pods/{}", controller.pod_builder.name(ExecutorId(2)));
    server.objects.lock().unwrap().get_mut(&path).unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    assert_eq!(kinds(&start(&controller, [3]).await), [None]);
    assert_eq!(server.names_of("persistentvolumeclaims").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_claims_cannot_be_created_is_deleted() {
    let (server, controller) = controller_with_claims(&[]);
    let full = (403, "Forbidden", "exceeded quota: q");
    server.refuse("POST persistentvolumeclaims", 1, full);
    let before = server.names_of("pods");
    assert_eq!(kinds(&start(&controller, [1]).await), [Some(ErrorKind::Quota)]);
    assert_eq!(server.names_of("pods"), before);
    assert_eq!(kinds(&start(&controller, [1]).await), [None]);
    let made = server.names_of("persistentvolumeclaims");
    assert_eq!(made, mounted(&server).into_iter().collect());
    // The pod cannot be deleted at once: it is deleted later.
    server.refuse("POST persistentvolumeclaims", 1, full);
    server.refuse("DELETE pods/", 1, (403, "Forbidden", "no"));
    assert_eq!(kinds(&start(&controller, [2]).await), [Some(ErrorKind::Quota)]);
    while server.requests_like("DELETE pods") < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_an_earlier_attempt_gets_the_claims_that_it_names() {
    let (server, controller) = controller_with_claims(&[]);
    start(&controller, [1]).await;
    // The response is lost, and meanwhile other claims become unused.
    let launch = &launches([3])[0];
    let driver_address = DriverAddress::default();
    let pod = controller
        .pod_builder
        .prototype(launch, &driver_address)
        .unwrap()
        .pod(&controller.pod_builder, launch.id);
    controller.create_pod(&pod, &[]).await.unwrap();
    ended_error(&server, &controller, 1);
    start(&controller, [3]).await;
    let there = server.names_of("persistentvolumeclaims");
    assert!(claims::names(&pod).iter().all(|name| there.contains(name)), "{there:?}");
}

#[tokio::test(start_paused = true)]
async fn claims_of_executors_that_were_never_created_are_reused() {
    let (server, controller) = controller_with_claims(&[]);
    start(&controller, [1]).await;
    let claims = server.names_of("persistentvolumeclaims");
    ended_error(&server, &controller, 1);
    // Two are refused: one for good, the other until it is stopped.
    server.refuse("POST pods", 1, (403, "Forbidden", "exceeded quota: q"));
    start(&controller, [2]).await;
    server.refuse("POST pods", 1, (500, "", "etcd"));
    start(&controller, [3]).await;
    let app = controller.pod_builder.app.clone();
    controller.stop(&app, &[ExecutorId(3)], Duration::ZERO).await.unwrap();
    start(&controller, [4]).await;
    assert_eq!(mounted(&server).into_iter().collect::<BTreeSet<_>>(), claims);
}

#[tokio::test(start_paused = true)]
async fn executors_wait_for_claims_if_configured() {
    let wait = ("spark.kubernetes.driver.waitToReusePersistentVolumeClaim", "true");
    let (server, controller) = controller_with_claims(&[wait]);
    controller.target.store(4, Ordering::Relaxed);
    let results = start(&controller, 1..=3).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2, "{results:?}");
    assert_eq!(server.names_of("persistentvolumeclaims").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn claims_that_are_deleted_with_their_executors_are_not_reused() {
    let pairs = with_claims(&[]);
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let (server, controller) = controller_at(&pairs, DriverLocation::Process);
    start(&controller, [1]).await;
    ended_error(&server, &controller, 1);
    start(&controller, [2]).await;
    assert_eq!(server.names_of("persistentvolumeclaims").len(), 4);
    assert!(mounted(&server).iter().all(|name| name.contains("exec-2")),);
}

//! A keeper against an API server of the tests' own, which misbehaves on demand.

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
use crate::machine::Machine;

/// What a refusal says: code, reason and message.
type Refusal = (u16, &'static str, &'static str);

/// Pods and claims, by their paths; what was asked for; and what is refused.
#[derive(Default)]
struct Server {
    objects: Mutex<BTreeMap<String, Value>>,
    /// `POST pods`, `DELETE pods/x`, in their order.
    asked: Mutex<Vec<String>>,
    /// What begins like this is refused, so many times.
    refuse: Mutex<Vec<(&'static str, usize, Refusal)>>,
    uids: AtomicUsize,
    /// Creations that are under way, and the most there were.
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Server {
    fn refuse(&self, what: &'static str, times: usize, refusal: Refusal) {
        self.refuse.lock().unwrap().push((what, times, refusal));
    }

    /// How many requests there were that begin like this.
    fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(what)).count()
    }

    /// The names of what there is of a kind.
    fn there(&self, kind: &str) -> BTreeSet<String> {
        let objects = self.objects.lock().unwrap();
        let names = objects.keys().filter_map(|path| path.strip_prefix(kind)?.strip_prefix('/'));
        names.map(str::to_owned).collect()
    }

    fn refused(&self, asked: &str) -> Option<Refusal> {
        let mut refuse = self.refuse.lock().unwrap();
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
        self.asked.lock().unwrap().push(asked.clone());
        if parts.method == Method::POST {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        let answer = match self.refused(&asked) {
            Some(refusal) => Err(refusal),
            None => self.apply(&parts.method, path, &body),
        };
        if parts.method == Method::PATCH {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.asked.lock().unwrap().push(format!("answered {asked}"));
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

/// A keeper whose driver is a pod with this address, and the server behind it.
fn keeper(pairs: &[(&str, &str)]) -> (Arc<Server>, Arc<Keeper>) {
    let driver: Pod = serde_json::from_value(json!({
        "metadata": {"name": "driver", "namespace": "ns", "uid": "uid-of-driver"},
        "spec": {"containers": []},
        "status": {"podIP": "10.0.0.1"},
    }))
    .unwrap();
    let owner = pod::owner(&driver);
    let (server, keeper) = keeper_of(pairs, Anchor::Pod(owner));
    let path = "pods/driver".to_owned();
    server.objects.lock().unwrap().insert(path, serde_json::to_value(driver).unwrap());
    (server, keeper)
}

fn keeper_of(pairs: &[(&str, &str)], anchor: Anchor) -> (Arc<Server>, Arc<Keeper>) {
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
    let (app, machine) = (AppId::new("app").unwrap(), Arc::new(Machine::default()));
    let (name, namespace) = ("app".to_owned(), "ns".to_owned());
    let maker = Maker::new(app, name, namespace, conf, machine, None, None).unwrap();
    (server, Keeper::new(connection, maker, anchor, KeptHere::default()).unwrap())
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

async fn start(keeper: &Keeper, ids: impl IntoIterator<Item = u64>) -> Vec<Result<()>> {
    keeper.start(&keeper.maker.app.clone(), launches(ids)).await
}

fn kinds(results: &[Result<()>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_conflict_over_the_count_of_a_quota_is_tried_again() {
    let (server, keeper) = keeper(&[]);
    let quota = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been \
                 modified; please apply your changes to the latest version and try again";
    server.refuse("POST pods", 1, (409, "Conflict", quota));
    assert_eq!(kinds(&start(&keeper, [1]).await), [Some(ErrorKind::Unavailable)]);
    assert_eq!(kinds(&start(&keeper, [1]).await), [None]);
    // It is there, and ours.
    assert_eq!(kinds(&start(&keeper, [1]).await), [None]);
    assert_eq!((server.asked("POST pods"), server.there("pods").len()), (3, 2));
    // It was there, and is no more.
    server.refuse("POST pods", 1, (409, "AlreadyExists", "already exists"));
    assert_eq!(kinds(&start(&keeper, [2]).await), [Some(ErrorKind::Unavailable)]);
}

#[tokio::test(start_paused = true)]
async fn ids_are_written_down_before_they_are_used_by_any_batch() {
    let (server, keeper) = keeper(&[]);
    join_all([start(&keeper, [1]), start(&keeper, [2])]).await;
    let asked = server.asked.lock().unwrap().clone();
    let place = |what: &str| asked.iter().position(|asked| asked == what).unwrap();
    assert!(place("answered PATCH pods/driver") < place("POST pods"), "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| *asked == "PATCH pods/driver").count(), 1);
}

#[tokio::test]
async fn a_watch_cannot_be_begun_again_all_the_time() {
    let (_, keeper) = keeper(&[]);
    let conf = [("spark.kubernetes.executor.apiPollingInterval", "0")].into_iter().collect();
    let machine = Arc::new(Machine::default());
    let app = keeper.maker.app.clone();
    let maker = Maker::new(app, "app".into(), "ns".into(), conf, machine, None, None).unwrap();
    let (connection, anchor) = (keeper.connection.clone(), Anchor::Process);
    let error = Keeper::new(connection, maker, anchor, KeptHere::default()).unwrap_err();
    assert!(error.message().starts_with("spark.kubernetes.executor.apiPollingInterval"));
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_under_way_than_may_be_however_many_batches_there_are() {
    let (server, keeper) = keeper(&[("spark.anymaster.kubernetes.requestsInFlight", "8")]);
    let batches = (0..20).map(|batch| start(&keeper, batch * 10 + 1..batch * 10 + 11));
    let results = join_all(batches).await.concat();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((results.len(), server.most.load(Ordering::SeqCst)), (200, 8));
    // As few as the server bears.
    server.refuse("POST pods", 40, (429, "TooManyRequests", "slow"));
    for id in 0..4 {
        start(&keeper, [1_000 + id]).await;
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    server.refuse.lock().unwrap().clear();
    server.most.store(0, Ordering::SeqCst);
    join_all((0..2).map(|id| start(&keeper, [2_000 + id]))).await;
    assert_eq!(server.most.load(Ordering::SeqCst), 1);
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

fn keeper_with_claims(more: &[(&str, &str)]) -> (Arc<Server>, Arc<Keeper>) {
    let pairs = with_claims(more);
    keeper(&pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>())
}

/// The claims that executors' pods name.
fn mounted(server: &Server) -> Vec<String> {
    let objects = server.objects.lock().unwrap();
    let pods = objects.iter().filter(|(path, _)| path.starts_with("pods/"));
    pods.flat_map(|(_, pod)| claims::names(&serde_json::from_value::<Pod>(pod.clone()).unwrap()))
        .collect()
}

/// An executor's pod goes, and its end is told.
fn gone(server: &Server, keeper: &Keeper, id: u64) {
    let name = keeper.maker.name(ExecutorId(id));
    server.objects.lock().unwrap().remove(&format!("pods/{name}"));
    keeper.claims.release(ExecutorId(id));
}

#[tokio::test(start_paused = true)]
async fn a_batch_lists_once_and_takes_over_each_claim_once() {
    let (server, keeper) = keeper_with_claims(&[]);
    assert!(start(&keeper, 1..=10).await.iter().all(Result::is_ok));
    assert_eq!(server.there("persistentvolumeclaims").len(), 20);
    for id in 1..=10 {
        gone(&server, &keeper, id);
    }
    let lists = || (server.asked("GET persistentvolumeclaims"), server.asked("GET pods"));
    let before = lists();
    assert!(start(&keeper, 11..=22).await.iter().all(Result::is_ok));
    assert_eq!(lists(), (before.0 + 1, before.1 + 1));
    // What there was is used, each by one; the rest is new.
    let mounted = mounted(&server);
    let different: BTreeSet<_> = mounted.iter().cloned().collect();
    assert_eq!((mounted.len(), different.len()), (24, 24));
    assert_eq!(server.there("persistentvolumeclaims"), different);
}

#[tokio::test(start_paused = true)]
async fn the_claims_of_one_that_is_being_deleted_are_waited_for() {
    let (server, keeper) = keeper_with_claims(&[]);
    start(&keeper, [1]).await;
    let claims = server.there("persistentvolumeclaims");
    let path = format!("pods/{}", keeper.maker.name(ExecutorId(1)));
    server.objects.lock().unwrap().get_mut(&path).unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    let lists = server.asked("GET pods");
    // It goes while the second looks for claims.
    let goes = async {
        while server.asked("GET pods") < lists + 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        gone(&server, &keeper, 1);
    };
    futures::join!(start(&keeper, [2]), goes);
    assert_eq!(server.there("persistentvolumeclaims"), claims);
    // One that stays keeps its claims.
    let path = format!("pods/{}", keeper.maker.name(ExecutorId(2)));
    server.objects.lock().unwrap().get_mut(&path).unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    assert_eq!(kinds(&start(&keeper, [3]).await), [None]);
    assert_eq!(server.there("persistentvolumeclaims").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_claims_cannot_be_made_goes() {
    let (server, keeper) = keeper_with_claims(&[]);
    let full = (403, "Forbidden", "exceeded quota: q");
    server.refuse("POST persistentvolumeclaims", 1, full);
    let before = server.there("pods");
    assert_eq!(kinds(&start(&keeper, [1]).await), [Some(ErrorKind::Quota)]);
    assert_eq!(server.there("pods"), before);
    assert_eq!(kinds(&start(&keeper, [1]).await), [None]);
    let made = server.there("persistentvolumeclaims");
    assert_eq!(made, mounted(&server).into_iter().collect());
    // Not even now: it goes later.
    server.refuse("POST persistentvolumeclaims", 1, full);
    server.refuse("DELETE pods/", 1, (403, "Forbidden", "no"));
    assert_eq!(kinds(&start(&keeper, [2]).await), [Some(ErrorKind::Quota)]);
    while server.asked("DELETE pods") < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_an_earlier_try_gets_the_claims_that_it_names() {
    let (server, keeper) = keeper_with_claims(&[]);
    start(&keeper, [1]).await;
    // Its answer is lost, and in the meantime others are free.
    let launch = &launches([3])[0];
    let driver = Driver::default();
    let pod = keeper.maker.prototype(launch, &driver).unwrap().pod(&keeper.maker, launch.id);
    keeper.create_pod(&pod, &[]).await.unwrap();
    gone(&server, &keeper, 1);
    start(&keeper, [3]).await;
    let there = server.there("persistentvolumeclaims");
    assert!(claims::names(&pod).iter().all(|name| there.contains(name)), "{there:?}");
}

#[tokio::test(start_paused = true)]
async fn claims_of_executors_that_never_were_are_free() {
    let (server, keeper) = keeper_with_claims(&[]);
    start(&keeper, [1]).await;
    let claims = server.there("persistentvolumeclaims");
    gone(&server, &keeper, 1);
    // Two are refused, one for good, the other until it is not wanted any more.
    server.refuse("POST pods", 1, (403, "Forbidden", "exceeded quota: q"));
    start(&keeper, [2]).await;
    server.refuse("POST pods", 1, (500, "", "etcd"));
    start(&keeper, [3]).await;
    let app = keeper.maker.app.clone();
    keeper.stop(&app, &[ExecutorId(3)], Duration::ZERO).await.unwrap();
    start(&keeper, [4]).await;
    assert_eq!(mounted(&server).into_iter().collect::<BTreeSet<_>>(), claims);
}

#[tokio::test(start_paused = true)]
async fn executors_wait_for_claims_where_they_are_to() {
    let wait = ("spark.kubernetes.driver.waitToReusePersistentVolumeClaim", "true");
    let (server, keeper) = keeper_with_claims(&[wait]);
    keeper.target.store(4, Ordering::Relaxed);
    let results = start(&keeper, 1..=3).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2, "{results:?}");
    assert_eq!(server.there("persistentvolumeclaims").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn claims_that_go_with_their_executors_are_not_taken_over() {
    let pairs = with_claims(&[]);
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let (server, keeper) = keeper_of(&pairs, Anchor::Process);
    start(&keeper, [1]).await;
    gone(&server, &keeper, 1);
    start(&keeper, [2]).await;
    assert_eq!(server.there("persistentvolumeclaims").len(), 4);
    assert!(mounted(&server).iter().all(|name| name.contains("exec-2")),);
}

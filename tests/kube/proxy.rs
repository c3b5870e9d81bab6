//! A proxy between the program and the API server that injects faults.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;

use crate::cluster::{ca, kubectl};

/// What the proxy does to requests.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// This many requests are refused, two of three, alternately with 429 and 500.
    pub(crate) storm: AtomicU64,
    /// All requests are refused, with 503.
    pub(crate) closed: AtomicBool,
    /// This many watches get 410 Expired.
    pub(crate) expiries: AtomicU64,
    /// Requests without this token get 401.
    pub(crate) token: Mutex<Option<String>>,
    /// When this changes, open watches become silent and stay open.
    pub(crate) silences: AtomicU64,
    requests: AtomicU64,
}

/// A proxy that listens on loopback until the test ends.
pub(crate) struct Proxy {
    pub(crate) master: String,
    pub(crate) faults: Arc<Faults>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Upstream {
    client: reqwest::Client,
    server: String,
    token: String,
    faults: Arc<Faults>,
}

impl Proxy {
    /// Forwards requests with the permissions of an administrator.
    pub(crate) fn new(namespace: &str) -> Self {
        let config = |path: &str| {
            kubectl(&["config", "view", "--minify", "--raw", "-o", &format!("jsonpath={path}")])
        };
        let server = config("{.clusters[0].cluster.server}");
        let token = kubectl(&["-n", namespace, "create", "token", "spark"]).trim().to_owned();
        let faults = Arc::new(Faults::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let certificate = reqwest::Certificate::from_pem(ca().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
        let upstream = Upstream { client, server, token, faults: Arc::clone(&faults) };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let master = format!("k8s://http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass).with_state(upstream);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { master, faults, _runtime: runtime }
    }
}

fn count_down(number: &AtomicU64) -> bool {
    number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

async fn pass(State(upstream): State<Upstream>, request: Request) -> Response {
    let faults = &upstream.faults;
    let number = faults.requests.fetch_add(1, Ordering::Relaxed);
    if let Some(token) = faults.token.lock().unwrap().as_ref() {
        let brought =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if brought != Some(&format!("Bearer {token}")) {
            return status(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
    }
    if faults.closed.load(Ordering::Relaxed) {
        return status(StatusCode::SERVICE_UNAVAILABLE, "closed");
    }
    if number % 3 != 2 && count_down(&faults.storm) {
        return match number % 2 {
            0 => status(StatusCode::TOO_MANY_REQUESTS, "storm"),
            _ => status(StatusCode::INTERNAL_SERVER_ERROR, "storm"),
        };
    }
    let query = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let is_watch = query.contains("watch=true");
    if is_watch && count_down(&faults.expiries) {
        return status(StatusCode::GONE, "too old resource version");
    }
    let method = request.method().clone();
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let accept = request.headers().get(header::ACCEPT).cloned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let mut forward = upstream
        .client
        .request(method, format!("{}{query}", upstream.server))
        .bearer_auth(&upstream.token)
        .body(body);
    for (name, value) in [(header::CONTENT_TYPE, kind), (header::ACCEPT, accept)] {
        if let Some(value) = value {
            forward = forward.header(name, value);
        }
    }
    let Ok(answer) = forward.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let code = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let body = if is_watch {
        let (faults, before) = (Arc::clone(faults), faults.silences.load(Ordering::Relaxed));
        // A silent watch never ends.
        let bytes = answer.bytes_stream().take_while(move |_| {
            let is_silent = faults.silences.load(Ordering::Relaxed) != before;
            async move {
                if is_silent {
                    std::future::pending::<()>().await;
                }
                true
            }
        });
        Body::from_stream(bytes)
    } else {
        Body::from_stream(answer.bytes_stream())
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn status(code: StatusCode, message: &str) -> Response {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","code":{}}}"#,
        code.as_u16()
    );
    let mut response = (code, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

//! The master over HTTP, for people and for other programs: pages, Spark's JSON, and numbers for
//! Prometheus. Nothing here changes anything.

mod dispatched;
mod json;
mod links;
mod metrics;
mod pages;

use std::sync::Arc;

use anymaster_net::{BearerAuth, Tls};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::leadership::Leadership;
use super::shared::Shared;
use anymaster_native::wire::{Credentials, Role, Secret};

/// How many executors are on a page.
const ON_A_PAGE: usize = 200;

/// What the pages are made of.
struct Pages {
    leadership: Arc<Leadership>,
    /// By which workers give out output.
    credentials: Credentials,
}

type Context = State<Arc<Pages>>;

/// A page that says why not.
struct Refusal(Box<Response>);

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The paths of the web interface.
pub(crate) fn router(
    leadership: &Arc<Leadership>,
    secret: &Secret,
    tls: &Tls,
    guard: BearerAuth,
) -> Router {
    let credentials = Credentials { role: Role::Client, secret: secret.clone(), tls: tls.clone() };
    let pages = Arc::new(Pages { leadership: Arc::clone(leadership), credentials });
    let guarded = Router::new()
        .route("/", get(home))
        .route("/app/{id}", get(app))
        .route("/worker/{id}", get(worker))
        .route("/logs/{app}/{process}", get(logs))
        .route("/changes", get(changes))
        .route("/json", get(overview))
        .route("/json/", get(overview))
        .route("/metrics", get(numbers))
        .route("/metrics/master/prometheus", get(sparks_numbers))
        .route("/metrics/master/prometheus/", get(sparks_numbers))
        .with_state(pages);
    // Whether it lives is no secret.
    guard.protect(guarded).route("/healthz", get(|| async { "ok\n" }))
}

impl Pages {
    /// The cluster, or a page that says who is to be asked.
    fn lead(&self) -> Result<Arc<Shared>, Refusal> {
        self.leadership.leading().ok_or_else(|| {
            let page = pages::standby(&self.leadership.daemon().master);
            (StatusCode::SERVICE_UNAVAILABLE, page).into_response().into()
        })
    }
}

async fn home(State(pages): Context) -> Result<Response, Refusal> {
    let shared = pages.lead()?;
    let overview = shared.read(|engine| engine.overview(shared.now()));
    Ok(match pages.leadership.daemon().is_dispatcher() {
        true => dispatched::home(pages.leadership.daemon(), &overview),
        false => pages::home(pages.leadership.daemon(), &overview),
    })
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    from: usize,
}

async fn app(
    State(pages): Context,
    Path(id): Path<String>,
    Query(Place { from }): Query<Place>,
) -> Result<Response, Refusal> {
    let shared = pages.lead()?;
    let found = anymaster_core::model::AppId::new(&id)
        .ok()
        .and_then(|id| shared.read(|engine| engine.app_view(&id, from, ON_A_PAGE, shared.now())));
    let (app, executors, all) =
        found.ok_or_else(|| pages::missing(&format!("application {id}")))?;
    Ok(pages::app(pages.leadership.daemon(), &app, &executors, from, all))
}

async fn worker(State(pages): Context, Path(id): Path<String>) -> Result<Response, Refusal> {
    let shared = pages.lead()?;
    let found = shared.read(|engine| engine.worker_view(&id, shared.now()));
    let (worker, processes) = found.ok_or_else(|| pages::missing(&format!("worker {id}")))?;
    Ok(pages::worker(&worker, &processes))
}

async fn logs(
    State(pages): Context,
    Path((app, process)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let shared = pages.lead()?;
    Ok(pages::logs(&shared, &pages, &app, &process).await)
}

async fn changes(State(pages): Context) -> Result<Response, Refusal> {
    let shared = pages.lead()?;
    Ok(anymaster_net::page::changes(shared.subscribe(None)))
}

async fn overview(State(pages): Context) -> Response {
    let json = json::overview(&pages.leadership);
    ([(header::CONTENT_TYPE, "text/json;charset=utf-8")], json).into_response()
}

async fn numbers(State(pages): Context) -> Response {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics::text(&pages.leadership) {
        Ok(text) => ([(header::CONTENT_TYPE, KIND)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn sparks_numbers(State(pages): Context) -> Response {
    const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, KIND)], metrics::sparks(&pages.leadership)).into_response()
}

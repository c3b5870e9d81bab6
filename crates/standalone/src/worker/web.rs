//! The worker over HTTP: what it has and runs, for people, and Spark's JSON. Nothing here changes
//! anything.

use std::sync::Arc;

use anymaster_net::rest::json;
use anymaster_net::{Guard, page};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use maud::html;
use serde_json::json;

use super::tasks::Tasks;
use anymaster_dispatcher::wire::{Held, Progress, Task};

type Context = State<Arc<Tasks>>;

/// The paths of the web interface.
pub(super) fn router(tasks: &Arc<Tasks>, guard: Guard) -> Router {
    let guarded = Router::new()
        .route("/", get(home))
        .route("/changes", get(changes))
        .route("/json", get(overview))
        .route("/json/", get(overview))
        .with_state(Arc::clone(tasks));
    guard.protect(guarded).route("/healthz", get(|| async { "ok\n" }))
}

fn word(progress: &Progress) -> &'static str {
    match progress {
        Progress::Starting | Progress::Again(_) => "LAUNCHING",
        Progress::Running { .. } => "RUNNING",
        Progress::Refused(_) | Progress::Ended(_) => "EXITED",
    }
}

async fn home(State(tasks): Context) -> Response {
    let (info, held) = (tasks.info(), tasks.held());
    let (cores, memory) = used(&held);
    let body = html! {
        dl {
            div { dt { "Address" } dd { (info.host) ":" (info.port) } }
            div { dt { "Cores of executors" } dd { (cores) " of " (info.cores) } }
            div { dt { "Memory of executors" } dd { (page::mebibytes(memory)) " of " (page::mebibytes(info.memory_mib)) } }
        }
        h2 { "Processes " small { (held.len()) } }
        @if held.is_empty() { p class="none" { "None." } } @else {
            div class="wide" { table {
                tr { th { "Application" } th { "Process" } th { "State" } }
                @for held in &held {
                    tr {
                        td { (held.app) }
                        td { @match held.task { Task::Driver => { "driver" } Task::Executor(id) => { "executor " (id) } } }
                        td { (page::state(word(&held.progress))) }
                    }
                }
            } }
        }
    };
    page::page(&format!("Worker {}", info.id), "anymaster", &body)
}

/// Cores and memory of executors.
fn used(held: &[Held]) -> (u32, u64) {
    let profiles = held.iter().filter_map(|held| Some(&held.terms.as_ref()?.profile));
    profiles.fold((0, 0), |(cores, memory), profile| {
        (cores + profile.cores as u32, memory + profile.memory_mib)
    })
}

async fn changes(State(tasks): Context) -> Response {
    page::changes(tasks.changes())
}

/// As Spark's worker writes it (Spark 3.5, `JsonProtocol.writeWorkerState`).
async fn overview(State(tasks): Context) -> Response {
    let (info, held) = (tasks.info(), tasks.held());
    let (cores, memory) = used(&held);
    let executors = held.iter().filter_map(|held| {
        let (Task::Executor(id), Some(terms)) = (held.task, &held.terms) else { return None };
        Some(json!({
            "id": id.0,
            "memory": terms.profile.memory_mib,
            "resources": {},
            "appid": held.app.as_str(),
            "state": word(&held.progress),
        }))
    });
    let state = json!({
        "id": info.id,
        "masterurl": tasks.master().unwrap_or_default(),
        "cores": info.cores,
        "coresused": cores,
        "memory": info.memory_mib,
        "memoryused": memory,
        "resources": info.resources,
        "executors": executors.collect::<Vec<_>>(),
    });
    let kind = [(header::CONTENT_TYPE, "text/json;charset=utf-8")];
    (kind, json::to_string(&state)).into_response()
}

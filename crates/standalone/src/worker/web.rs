//! The worker's web page, and its state as JSON as Spark's worker serves it. Read-only.

use std::collections::BTreeMap;
use std::sync::Arc;

use anymaster_net::{BearerAuth, page};
use anymaster_spark_rest::json;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use maud::html;
use serde_json::{Value, json};

use super::tasks::Tasks;
use anymaster_engine::{Progress, Task, TaskReport, WorkerInfo};

type Context = State<Arc<Tasks>>;

/// The paths of the web interface.
pub(super) fn router(tasks: &Arc<Tasks>, guard: BearerAuth) -> Router {
    let guarded = Router::new()
        .route("/", get(home))
        .route("/changes", get(changes))
        .route("/json", get(overview))
        .route("/json/", get(overview))
        .with_state(Arc::clone(tasks));
    guard.protect(guarded).route("/healthz", get(|| async { "ok\n" }))
}

fn state_name(progress: &Progress) -> &'static str {
    match progress {
        Progress::Starting | Progress::Restarting(_) => "LAUNCHING",
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
                        td { (page::state(state_name(&held.progress))) }
                    }
                }
            } }
        }
    };
    page::page(&format!("Worker {}", info.id), "anymaster", &body)
}

/// Cores and memory of executors.
fn used<'a>(held: impl IntoIterator<Item = &'a TaskReport>) -> (u32, u64) {
    let profiles = held.into_iter().filter_map(|held| Some(&held.spec.as_ref()?.profile));
    profiles.fold((0, 0), |(cores, memory), profile| {
        (cores + profile.cores as u32, memory + profile.memory_mib)
    })
}

async fn changes(State(tasks): Context) -> Response {
    page::changes(tasks.changes())
}

async fn overview(State(tasks): Context) -> Response {
    let state = state_json(tasks.info(), &tasks.held(), tasks.master().unwrap_or_default());
    let kind = [(header::CONTENT_TYPE, "text/json;charset=utf-8")];
    (kind, json::to_string(&state)).into_response()
}

/// The state as Spark's worker writes it (Spark 3.5, `JsonProtocol.writeWorkerState`). Finished executors
/// are only those whose end the master has not acknowledged yet.
fn state_json(info: &WorkerInfo, held: &[TaskReport], [master, web]: [String; 2]) -> Value {
    let is_over =
        |held: &&TaskReport| matches!(held.progress, Progress::Refused(_) | Progress::Ended(_));
    let (over, active): (Vec<_>, Vec<_>) = held.iter().partition(is_over);
    let (cores, memory) = used(active.iter().copied());
    let mut in_use: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, addresses) in
        active.iter().flat_map(|held| held.spec.iter()).flat_map(|t| &t.resources)
    {
        in_use.entry(name.clone()).or_default().extend(addresses.iter().cloned());
    }
    let executors =
        |held: Vec<&TaskReport>| held.into_iter().filter_map(executor_json).collect::<Vec<_>>();
    json!({
        "id": info.id,
        "masterurl": master,
        "masterwebuiurl": web,
        "cores": info.cores,
        "coresused": cores,
        "memory": info.memory_mib,
        "memoryused": memory,
        "resources": resources_json(&info.resources),
        "resourcesused": resources_json(&in_use),
        "executors": executors(active),
        "finishedexecutors": executors(over),
    })
}

fn executor_json(held: &TaskReport) -> Option<Value> {
    let (Task::Executor(id), Some(spec)) = (held.task, &held.spec) else { return None };
    Some(json!({
        "id": id.0,
        "memory": spec.profile.memory_mib,
        "resources": resources_json(&spec.resources),
        "appid": held.app.as_str(),
        "state": state_name(&held.progress),
    }))
}

fn resources_json(all: &BTreeMap<String, Vec<String>>) -> Value {
    let entries = all
        .iter()
        .map(|(name, addresses)| (name.clone(), json!({"name": name, "addresses": addresses})));
    Value::Object(entries.collect())
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{AppId, Cause, ExecutorId, ProfileId, ResourceProfile};
    use anymaster_engine::ExecutorSpec;

    use super::*;

    #[test]
    fn the_state_has_the_fields_of_sparks_worker() {
        let gpus = |all: &[&str]| {
            BTreeMap::from([("gpu".to_owned(), all.iter().map(|&gpu| gpu.to_owned()).collect())])
        };
        let info = WorkerInfo {
            id: "worker-1".to_owned(),
            host: "h".to_owned(),
            port: 1,
            web: String::new(),
            cores: 4,
            memory_mib: 4096,
            sparks: Vec::new(),
            resources: gpus(&["0", "1"]),
        };
        let held = |id, progress, gpu| TaskReport {
            app: AppId::new("pi").unwrap(),
            task: Task::Executor(ExecutorId(id)),
            progress,
            spec: Some(Box::new(ExecutorSpec {
                profile_id: ProfileId::default(),
                profile: ResourceProfile::new(2.0, 512),
                resources: gpus(&[gpu]),
            })),
        };
        let ended = Progress::Ended(Cause::Finished.into());
        let held =
            [held(0, ended, "0"), held(1, Progress::Running { port: None, host: None }, "1")];
        let state =
            state_json(&info, &held, ["spark://m:7077", "http://m:8080"].map(str::to_owned));
        assert_eq!(state["masterurl"], "spark://m:7077");
        assert_eq!(state["masterwebuiurl"], "http://m:8080");
        assert_eq!((&state["coresused"], &state["memoryused"]), (&json!(2), &json!(512)));
        let gpus = |all: &[&str]| json!({"gpu": {"name": "gpu", "addresses": all}});
        assert_eq!(
            (&state["resources"], &state["resourcesused"]),
            (&gpus(&["0", "1"]), &gpus(&["1"]))
        );
        assert_eq!(state["executors"][0]["id"], 1);
        assert_eq!(state["executors"][0]["resources"], gpus(&["1"]));
        assert_eq!(state["finishedexecutors"][0]["state"], "EXITED");
        assert_eq!(state["executors"].as_array().unwrap().len(), 1);
    }
}

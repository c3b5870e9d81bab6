//! `/json/`, with what Spark's master writes there (Spark 3.5, `JsonProtocol.writeMasterState`).

use anymaster_engine::{AppView, Cores, Overview, WorkerView};
use anymaster_spark_rest::json;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::leadership::Leadership;

pub(super) fn overview(leadership: &Leadership) -> String {
    let url = &leadership.daemon().master;
    let Some(shared) = leadership.leading() else {
        return json::to_string(&json!({"url": url, "workers": [], "status": "STANDBY"}));
    };
    let overview = shared.read(|engine| engine.overview(shared.now()));
    json::to_string(&state(url, &overview))
}

fn state(url: &str, Overview { status, workers, apps }: &Overview) -> Value {
    let alive: Vec<_> = workers.iter().filter(|worker| worker.state == "ALIVE").collect();
    let sum = |of: fn(&WorkerView) -> u64| alive.iter().map(|worker| of(worker)).sum::<u64>();
    let is_over = |app: &&AppView| app.ended.is_some();
    let (over, active): (Vec<_>, Vec<_>) = apps.iter().partition(is_over);
    let drivers = |apps: &[&AppView]| -> Vec<Value> {
        apps.iter().filter_map(|app| driver(app, workers)).collect()
    };
    // One that was submitted and has no executors is a driver only.
    let applications = |apps: &[&AppView]| -> Vec<Value> {
        let mut apps = apps.to_vec();
        apps.retain(|app| app.driver.is_none() || app.target > 0 || app.executors > 0);
        apps.into_iter().map(application).collect()
    };
    let values = |of: fn(&WorkerView) -> Value| alive.iter().map(|one| of(one)).collect::<Vec<_>>();
    json!({
        "url": url,
        "workers": workers.iter().map(worker).collect::<Vec<_>>(),
        "aliveworkers": alive.len(),
        "cores": alive.iter().map(|worker| worker.cores).sum::<Cores>(),
        "coresused": alive.iter().map(|worker| worker.cores - worker.cores_free).sum::<Cores>(),
        "memory": sum(|worker| worker.memory_mib),
        "memoryused": sum(|worker| worker.memory_mib - worker.memory_free_mib),
        "resources": values(|worker| resources(worker, |all, _| all)),
        "resourcesused": values(|worker| resources(worker, |all, free| all - free)),
        "activeapps": applications(&active),
        "completedapps": applications(&over),
        "activedrivers": drivers(&active),
        "completeddrivers": drivers(&over),
        "status": status,
    })
}

/// Of each resource the addresses from the front, as many as counted.
fn resources(worker: &WorkerView, count: fn(usize, usize) -> usize) -> Value {
    let entries = worker.resources.iter().map(|(name, (addresses, free))| {
        let many = count(addresses.len(), *free as usize).min(addresses.len());
        (name.clone(), json!({"name": name, "addresses": addresses[..many]}))
    });
    Value::Object(entries.collect())
}

fn worker(worker: &WorkerView) -> Value {
    json!({
        "id": worker.id,
        "host": worker.host,
        "port": worker.port,
        "webuiaddress": worker.web,
        "cores": worker.cores,
        "coresused": worker.cores - worker.cores_free,
        "coresfree": worker.cores_free,
        "memory": worker.memory_mib,
        "memoryused": worker.memory_mib - worker.memory_free_mib,
        "memoryfree": worker.memory_free_mib,
        "resources": resources(worker, |all, _| all),
        "resourcesused": resources(worker, |all, free| all - free),
        "resourcesfree": resources(worker, |_, free| free),
        "state": worker.state,
        "lastheartbeat": worker.heard.as_millisecond(),
    })
}

fn application(app: &AppView) -> Value {
    let until = app.ended.unwrap_or_else(Timestamp::now);
    json!({
        "id": app.id.as_str(),
        "starttime": app.submitted.as_millisecond(),
        "name": app.name,
        "cores": app.cores,
        "user": "",
        "memoryperexecutor": app.memory_mib,
        "memoryperslave": app.memory_mib,
        "resourcesperexecutor": [],
        "resourcesperslave": [],
        "submitdate": date(app.submitted),
        "state": app.state,
        "duration": until.as_millisecond() - app.submitted.as_millisecond(),
    })
}

fn driver(app: &AppView, workers: &[WorkerView]) -> Option<Value> {
    let driver = app.driver.as_ref()?;
    let known = |id: &&String| workers.iter().any(|worker| worker.id == **id);
    Some(json!({
        "id": app.id.as_str(),
        "starttime": app.submitted.as_millisecond().to_string(),
        "state": driver.state,
        "cores": driver.cores,
        "memory": driver.memory_mib,
        "resources": {},
        "submitdate": date(app.submitted),
        "worker": driver.worker.as_ref().filter(known).map_or("None", String::as_str),
        "mainclass": app.name,
    }))
}

/// As Java writes a date: `Fri Nov 20 21:10:10 UTC 2026`.
fn date(at: Timestamp) -> String {
    at.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

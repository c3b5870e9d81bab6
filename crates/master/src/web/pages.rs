//! The pages.

use std::borrow::Cow;
use std::time::Duration;

use anymaster_core::model::{AppId, ExecutorId, Subject, SubmissionId};
use anymaster_core::{Error, ErrorKind, LogChunk, LogOptions, LogSource, Result};
use anymaster_engine::{
    AppView, Cores, ExecutorView, OutputLocation, Overview, ProcessView, WorkerView,
};
use anymaster_net::page::{mebibytes, page, state};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::TryStreamExt as _;
use jiff::{Timestamp, Unit};
use maud::{Markup, html};

use super::super::leadership::Daemon;
use super::super::shared::Shared;
use super::links::{self, DriverLinks};
use super::{ON_A_PAGE, Pages};
use anymaster_native::wire;

/// How long a worker may take to give output for a page.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many lines of output are shown.
const LINES: u64 = 500;
/// And how many bytes at most: lines may be of any length.
const BYTES: usize = 256 << 10;
/// How many rows a table has on the first page: `/json/` has all.
pub(super) const ROWS: usize = 500;
pub(super) const HOME: &str = "anymaster";

pub(super) fn standby(master: &str) -> Response {
    page(
        "Another master leads",
        HOME,
        &html! { p { "This master, " (master) ", waits for its turn. The one that leads has the page." } },
    )
}

pub(super) fn missing(what: &str) -> Response {
    let body = html! { p { "There is no " (what) "; or it has been forgotten since." } };
    (StatusCode::NOT_FOUND, page("Not here", HOME, &body)).into_response()
}

/// A time, and how long ago it was.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

pub(super) fn duration(from: Timestamp, to: Option<Timestamp>) -> String {
    let span = to.unwrap_or_else(Timestamp::now).duration_since(from);
    let rounded = span.round(Unit::Second).unwrap_or(span);
    format!("{rounded:#}")
}

pub(super) fn app_link(id: &AppId) -> Markup {
    html! { a href={ "/app/" (id) } { (id) } }
}

pub(super) fn worker_link(id: &str) -> Markup {
    html! { a href={ "/worker/" (id) } { (id) } }
}

pub(super) fn or_none(rows: usize, what: &str, table: &Markup) -> Markup {
    html! {
        @if rows == 0 { p class="none" { (what) } } @else { div class="wide" { (table) } }
    }
}

/// How many there are, and whether all of them are shown.
pub(super) fn count(many: usize) -> Markup {
    html! { small { (many) @if many > ROWS { ", the first " (ROWS) } } }
}

pub(super) fn home(daemon: &Daemon, Overview { status, workers, apps }: &Overview) -> Response {
    let alive: Vec<_> = workers.iter().filter(|worker| worker.state == "ALIVE").collect();
    let cores: Cores = alive.iter().map(|worker| worker.cores).sum();
    let free: Cores = alive.iter().map(|worker| worker.cores_free).sum();
    let memory: u64 = alive.iter().map(|worker| worker.memory_mib).sum();
    let memory_free: u64 = alive.iter().map(|worker| worker.memory_free_mib).sum();
    let executors: usize = apps.iter().map(|app| app.executors).sum();
    let active: Vec<_> = apps.iter().filter(|app| app.ended.is_none()).collect();
    let over: Vec<_> = apps.iter().rev().filter(|app| app.ended.is_some()).collect();
    let body = html! {
        dl {
            div { dt { "Status" } dd { (state(status)) } }
            @if let Some(rest) = &daemon.rest { div { dt { "REST" } dd { (rest) } } }
            div { dt { "Workers alive" } dd { (alive.len()) } }
            div { dt { "Cores" } dd { (cores - free) " of " (cores) " in use" } }
            div { dt { "Memory" } dd { (mebibytes(memory - memory_free)) " of " (mebibytes(memory)) " in use" } }
            div { dt { "Executors" } dd { (executors) } }
        }
        h2 { "Workers " (count(workers.len())) }
        (or_none(workers.len(), "No worker has registered: anymaster worker starts one.", &html! {
            table {
                tr { th { "Worker" } th { "Address" } th { "State" } th class="number" { "Processes" }
                    th class="number" { "Cores in use" } th class="number" { "Memory in use" } th { "Resources" } }
                @for worker in workers.iter().take(ROWS) {
                    tr {
                        td { (worker_link(&worker.id)) }
                        td { (worker.host) ":" (worker.port) }
                        td { (state(worker.state)) }
                        td class="number" { (worker.processes) }
                        td class="number" { (worker.cores - worker.cores_free) " of " (worker.cores) }
                        td class="number" { (mebibytes(worker.memory_mib - worker.memory_free_mib)) " of " (mebibytes(worker.memory_mib)) }
                        td { (resources(worker)) }
                    }
                }
            }
        }))
        h2 { "Applications that run or wait " (count(active.len())) }
        (or_none(active.len(), "None.", &applications(&active)))
        h2 { "Applications that ended " (count(over.len())) }
        (or_none(over.len(), "None.", &applications(&over)))
    };
    page(&format!("Master at {}", daemon.master), HOME, &body)
}

fn resources(worker: &WorkerView) -> Markup {
    html! {
        @for (name, (all, free)) in &worker.resources {
            div { (name) ": " (all.len() - *free as usize) " of " (all.len()) }
        }
    }
}

fn applications(apps: &[&AppView]) -> Markup {
    html! {
        table {
            tr { th { "Application" } th { "Name" } th { "State" } th { "Driver" } th class="number" { "Executors" }
                th class="number" { "Cores" } th { "Submitted" } th { "Duration" } }
            @for app in apps.iter().take(ROWS) {
                tr {
                    td { (app_link(&app.id)) }
                    td { (app.name) @if let Some(why) = &app.waits { div class="open" { (why) } } }
                    td { (state(app.state)) }
                    td { @match &app.driver {
                        Some(driver) => { (state(driver.state)) @if let Some(worker) = &driver.worker { " on " (worker_link(worker)) } }
                        None => { "outside" }
                    } }
                    td class="number" { (app.executors) " of " (app.target) }
                    td class="number" { (app.cores) }
                    td { (time(app.submitted)) }
                    td { (duration(app.submitted, app.ended)) }
                }
            }
        }
    }
}

pub(super) fn app(
    daemon: &Daemon,
    app: &AppView,
    executors: &[ExecutorView],
    from: usize,
    all: usize,
) -> Response {
    let DriverLinks { sandbox, history } = DriverLinks::of(daemon, app);
    let behind = from + executors.len();
    let body = html! {
        dl {
            div { dt { "Id" } dd { (app.id) } }
            div { dt { "State" } dd { (state(app.state)) } }
            div { dt { "Submitted" } dd { (time(app.submitted)) } }
            div { dt { "Duration" } dd { (duration(app.submitted, app.ended)) } }
            div { dt { "Executors" } dd { (app.executors) " of " (app.target) } }
            div { dt { "Cores" } dd { (app.cores) } }
        }
        @if let Some(why) = &app.waits { p class="open" { (why) } }
        @if let Some(driver) = &app.driver {
            h2 { "Driver" }
            dl {
                div { dt { "State" } dd { (state(driver.state)) } }
                @if let Some(worker) = &driver.worker {
                    div { dt { "Worker" } dd { (worker_link(worker)) } }
                    div { dt { "Output" } dd { a href={ "/logs/" (app.id) "/driver" } { "output" } } }
                }
                div { dt { "Cores" } dd { (driver.cores) } }
                div { dt { "Memory" } dd { (mebibytes(driver.memory_mib)) } }
                @if let Some(cause) = &driver.cause { div { dt { "End" } dd { (cause) } } }
                @if let Some(url) = &sandbox { div { dt { "Sandbox" } dd { a href=(url) { "sandbox" } } } }
                @if let Some(url) = &history { div { dt { "History" } dd { a href=(url) { "history" } } } }
            }
        }
        h2 { "Executors " small {
            @if executors.len() < all { (from + 1) " to " (behind) " of " (all) } @else { (all) }
        } }
        (or_none(executors.len(), "None.", &html! {
            table {
                tr { th class="number" { "Id" } th { "State" } th { "Since" } th { "Worker" } th class="number" { "Cores" }
                    th class="number" { "Profile" } th { "Output" } th { "End" } }
                @for executor in executors {
                    tr {
                        td class="number" { (executor.id) }
                        td { (state(executor.state)) }
                        td { (time(executor.since)) }
                        td { (worker_link(&executor.worker)) }
                        td class="number" { @if let Some(cores) = executor.cores { (cores) } }
                        td class="number" { (executor.profile) }
                        td { a href={ "/logs/" (app.id) "/" (executor.id) } { "output" }
                            @if let Some(url) = links::sandbox(daemon, app, executor) { " " a href=(url) { "sandbox" } } }
                        td { @if let Some(cause) = &executor.cause { (cause) } }
                    }
                }
            }
        }))
        p {
            @if from > 0 { a href={ "?from=" (from.saturating_sub(ON_A_PAGE)) } { "earlier ones" } " " }
            @if behind < all { a href={ "?from=" (behind) } { "more" } }
        }
    };
    page(&app.name, HOME, &body)
}

pub(super) fn worker(worker: &WorkerView, processes: &[ProcessView]) -> Response {
    let body = html! {
        dl {
            div { dt { "State" } dd { (state(worker.state)) } }
            div { dt { "Address" } dd { (worker.host) ":" (worker.port) } }
            div { dt { "Cores" } dd { (worker.cores - worker.cores_free) " of " (worker.cores) " in use" } }
            div { dt { "Memory" } dd { (mebibytes(worker.memory_mib - worker.memory_free_mib)) " of " (mebibytes(worker.memory_mib)) " in use" } }
            div { dt { "Heard of" } dd { (time(worker.heard)) } }
        }
        (resources(worker))
        h2 { "Processes " small { (processes.len()) } }
        (or_none(processes.len(), "None.", &html! {
            table {
                tr { th { "Application" } th { "Process" } th { "Output" } }
                @for (app, executor) in processes.iter().take(ON_A_PAGE) {
                    tr {
                        td { (app_link(app)) }
                        @match executor {
                            Some(id) => { td { "executor " (id) } td { a href={ "/logs/" (app) "/" (id) } { "output" } } }
                            None => { td { "driver" } td { a href={ "/logs/" (app) "/driver" } { "output" } } }
                        }
                    }
                }
            }
        }))
    };
    page(&worker.id, HOME, &body)
}

/// The last lines of what a process wrote.
pub(super) async fn logs(shared: &Shared, pages: &Pages, app: &str, process: &str) -> Response {
    let output = output(shared, pages, app, process);
    let output = tokio::time::timeout(PATIENCE, output).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "the worker does not give its output in time"))
    });
    match output {
        Ok((out, error)) => {
            let body = html! {
                p { a href={ "/app/" (app) } { (app) } }
                h2 { "stderr " small { (error.extent()) } }
                pre { (error.text()) }
                h2 { "stdout " small { (out.extent()) } }
                pre { (out.text()) }
            };
            let who = if process == "driver" {
                "driver".to_owned()
            } else {
                format!("executor {process}")
            };
            page(&format!("Output of {who}"), HOME, &body)
        }
        Err(error) => {
            let body = html! { p { (error) } @if let Some(hint) = error.hint() { p { (hint) } } };
            (StatusCode::NOT_FOUND, page("No output", HOME, &body)).into_response()
        }
    }
}

async fn output(
    shared: &Shared,
    pages: &Pages,
    app: &str,
    process: &str,
) -> Result<(LastBytes, LastBytes)> {
    let subject = match process.parse() {
        Ok(id) => Subject::Executor(AppId::new(app)?, ExecutorId(id)),
        Err(_) if process == "driver" => Subject::Driver(SubmissionId::new(app)?),
        Err(_) => return Err(Error::not_found(format!("{app} has no process {process}"))),
    };
    let Some((location, app, task)) = shared.read(|engine| engine.locate(&subject))? else {
        return Ok((LastBytes::default(), LastBytes::default()));
    };
    let address = match location {
        OutputLocation::Worker(address) => address,
        // This daemon asks the agent for it.
        OutputLocation::Agent { .. } => pages.leadership.daemon().address.clone(),
    };
    let options = LogOptions::default().tail(LINES);
    let mut chunks = wire::output(&address, &pages.credentials, app, task, &options).await?;
    let (mut out, mut error) = (LastBytes::default(), LastBytes::default());
    while let Some(LogChunk { source, bytes }) = chunks.try_next().await? {
        match source {
            LogSource::Stdout => out.push(&bytes),
            LogSource::Stderr => error.push(&bytes),
        }
    }
    Ok((out, error))
}

/// The end of a stream of output, as much of it as a page shows.
#[derive(Debug, Default)]
struct LastBytes {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl LastBytes {
    fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        // Now and then, so that little is moved.
        if self.bytes.len() > 2 * BYTES {
            self.bytes.drain(..self.bytes.len() - BYTES);
            self.is_cut = true;
        }
    }

    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes[self.bytes.len().saturating_sub(BYTES)..])
    }

    fn extent(&self) -> String {
        if self.is_cut || self.bytes.len() > BYTES {
            return format!("the last {} KiB; what was before is left out", BYTES >> 10);
        }
        format!("the last {LINES} lines")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_output_without_an_end_a_page_holds_the_last_bytes() {
        let mut some = LastBytes::default();
        some.push(b"a line\n");
        assert_eq!((&*some.text(), &*some.extent()), ("a line\n", "the last 500 lines"));
        for _ in 0..100 {
            some.push(&[b'x'; 64 << 10]);
            assert!(some.bytes.len() <= 2 * BYTES, "{}", some.bytes.len());
        }
        some.push(b"the end");
        let text = some.text();
        assert!(text.len() == BYTES && text.ends_with("xthe end") && !text.contains("line"));
        assert!(some.extent().contains("is left out"));
    }
}

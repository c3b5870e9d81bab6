//! The page of a dispatcher: its drivers, by how far they are.

use anymaster_engine::{AppView, Dispatched, DriverView, Overview, QueueState};
use anymaster_net::page::{page, state};
use axum::response::Response;
use maud::{Markup, html};

use super::super::leadership::Daemon;
use super::links::DriverLinks;
use super::pages::{HOME, ROWS, app_link, count, duration, or_none, time, worker_link};

/// An application, its driver, and what the dispatcher knows of it.
type Row<'a> = (&'a AppView, &'a DriverView, &'a Dispatched);

pub(super) fn home(daemon: &Daemon, Overview { status, workers, apps }: &Overview) -> Response {
    let rows: Vec<Row<'_>> = apps
        .iter()
        .filter_map(|app| {
            let driver = app.driver.as_ref()?;
            Some((app, driver, driver.dispatched.as_ref()?))
        })
        .collect();
    let of = |state: QueueState| -> Vec<Row<'_>> {
        rows.iter().filter(|(_, _, is)| is.state == state).copied().collect()
    };
    let (queued, launched, retrying) =
        (of(QueueState::Queued), of(QueueState::Running), of(QueueState::Retrying));
    let finished: Vec<_> = of(QueueState::Finished).into_iter().rev().collect();
    let busy: Vec<_> = workers.iter().filter(|worker| worker.processes > 0).collect();
    let outside: Vec<_> = apps.iter().filter(|app| app.driver.is_none()).collect();
    let executors: usize = apps.iter().map(|app| app.executors).sum();
    let body = html! {
        dl {
            div { dt { "Status" } dd { (state(status)) } }
            div { dt { "Queued" } dd { (queued.len()) } }
            div { dt { "Launched" } dd { (launched.len()) } }
            div { dt { "Retrying" } dd { (retrying.len()) } }
            div { dt { "Executors" } dd { (executors) } }
            div { dt { "Agents in use" } dd { (busy.len()) } }
        }
        h2 { "Queued drivers " (count(queued.len())) }
        (or_none(queued.len(), "None.", &drivers(daemon, &queued)))
        h2 { "Launched drivers " (count(launched.len())) }
        (or_none(launched.len(), "None.", &drivers(daemon, &launched)))
        h2 { "Drivers that are started again " (count(retrying.len())) }
        (or_none(retrying.len(), "None.", &drivers(daemon, &retrying)))
        h2 { "Finished drivers " (count(finished.len())) }
        (or_none(finished.len(), "None.", &drivers(daemon, &finished)))
        @if !outside.is_empty() {
            h2 { "Applications whose drivers are elsewhere " (count(outside.len())) }
            div class="wide" { table {
                tr { th { "Application" } th { "Name" } th class="number" { "Executors" } th { "Since" } }
                @for app in outside.iter().take(ROWS) {
                    tr {
                        td { (app_link(&app.id)) }
                        td { (app.name) @if let Some(why) = &app.waits { div class="open" { (why) } } }
                        td class="number" { (app.executors) " of " (app.target) }
                        td { (time(app.submitted)) }
                    }
                }
            } }
        }
        h2 { "Agents in use " (count(busy.len())) }
        (or_none(busy.len(), "None.", &html! {
            table {
                tr { th { "Agent" } th { "Machine" } th class="number" { "Processes" } }
                @for worker in busy.iter().take(ROWS) {
                    tr {
                        td { (worker_link(&worker.id)) " " a href=(worker.web) { "in Mesos" } }
                        td { (worker.host) }
                        td class="number" { (worker.processes) }
                    }
                }
            }
        }))
    };
    page(&format!("Dispatcher at {}", daemon.master), HOME, &body)
}

fn drivers(daemon: &Daemon, rows: &[Row<'_>]) -> Markup {
    let links = |app: &AppView| DriverLinks::of(daemon, app);
    html! {
        table {
            tr { th { "Submission" } th { "Name" } th { "Submitted" } th { "Duration" } th { "Agent" }
                th class="number" { "Cores" } th class="number" { "Retries" } th class="number" { "Executors" }
                th { "More" } }
            @for (app, driver, is) in rows.iter().take(ROWS) {
                tr {
                    td { (app_link(&app.id)) }
                    td { (app.name)
                        @if let Some(cause) = &driver.cause { div class="past" { (cause) } }
                        @else if let Some(why) = &app.waits { div class="open" { (why) } } }
                    td { (time(app.submitted)) }
                    td { (duration(app.submitted, app.ended)) }
                    td { @if let Some(agent) = &driver.worker { (worker_link(agent)) } }
                    td class="number" { (driver.cores) }
                    td class="number" { (is.retries) @if let Some(next) = is.next { ", next " (time(next)) } }
                    td class="number" { (app.executors) " of " (app.target) }
                    td {
                        @if driver.worker.is_some() { a href={ "/logs/" (app.id) "/driver" } { "output" } " " }
                        @let DriverLinks { sandbox, history } = links(app);
                        @if let Some(url) = sandbox { a href=(url) { "sandbox" } " " }
                        @if let Some(url) = history { a href=(url) { "history" } }
                    }
                }
            }
        }
    }
}

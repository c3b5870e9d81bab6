//! The layout of the daemons' web pages: light and dark, without external resources. Pages work without
//! JavaScript; with it, they update themselves.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use tokio::sync::watch;

/// A page of the web interface. `home`: the text of the link to the main page.
pub fn page(title: &str, home: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { a href="/" { (home) } }
                main { h1 { (title) } (body) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    let mut response = page.into_string().into_response();
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(header::CACHE_CONTROL, "no-store");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
         connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    );
    response
}

/// A state of Spark's, with a colour.
pub fn state(name: &str) -> Markup {
    let class = match name {
        "ALIVE" | "RUNNING" | "FINISHED" | "Launched" => "good",
        "FAILED" | "ERROR" | "DEAD" | "LOST" => "bad",
        "KILLED" | "DECOMMISSIONED" | "EXITED" => "past",
        _ => "open",
    };
    html! { span class=(format!("state {class}")) { (name) } }
}

/// Formats an amount of memory.
pub fn mebibytes(mib: u64) -> String {
    if mib < 1024 { format!("{mib} MiB") } else { format!("{:.1} GiB", mib as f64 / 1024.0) }
}

/// Server-sent events that tell a page to update itself, at most one per second.
pub fn changes(latest: watch::Receiver<u64>) -> Response {
    const PACE: Duration = Duration::from_secs(1);
    let changes = stream::unfold(latest, |mut latest| async {
        latest.changed().await.ok()?;
        let count = *latest.borrow_and_update();
        Some((count, latest))
    });
    let events = paced(changes, PACE)
        .map(|count| Ok::<_, Infallible>(Event::default().data(count.to_string())));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn paced(changes: impl Stream<Item = u64>, pace: Duration) -> impl Stream<Item = u64> {
    changes.enumerate().then(move |(at, count)| async move {
        if at > 0 {
            tokio::time::sleep(pace).await;
        }
        count
    })
}

const STYLE: &str = "
:root { --ink: #1c2430; --soft: #5b6675; --paper: #fff; --line: #dfe4ea; --band: #f4f6f9;
  --link: #0b62c4; --good: #12733d; --bad: #b3261e; --open: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9f0; --soft: #9aa7b8; --paper: #12161c; --line: #2b3440; --band: #1a2029;
    --link: #7db4ff; --good: #5fd08b; --bad: #ff8a80; --open: #f0c060; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header { padding: .6rem 1.2rem; border-bottom: 1px solid var(--line); background: var(--band); }
header a { color: var(--ink); font-weight: 600; text-decoration: none; }
main { padding: 0 1.2rem 3rem; max-width: 90rem; margin: 0 auto; }
h1 { font-size: 1.4rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
h2 small { color: var(--soft); font-weight: normal; }
a { color: var(--link); }
dl { display: flex; flex-wrap: wrap; gap: .3rem 2.2rem; margin: .6rem 0; }
td, dd, h1, .name { unicode-bidi: isolate; overflow-wrap: anywhere; }
dl div { min-width: 6rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.state { font-size: .8rem; font-weight: 600; letter-spacing: .02em; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
.past { color: var(--soft); }
.none { color: var(--soft); }
pre { background: var(--band); border: 1px solid var(--line); border-radius: 4px; padding: .8rem;
  overflow-x: auto; font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
";

/// Reloads the main part of the page after each event.
const SCRIPT: &str = "
const source = new EventSource('/changes');
source.onmessage = async () => {
  if (document.hidden || !getSelection().isCollapsed) return;
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  document.querySelector('main').replaceWith(fresh.querySelector('main'));
};
addEventListener('pagehide', () => source.close());
";

//! The executors of a timeline, as the page's script reads them.

use std::collections::HashMap;

use anymaster_core::model::Cause;
use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use crate::timeline::{Bar, Timeline};

/// How many executors a page lists at most, over all runs: it stays small enough for a telephone.
pub(super) const MAX_BARS: usize = 20_000;

/// How many causes are told.
const MAX_ENDS: usize = 12;

/// How the script colours an end.
fn kind(cause: Option<&Cause>) -> u8 {
    match cause {
        None => 0,
        Some(Cause::Finished | Cause::Killed { .. }) => 1,
        Some(_) => 2,
    }
}

/// Why executors ended, the most frequent first, and how many did.
pub(super) fn ends(timeline: &Timeline) -> Vec<(String, usize)> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for cause in timeline.executors.iter().filter_map(|bar| bar.cause.as_ref()) {
        *numbers.entry(cause.to_string()).or_default() += 1;
    }
    let mut ends: Vec<_> = numbers.into_iter().collect();
    ends.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    if ends.len() > MAX_ENDS {
        let rest = ends.split_off(MAX_ENDS);
        ends.push(("other causes".to_owned(), rest.iter().map(|(_, number)| number).sum()));
    }
    ends
}

/// The list, which the script fills.
pub(super) fn list(timeline: &Timeline, budget: &mut usize) -> Markup {
    let all = timeline.executors.len();
    let shown = all.min(*budget);
    *budget -= shown;
    let document = document(timeline, shown).to_string();
    // Nothing in it ends the element, or begins a comment.
    let document = document.replace('<', "\\u003c");
    html! {
        @if shown < all {
            p.soft { "The list has " (shown) " of " (all) " executors: those that were lost, and the first ones." }
        }
        @if shown > 0 {
            noscript { p.soft { "The list of single executors needs scripts." } }
            div.executors { script type="application/json" { (PreEscaped(document)) } }
        }
    }
}

/// `{"length": ms, "hosts": […], "ends": […], "bars": [[id, seen, started, ended, end, kind, host]]}`: times in
/// milliseconds, -1 for what is not known; the end and the host are places in their lists.
fn document(timeline: &Timeline, shown: usize) -> Value {
    let (mut hosts, mut ends) = (Names::default(), Names::default());
    let is_lost = |bar: &&Bar| kind(bar.cause.as_ref()) == 2;
    let mut bars: Vec<&Bar> = timeline.executors.iter().filter(is_lost).take(shown).collect();
    let others = timeline.executors.iter().filter(|bar| !is_lost(bar));
    bars.extend(others.take(shown - bars.len()));
    bars.sort_by_key(|bar| bar.id);
    // Whole milliseconds: `as` cuts at the ends of the range.
    let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
    let place = |time: Option<f64>| time.map_or(-1, millis);
    let bars: Vec<Value> = bars
        .into_iter()
        .map(|bar| {
            let end = bar.cause.as_ref().map(|cause| ends.place(&cause.to_string()));
            let host = bar.host.as_deref().map(|host| hosts.place(host));
            json!([
                bar.id,
                millis(bar.seen),
                place(bar.started),
                place(bar.ended),
                end.map_or(-1, |end| end as i64),
                kind(bar.cause.as_ref()),
                host.map_or(-1, |host| host as i64),
            ])
        })
        .collect();
    json!({ "length": millis(timeline.length), "hosts": hosts.all, "ends": ends.all, "bars": bars })
}

/// Texts, each once.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    places: HashMap<String, usize>,
}

impl Names {
    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        self.places.insert(name.to_owned(), self.all.len());
        self.all.push(name.to_owned());
        self.all.len() - 1
    }
}

//! A comparison, or one application, as a web page: one file without external resources, for light and dark,
//! for telephones and for paper. Without scripts everything is there but the list of single executors.

mod data;

use anymaster_core::Health;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::comparison::{Column, Comparison};
use crate::measure::{MeasuredOutcome, Measurement};
use crate::preflight::capabilities_in_words;
use crate::rows::seconds;
use crate::timeline::{Phase, Timeline};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page of a comparison.
pub fn of_comparison(comparison: &Comparison) -> String {
    let mut budget = data::MAX_BARS;
    let began = comparison.began.strftime("%Y-%m-%d %H:%M:%S UTC");
    page(
        &comparison.name,
        &html! {
            p.soft { (began) ", anymaster " (env!("CARGO_PKG_VERSION"))
                @if comparison.interrupted { ". " strong { "It was stopped before its end." } }
            }
            (table(comparison))
            (phases(comparison))
            @for column in &comparison.clusters { (cluster(column, &mut budget)) }
        },
    )
}

/// The page of one application: its name, its id, how it is, and what is to be said of the timeline.
pub fn of_application(
    name: &str,
    id: &str,
    state: &str,
    notes: &[String],
    timeline: &Timeline,
) -> String {
    let mut budget = data::MAX_BARS;
    let began = timeline.began.strftime("%Y-%m-%d %H:%M:%S UTC");
    page(
        name,
        &html! {
            p.soft { code { (id) } ", submitted " (began) ": " strong { (state) } }
            @for note in notes { p.soft { (note) } }
            section.cluster { (life(timeline, &mut budget)) }
        },
    )
}

fn page(title: &str, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
                    style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } (body) } script { (PreEscaped(SCRIPT)) } }
        }
    };
    markup.into_string()
}

fn table(comparison: &Comparison) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Comparison" {
            table {
                thead { tr { td {} @for column in &comparison.clusters { th scope="col" { (column.master) } } } }
                tbody {
                    @for row in comparison.rows() {
                        tr { th scope="row" { (row.title) } @for cell in &row.cells { td { (cell) } } }
                    }
                }
            }
        }
        @if comparison.runs > 1 {
            p.soft { "Medians of the runs that ran to a good end, or of all if none did; in parentheses the least and the greatest." }
        }
    }
}

/// The phases of each cluster beside those of the others, on one scale.
fn phases(comparison: &Comparison) -> Markup {
    let medians = |column: &Column| -> Vec<(Phase, f64)> {
        let known = |phase| column.phase(phase).map(|spread| (phase, spread.median));
        Phase::ALL.into_iter().filter_map(known).collect()
    };
    let lanes: Vec<_> =
        comparison.clusters.iter().map(|column| (&column.master, medians(column))).collect();
    let length = |lane: &[(Phase, f64)]| lane.iter().map(|(_, took)| took).sum::<f64>();
    let longest = lanes.iter().map(|(_, lane)| length(lane)).fold(0.0, f64::max);
    html! {
        @if longest > 0.0 {
            section {
                h2 { "Where the time goes" }
                (legend())
                @for (master, lane) in lanes.iter().filter(|(_, lane)| !lane.is_empty()) {
                    div.lane {
                        div.name { (master) " " span.soft { (seconds(length(lane))) } }
                        (strip(lane, longest))
                    }
                }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        ul.legend {
            @for (index, phase) in Phase::ALL.iter().enumerate() {
                li { span class=(format!("key p{index}")) {} (phase.title()) }
            }
        }
    }
}

fn strip(lane: &[(Phase, f64)], longest: f64) -> Markup {
    let parts = lane.iter().map(|(phase, took)| {
        let index = Phase::ALL.iter().position(|known| known == phase).unwrap_or_default();
        (index, format!("{}: {}", phase.title(), seconds(*took)), took / longest * 100.0)
    });
    html! {
        div.strip {
            @for (index, words, share) in parts {
                div class=(format!("part p{index}")) style=(format!("width:{share:.3}%")) title=(words) {}
            }
        }
    }
}

fn cluster(column: &Column, budget: &mut usize) -> Markup {
    html! {
        section.cluster {
            h2 { (column.master) " " small { (column.title) } }
            @if let Some(obstacle) = &column.obstacle {
                p.bad { (obstacle.why) }
                @if let Some(hint) = &obstacle.hint { pre { (hint) } }
            }
            @if let Some(can) = &column.capabilities {
                details {
                    summary { "What it can do" }
                    ul.plain {
                        @for (words, holds) in capabilities_in_words(can) {
                            li { span class=(if holds { "good" } else { "soft" }) { (if holds { "✓ " } else { "✗ " }) } (words) }
                        }
                    }
                }
            }
            @if !column.preflight.is_empty() {
                details {
                    summary { "What a submission needs" }
                    ul.plain {
                        @for check in &column.preflight {
                            @let (class, sign) = match check.health {
                                Health::Ok => ("good", "✓ "), Health::Optional => ("open", "! "), Health::Missing => ("bad", "✗ ") };
                            li { span class=(class) { (sign) } strong { (check.name) } " " (check.detail)
                                @if let Some(remedy) = &check.remedy { pre { (remedy) } } }
                        }
                    }
                }
            }
            @for run in &column.runs { (one_run(run, run.number == 1, budget)) }
        }
    }
}

fn one_run(run: &Measurement, is_open: bool, budget: &mut usize) -> Markup {
    let class = if run.end.outcome == MeasuredOutcome::Finished { "good" } else { "bad" };
    html! {
        details.run open[is_open] {
            summary {
                "Run " (run.number) ": " span class=(class) { (run.end.words) }
                @if let Some(total) = run.total { ", " (seconds(total)) } " " code.soft { (run.id.as_str()) }
            }
            (life(&run.timeline, budget))
        }
    }
}

/// The life of an application: its phases, the driver, how many executors ran, why they ended, and each.
fn life(timeline: &Timeline, budget: &mut usize) -> Markup {
    let length = timeline.length.max(1e-9);
    let lane: Vec<_> = Phase::ALL
        .into_iter()
        .filter_map(|phase| timeline.marks.phase(phase).map(|took| (phase, took)))
        .filter(|(_, took)| *took > 0.0)
        .collect();
    let share = |at: f64| at / length * 100.0;
    let driver = &timeline.driver;
    let from = driver.started.unwrap_or(driver.seen);
    let to = driver.ended.unwrap_or(timeline.length);
    let words = match &driver.cause {
        Some(cause) => format!("driver: {cause}"),
        None => "driver".to_owned(),
    };
    let host = driver.host.as_deref().unwrap_or_default();
    html! {
        div.life {
            @if lane.len() > 1 { div.lane { div.name { "phases" } (strip(&lane, length)) } }
            div.lane {
                div.name { (words) " " span.soft { (host) } }
                div.strip { div.bar.driver style=(format!("left:{:.3}%;width:{:.3}%", share(from), share(to - from)))
                    title=(format!("{} … {}", seconds(from), seconds(to))) {} }
            }
            @if !timeline.executors.is_empty() {
                (curve(timeline, length))
                div.axis { span { "0 s" } span { (seconds(length / 2.0)) } span { (seconds(length)) } }
                @let ends = data::ends(timeline);
                @if !ends.is_empty() {
                    ul.plain.ends { @for (words, number) in &ends { li { strong { (number) } " × " (words) } } }
                }
                (data::list(timeline, budget))
            } @else {
                div.axis { span { "0 s" } span { (seconds(length / 2.0)) } span { (seconds(length)) } }
            }
        }
    }
}

/// How many executors ran when.
fn curve(timeline: &Timeline, length: f64) -> Markup {
    const WIDTH: f64 = 1000.0;
    const HEIGHT: f64 = 60.0;
    let changes = timeline.running();
    let most = changes.iter().map(|(_, number)| *number).max().unwrap_or_default();
    let mut path = format!("M0 {HEIGHT}");
    let mut last = (0.0, 0_i64);
    for (index, (at, number)) in changes.iter().enumerate() {
        let x = at / length * WIDTH;
        // What is within one pixel is one step, but for the last one.
        let is_far = x - last.0 >= 1.0 || index + 1 == changes.len();
        if is_far {
            let y = HEIGHT - *number as f64 / most.max(1) as f64 * (HEIGHT - 4.0);
            path.push_str(&format!("H{x:.1}V{y:.1}"));
            last = (x, *number);
        }
    }
    path.push_str(&format!("H{WIDTH}V{HEIGHT}Z"));
    html! {
        div.lane {
            div.name { (most) " executors at once " span.soft { (timeline.executors.len()) " in all, " (timeline.lost) " lost, " (timeline.replaced) " replaced" } }
            svg.curve viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(format!("executors over time, {most} at most")) { path d=(path) {} }
        }
    }
}

#[cfg(test)]
mod tests;

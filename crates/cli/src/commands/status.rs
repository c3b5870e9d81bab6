//! `anymaster status ID`: an application and its executors.

use anymaster_core::ClusterManagerExt as _;
use anymaster_core::model::{AllocationPhase, AllocationStatus, Application, State};
use clap::Args;
use jiff::Timestamp;

use crate::args::{Connection, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::lookup;
use crate::printer::{Colors, Format};
use crate::table::{Cell, Fit, Table};
use crate::text::age;
use crate::view::reason;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

impl Arguments {
    /// As `spark-submit --status`.
    pub(crate) fn one(id: &str, connection: Connection, output: Option<Format>) -> Self {
        Self { id: id.to_owned(), connection, output: Output { output } }
    }
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = context.format(arguments.output.output);
    let cluster = arguments.connection.open(context, Some(&arguments.id)).await?;
    let driver = lookup::one(&*cluster, &arguments.id).await?;
    let application = cluster.application(&driver.app).await?;
    match format {
        Format::Json | Format::Yaml => context.printer.value(format, &application)?,
        Format::Text | Format::Wide => {
            let colors = context.printer.colors();
            let fit = context.printer.fit(format);
            context.printer.data(&render(&application, fit, Timestamp::now(), colors))?;
        }
    }
    Ok(Exit::Success)
}

/// The allocation in words.
pub(crate) fn allocation_words(allocation: &AllocationStatus) -> String {
    let AllocationStatus { target, running, pending, failed, phase, .. } = allocation;
    let mut words = format!("{running} of {target} running");
    for (number, word) in [(pending, "pending"), (failed, "failed")] {
        if *number > 0 {
            words += &format!(", {number} {word}");
        }
    }
    match phase {
        AllocationPhase::Blocked { why } => words += &format!("; blocked: {why}"),
        AllocationPhase::GivenUp { why } => words += &format!("; given up: {why}"),
        _ => {}
    }
    words
}

fn render(application: &Application, fit: Fit, now: Timestamp, colors: Colors) -> String {
    let mut facts = Table::of_facts();
    let mut add = |name: &str, value: Cell| {
        let name = format!("{name}:");
        let painted = colors.heading(&name);
        facts.row([Cell::painted(&name, painted), value]);
    };

    if let Some(driver) = &application.driver {
        add("id", driver.submission.to_string().into());
        if driver.submission.as_str() != application.id.as_str() {
            add("application", application.id.to_string().into());
        }
        add("name", driver.name.to_string().into());
        let word = driver.state.word();
        let state = Cell::painted(word, colors.state(&driver.state, word));
        add(
            "state",
            match reason(&driver.state) {
                why if why.is_empty() || matches_word(&driver.state, &why) => state,
                why => state.followed_by(&format!(": {why}")),
            },
        );
        let submitted = format!("{:.0} ({} ago)", driver.submitted, age(driver.submitted, now));
        add("submitted", submitted.into());
        if let Some(end) = driver.state.end() {
            let ended = format!("{:.0} (after {})", end.at, age(driver.submitted, end.at));
            add("ended", ended.into());
        }
        if let Some(host) = &driver.host {
            add("host", host.to_string().into());
        }
    }
    if let Some(allocation) = &application.allocation {
        add("executors", allocation_words(allocation).into());
    }
    let mut text = facts.render();
    if application.executors.is_empty() {
        return text;
    }

    let ended = application.executors.values().filter(|e| e.state.is_ended()).count();
    // Of many that ended, the last ones say the most.
    let hidden = match fit {
        Fit::Whole => 0,
        _ => ended.saturating_sub(SHOWN_ENDED),
    };
    let headings = ["EXECUTOR", "STATE", "PROFILE", "SINCE", "HOST", "REASON"];
    let mut table = Table::new(&headings, fit);
    let mut to_hide = hidden;
    for executor in application.executors.values() {
        if executor.state.is_ended() && to_hide > 0 {
            to_hide -= 1;
            continue;
        }
        let word = executor.state.word();
        table.row([
            executor.id.to_string().into(),
            Cell::painted(word, colors.state(&executor.state, word)),
            executor.profile.to_string().into(),
            age(executor.since, now).into(),
            executor.host.as_deref().unwrap_or("-").into(),
            reason(&executor.state).into(),
        ]);
    }
    text.push('\n');
    text += &table.render();
    if hidden > 0 {
        text += &format!("({hidden} that ended earlier: -o wide shows them)\n");
    }
    text
}

/// How many ended executors are shown unless all are asked for.
const SHOWN_ENDED: usize = 20;

fn matches_word(state: &State, why: &str) -> bool {
    state.word().eq_ignore_ascii_case(why)
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{Applications, Cause, KilledBy};

    use super::*;
    use crate::view::samples::{NOW, allocation, driver, ended, executor};

    fn application() -> Application {
        let killed = Cause::Killed { by: KilledBy::ScaleDown };
        let blocked = AllocationPhase::Blocked { why: "0 of 2 cores are free".into() };
        let mut statuses = vec![
            driver("app-1", "pi", State::Running, 192),
            allocation("app-1", [3, 1, 1, 22], blocked),
            executor("app-1", 30, State::Running, 100),
            executor("app-1", 31, State::Pending { why: Some("needs 1 core".into()) }, 5),
            executor("app-1", 1, ended(killed, 80, None), 80),
        ];
        statuses.extend(
            (2..24).map(|id| executor("app-1", id, ended(Cause::Exited { code: 1 }, 9, None), 9)),
        );
        let applications: Applications = statuses.into_iter().collect();
        applications.oldest_first()[0].clone()
    }

    #[test]
    fn people_see_the_application_and_its_executors() {
        let now = Timestamp::from_second(NOW).unwrap();
        insta::assert_snapshot!(render(&application(), Fit::Cells, now, Colors::OFF));
        let wide = render(&application(), Fit::Whole, now, Colors::OFF);
        assert!(wide.contains("lowered") && !wide.contains("-o wide"), "{wide}");
    }

    #[test]
    fn an_end_is_told_once() {
        let finished = ended(Cause::Finished, 10, None);
        let applications: Applications =
            [driver("app-1", "pi", finished, 192)].into_iter().collect();
        let now = Timestamp::from_second(NOW).unwrap();
        let text = render(applications.oldest_first()[0], Fit::Cells, now, Colors::OFF);
        insta::assert_snapshot!(text, @r"
        id:         app-1
        name:       pi
        state:      Finished
        submitted:  2027-01-15T07:56:48Z (3m12s ago)
        ended:      2027-01-15T07:59:50Z (after 3m2s)
        host:       host-1
        ");
    }

    #[test]
    fn programs_get_every_status() {
        let mut application = application();
        application.executors.retain(|id, _| id.0 == 1 || id.0 > 29);
        insta::assert_snapshot!(serde_json::to_string_pretty(&application).unwrap());
    }
}

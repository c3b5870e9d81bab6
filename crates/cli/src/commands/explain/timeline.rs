//! What happened to an application, told from its statuses.

use std::collections::BTreeSet;

use anymaster_core::Finding as Diagnosis;
use anymaster_core::model::{
    AllocationPhase, Application, Cause, DriverStatus, ExecutorStatus, KilledBy, StartFailure,
    State,
};
use anymaster_core::text::{printable, printable_lines};
use jiff::Timestamp;
use serde::Serialize;

use super::advice::{self, Role};
use crate::commands::status::allocation_words;
use crate::printer::Colors;
use crate::text::{age, count};

/// How many groups of ends are told.
const MAX_GROUPS: usize = 5;
/// How many executors of a group are named.
const MAX_NAMED: usize = 8;

/// An explanation: what, why, and what next.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    id: String,
    name: String,
    state: &'static str,
    /// One sentence.
    summary: String,
    /// What bears on it, most important first.
    findings: Vec<Finding>,
    /// What to do, in order.
    next: Vec<String>,
    #[serde(skip)]
    on_this_machine: bool,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_lines: Vec<String>,
}

/// Executors that ended alike.
#[derive(Debug)]
pub(super) struct Group<'a> {
    words: String,
    pub(super) example: &'a ExecutorStatus,
    cause: &'a Cause,
    ids: Vec<u64>,
}

/// The failures among the executors' ends, the most frequent first.
pub(super) fn groups(application: &Application) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for executor in application.executors.values() {
        let Some(cause) = executor.state.end().map(|end| &end.cause) else { continue };
        let expected = matches!(cause, Cause::Finished | Cause::Killed { .. });
        if expected {
            continue;
        }
        let words = cause.to_string();
        match groups.iter_mut().find(|group| group.words == words) {
            Some(group) => {
                group.ids.push(executor.id.0);
                // The newest one is the least likely to have lost its log.
                group.example = executor;
                group.cause = cause;
            }
            None => {
                groups.push(Group { words, example: executor, cause, ids: vec![executor.id.0] });
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.ids.len()));
    groups.truncate(MAX_GROUPS);
    groups
}

/// Whether no more executors are started, because too many failed.
fn given_up(application: &Application) -> bool {
    let phase = application.allocation.as_ref().map(|allocation| &allocation.phase);
    matches!(phase, Some(AllocationPhase::GivenUp { .. }))
}

/// Whether the log says more about such an end.
pub(super) fn needs_lines(cause: &Cause) -> bool {
    // A shell that did not find a program has said which.
    let is_bad = matches!(cause, Cause::CouldNotStart { failure, .. } if *failure == StartFailure::BadCommand);
    is_bad
        || matches!(
            cause,
            Cause::Exited { .. } | Cause::Signaled { .. } | Cause::OutOfMemory { .. }
        )
}

impl Timeline {
    /// Tells the timeline of an application.
    pub(super) fn of(
        application: &Application,
        diagnosis: Vec<Diagnosis>,
        on_this_machine: bool,
        now: Timestamp,
    ) -> Self {
        let id = application
            .driver
            .as_ref()
            .map_or(application.id.as_str(), |driver| driver.submission.as_str());
        let id = id.to_owned();
        let mut timeline = Self {
            name: application.driver.as_ref().map_or_else(String::new, |d| d.name.to_string()),
            state: application.driver.as_ref().map_or("Unknown", |d| d.state.word()),
            summary: String::new(),
            findings: Vec::new(),
            next: Vec::new(),
            on_this_machine,
            id,
        };
        let is_diagnosed = !diagnosis.is_empty();
        for finding in diagnosis {
            timeline.findings.push(Finding { what: finding.what, last_lines: Vec::new() });
            timeline.next.extend(finding.remedy);
        }
        match &application.driver {
            Some(driver) => timeline.tell_driver(driver, application, is_diagnosed, now),
            None => "Nothing is known of its driver.".clone_into(&mut timeline.summary),
        }
        timeline.tell_allocation(application);
        timeline.tell_executors(application);
        if timeline.next.is_empty() {
            timeline.next.push(match application.driver.as_ref().map(|d| &d.state) {
                Some(State::Ended(_)) => "Nothing: it is as it should be.".to_owned(),
                _ => format!("Nothing; anymaster watch {} tells what happens next.", timeline.id),
            });
        }
        timeline
    }

    fn tell_driver(
        &mut self,
        driver: &DriverStatus,
        application: &Application,
        is_diagnosed: bool,
        now: Timestamp,
    ) {
        let ago = age(driver.submitted, now);
        match &driver.state {
            State::Pending { .. } if is_diagnosed => {
                self.summary =
                    format!("It has been pending for {ago}: its driver does not run yet.");
            }
            State::Pending { why } => {
                let why = why.as_deref().unwrap_or("the cluster has not said why");
                self.summary = format!(
                    "It has been pending for {ago}: its driver does not run yet, because {why}."
                );
                self.next.push("Wait; or end it with anymaster kill and ask for less.".to_owned());
            }
            State::Running => {
                let executors = match &application.allocation {
                    Some(allocation) if allocation.running < allocation.target => format!(
                        ", with {} of the {} it wants",
                        allocation.running,
                        count(allocation.target, "executor")
                    ),
                    Some(allocation) if allocation.target > 0 => {
                        format!(" with all of its {}", count(allocation.target, "executor"))
                    }
                    Some(_) => " and wants no executors".to_owned(),
                    // An engine that makes them by itself asks nobody.
                    None if application.alive() > 0 => {
                        format!(" with {}", count(application.alive(), "executor"))
                    }
                    None => " and has not asked for executors".to_owned(),
                };
                self.summary = format!("It has been running for {ago}{executors}.");
            }
            State::Ending => {
                "It was asked to end, and is ending.".clone_into(&mut self.summary);
                self.next
                    .push(format!("Wait; anymaster kill --grace 0s {} ends it at once.", self.id));
            }
            State::Ended(end) => {
                let (ago, after) = (age(end.at, now), age(driver.submitted, end.at));
                let how = match &end.cause {
                    Cause::Finished => "It finished well".to_owned(),
                    Cause::Killed { .. } if given_up(application) => {
                        "It was ended, as too many of its executors had failed".to_owned()
                    }
                    Cause::Killed { by: KilledBy::Request } => {
                        "Someone ended it with kill, or with Ctrl-C".to_owned()
                    }
                    cause => format!("It failed; its driver: {cause}"),
                };
                self.summary = format!("{how} ({ago} ago, after {after}).");
                let lines = lines_of(end.last_lines.as_deref());
                if !lines.is_empty() && end.cause != Cause::Finished {
                    self.findings.push(Finding {
                        what: "The last lines of the driver's output:".to_owned(),
                        last_lines: lines,
                    });
                }
                let logs = format!("anymaster logs {}", self.id);
                self.next.extend(advice::after(Role::Driver, &end.cause, &logs));
            }
        }
    }

    fn tell_allocation(&mut self, application: &Application) {
        let ended = application.driver.as_ref().is_some_and(|driver| driver.state.is_ended());
        let Some(allocation) = &application.allocation else { return };
        match &allocation.phase {
            AllocationPhase::GivenUp { why } => {
                self.findings.push(Finding {
                    what: format!("No more executors are started: {why}."),
                    last_lines: Vec::new(),
                });
                self.next.push(
                    "Mend what makes executors fail (below). If such failures are to be expected, \
                     raise spark.executor.maxNumFailures."
                        .to_owned(),
                );
            }
            AllocationPhase::Blocked { why } if !ended => {
                self.findings.push(Finding {
                    what: format!("Executors wait: {why}."),
                    last_lines: Vec::new(),
                });
                self.next.push(advice::while_blocked(self.on_this_machine).to_owned());
            }
            _ if !ended && allocation.pending > 0 => {
                self.findings.push(Finding {
                    what: format!("Executors: {}.", allocation_words(allocation)),
                    last_lines: Vec::new(),
                });
            }
            _ => {}
        }
        if ended {
            return;
        }
        let reasons: BTreeSet<&str> = application
            .executors
            .values()
            .filter_map(|executor| match &executor.state {
                State::Pending { why } => why.as_deref(),
                _ => None,
            })
            .collect();
        for why in reasons.into_iter().take(MAX_GROUPS) {
            self.findings.push(Finding {
                what: format!("Pending executors: {why}."),
                last_lines: Vec::new(),
            });
            let advice = advice::while_blocked(self.on_this_machine);
            if !self.next.iter().any(|next| next == advice) {
                self.next.push(advice.to_owned());
            }
        }
    }

    fn tell_executors(&mut self, application: &Application) {
        for group in groups(application) {
            let number = group.ids.len();
            let mut named: Vec<_> =
                group.ids.iter().rev().take(MAX_NAMED).rev().map(u64::to_string).collect();
            if number > MAX_NAMED {
                named.insert(0, "…".to_owned());
            }
            let noun = count(number.try_into().unwrap_or(u64::MAX), "executor");
            let mut what = format!("{noun} ({}): {}.", named.join(", "), group.words);
            let lines = group
                .example
                .state
                .end()
                .map_or_else(Vec::new, |end| lines_of(end.last_lines.as_deref()));
            if !lines.is_empty() {
                what += &format!(" The last lines of executor {}:", group.example.id);
            }
            self.findings.push(Finding { what, last_lines: lines });
            let logs = format!("anymaster logs {} {}", self.id, group.example.id);
            self.next.extend(advice::after(Role::Executor, group.cause, &logs));
        }
    }

    /// The timeline for people.
    pub(super) fn render(&self, colors: Colors) -> String {
        let mut text = format!("{} ({})\n", colors.heading(&self.id), printable(&self.name));
        text += &format!("{}\n", printable(&self.summary));
        for finding in &self.findings {
            text += &format!("\n{}\n", printable(&finding.what));
            for line in &finding.last_lines {
                text += &format!("  | {}\n", printable(line));
            }
        }
        text += &format!("\n{}\n", colors.heading("What to do"));
        for next in &self.next {
            text += &format!("- {}\n", printable_lines(next).replace('\n', "\n  "));
        }
        text
    }
}

fn lines_of(text: Option<&str>) -> Vec<String> {
    text.into_iter().flat_map(str::lines).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{Applications, Status};

    use super::*;
    use crate::view::samples::{NOW, allocation, driver, ended, executor};

    fn timeline(statuses: Vec<Status>) -> String {
        let applications: Applications = statuses.into_iter().collect();
        let now = Timestamp::from_second(NOW).unwrap();
        Timeline::of(applications.oldest_first()[0], Vec::new(), true, now).render(Colors::OFF)
    }

    #[test]
    fn a_failed_driver() {
        let end = ended(Cause::Exited { code: 3 }, 60, Some("starting\nno such table: t"));
        insta::assert_snapshot!(timeline(vec![driver("app-1", "pi", end, 192)]));
    }

    #[test]
    fn a_driver_that_finished_well() {
        insta::assert_snapshot!(timeline(vec![driver(
            "a",
            "pi",
            ended(Cause::Finished, 60, None),
            99
        )]));
    }

    #[test]
    fn executors_that_kept_failing() {
        let why = "4 executors failed (spark.executor.maxNumFailures is 3)".into();
        let mut statuses = vec![
            driver("app-1", "pi", ended(Cause::Killed { by: KilledBy::Request }, 3, None), 20),
            allocation("app-1", [2, 0, 0, 12], AllocationPhase::GivenUp { why }),
        ];
        for id in 1..=11 {
            let end = ended(Cause::Exited { code: 127 }, 9, Some("sh: java: not found"));
            statuses.push(executor("app-1", id, end, 9));
        }
        let cause = Cause::CouldNotStart {
            failure: StartFailure::BadCommand,
            why: "/no/such: no such file".into(),
        };
        statuses.push(executor("app-1", 12, ended(cause, 9, None), 9));
        insta::assert_snapshot!(timeline(statuses));
    }

    #[test]
    fn executors_that_wait_for_room() {
        let why = || State::Pending { why: Some("needs 1 core; 0 of 2 free".into()) };
        insta::assert_snapshot!(timeline(vec![
            driver("app-1", "pi", State::Running, 20),
            allocation("app-1", [4, 2, 2, 0], AllocationPhase::Moving),
            executor("app-1", 1, State::Running, 9),
            executor("app-1", 2, State::Running, 9),
            executor("app-1", 3, why(), 9),
            executor("app-1", 4, why(), 9),
        ]));
    }

    #[test]
    fn a_driver_that_waits() {
        let state = State::Pending { why: Some("no agent offers 64 cores".into()) };
        insta::assert_snapshot!(timeline(vec![driver("app-1", "pi", state, 20)]));
    }
}

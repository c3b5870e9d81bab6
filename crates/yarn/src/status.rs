//! Reports of the ResourceManager as statuses.

use std::sync::Arc;

use anymaster_core::Result;
use anymaster_core::model::{
    AppId, Cause, DriverStatus, End, KilledBy, Report, StartFailure, State, SubmissionId,
};
use anymaster_core::text::{MAX_MESSAGE, clipped};
use jiff::Timestamp;

use crate::epilogue::{Epilogue, words};
use crate::exit_status;
use crate::proto::{ApplicationReport, ApplicationState, FinalStatus};

/// What tags of ours begin with: the id that a submitter chose, its hash (YARN finds tags in lower case only), and
/// the hash of the application.
pub(crate) const ID_TAG: &str = "anymaster-id-";
pub(crate) const SUBMISSION_TAG: &str = "anymaster-sub-";
pub(crate) const APPLICATION_TAG: &str = "anymaster-app-";

/// The type of applications that have an application master of ours.
pub(crate) const NATIVE: &str = "ANYMASTER";

/// What stands before that which is said of the container of a driver that failed.
const CONTAINER_SAID: &str = "Failing this attempt.Diagnostics: ";
/// What stands behind it.
const SEE_PAGE: &str = "For more detailed output, check the application tracking page";
/// What is said of an application master that was heard, and is heard no more.
const SILENT: &str = "ApplicationMaster for attempt";

/// Whether an application has an application master of ours.
pub(crate) fn is_native(report: &ApplicationReport) -> bool {
    report.application_type.as_deref() == Some(NATIVE)
}

/// The status of an application's driver. One of Spark's is known by YARN's id; one of ours by the id that its
/// submitter chose, which its processes know from their start.
pub(crate) fn driver(report: &ApplicationReport) -> Result<DriverStatus> {
    let id = report.application_id.unwrap_or_default().to_string();
    let chosen = report.tags.iter().find_map(|tag| tag.strip_prefix(ID_TAG));
    let chosen = chosen.and_then(|id| SubmissionId::new(id).ok());
    let own =
        chosen.as_ref().filter(|_| is_native(report)).map_or(id.as_str(), SubmissionId::as_str);
    let name = report.name.as_deref().unwrap_or_default();
    let mut driver = DriverStatus::new(SubmissionId::new(own)?, AppId::new(own)?, name);
    driver.uid = is_native(report).then(|| id.into());
    driver.state = state(report);
    driver.submitted = time(report.start_time).unwrap_or(Timestamp::UNIX_EPOCH);
    let host = report.host.as_deref().filter(|host| !matches!(*host, "" | "N/A"));
    driver.host = host.map(Arc::from);
    driver.chosen = chosen;
    driver.report = Some(Arc::new(facts(report)));
    Ok(driver)
}

fn time(millis: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_millisecond(millis.filter(|millis| *millis > 0)?).ok()
}

fn state(report: &ApplicationReport) -> State {
    let at = || time(report.finish_time).unwrap_or_else(Timestamp::now);
    if report.state() == ApplicationState::Finished
        && let Some(epilogue) = epilogue(report)
    {
        let mut end = End::new(epilogue.outcome.cause, at());
        end.last_lines = epilogue.outcome.last_lines;
        return State::from(end).bounded();
    }
    let why = diagnostics(report);
    match report.state() {
        ApplicationState::New
        | ApplicationState::NewSaving
        | ApplicationState::Submitted
        | ApplicationState::Accepted => State::Pending { why: why.map(Into::into) },
        ApplicationState::Running => State::Running,
        ApplicationState::Finished => {
            let why = why.unwrap_or_default();
            told(finished(report.final_status(), &why), why, at())
        }
        ApplicationState::Failed => {
            let why = why.unwrap_or_default();
            told(failed(&why), why, at())
        }
        ApplicationState::Killed => State::ended(Cause::Killed { by: KilledBy::Request }, at()),
    }
}

/// Whether the application master has said that it is over, and the ResourceManager not yet.
pub(crate) fn is_unregistered(report: &ApplicationReport) -> bool {
    report.final_status() != FinalStatus::Undefined
}

/// What an application master of ours has left.
pub(crate) fn epilogue(report: &ApplicationReport) -> Option<Epilogue> {
    let text = report.diagnostics.as_deref().filter(|_| is_native(report))?;
    Epilogue::read(text)
}

/// An end, with what the cluster said of it where the cause does not say that.
fn told(cause: Cause, why: String, at: Timestamp) -> State {
    let is_told =
        matches!(cause, Cause::Exited { .. } | Cause::Signaled { .. } | Cause::OutOfMemory { .. });
    let end = End::new(cause, at);
    if is_told && !why.is_empty() { end.with_last_lines(why).into() } else { end.into() }
}

/// What the application master said of its end.
fn finished(status: FinalStatus, why: &str) -> Cause {
    match status {
        FinalStatus::Succeeded => Cause::Finished,
        FinalStatus::Killed => Cause::Killed { by: KilledBy::Request },
        FinalStatus::Failed | FinalStatus::Undefined | FinalStatus::Ended => {
            // Spark's says what happened, and sometimes with which code.
            match code(why, "exitCode: ")
                .or_else(|| code(why, "User application exited with status "))
            {
                Some(code) if code > 0 => Cause::Exited { code },
                _ => Cause::Exited { code: 1 },
            }
        }
    }
}

/// What the ResourceManager says of attempts that failed (Hadoop 3.4, `RMAppAttemptImpl`).
fn failed(why: &str) -> Cause {
    match code(why, "exitCode: ") {
        // It ended well, and never said so.
        Some(0) => Cause::Exited { code: 1 },
        Some(status) => {
            let of_container = why.rsplit_once(CONTAINER_SAID).map_or(why, |(_, said)| said);
            let of_container = of_container.split(SEE_PAGE).next().unwrap_or_default();
            let said = if of_container.trim().is_empty() { why } else { of_container };
            exit_status::outcome(status, said, None, None).cause
        }
        None if why.contains(SILENT) => Cause::Lost { why: why.into() },
        None => Cause::CouldNotStart { failure: StartFailure::Other, why: why.into() },
    }
}

/// The number after the last occurrence of a mark.
fn code(text: &str, mark: &str) -> Option<i32> {
    let rest = &text[text.rfind(mark)? + mark.len()..];
    let rest = rest.trim_start();
    let end = rest
        .char_indices()
        .position(|(at, char)| !(char.is_ascii_digit() || at == 0 && char == '-'));
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// The diagnostics without the times that they begin with.
fn diagnostics(report: &ApplicationReport) -> Option<String> {
    let text = words(report.diagnostics.as_deref()?).trim();
    let text = match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((date, rest)) if date.ends_with(|last: char| last.is_ascii_digit()) => rest,
        _ => text,
    };
    (!text.is_empty() && text != "N/A").then(|| clipped(text, MAX_MESSAGE).into_owned())
}

/// As Spark's client shows it (Spark 3.5, `Client.formatReportDetails`).
fn facts(report: &ApplicationReport) -> Report {
    let or_na =
        |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("N/A").to_owned();
    Report {
        facts: vec![
            ("state", report.state().word().to_owned()),
            ("client token", "N/A".to_owned()),
            ("diagnostics", or_na(report.diagnostics.as_deref().map(words))),
            ("ApplicationMaster host", or_na(report.host.as_deref())),
            ("ApplicationMaster RPC port", report.rpc_port.unwrap_or(-1).to_string()),
            ("queue", or_na(report.queue.as_deref())),
            ("start time", report.start_time.unwrap_or_default().to_string()),
            ("final status", report.final_status().word().to_owned()),
            ("tracking URL", or_na(report.tracking_url.as_deref())),
            ("user", or_na(report.user.as_deref())),
        ],
        processes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(
        state: ApplicationState,
        status: FinalStatus,
        diagnostics: &str,
    ) -> ApplicationReport {
        ApplicationReport {
            application_id: Some("application_1700000000000_0001".parse().unwrap()),
            name: Some("pi".to_owned()),
            host: Some("N/A".to_owned()),
            state: Some(state as i32),
            final_status: Some(status as i32),
            diagnostics: Some(diagnostics.to_owned()),
            start_time: Some(1_700_000_000_001),
            finish_time: Some(1_700_000_000_002),
            ..ApplicationReport::default()
        }
    }

    fn cause(state: ApplicationState, status: FinalStatus, diagnostics: &str) -> String {
        let driver = driver(&report(state, status, diagnostics)).unwrap();
        driver.state.end().unwrap().cause.to_string()
    }

    #[test]
    fn one_that_waits_says_why_and_when_it_was_submitted() {
        let why =
            "[Sat Nov 28 00:31:51 +0000 2026] Application is Activated, waiting for resources";
        let mut waits = report(ApplicationState::Accepted, FinalStatus::Undefined, why);
        waits.tags = ["other", "anymaster-id-Mine"].map(str::to_owned).to_vec();
        let driver = driver(&waits).unwrap();
        assert_eq!(driver.chosen.as_ref().map(SubmissionId::as_str), Some("Mine"));
        let State::Pending { why: Some(why) } = &driver.state else { panic!("{driver:?}") };
        assert!(why.starts_with("Application is Activated"), "{why}");
        assert_eq!(driver.submitted.as_millisecond(), 1_700_000_000_001);
        assert_eq!((driver.app.as_str(), driver.host), ("application_1700000000000_0001", None));
    }

    #[test]
    fn ends_have_the_cause_that_diagnostics_tell() {
        use ApplicationState::{Failed, Finished, Killed};
        use FinalStatus::{Succeeded, Undefined};
        let of_container = |rest: &str| {
            format!(
                "Application application_1_0001 failed 1 times (global limit =2; local limit is =1) due to AM \
                 Container for appattempt_1_0001_000001 exited with  exitCode: {rest}"
            )
        };
        assert_eq!(cause(Finished, Succeeded, ""), "finished");
        assert_eq!(cause(Finished, Undefined, ""), "exited with code 1");
        let user = "User application exited with status 7";
        assert_eq!(cause(Finished, FinalStatus::Failed, user), "exited with code 7");
        assert_eq!(cause(Killed, FinalStatus::Killed, ""), "killed on request");
        assert_eq!(
            cause(Failed, FinalStatus::Failed, &of_container("13\nFailing")),
            "exited with code 13"
        );
        assert_eq!(cause(Failed, FinalStatus::Failed, &of_container("137\n")), "ended by SIGKILL");
        assert!(
            cause(Failed, FinalStatus::Failed, &of_container("-1000\nFailing")).contains("start")
        );
        assert!(
            cause(Failed, FinalStatus::Failed, &of_container("-104\nis running"))
                .contains("memory")
        );
        let fetched = of_container(
            "-1000\nFailing this attempt.Diagnostics: [2026-11-27 23:45:10.631]File hdfs://x does not exist\njava.io",
        );
        assert_eq!(
            cause(Failed, FinalStatus::Failed, &fetched),
            "could not start: File hdfs://x does not exist"
        );
        let crashed = of_container(
            "139\nFailing this attempt.Diagnostics: [1:2]Exception from container-launch.",
        );
        assert_eq!(cause(Failed, FinalStatus::Failed, &crashed), "ended by SIGSEGV");
        let lost = of_container(
            "-100\nFailing this attempt.Diagnostics: Container released on a *lost* node",
        );
        assert_eq!(
            cause(Failed, FinalStatus::Failed, &lost),
            "lost: Container released on a *lost* node"
        );
        let silent = "Application a failed 1 times due to ApplicationMaster for attempt b timed out. Failing the application.";
        assert!(cause(Failed, FinalStatus::Failed, silent).starts_with("lost: "));
        let queue = "Application a submitted by user u to unknown queue: q";
        assert!(cause(Failed, FinalStatus::Failed, queue).contains("unknown queue: q"));
    }
}

//! What stands in the way of an application, in words.

use anymaster_core::counted;
use anymaster_core::model::{AppId, State};

use crate::app::{App, TargetProgress};
use crate::engine::Engine;
use crate::time::Now;
use crate::worker::Worker;

impl Engine {
    /// What stands in the way of an application: sentences, with what to do about each.
    pub fn diagnose(&self, app: &AppId, now: Now) -> Vec<(String, Option<String>)> {
        let Some((seq, app)) = self.seqs.get(app).and_then(|seq| Some((seq, self.apps.get(seq)?)))
        else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        let words = self.supply.words();
        let waits_for = |why: &str| {
            let problem = format!("Its driver waits for {}: {why}.", words.supply);
            (problem, words.remedy.map(str::to_owned))
        };
        if let Some(before) = app.before_it_waits() {
            findings.push((before, None));
            findings.push(match app.not_before.and_then(|at| at.checked_duration_since(now.at)) {
                Some(pause) if !pause.is_zero() => {
                    (format!("It is started again in {} s.", pause.as_secs() + 1), None)
                }
                _ => waits_for(&self.why_driver_waits(app)),
            });
        } else if let State::Pending { why: Some(_) } = &app.driver.state {
            findings.push(waits_for(&self.why_driver_waits(app)));
        } else if let TargetProgress::Blocked(why) = &app.progress {
            // Why it waits now, which may differ from why it began to.
            let why = self.why_executors_wait(app).unwrap_or_else(|| why.to_string());
            findings.push((format!("Executors wait: {why}."), None));
        }
        if !findings.is_empty() {
            let alive = self.workers.values().filter(|worker: &&Worker| worker.is_alive()).count();
            let before = self.apps.range(..seq);
            let before = before
                .filter(|(_, other)| other.is_wanting() || other.placement.is_queued())
                .count();
            findings.push((
                format!(
                    "{} {} alive; {} that came before {} as well.",
                    counted(alive, words.worker),
                    if alive == 1 { "is" } else { "are" },
                    counted(before, "application"),
                    if before == 1 { "waits" } else { "wait" },
                ),
                None,
            ));
        }
        findings
    }
}

impl App {
    /// What became of its driver before, if that waits for its next attempt.
    fn before_it_waits(&self) -> Option<String> {
        let has_run = self.driver.state.rank() > 0;
        match (self.placement.is_queued(), self.attempts) {
            (true, 0) if has_run => Some("Its driver was lost with its worker.".into()),
            (true, 1) => Some("Its driver failed once.".into()),
            (true, many) if many > 1 => Some(format!("Its driver failed {many} times.")),
            _ => None,
        }
    }
}

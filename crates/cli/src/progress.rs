//! Shows how the executors of an application come up: a spinner on a terminal, plain lines without.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::Finding;
use anymaster_core::model::{AllocationPhase, AllocationStatus, SubmissionId};
use anymaster_core::text::printable;
use indicatif::{ProgressBar, ProgressStyle};
use parking::Mutex;

use crate::commands::status::allocation_words;
use crate::printer::Printer;

/// Standard error, shared by a spinner and the lines that scroll above it.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    printer: Printer,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Drawn while executors are on their way.
    bar: Option<ProgressBar>,
    /// Output that did not end its line: a spinner would overwrite it.
    within_line: bool,
    said: Option<(AllocationPhase, u64)>,
}

mod parking {
    //! A lock that survives a panic of another thread: what it guards is only for show.

    use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};

    #[derive(Debug, Default)]
    pub(super) struct Mutex<T>(StdMutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

impl Progress {
    /// Nothing to show yet.
    pub(crate) fn new(printer: Printer) -> Self {
        Self { printer, shared: Arc::default() }
    }

    /// Tells how far the allocation is.
    pub(crate) fn show(&self, allocation: &AllocationStatus) {
        let mut shared = self.shared.lock();
        if self.printer.is_stderr_terminal() {
            shared.draw(allocation);
        }
        let words = shared.news(allocation);
        drop(shared);
        if let Some(words) = words {
            self.message(format!("executors: {words}"));
        }
    }

    /// Shows what is waited for, on a terminal.
    pub(crate) fn wait_for(&self, words: String) {
        if self.printer.is_stderr_terminal() {
            self.shared.lock().draw_words(words);
        }
    }

    /// Tells why a driver waits, and what to do.
    pub(crate) fn show_findings(&self, id: &SubmissionId, findings: &[Finding]) {
        for finding in findings {
            self.message(format!("{id}: {}", finding.what));
            for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
                self.message(format!("  {line}"));
            }
        }
    }

    /// Tells something on standard error.
    pub(crate) fn message(&self, line: impl AsRef<str>) {
        self.around(self.printer.is_stderr_terminal(), true, || self.printer.message(line));
    }

    /// As [`message`](Self::message), of several lines.
    pub(crate) fn message_lines(&self, lines: impl AsRef<str>) {
        self.around(self.printer.is_stderr_terminal(), true, || self.printer.message_lines(lines));
    }

    /// Passes on a line that a program of the user's wrote.
    pub(crate) fn relay(&self, line: &str) {
        self.around(self.printer.is_stderr_terminal(), true, || self.printer.relay(line));
    }

    /// Writes output while the spinner is out of the way. `ends_line` says whether the output ends
    /// with a line end.
    ///
    /// Output that does not go to a terminal takes no lock: a reader that has stopped reading keeps
    /// nobody else from talking.
    pub(crate) fn around<R>(
        &self,
        to_terminal: bool,
        ends_line: bool,
        write: impl FnOnce() -> R,
    ) -> R {
        if !to_terminal {
            return write();
        }
        let mut shared = self.shared.lock();
        if !ends_line {
            shared.clear();
        }
        shared.within_line = !ends_line;
        match &shared.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the spinner away.
    pub(crate) fn finish(&self) {
        self.shared.lock().clear();
    }
}

impl Shared {
    fn draw(&mut self, allocation: &AllocationStatus) {
        let on_the_way =
            !matches!(allocation.phase, AllocationPhase::Reached | AllocationPhase::GivenUp { .. });
        if !on_the_way || self.within_line {
            return self.clear();
        }
        // A spinner without a reason is a riddle: the words say what is waited for.
        self.draw_words(format!("executors: {}", allocation_words(allocation)));
    }

    fn draw_words(&mut self, words: String) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner().with_style(style());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        bar.set_message(printable(&words).into_owned());
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// What is worth a line: another target, or another phase.
    fn news(&mut self, allocation: &AllocationStatus) -> Option<String> {
        let now = (allocation.phase.clone(), allocation.target);
        if self.said.as_ref() == Some(&now) {
            return None;
        }
        self.said = Some(now);
        // None wanted yet, or none any more as the driver ends.
        (allocation.target > 0).then(|| allocation_words(allocation))
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::Status;

    use super::*;
    use crate::view::samples::allocation;

    #[test]
    fn a_line_is_said_when_phase_or_target_changes() {
        let mut shared = Shared::default();
        let mut news = |numbers, phase| {
            let Status::Allocation(allocation) = allocation("a", numbers, phase) else {
                unreachable!("an allocation")
            };
            shared.news(&allocation)
        };
        let blocked = || AllocationPhase::Blocked { why: "no cores".into() };
        let said: Vec<_> = [
            news([0, 0, 0, 0], AllocationPhase::Reached),
            news([3, 0, 3, 0], AllocationPhase::Moving),
            news([3, 1, 2, 0], AllocationPhase::Moving),
            news([3, 2, 1, 0], blocked()),
            news([3, 2, 1, 1], blocked()),
            news([3, 3, 0, 1], AllocationPhase::Reached),
            news([2, 2, 0, 1], AllocationPhase::Reached),
            news([0, 0, 0, 1], AllocationPhase::Reached),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(
            said,
            [
                "0 of 3 running, 3 pending",
                "2 of 3 running, 1 pending; blocked: no cores",
                "3 of 3 running, 1 failed",
                "2 of 2 running, 1 failed",
            ]
        );
    }
}

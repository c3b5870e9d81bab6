//! What an application master of ours leaves for those who ask later: how the driver ended, and its last executors.
//! The ResourceManager keeps it as the diagnostics of the application, behind words for people.

use anymaster_core::model::Outcome;
use serde::{Deserialize, Serialize};

use crate::control::Kept;

/// Where the part for programs begins.
const MARK: &str = "\nanymaster ";
/// The longest text: the ResourceManager cuts longer ones (`yarn.app.attempt.diagnostics.limit.kc`: 64 Ki characters).
const MAX: usize = 48 << 10;

/// How an application ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Epilogue {
    pub(crate) outcome: Outcome,
    pub(crate) executors: Vec<Kept>,
}

impl Epilogue {
    /// As diagnostics. Of too many executors the oldest are left out, and last lines of theirs before that.
    pub(crate) fn to_text(&self) -> String {
        let mut shorter = self.clone();
        loop {
            let json = serde_json::to_string(&shorter).unwrap_or_default();
            let text = format!("{}{MARK}{json}", self.outcome.cause);
            if text.len() <= MAX
                || (shorter.executors.is_empty() && shorter.outcome.last_lines.is_none())
            {
                return text;
            }
            let half = shorter.executors.len().div_ceil(2);
            shorter.executors.drain(..half);
            if half == 0 {
                shorter.outcome.last_lines = None;
            }
        }
    }

    /// Reads diagnostics, whatever the ResourceManager has written before or behind it.
    pub(crate) fn read(diagnostics: &str) -> Option<Self> {
        let (_, json) = diagnostics.split_once(MARK)?;
        serde_json::Deserializer::from_str(json).into_iter().next()?.ok()
    }
}

/// Diagnostics without the part for programs.
pub(crate) fn words(diagnostics: &str) -> &str {
    diagnostics.split_once(MARK).map_or(diagnostics, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{
        AppId, Cause, ExecutorId, ExecutorStatus, KilledBy, ProfileId, State,
    };

    use super::*;

    fn epilogue(executors: u64, why: &str) -> Epilogue {
        let kept = |id| {
            let state = State::ended(Cause::Lost { why: why.into() }, jiff::Timestamp::UNIX_EPOCH);
            let app = AppId::new("app-1").unwrap();
            let status = ExecutorStatus::new(app, ExecutorId(id), ProfileId(0), state);
            Kept { status, container: Some("container_1".to_owned()) }
        };
        let outcome = Cause::Killed { by: KilledBy::Request }.into();
        Epilogue { outcome, executors: (1..=executors).map(kept).collect() }
    }

    #[test]
    fn it_is_read_as_it_was_written_whatever_stands_around_it() {
        let text = epilogue(2, "x").to_text();
        assert_eq!(words(&text), "killed on request");
        let read =
            Epilogue::read(&format!("Attempt recovered after RM restart{text}\nmore")).unwrap();
        assert_eq!(read.outcome.cause, Cause::Killed { by: KilledBy::Request });
        assert_eq!(read.executors.len(), 2);
        assert!(Epilogue::read("exited with code 7").is_none());
        assert!(Epilogue::read("x\nanymaster {").is_none());
    }

    #[test]
    fn it_is_short_enough_for_the_resource_manager() {
        let text = epilogue(100, &"long ".repeat(1000)).to_text();
        assert!(text.len() <= MAX);
        let last = Epilogue::read(&text).unwrap().executors.last().map(|kept| kept.status.id);
        assert!(last.is_none_or(|id| id == ExecutorId(100)));
    }
}

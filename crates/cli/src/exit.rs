//! How the program ends: exit codes as a type, documented in `--help` and the man page.

use std::io;
use std::process::ExitCode;

use anymaster_core::{Error, ErrorKind};

/// The part of `--help` and the man page about exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0    success
  1    something failed: the cluster, output that cannot be written, or an application that is not there
       or cannot be read (ps shows the others)
  2    the command line or the specification is not valid; nothing was started
  11   run: too many executors failed, and the run was ended
  130  interrupted by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP
  N    submit, run, watch ID: the driver's own exit code; 128 + N when signal N ended it
By the name spark-submit, codes are those of spark-submit: 1 for every error, 255 for no arguments.";

/// How the program ends when nothing went wrong on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0.
    Success,
    /// 1: what was asked about is not as it should be (`doctor` found something missing).
    Failure,
    /// 11, as Spark's `EXCEED_MAX_EXECUTOR_FAILURES`.
    ExecutorFailures,
    /// The driver's own.
    Driver(i32),
    /// 128 + the signal that told us to end.
    Interrupted(i32),
    /// 2: a command line that asks for nothing.
    Usage,
    /// 255: spark-submit without arguments.
    NoArguments,
}

impl Exit {
    /// The code for the operating system.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::ExecutorFailures => 11,
            // Cut to eight bits as the kernel does, but a failure never becomes a success.
            Self::Driver(code) => match (code, code.to_le_bytes()[0]) {
                (0, _) => 0,
                (_, 0) => 1,
                (_, low) => low,
            },
            Self::Interrupted(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(1)),
            Self::Usage => 2,
            Self::NoArguments => 255,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error to show.
    Error(Error),
    /// Whoever read our standard output has gone, as `head` does. Not an error.
    BrokenPipe,
}

impl Failure {
    /// The code for the operating system.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Error(error) if error.kind() == ErrorKind::InvalidSpec => 2,
            Self::Error(_) => 1,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Errors of our own standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Error(Error::unavailable("cannot write to standard output").with_source(error))
    }
}

/// What a command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_truthful() {
        let cases = [
            (Exit::Success, 0),
            (Exit::Failure, 1),
            (Exit::ExecutorFailures, 11),
            (Exit::Driver(0), 0),
            (Exit::Driver(7), 7),
            (Exit::Driver(137), 137),
            (Exit::Driver(-1), 255),
            (Exit::Driver(256), 1),
            (Exit::Interrupted(2), 130),
            (Exit::Interrupted(15), 143),
            (Exit::Usage, 2),
            (Exit::NoArguments, 255),
        ];
        for (exit, code) in cases {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn invalid_requests_are_told_apart_and_a_closed_pipe_is_no_failure() {
        assert_eq!(Failure::from(Error::invalid("x")).code(), 2);
        assert_eq!(Failure::from(Error::not_found("x")).code(), 1);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).code(), 0);
        assert_eq!(Failure::from(io::Error::other("disk full")).code(), 1);
    }
}

//! Daemons that say when they are ready.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::home::signal;

/// A daemon that said `ready URL`; ended with this.
pub struct Daemon {
    process: Child,
    /// Where it is.
    pub ready: String,
}

impl Daemon {
    /// What it has to tell goes where the test's own does.
    pub fn start(mut command: Command) -> Self {
        Self::start_quietly(command.stderr(Stdio::inherit()))
    }

    /// What it has to tell goes where `command` says.
    pub fn start_quietly(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?}"));
        Self { ready: ready.to_owned(), process }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, name: &str) {
        signal(name, self.process.id());
    }

    /// Ends it without a chance to say anything.
    pub fn shoot(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Its exit code, when it has ended.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Daemon {
    /// As when it is dropped: it may have ended.
    pub fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

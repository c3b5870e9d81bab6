//! How long `ps -a`, `ps` and `status` of one application take on `local` when there are 10,000.
//!
//!     deploy/build && cargo bench -p anymaster-benches --bench local_list
//!
//! One application is run; the others are copies of its directory, with ids as long as its own.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::fs;
use std::path::Path;
use std::process::Command;

use anymaster_benches::{in_turns, program, time};

const APPLICATIONS: usize = 10_000;
const ROUNDS: usize = 11;

fn id(number: usize) -> String {
    format!("app-{number:05}")
}

/// Copies a directory; in its files, one id becomes another.
fn copy(from: &Path, to: &Path, ids: [&str; 2]) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to, ids);
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            fs::write(to, text.replace(ids[0], ids[1])).unwrap();
        }
    }
}

fn main() {
    let home = tempfile::tempdir().unwrap();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).env("HOME", home.path());
        command.env("ANYMASTER_STATE_DIR", home.path().join("state"));
        command
    };
    let (first, middle) = (id(0), id(APPLICATIONS / 2));
    let run = ["run", "--submission-id", &first, "--driver", "true", "--executor", "true"];
    time(&mut call(&run));
    let local = home.path().join("state/local");
    for number in 1..APPLICATIONS {
        let id = id(number);
        copy(&local.join(&first), &local.join(&id), [&first, &id]);
    }
    // It reads all journals, and writes down what there is to tell.
    println!("the first ps -a:  {:.0?}", time(&mut call(&["ps", "-a"])));
    let [listed, json, live, status] = in_turns(
        ROUNDS,
        [
            &mut || time(&mut call(&["ps", "-a"])),
            &mut || time(&mut call(&["ps", "-a", "-o", "json"])),
            &mut || time(&mut call(&["ps"])),
            &mut || time(&mut call(&["status", &middle])),
        ],
    );
    println!("ps -a:            {listed:.0?} (aim: 300 ms)");
    println!("ps -a -o json:    {json:.0?}");
    println!("ps:               {live:.0?}");
    println!("status of one:    {status:.0?} (aim: 20 ms)");
}

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::*;

struct Sandbox(PathBuf);

impl Sandbox {
    fn new(name: &str) -> Self {
        // Spaces and quotes are in its own name, too.
        let name = format!("sand box's {name} {}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Runs it as an agent does: with its variables.
    fn run(&self, start: &Start) -> Output {
        let mut run = Command::new("/bin/sh");
        run.args(["-c", &start.line]).current_dir(&self.0).env("MESOS_SANDBOX", &self.0);
        for variable in &start.variables {
            run.env(&variable.name, variable.value.as_ref().unwrap());
        }
        run.output().unwrap()
    }

    fn script(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn start_plain(program: &str, args: &[&str]) -> Start {
    start(program, &words(args), &BTreeMap::new(), &BTreeMap::new()).unwrap()
}

#[test]
fn arguments_arrive_as_they_are() {
    let sandbox = Sandbox::new("arguments");
    let args = [
        "",
        "a b",
        "it's",
        "\"",
        "$HOME",
        "`id`",
        "a\nb\n",
        "*",
        "\\",
        "{{executor.id}}",
        "#",
        "-n",
        "ü ☃",
        "a;b&c|d>e",
        "!x",
        "~",
    ];
    let program = sandbox.script("a program", "#!/bin/sh\nprintf '[%s]' \"$@\"\n", 0o755);
    let output = sandbox.run(&start_plain(&program, &args));
    let expected: String = args.iter().map(|arg| format!("[{arg}]")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert!(output.status.success() && output.stderr.is_empty());
    // Relative ones, and those of the PATH.
    let output = sandbox.run(&start_plain("./a program", &["x"]));
    assert_eq!(output.stdout, b"[x]");
    let output = sandbox.run(&start_plain("cat", &["/dev/null"]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sandbox.run(&start_plain("sh", &["-c", "exit 9"])).status.code(), Some(9));
}

#[test]
fn the_sandbox_is_known_where_it_is_asked_for() {
    let sandbox = Sandbox::new("place");
    let env = BTreeMap::from([
        ("WHERE".to_owned(), "{{work.dir}}/it's $x".to_owned()),
        ("PLAIN".to_owned(), "$x".to_owned()),
    ]);
    let args = words(&["-c", "echo \"$0|$WHERE|$PLAIN\"", "<{{work.dir}}>"]);
    let output = sandbox.run(&start("sh", &args, &env, &BTreeMap::new()).unwrap());
    let dir = sandbox.0.display();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("<{dir}>|{dir}/it's $x|$x\n"));
    let env = BTreeMap::from([("a b".to_owned(), SANDBOX.to_owned())]);
    assert!(start("sh", &[], &env, &BTreeMap::new()).is_err());
}

#[test]
fn its_own_address_is_one_at_which_it_can_listen() {
    let sandbox = Sandbox::new("address");
    let env = BTreeMap::from([("HOST".to_owned(), format!("<{OWN_HOST}>"))]);
    let args = words(&["-c", "printf %s \"$0$HOST\"", OWN_HOST]);
    let output = sandbox.run(&start("sh", &args, &env, &BTreeMap::new()).unwrap());
    let said = String::from_utf8(output.stdout).unwrap();
    // A machine may have no network.
    if output.status.code() == Some(126) {
        let why = String::from_utf8(output.stderr).unwrap();
        assert_eq!(why, "anymaster: cannot find the container's address: it has none of IPv4\n");
        return;
    }
    let (host, again) = said.split_once('<').unwrap();
    let address: std::net::Ipv4Addr = host.parse().unwrap();
    assert_eq!(again, format!("{host}>"));
    assert!(!address.is_loopback(), "{address}");
    std::net::TcpListener::bind((address, 0)).unwrap();
}

#[test]
fn what_cannot_be_started_says_so_and_ends_with_126_or_127() {
    let sandbox = Sandbox::new("missing");
    let text = sandbox.script("text", "#!/bin/sh\n", 0o644);
    for (program, code, why) in [
        ("/no/such 'program", 127, "no such file"),
        ("no-such-program", 127, "it is not in the PATH"),
        (text.as_str(), 126, "it cannot be executed"),
        ("/tmp", 126, "it cannot be executed"),
        ("./text", 126, "it cannot be executed"),
    ] {
        let output = sandbox.run(&start_plain(program, &["x"]));
        assert_eq!(output.status.code(), Some(code), "{program}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("anymaster: cannot start {program}: {why}\n"));
    }
    for bad in ["", "-x", "a\0b"] {
        assert!(start(bad, &[], &BTreeMap::new(), &BTreeMap::new()).is_err(), "{bad:?}");
    }
}

#[test]
fn secret_files_are_the_users_only_and_not_in_the_environment() {
    let sandbox = Sandbox::new("files");
    let content = "a=1\n%s \\n 'quoted' $HOME\n\n";
    let files = BTreeMap::from([
        ("it's a file", content.to_owned()),
        ("empty", String::new()),
        ("where", format!("a={SANDBOX}/b\n{FILES}/c {SANDBOX}")),
        ("old", "new".to_owned()),
    ]);
    // Fetched, or of the image: others may read it.
    sandbox.script("old", "old and longer", 0o666);
    let args = words(&["-c", "env; echo mask $(umask)"]);
    let start = start("sh", &args, &BTreeMap::new(), &files).unwrap();
    assert!(!start.line.contains("quoted"), "{}", start.line);
    let output = sandbox.run(&start);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("ANYMASTER_FILE") && !said.contains("quoted"), "{said}");
    let mask = Command::new("sh").args(["-c", "echo mask $(umask)"]).output().unwrap().stdout;
    assert!(said.ends_with(std::str::from_utf8(&mask).unwrap()), "{said}");
    for (name, content) in &files {
        let path = sandbox.0.join(name);
        let sandbox = sandbox.0.display().to_string();
        let content = content.replace(SANDBOX, &sandbox).replace(FILES, &sandbox);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let long = BTreeMap::from([("long", "x".repeat(LONGEST))]);
    assert!(super::start("sh", &[], &BTreeMap::new(), &long).is_err());
}

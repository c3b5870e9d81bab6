//! What containers are given, beside what the real `spark-submit` gives them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::process::Command;

use anymaster_core::conf::read_properties;
use anymaster_test_support::home::{eventually, said};

use crate::cluster::{Submitter, application, get, hdfs, id_of, pi, staging};
use anymaster_test_support::spark::variable;

/// Both keep their files, and do not wait.
const COMMON: [&str; 2] =
    ["spark.yarn.preserve.staging.files=true", "spark.yarn.submit.waitAppCompletion=false"];

/// What is asked of both.
struct Seen {
    /// The script by which the NodeManager starts the driver: variables, links and the command.
    variables: BTreeMap<String, String>,
    links: Vec<String>,
    command: String,
    properties: BTreeMap<String, String>,
    cache: BTreeMap<String, String>,
    files: Vec<String>,
}

impl Seen {
    fn of(id: &str) -> Self {
        let logs = eventually("the driver has a container", || {
            application(id)["amContainerLogs"].as_str().map(str::to_owned)
        });
        let (node, rest) = logs.split_once("/node/containerlogs/").unwrap();
        let container = rest.split('/').next().unwrap();
        let url = format!(
            "{node}/ws/v1/node/containerlogs/{container}/launch_container.sh?user.name=root"
        );
        let script = eventually("the container has been started", || {
            get(&url)
                .map(|bytes| String::from_utf8(bytes).unwrap())
                .filter(|it| it.contains("exec /bin/bash"))
        });
        let plain = |text: &str| {
            let text = text.replace(container, "CONTAINER").replace(id, "APPLICATION");
            // Spark writes paths of the line in this form; they mean the same.
            let text = text.replace("file:///", "file:/");
            // Where a NodeManager has put a file, by number.
            regex::Regex::new(r"filecache/\d+")
                .unwrap()
                .replace_all(&text, "filecache/N")
                .into_owned()
        };
        let exports = script.lines().filter_map(|line| line.strip_prefix("export "));
        let variables = exports.filter_map(|line| line.split_once('='));
        let variables = variables.map(|(name, value)| (name.to_owned(), plain(value))).collect();
        let links = script.lines().filter(|line| line.starts_with("ln -sf"));
        let mut links: Vec<_> = links
            .map(|line| line.rsplit(' ').next().unwrap().trim_matches('"').to_owned())
            .collect();
        links.sort();
        let command = script.lines().find(|line| line.starts_with("exec /bin/bash -c")).unwrap();
        let zip = hdfs(&format!("{}/__spark_conf__.zip", staging(id)), "OPEN").unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        let mut read = |name: &str| {
            let text = std::io::read_to_string(zip.by_name(name).unwrap()).unwrap();
            let all = read_properties(&text).unwrap().into_iter();
            all.map(|(key, value)| (key, plain(&value))).collect()
        };
        let properties = read("__spark_conf__.properties");
        let cache = read("__spark_dist_cache__.properties");
        let mut files: Vec<_> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        files.sort();
        Self { variables, links, command: plain(command), properties, cache, files }
    }
}

/// An application of ours, and the same by the real `spark-submit`.
fn both(properties: &[&str], rest: &[&str]) -> (Seen, Seen) {
    let submitter = Submitter::new();
    let all = [&COMMON[..], properties].concat();
    let ours = submitter.submit(&all, rest);
    ours.expect(0, &[]);
    let seen = |id: &str| {
        let seen = Seen::of(id);
        // There may be room for one only.
        submitter.call(&["kill", id]).expect(0, &[]);
        seen
    };
    let ours = seen(&id_of(&ours));
    let mut command = Command::new(variable("SPARK_HOME").join("bin/spark-submit"));
    command.args(["--master", "yarn", "--deploy-mode", "cluster"]).args(Submitter::small(&all));
    command.args(rest).current_dir(submitter.home.path());
    let real = said(&command.output().unwrap());
    real.expect(0, &[]);
    (ours, seen(&id_of(&real)))
}

fn compare(ours: &Seen, real: &Seen) {
    // Of the NodeManager, of the time, and of the node that has it.
    const OF_NODE: [&str; 12] = [
        "APP_SUBMIT_TIME_ENV",
        "HADOOP_TOKEN_FILE_LOCATION",
        "LOCALIZATION_COUNTERS",
        "LOCAL_DIRS",
        "LOCAL_USER_DIRS",
        "LOG_DIRS",
        "NM_HOST",
        "NM_HTTP_PORT",
        "NM_PORT",
        "PRELAUNCH_ERR",
        "PRELAUNCH_OUT",
        "PWD",
    ];
    let variables = |seen: &Seen| {
        let all = seen.variables.iter().filter(|(name, _)| !OF_NODE.contains(&name.as_str()));
        all.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(variables(ours), variables(real));
    assert_eq!(ours.links, real.links);
    let command = |seen: &Seen| {
        // The directory of logs is the node's.
        regex::Regex::new(r"/[^ ]*/nm\d/[^ ]*?/APPLICATION/CONTAINER")
            .unwrap()
            .replace_all(&seen.command, "LOGS")
            // Spark leaves paths without quotes.
            .replace('\'', "")
    };
    assert_eq!(command(ours), command(real));
    // When it was submitted; and where the archive of Spark's jars is.
    let properties = |seen: &Seen| {
        let mut all = seen.properties.clone();
        all.retain(|key, _| {
            !matches!(key.as_str(), "spark.app.submitTime" | "spark.submit.appName")
        });
        all
    };
    assert_eq!(properties(ours), properties(real));
    let keys = |seen: &Seen| seen.cache.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(ours), keys(real));
    let names = |seen: &Seen| {
        let all = seen.cache.get("spark.yarn.cache.filenames").cloned().unwrap_or_default();
        let mut links: Vec<_> = all
            .split(',')
            .filter_map(|uri| uri.split_once('#'))
            .map(|(_, link)| link.to_owned())
            .collect();
        links.sort();
        links
    };
    assert_eq!(names(ours), names(real));
    // The configuration with all its defaults, which nobody reads.
    let without: Vec<_> = real
        .files
        .iter()
        .filter(|it| *it != "__spark_hadoop_conf__.xml" && !it.ends_with('/'))
        .collect();
    assert_eq!(ours.files.iter().collect::<Vec<_>>(), without);
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn a_jar_with_all_kinds_of_files() {
    let home = Submitter::new();
    let file = |name: &str| home.home.file(name, name).display().to_string();
    let pi = pi("100000");
    let line: Vec<&str> = pi.iter().map(String::as_str).collect();
    let (jars, files) = (file("a.jar"), file("b.txt"));
    let options =
        ["--jars", &jars, "--files", &format!("{files}#c"), "--queue", "small", "--name", "x y"];
    let properties = [
        "spark.yarn.appMasterEnv.A=b c",
        "spark.yarn.tags=one,two",
        "spark.driver.extraClassPath=/extra/*",
        "spark.yarn.user.classpath.first=true",
        "spark.executorEnv.E=f",
    ];
    let (ours, real) = both(&properties, &[&options[..], &line].concat());
    compare(&ours, &real);
}

#[test]
#[ignore = "needs a real YARN: tests/all yarn"]
fn a_python_script_with_modules() {
    let home = Submitter::new();
    let file = |name: &str, text: &str| home.home.file(name, text).display().to_string();
    let script = file("script.py", "import time\ntime.sleep(600)\n");
    let modules = format!("{},{}", file("m.py", ""), file("n.zip", "PK"));
    let (ours, real) = both(&[], &["--py-files", &modules, &script, "one", "two three"]);
    compare(&ours, &real);
}

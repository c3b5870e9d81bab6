//! Which crate may depend on which, and where the program may name a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate is allowed to be built on, of ours.
const LAYERS: &[(&str, &[&str])] = &[
    ("anymaster-core", &[]),
    ("anymaster-conformance", &["anymaster-core"]),
    ("anymaster-spark", &["anymaster-core"]),
    ("anymaster-spark-wire", &[]),
    (
        "anymaster-spark-rpc",
        &["anymaster-core", "anymaster-net", "anymaster-spark", "anymaster-spark-wire"],
    ),
    ("anymaster-net", &["anymaster-core"]),
    ("anymaster-shuffle", &["anymaster-core", "anymaster-net", "anymaster-spark-wire"]),
    ("anymaster-staging", &["anymaster-core", "anymaster-net"]),
    ("anymaster-engine", &["anymaster-core"]),
    ("anymaster-spark-rest", &["anymaster-core", "anymaster-net"]),
    (
        "anymaster-native",
        &["anymaster-core", "anymaster-engine", "anymaster-net", "anymaster-spark-rest"],
    ),
    (
        "anymaster-master",
        &[
            "anymaster-core",
            "anymaster-engine",
            "anymaster-native",
            "anymaster-net",
            "anymaster-spark-rest",
        ],
    ),
    ("anymaster-k8s", &["anymaster-core"]),
    ("anymaster-hadoop", &["anymaster-core"]),
    ("anymaster-yarn", &["anymaster-core", "anymaster-hadoop", "anymaster-spark"]),
    (
        "anymaster-mesos",
        &[
            "anymaster-core",
            "anymaster-engine",
            "anymaster-master",
            "anymaster-native",
            "anymaster-net",
        ],
    ),
    (
        "anymaster-standalone",
        &[
            "anymaster-core",
            "anymaster-engine",
            "anymaster-master",
            "anymaster-native",
            "anymaster-net",
            "anymaster-shuffle",
            "anymaster-spark-rest",
        ],
    ),
    ("anymaster-compare", &["anymaster", "anymaster-core", "anymaster-spark"]),
    ("anymaster-submitter", &["anymaster-core", "anymaster-net", "anymaster-spark"]),
    ("anymaster-operator", &["anymaster-core", "anymaster-submitter"]),
    (
        "anymaster",
        &[
            "anymaster-core",
            "anymaster-k8s",
            "anymaster-mesos",
            "anymaster-standalone",
            "anymaster-yarn",
        ],
    ),
];

/// The files of the program that may name a backend: the registry, and verbs that belong to one system by
/// their name.
const NAMES_BACKENDS: &[&str] = &[
    "lib.rs",
    "commands/application_master.rs",
    "commands/daemon.rs",
    "commands/dispatcher.rs",
    "commands/local_worker.rs",
    "commands/master.rs",
    "commands/operator.rs",
    "commands/token.rs",
    "commands/worker.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn dependencies_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = |package: &Value| -> Vec<String> {
        let all = package["dependencies"].as_array().unwrap().iter();
        let built_on = all.filter(|dependency| dependency["kind"] != "dev");
        let names = built_on.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("anymaster")).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages: BTreeMap<_, _> =
        packages.map(|package| (package["name"].as_str().unwrap(), ours(package))).collect();
    for (name, allowed) in LAYERS {
        for dependency in &packages[name] {
            assert!(allowed.contains(&dependency.as_str()), "{name} is built on {dependency}");
        }
    }
}

/// The packages that a library brings, itself included.
fn packages(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_library_is_light_and_daemons_bring_their_own() {
    let light = packages(&["--package", "anymaster"]);
    assert!(light.len() <= 60, "{} packages: {light:?}", light.len());
    let client = packages(&["--package", "anymaster", "--features", "standalone"]);
    for of_daemons in ["axum", "hyper-util", "maud", "prometheus-client", "zookeeper-client"] {
        assert!(!light.contains(of_daemons), "{of_daemons}");
        // An HTTP client has hyper-util, too.
        assert!(of_daemons == "hyper-util" || !client.contains(of_daemons), "{of_daemons}");
    }
}

/// The code of a crate: its files by their names within `src`, without tests.
fn code(of: &str) -> Vec<(String, String)> {
    let source = root().join("crates").join(of).join("src");
    let (mut directories, mut files) = (vec![source.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((name, text.split("#[cfg(test)]").next().unwrap().to_owned()));
            }
        }
    }
    assert!(!files.is_empty(), "{of} has no code");
    files
}

#[test]
fn the_program_names_backends_in_its_registry_only() {
    for (name, code) in code("cli") {
        if NAMES_BACKENDS.contains(&name.as_str()) {
            continue;
        }
        for backend in ["k8s", "mesos", "standalone", "yarn", "native", "master"] {
            let named = format!("anymaster_{backend}::");
            assert!(!code.contains(&named), "{name} names {named}");
        }
    }
}

#[test]
fn core_names_no_cluster_manager_in_its_code() {
    for (name, code) in code("core") {
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for scheme in ["k8s://", "mesos://", "spark://", "zk://"] {
                assert!(!line.contains(scheme), "{name}: {line}");
            }
        }
    }
}

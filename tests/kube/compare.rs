//! One job on this machine and on Kubernetes, side by side.

use serde_json::Value;

use crate::cluster::{Ran, master, until};
use crate::programs::{pi_image, prepared, properties};

#[test]
#[ignore = "needs a cluster"]
fn pi_is_compared_on_this_machine_and_on_kubernetes() {
    let namespace = prepared("compared");
    let (image, kubernetes) = (pi_image(), master());
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    let examples = std::path::Path::new(env!("CARGO_BIN_EXE_anymaster")).with_file_name("examples");
    let path = format!("{}:{}", examples.display(), std::env::var("PATH").unwrap());
    let mut command = namespace.anymaster(&["compare", "--master", "local[2]", "-o", "json"]);
    command.env("PATH", path).args(["--master", &kubernetes, "--runs", "2", "--report"]);
    command.arg(&page).args(["--", "submit"]);
    command.args(properties(&namespace, image)).args(["--conf", "spark.executor.instances=2"]);
    let ran = Ran::of(command.args(["pi", "20"])).expect(0);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    for column in document["clusters"].as_array().unwrap() {
        assert!(!column["preflight"].as_array().unwrap().is_empty(), "{column}");
        let runs = column["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2, "{column}");
        for run in runs {
            assert_eq!(run["outcome"], "finished", "{run}");
            let executors = run["timeline"]["executors"].as_array().unwrap();
            assert_eq!(executors.len(), 2, "{run}");
            assert!(executors.iter().all(|bar| bar["started"].is_f64()), "{run}");
        }
    }
    // There a driver is first given a node, and then started.
    let marks = &document["clusters"][1]["runs"][0]["timeline"]["marks"];
    let at = |mark: &str| marks[mark].as_f64().unwrap_or_else(|| panic!("{mark}: {marks}"));
    assert!(at("submitted") <= at("placed") && at("placed") <= at("driver"), "{marks}");
    assert!(std::fs::read_to_string(&page).unwrap().contains(&kubernetes));
    until("no executor is left", || {
        let pods = namespace.objects("pods");
        pods.iter().all(|pod| pod["metadata"]["labels"]["spark-role"] == "driver").then_some(())
    });
}

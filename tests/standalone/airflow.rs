//! The real SparkSubmitHook of Apache Airflow, which looks for a driver's id, and asks for its state until
//! it has ended.

use std::process::Command;

use anymaster_test_support::standalone::{Cluster, variable};

#[test]
#[ignore = "needs Airflow"]
fn airflow_follows_a_driver_to_its_end() {
    let cluster = Cluster::new(1, &[]);
    let home = cluster.home.path().display();
    // By this call there is a spark-submit in it.
    cluster.home.spark_submit(&["--version"]).expect(0, &["anymaster"]);
    // One master is asked over REST, several by `spark-submit --status`.
    let one = &cluster.master.ready;
    let several = format!("{one},{}", one.trim_start_matches("spark://"));
    for master in [one, &several] {
        let connection = serde_json::json!({
            "conn_type": "spark", "host": master,
            "extra": {
                "deploy-mode": "cluster", "spark-binary": "spark-submit", "rest-port": cluster.rest,
            },
        });
        let output = Command::new(variable("ANYMASTER_AIRFLOW"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/airflow/standalone.py"))
            .env("PATH", format!("{home}:{}", std::env::var("PATH").unwrap()))
            .env("ANYMASTER_STATE_DIR", format!("{home}/state"))
            .env("AIRFLOW_HOME", format!("{home}/airflow"))
            .env("AIRFLOW_CONN_SPARK_DEFAULT", connection.to_string())
            .env_remove("SPARK_HOME")
            .current_dir(cluster.home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{master}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

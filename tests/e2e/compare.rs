//! `anymaster compare` and `anymaster report`: one job on several clusters.

use anymaster_test_support::home::{Home, Said, eventually, nothing_is_left};
use anymaster_test_support::ports::free_port;
use anymaster_test_support::standalone::Cluster;
use serde_json::Value;

fn compare<'a>(masters: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    let masters = masters.iter().flat_map(|master| ["--master", master]);
    std::iter::once("compare").chain(masters).chain(rest.iter().copied()).collect()
}

const JOB: [&str; 8] =
    ["--", "run", "--executors", "2", "--driver", "sleep 1", "--executor", "sleep 3600"];

fn document(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn ids(document: &Value) -> Vec<String> {
    let clusters = document["clusters"].as_array().unwrap().iter();
    let runs = clusters.flat_map(|cluster| cluster["runs"].as_array().unwrap());
    runs.map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_same_job_on_two_clusters_is_shown_side_by_side() {
    let cluster = Cluster::new(2, &[]);
    let memory = ["--executor-memory", "16m", "--driver-memory", "16m"];
    let prices = "currency = \"EUR\"\ncore-hour = 3600\ngib-hour = 0\n";
    cluster.home.file("prices.toml", prices);
    let options =
        ["--runs", "2", "-o", "json", "--prices", "prices.toml", "--report", "report.html"];
    let rest = [&options[..], &JOB[..], &memory[..]].concat();
    let said = cluster.home.call(&compare(&["local[4]", &cluster.master.ready], &rest));
    said.expect(0, &["run 2 of 2", "the report is in report.html"]);
    let document = document(&said);
    for column in document["clusters"].as_array().unwrap() {
        assert_eq!(column["obstacle"], Value::Null, "{column}");
        assert_eq!(column["capabilities"]["executors"], true, "{column}");
        let runs = column["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2, "{column}");
        for run in runs {
            assert_eq!(run["outcome"], "finished", "{run}");
            let marks = &run["timeline"]["marks"];
            let at = |mark: &str| marks[mark].as_f64().unwrap_or_else(|| panic!("{mark}: {run}"));
            let order = ["submitted", "first_executor", "driver_ended", "all_ended", "cleaned_up"];
            assert!(order.is_sorted_by_key(|mark| at(mark)), "{marks}");
            assert!(at("driver_ended") - at("driver") >= 0.9, "{marks}");
            let executors = run["timeline"]["executors"].as_array().unwrap();
            assert_eq!(executors.len(), 2, "{run}");
            assert!(executors.iter().all(|bar| bar["cause"]["cause"] == "killed"), "{run}");
            // Two executors and a driver, a core each, at one EUR a second.
            let cost = run["cost"].as_f64().unwrap();
            assert!(cost > 1.5 && cost <= 3.0 * run["total"].as_f64().unwrap(), "{run}");
            assert!(run["client"]["cpu_seconds"].as_f64().unwrap() > 0.0, "{run}");
        }
    }
    ids(&document).iter().for_each(|id| nothing_is_left(id));
    let page = std::fs::read_to_string(cluster.home.path().join("report.html")).unwrap();
    assert!(page.contains(&cluster.master.ready) && page.ends_with("</html>"), "{page}");
}

#[test]
fn a_cluster_that_is_down_does_not_hold_up_the_other() {
    let home = Home::new();
    let down = format!("spark://127.0.0.1:{}", free_port());
    let rest = [&["--answer-timeout", "5s", "-o", "json"][..], &JOB[..]].concat();
    let said = home.call(&compare(&[&down, "local[2]"], &rest));
    said.expect(1, &["would not run it", "run 1 of 1: finished"]);
    let document = document(&said);
    let [first, second] = [&document["clusters"][0], &document["clusters"][1]];
    assert!(
        first["obstacle"]["why"].is_string() && first["runs"] == Value::Array(vec![]),
        "{first}"
    );
    assert_eq!(second["runs"][0]["outcome"], "finished", "{second}");
    // The same, for people.
    let said = home.call(&compare(
        &[&down, "local[2]"],
        &rest[..2].iter().chain(&JOB).copied().collect::<Vec<_>>(),
    ));
    said.expect(1, &[]);
    let row = said.out.lines().find(|line| line.starts_with("finished")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>().join(" "), "finished 0 of 1 1 of 1");
}

#[test]
fn a_cluster_that_hangs_does_not_hold_up_the_other() {
    let cluster = Cluster::new(0, &[]);
    let hangs = &cluster.master.ready;
    cluster.master.signal("STOP");
    let rest = [&["--answer-timeout", "5s", "-o", "json"][..], &JOB[..]].concat();
    let said = cluster.home.call(&compare(&[hangs, "local[2]"], &rest));
    cluster.master.signal("CONT");
    said.expect(1, &["within 5s", "run 1 of 1: finished"]);
    let document = document(&said);
    let why = document["clusters"][0]["obstacle"]["why"].as_str().unwrap();
    assert!(why.contains("within 5s"), "{why}");
    assert_eq!(document["clusters"][1]["runs"][0]["outcome"], "finished", "{document}");
}

#[test]
fn ctrl_c_leaves_nothing_running_and_prints_what_is_known() {
    let home = Home::new();
    let line = ["--", "run", "--executors", "2", "--executor", "sleep 3600"];
    // The first run ends, the second one does not.
    let driver = "sh -c 'mkdir once && exit 0; sleep 3600'";
    let rest = [&["--runs", "3", "-o", "json"][..], &line[..], &["--driver", driver]].concat();
    let started = home.start(&compare(&["local[4]"], &rest));
    let second = eventually("the second run has its executors", || {
        let known: Value = serde_json::from_str(&home.call(&["ps", "-o", "json"]).out).ok()?;
        let id = known.as_array()?.first()?["id"].as_str()?.to_owned();
        let status = home.call(&["status", &id, "-o", "json"]);
        let status: Value = serde_json::from_str(&status.out).ok()?;
        (status["allocation"]["running"] == 2 && home.path().join("once").exists()).then_some(id)
    });
    started.signal("INT");
    let said = started.wait();
    said.expect(130, &["ending; once more ends it at once"]);
    let document = document(&said);
    assert_eq!(document["interrupted"], true);
    let runs = document["clusters"][0]["runs"].as_array().unwrap();
    let outcomes: Vec<_> = runs.iter().map(|run| run["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["finished", "interrupted"], "{document}");
    assert_eq!(runs[1]["id"], second.as_str());
    nothing_is_left(&second);
}

#[test]
fn a_job_that_fails_is_told_with_its_exit_code() {
    let home = Home::new();
    let line = ["-o", "csv", "--", "run", "--driver", "sh -c 'exit 7'"];
    let said = home.call(&compare(&["local[1]"], &line));
    said.expect(1, &["exited with code 7"]);
    let lines: Vec<Vec<&str>> = said.out.lines().map(|line| line.split(',').collect()).collect();
    let [names, run] = &lines[..] else { panic!("{said:?}") };
    assert_eq!(names.len(), run.len(), "{said:?}");
    assert_eq!([run[0], run[1], run[3], run[5]], ["local[1]", "1", "failed", "7"], "{said:?}");
}

#[test]
fn what_a_dry_run_finds_is_found_without_starting_anything() {
    let home = Home::new();
    let said = home.call(&compare(
        &["local[1]"],
        &["--dry-run", "-o", "markdown", "--", "run", "--driver", "true"],
    ));
    said.expect(0, &["local[1]: would run it"]);
    assert!(said.out.starts_with("| true | `local[1]` |\n| --- | --- |\n"), "{said:?}");
    assert_eq!(home.call(&["ps", "-a", "-o", "json"]).out.trim(), "[]");
}

#[test]
fn a_master_within_the_line_has_no_effect_and_is_told_of() {
    let home = Home::new();
    for line in [
        &["--", "run", "--master", "local[9]", "--driver", "true"][..],
        &["--", "spark-submit", "--conf", "spark.master=local[9]", "true"],
    ] {
        let said = home.call(&compare(&["local[1]"], &[&["-o", "csv"][..], line].concat()));
        said.expect(0, &["the master of the line has no effect"]);
        assert!(said.out.contains("\nlocal[1],1,app-"), "{said:?}");
    }
}

#[test]
fn mistakes_are_named_before_anything_is_started() {
    let home = Home::new();
    home.file("bad.toml", "core-hour = -1\ngib-hour = 0\n");
    let job = ["--", "run", "--driver", "true"];
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--", "ps"], &["not a job"]),
        (&["--", "run", "--driver", "true", "--submission-id", "x"], &["an id of its own"]),
        (&[&["--prices", "bad.toml"][..], &job].concat(), &["bad.toml", "-1"]),
        (&[&["--prices", "none.toml"][..], &job].concat(), &["none.toml"]),
        (&[&["--report", "no/such/r.html"][..], &job].concat(), &["no/such/r.html"]),
        (&[], &["--from"]),
    ];
    for (rest, words) in cases {
        home.call(&compare(&["local[1]"], rest)).expect(2, words);
    }
    assert_eq!(home.call(&["ps", "-a", "-o", "json"]).out.trim(), "[]");
}

#[test]
fn lines_of_spark_submit_are_translated_to_each_cluster() {
    let home = Home::new();
    home.file(
        "lines.txt",
        "# every night\nSPARK_HOME=/opt/spark bin/spark-submit --master yarn --deploy-mode cluster --queue q \\\n  \
         --executor-memory 2g --conf spark.yarn.appMasterEnv.LEVEL=1 --conf spark.yarn.maxAppAttempts=1 \\\n  \
         --conf spark.db.password=geheim --class org.example.Job hdfs:///job.jar 7\n",
    );
    let masters = ["k8s://https://127.0.0.1:1", "mesos://127.0.0.1:7077"];
    let said = home.call(&compare(&masters, &["--from", "lines.txt", "-o", "json"]));
    // Kubernetes wants an image.
    said.expect(1, &[]);
    assert!(!said.out.contains("geheim"), "{said:?}");
    let document = document(&said);
    assert_eq!(document[0]["line"], 2);
    let on = |index: usize| &document[0]["masters"][index];
    let given = |index: usize, name: &str| {
        let all = on(index)["given"].as_array().unwrap();
        let found = all.iter().find(|given| given["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {all:?}")).clone()
    };
    assert_eq!(given(0, "--queue")["fate"], "dropped");
    assert_eq!(given(0, "spark.yarn.maxAppAttempts")["fate"], "dropped");
    assert_eq!(given(0, "spark.db.password")["fate"], "passed");
    assert_eq!(given(0, "--executor-memory")["becomes"], "spark.executor.memory");
    let mapped = given(0, "spark.yarn.appMasterEnv.LEVEL");
    assert_eq!(
        (&mapped["fate"], &mapped["becomes"]),
        (&"mapped".into(), &"spark.kubernetes.driverEnv.LEVEL".into())
    );
    let why = on(0)["obstacle"]["hint"].as_str().unwrap();
    assert!(why.contains("spark.kubernetes.container.image"), "{why}");
    assert_eq!(given(1, "spark.yarn.appMasterEnv.LEVEL")["becomes"], "spark.mesos.driverEnv.LEVEL");
    assert_eq!(on(1)["obstacle"], Value::Null);
    // The line for it is one that is accepted there.
    let line = on(1)["line"].as_str().unwrap();
    let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
    assert_eq!(words[0], "anymaster", "{line}");
    home.call(&[&words[1..2], &["--dry-run"][..], &words[2..]].concat()).expect(0, &[]);
}

#[test]
fn an_application_has_a_report() {
    let home = Home::new();
    let executor = "sh -c '[ $ANYMASTER_EXECUTOR_ID = 1 ] && exit 3; sleep 3600'";
    let run = ["run", "--submission-id", "told", "--master", "local[2]", "--executors", "1"];
    home.call(&[&run[..], &["--driver", "sleep 1", "--executor", executor]].concat())
        .expect(0, &[]);
    let said = home.call(&["report", "told"]);
    said.expect(0, &[]);
    assert!(said.out.starts_with("<!DOCTYPE html>"), "{said:?}");
    assert!(said.out.contains("exited with code 3"), "{said:?}");
    let timeline = home.json(&["report", "told", "-o", "json"]);
    assert_eq!(timeline["lost"], 1, "{timeline}");
    assert_eq!(timeline["executors"].as_array().unwrap().len(), 2, "{timeline}");
    home.call(&["report", "nobody"]).expect(1, &["nobody"]);
}

#[test]
fn an_application_is_followed_to_its_end() {
    let home = Home::new();
    let driver = "sh -c 'until [ -e enough ]; do sleep 0.05; done'";
    let run = ["run", "--submission-id", "followed", "--master", "local[2]", "--executors", "1"];
    let running =
        home.start(&[&run[..], &["--driver", driver, "--executor", "sleep 3600"]].concat());
    home.until_executors("followed", 1);
    let report = home.start(&["report", "followed", "--follow", "-o", "json"]);
    home.file("enough", "");
    running.wait().expect(0, &[]);
    let said = report.wait();
    said.expect(0, &[]);
    let timeline = document(&said);
    let bar = &timeline["executors"][0];
    assert!(bar["ended"].is_f64(), "{timeline}");
    assert_eq!(bar["cause"]["by"], "driver-end", "{timeline}");
    assert_eq!(timeline["driver"]["cause"]["cause"], "finished", "{timeline}");
    // A signal says that it was enough, of one that goes on.
    std::fs::remove_file(home.path().join("enough")).unwrap();
    let run = ["run", "--submission-id", "longer", "--master", "local[2]", "--executors", "1"];
    let running =
        home.start(&[&run[..], &["--driver", driver, "--executor", "sleep 3600"]].concat());
    home.until_executors("longer", 1);
    let report = home.start(&["report", "longer", "--follow", "--report", "longer.html"]);
    eventually("it is there", || home.path().join("longer.html").exists().then_some(()));
    // It takes the signals over when it has found the application, some time after that.
    eventually("it has taken its signals over", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", report.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & 0b10 != 0).then_some(())
    });
    report.signal("INT");
    report.wait().expect(0, &["the report is in longer.html"]);
    let page = std::fs::read_to_string(home.path().join("longer.html")).unwrap();
    assert!(page.contains("longer") && page.ends_with("</html>"), "{page}");
    home.file("enough", "");
    running.wait().expect(0, &[]);
    nothing_is_left("longer");
}

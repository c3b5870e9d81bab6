//! Random lines of spark-submit for Kubernetes in cluster mode, given to the real one and to ours: the
//! same objects, or both refuse. What differs is made as small as can be, and printed.
//!
//!   tests/differential/run --lines 2000 --seed 7 spark_4_1
//!
//! A seed gives the same lines again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "these are tests"
)]

mod combinations;
mod compare;
mod explained;
mod line;
mod ours;
mod spark;
mod table;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::compare::Difference;
use crate::line::{Line, Piece};
use crate::spark::Spark;

/// A line is made smaller in this many steps at most.
const STEPS: usize = 60;

#[test]
#[ignore = "needs Spark 3.5.9: tests/differential/run"]
fn spark_3_5() {
    compare("3.5.9");
}

#[test]
#[ignore = "needs Spark 4.0.5: tests/differential/run"]
fn spark_4_0() {
    compare("4.0.5");
}

#[test]
#[ignore = "needs Spark 4.1.4: tests/differential/run"]
fn spark_4_1() {
    compare("4.1.4");
}

#[test]
#[ignore = "needs Spark 4.2.1: tests/differential/run"]
fn spark_4_2() {
    compare("4.2.1");
}

#[test]
#[ignore = "needs Spark 4.3.0: tests/differential/run"]
fn spark_4_3() {
    compare("4.3.0");
}

#[test]
fn every_option_is_drawn_or_left_out_for_a_reason() {
    let mut runner = TestRunner::new(Config::default());
    let (flags, mut drawn) = (combinations::flag(), BTreeSet::new());
    for _ in 0..2_000 {
        let Piece::Words(words) = flags.new_tree(&mut runner).unwrap().current() else { continue };
        drawn.extend(words.into_iter().next());
    }
    for flag in anymaster_spark::flags::FLAGS {
        let is_left_out = combinations::LEFT_OUT.iter().any(|(name, _)| *name == flag.name);
        assert_ne!(drawn.contains(flag.name), is_left_out, "{}", flag.name);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn compare(version: &str) {
    let wanted = number("DIFFERENTIAL_LINES");
    let most = number("DIFFERENTIAL_SECONDS").map(Duration::from_secs);
    // As many as fit into the time, where only that is given.
    let wanted = wanted.unwrap_or(if most.is_some() { u64::MAX } else { 100 });
    let seed = number("DIFFERENTIAL_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    });
    println!("Spark {version}, seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let lines = combinations::lines();

    let mut both = Both::new(version);
    let (mut found, mut explained) = (BTreeMap::new(), BTreeMap::<_, (u64, _)>::new());
    let (started, mut compared, mut submitted) = (Instant::now(), 0, 0);
    while compared < wanted && most.is_none_or(|most| started.elapsed() < most) {
        let mut tree = lines.new_tree(&mut runner).unwrap();
        let line = tree.current();
        compared += 1;
        let (differences, succeeded) = both.differences(&line);
        submitted += u64::from(succeeded);
        for difference in differences {
            if let Some(rule) = explained::rule(&difference, &line) {
                explained.entry(rule.name).or_insert((0, rule.reason)).0 += 1;
            } else if let Some((_, _, times)) = found.get_mut(&difference.sort()) {
                *times += 1;
            } else {
                let sort = difference.sort();
                let smallest = both.smallest(&mut tree, &sort);
                println!(
                    "\nSpark {version}, line {compared} of seed {seed}:\n  {}\n  {}",
                    smallest.0, smallest.1
                );
                found.insert(sort, (smallest.0.to_string(), smallest.1, 1));
                // Another difference of this line needs the whole line again.
                break;
            }
        }
    }
    println!(
        "\nSpark {version}, seed {seed}: {compared} lines in {} s, {submitted} of them submitted by both",
        started.elapsed().as_secs()
    );
    for (name, (times, reason)) in &explained {
        println!("{times:6} explained: {name}: {reason}");
    }
    for (line, difference, times) in found.values() {
        println!("{times:6} {line}\n         {difference}");
    }
    assert!(
        found.is_empty(),
        "Spark {version}, seed {seed}: {} kinds of unexplained differences",
        found.len()
    );
}

/// The real one and ours.
struct Both {
    spark: Spark,
    directory: tempfile::TempDir,
}

impl Both {
    fn new(version: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        files(directory.path());
        Self { spark: Spark::start(version, directory.path()), directory }
    }

    /// What differs, and whether both submit the line.
    fn differences(&mut self, line: &Line) -> (Vec<Difference>, bool) {
        let directory = self.directory.path();
        let words = line.words(&self.spark.url, directory);
        let env = line.environment(self.spark.variables(), directory);
        let ours = ours::submit(&words, &env, directory);
        let spark = self.spark.submit(&words, &env);
        (compare::differences(&ours, &spark), ours.succeeded && spark.succeeded)
    }

    /// The smallest line that still has this sort of difference, and the difference.
    fn smallest(
        &mut self,
        tree: &mut impl ValueTree<Value = Line>,
        sort: &str,
    ) -> (Line, Difference) {
        let mut has = |line: &Line| {
            self.differences(line).0.into_iter().find(|difference| difference.sort() == sort)
        };
        let line = tree.current();
        let mut best = (line.clone(), has(&line).expect("the same line differs again"));
        let mut is_smaller = tree.simplify();
        for _ in 0..STEPS {
            if !is_smaller {
                break;
            }
            let line = tree.current();
            is_smaller = match has(&line) {
                Some(difference) => {
                    best = (line, difference);
                    tree.simplify()
                }
                None => tree.complicate(),
            };
        }
        best
    }
}

/// What lines name.
fn files(directory: &Path) {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for name in ["b.jar", "f.txt", "z.zip", "a.py", "d.py", "krb5.conf", "hadoop/core-site.xml"] {
        write(name, "<configuration/>\n");
    }
    let jar = std::fs::File::create(directory.join("a.jar")).unwrap();
    let mut jar = zip::ZipWriter::new(jar);
    jar.start_file("META-INF/MANIFEST.MF", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut jar, b"Manifest-Version: 1.0\r\nMain-Class: of.Jar\r\n\r\n")
        .unwrap();
    jar.finish().unwrap();
    write("conf/metrics.properties", "a=b\n");
    write("conf/log4j2.properties.template", "x");
    write("more.conf", "spark.driver.memory 3g\nspark.kubernetes.driver.label.more=b\n");
    write("my.conf", "spark.driver.memory 2g\nspark.kubernetes.namespace=mine\n");
    write("executor.yaml", "kind: Pod\nspec: {containers: [{name: e}]}\n");
    write("bare.yaml", "kind: Pod\n");
    write(
        "secured.yaml",
        "kind: Pod\nspec:\n  securityContext: {runAsUser: 7}\n  containers:\n  \
         - {name: main, securityContext: {allowPrivilegeEscalation: true, privileged: false}}\n",
    );
    write(
        "driver.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: own, labels: {spark-role: mine, from: template}, annotations: {q: r}}\n\
         spec:\n  serviceAccountName: other\n  restartPolicy: Always\n  nodeSelector: {n: v}\n  \
         volumes: [{name: v, emptyDir: {}}]\n  \
         initContainers: [{name: i, image: 'i:1'}]\n  containers:\n  \
         - {name: side, image: 's:1'}\n  - {name: main, image: x, env: [{name: A, value: f}], volumeMounts: [{name: v, mountPath: /d}], resources: {requests: {cpu: 9}, limits: {memory: 1Gi}}}\n",
    );
    for name in ["up", "empty"] {
        std::fs::create_dir_all(directory.join(name)).unwrap();
    }
}

//! The YARN of `tests/clusters/yarn`, and what its pages say.

use std::process::Command;

use anymaster_test_support::home::{Home, Said, eventually, said};
use anymaster_test_support::spark::{JAVA_OPTIONS, variable};
use serde_json::Value;

/// The value of a property of the cluster's configuration.
fn property(name: &str) -> String {
    let dir = variable("HADOOP_CONF_DIR");
    let files = ["core-site.xml", "hdfs-site.xml", "yarn-site.xml"];
    let all: String =
        files.iter().filter_map(|file| std::fs::read_to_string(dir.join(file)).ok()).collect();
    let (_, rest) = all.split_once(&format!("<name>{name}</name><value>")).unwrap();
    rest.split('<').next().unwrap().to_owned()
}

/// What a server answers, if it answers well.
pub(crate) fn get(url: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--location", "--max-time", "30", url]);
    let output = command.output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// Has the ResourceManager end an application, as `yarn application -kill` does.
pub(crate) fn kill_without_us(id: &str) {
    let address = property("yarn.resourcemanager.webapp.address");
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--request", "PUT", "--max-time", "30"]);
    command.args(["--header", "content-type: application/json", "--data", r#"{"state":"KILLED"}"#]);
    command.arg(format!("http://{address}/ws/v1/cluster/apps/{id}/state?user.name=root"));
    assert!(command.output().unwrap().status.success(), "{id}");
}

/// What the ResourceManager's pages know of an application.
pub(crate) fn application(id: &str) -> Value {
    let address = property("yarn.resourcemanager.webapp.address");
    let answer = get(&format!("http://{address}/ws/v1/cluster/apps/{id}?user.name=root")).unwrap();
    serde_json::from_slice::<Value>(&answer).unwrap()["app"].clone()
}

/// A file on HDFS.
pub(crate) fn hdfs(path: &str, operation: &str) -> Option<Vec<u8>> {
    let address = property("dfs.namenode.http-address");
    get(&format!("http://{address}/webhdfs/v1{path}?op={operation}&user.name=root"))
}

/// The directory with the files of a submission, of this user.
pub(crate) fn staging(id: &str) -> String {
    format!("/user/root/.sparkStaging/{id}")
}

/// A directory of whoever submits.
pub(crate) struct Submitter {
    pub(crate) home: Home,
}

impl Submitter {
    pub(crate) fn new() -> Self {
        Self { home: Home::new() }
    }

    /// Spark's properties as options.
    pub(crate) fn small(more: &[&str]) -> Vec<String> {
        let own = [
            "spark.driver.memory=512m".to_owned(),
            "spark.executor.memory=512m".to_owned(),
            "spark.executor.instances=1".to_owned(),
            format!("spark.driver.extraJavaOptions={JAVA_OPTIONS}"),
            format!("spark.executor.extraJavaOptions={JAVA_OPTIONS}"),
        ];
        let all = own.into_iter().chain(more.iter().map(|it| (*it).to_owned()));
        all.flat_map(|property| ["--conf".to_owned(), property]).collect()
    }

    /// Submits what follows the properties.
    pub(crate) fn submit(&self, properties: &[&str], rest: &[&str]) -> Said {
        let place = ["submit", "--master", "yarn", "--deploy-mode", "cluster"];
        let mut line: Vec<String> = place.map(str::to_owned).to_vec();
        line.extend(Self::small(properties));
        line.extend(rest.iter().map(|word| (*word).to_owned()));
        let mut command = self.home.command(&line);
        self.environment(&mut command);
        said(&command.output().unwrap())
    }

    /// Calls another verb.
    pub(crate) fn call(&self, line: &[&str]) -> Said {
        self.call_with(&[line, &["--master", "yarn"]].concat())
    }

    /// Calls a verb with a line that says which cluster is meant.
    pub(crate) fn call_with(&self, line: &[&str]) -> Said {
        let mut command = self.home.command(line);
        self.environment(&mut command);
        said(&command.output().unwrap())
    }

    /// A call, not yet made, as another user.
    pub(crate) fn command_as(&self, user: &str, line: &[&str]) -> Command {
        let mut command = self.home.command(&[line, &["--master", "yarn"]].concat());
        self.environment(&mut command);
        command.env("HADOOP_USER_NAME", user);
        command
    }

    fn environment(&self, command: &mut Command) {
        for name in ["HADOOP_CONF_DIR", "SPARK_HOME", "JAVA_HOME"] {
            command.env(name, variable(name));
        }
    }

    /// The state of an application.
    pub(crate) fn status(&self, id: &str) -> Value {
        let said = self.call(&["status", id, "-o", "json"]);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// Waits until an application is in a state.
    pub(crate) fn until(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), || {
            Some(self.status(id)["driver"].clone()).filter(|driver| driver["state"] == state)
        })
    }
}

/// The application that a submission says it has made.
pub(crate) fn id_of(said: &Said) -> String {
    let begin = said.err.find("application_").unwrap_or_else(|| panic!("{said:?}"));
    let is_id = |char: char| char.is_ascii_alphanumeric() || char == '_';
    said.err[begin..].chars().take_while(|char| is_id(*char)).collect()
}

/// SparkPi, with so many partitions.
pub(crate) fn pi(partitions: &str) -> Vec<String> {
    let jar = variable("SPARK_PI_JAR").display().to_string();
    let words = ["--class", "org.apache.spark.examples.SparkPi", &jar, partitions];
    words.map(str::to_owned).to_vec()
}

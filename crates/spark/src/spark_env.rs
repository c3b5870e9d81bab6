//! Loads `spark-env.sh` as Spark's scripts do (`bin/load-spark-env.sh`): once, in a shell that then
//! executes the program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Environment;
use crate::home::{SparkHome, find_spark, spark_of_program};

/// Sources the file and executes the program. Its output goes to stderr. As with Spark, failing
/// commands in it are ignored, and `exit` ends the process.
const SCRIPT: &str = r#"set -a; . "$1" >&2; set +a; name=$2; shift 2; exec -a "$name" "$@""#;

/// What Spark's scripts set up before they start a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptSetup {
    /// Variables to set.
    pub variables: Vec<(&'static str, OsString)>,
    /// The `spark-env.sh` to read.
    pub spark_env: Option<PathBuf>,
}

impl ScriptSetup {
    /// The set-up that a program called by the name `called` still needs; `None` if nothing is
    /// missing.
    ///
    /// If `SPARK_HOME` is unset, a `submission` uses the Spark that `called` belongs to, or that of
    /// the `spark-submit` in `PATH`, as Spark's scripts do.
    pub fn needed(environment: &Environment, called: &Path, submission: bool) -> Option<Self> {
        let mut variables = Vec::new();
        let mut home = environment.get("SPARK_HOME").map(PathBuf::from);
        if home.is_none() && submission {
            let is_path = called.components().count() > 1;
            home = is_path.then(|| spark_of_program(called)).flatten();
            home = home.or_else(|| find_spark(environment).ok());
            variables.extend(home.clone().map(|home| ("SPARK_HOME", home.into_os_string())));
        }
        let conf_dir = environment.get("SPARK_CONF_DIR").map(PathBuf::from);
        let conf_dir = conf_dir.or_else(|| Some(home.as_ref()?.join("conf")));
        let file = conf_dir.as_ref().map(|dir| dir.join("spark-env.sh"));
        let is_needed = environment.get("SPARK_ENV_LOADED").is_none();
        let spark_env = file.filter(|file| is_needed && file.is_file());
        if spark_env.is_some() {
            variables.push(("SPARK_ENV_LOADED", "1".into()));
            variables.extend(conf_dir.map(|dir| ("SPARK_CONF_DIR", dir.into_os_string())));
            // The file may use it, as Spark's scripts set it.
            if let Some(home) = home.filter(|_| environment.get("SPARK_SCALA_VERSION").is_none()) {
                variables.push(("SPARK_SCALA_VERSION", SparkHome::of(home).scala.into()));
            }
        }
        (!variables.is_empty()).then_some(Self { variables, spark_env })
    }

    /// The command that starts `program` as `called` with this set-up.
    pub fn command(&self, program: &Path, called: &OsString, args: &[OsString]) -> Command {
        let mut command = match &self.spark_env {
            Some(file) => {
                let mut command = Command::new("bash");
                command.args(["-c", SCRIPT, "spark-env"]).arg(file).arg(called).arg(program);
                command
            }
            None => {
                let mut command = Command::new(program);
                std::os::unix::process::CommandExt::arg0(&mut command, called);
                command
            }
        };
        command.args(args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &Path)]) -> Environment {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.display().to_string()))
            .collect();
        Environment { variables, current_dir: "/".into(), ..Environment::default() }
    }

    #[test]
    fn a_program_starts_with_what_the_file_sets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("spark-env.sh");
        let text = "echo talk\nA='x y'\nunset B\nfalse\nHERE=$SPARK_CONF_DIR\nread word\n";
        std::fs::write(&file, text).unwrap();
        let environment = environment(&[("SPARK_CONF_DIR", dir.path())]);
        let needed = ScriptSetup::needed(&environment, Path::new("anymaster"), false).unwrap();
        let script = ["-c", r#"printf '%s|' "$0" "$A" "$B" "$HERE" "$SPARK_ENV_LOADED" "$@""#];
        let args: Vec<OsString> =
            script.iter().chain(&["name", "-a b", "$A"]).map(Into::into).collect();
        let output = needed
            .command(Path::new("/bin/sh"), &"called".into(), &args)
            .env("B", "b")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "talk\n");
        let want = format!("name|x y||{}|1|-a b|$A|", dir.path().display());
        assert_eq!(String::from_utf8_lossy(&output.stdout), want);
    }

    #[test]
    fn the_file_is_read_once_if_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let none = [("SPARK_CONF_DIR", dir.path())];
        assert_eq!(ScriptSetup::needed(&environment(&none), Path::new("x"), true), None);
        std::fs::write(dir.path().join("spark-env.sh"), "").unwrap();
        let read = [("SPARK_CONF_DIR", dir.path()), ("SPARK_ENV_LOADED", Path::new("1"))];
        assert_eq!(ScriptSetup::needed(&environment(&read), Path::new("x"), true), None);
        assert!(ScriptSetup::needed(&environment(&none), Path::new("x"), true).is_some());
    }

    #[test]
    fn spark_home_is_derived_from_the_programs_path() {
        let home = tempfile::tempdir().unwrap();
        for part in ["bin", "jars", "conf"] {
            std::fs::create_dir(home.path().join(part)).unwrap();
        }
        let program = home.path().join("bin/spark-submit");
        std::fs::write(&program, "").unwrap();
        let needed = ScriptSetup::needed(&environment(&[]), &program, true).unwrap();
        assert_eq!(needed.variables, [("SPARK_HOME", home.path().into())]);
        assert_eq!(needed.spark_env, None);
        assert_eq!(ScriptSetup::needed(&environment(&[]), &program, false), None);
    }
}

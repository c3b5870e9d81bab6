//! A line of spark-submit, with what it is typed in: made of pieces, so that it can be made smaller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Stands for the directory with the files that lines name.
pub(crate) const DIRECTORY: &str = "DIR";

pub(crate) type Environment = BTreeMap<String, String>;

/// Something that can be left out of a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Words that belong together.
    Words(Vec<String>),
    /// An environment variable.
    Variable(&'static str, String),
    /// A line of spark-defaults.conf.
    Default(String, String),
}

impl Piece {
    pub(crate) fn conf(key: impl fmt::Display, value: impl fmt::Display) -> Self {
        Self::Words(vec!["--conf".to_owned(), format!("{key}={value}")])
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) pieces: Vec<Piece>,
    /// The primary resource and its arguments.
    pub(crate) application: Vec<String>,
}

impl Line {
    /// All words of it, for a cluster at this URL.
    pub(crate) fn words(&self, url: &str, directory: &Path) -> Vec<String> {
        let master = format!("k8s://{url}");
        let before = ["--master", &master, "--deploy-mode", "cluster"];
        let image = ["--conf", "spark.kubernetes.container.image=registry/spark:1"];
        // Ours shows no secrets in a dry run, unless none are: then all can be compared.
        let shown = ["--conf", r"spark.redaction.regex=[^\s\S]"];
        let after = ["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];
        let mut words: Vec<String> =
            [&before[..], &image, &shown].concat().into_iter().map(str::to_owned).collect();
        for piece in &self.pieces {
            if let Piece::Words(own) = piece {
                words.extend(own.iter().cloned());
            }
        }
        words.extend(after.map(str::to_owned));
        words.extend(self.application.iter().cloned());
        words.iter().map(|word| place(word, directory)).collect()
    }

    /// The variables that it adds to these; writes the file of defaults, if it has one.
    pub(crate) fn environment(&self, mut variables: Environment, directory: &Path) -> Environment {
        let mut defaults = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Words(_) => {}
                Piece::Variable(name, value) => {
                    variables.insert((*name).to_owned(), place(value, directory));
                }
                Piece::Default(key, value) => {
                    defaults += &format!("{key} {}\n", place(value, directory));
                }
            }
        }
        let conf = directory.join("conf");
        if !defaults.is_empty() {
            variables.insert("SPARK_CONF_DIR".to_owned(), conf.display().to_string());
        }
        std::fs::write(conf.join("spark-defaults.conf"), defaults).unwrap();
        variables
    }
}

fn place(text: &str, directory: &Path) -> String {
    text.replace(DIRECTORY, &directory.display().to_string())
}

/// As it could be typed; what is the same in all of them is left out.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Words(own) => words.extend(own.iter().map(|word| quoted(word))),
                Piece::Variable(name, value) => {
                    words.insert(0, format!("{name}={}", quoted(value)));
                }
                Piece::Default(key, value) => {
                    words.insert(0, format!("[spark-defaults.conf: {key} {value}]"));
                }
            }
        }
        words.extend(self.application.iter().map(|word| quoted(word)));
        f.write_str(&words.join(" "))
    }
}

fn quoted(word: &str) -> String {
    shell_words::quote(word).into_owned()
}

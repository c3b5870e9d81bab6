//! The files of an application, and the links to them in its containers (Spark 3.5,
//! `Client.prepareLocalResources`). No I/O but looking for Python's archives.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anymaster_core::conf::keys::split_list;
use anymaster_core::model::SparkLanguage;
use anymaster_core::{Error, Result};
use anymaster_hadoop::Location;

use super::{APP_JAR, Application, LIBS, PY_FILES};
use crate::keys;
use crate::proto::LocalResourceType;
use crate::submitter::Submitter;

/// What stands for no application: a class of Spark's own.
const NO_RESOURCE: &str = "spark-internal";

/// A file that containers have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) from: Origin,
    /// Its name in the working directory. One that ends in `/` is a directory for all files that fit.
    pub(crate) link: String,
    pub(crate) kind: LocalResourceType,
    /// Executors have it as well.
    pub(crate) for_executors: bool,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On this machine.
    Here(PathBuf),
    /// On a file system of the cluster.
    There(Location),
}

/// Where Spark's own jars come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Libraries {
    /// They are among the dependencies, or on the nodes.
    Named,
    /// They are those of the installed Spark.
    Installed(PathBuf),
}

/// All files of an application.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) libraries: Libraries,
    pub(crate) dependencies: Vec<Dependency>,
    /// What is on Python's path, in order: `{{PWD}}/x.zip`, or a path of the nodes.
    pub(crate) python_path: Vec<String>,
    /// Properties for the driver.
    pub(crate) properties: Vec<(&'static str, String)>,
    pub(crate) warnings: Vec<String>,
}

/// The files of an application.
pub(crate) fn plan(application: &Application<'_>, submitter: &Submitter) -> Result<Plan> {
    let mut planner =
        Planner { submitter, plan: Plan::new(), uris: HashSet::new(), names: HashSet::new() };
    planner.libraries(application)?;
    planner.application(application)?;
    planner.listed(application)?;
    planner.python(application)?;
    Ok(planner.plan)
}

impl Plan {
    fn new() -> Self {
        Self {
            libraries: Libraries::Named,
            dependencies: Vec::new(),
            python_path: Vec::new(),
            properties: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

struct Planner<'a> {
    submitter: &'a Submitter,
    plan: Plan,
    uris: HashSet<String>,
    names: HashSet<String>,
}

/// What became of a file.
enum Added {
    /// It has this link.
    Link(String),
    /// It is on the nodes already.
    OnNodes,
    /// It was there before.
    Again,
}

impl Planner<'_> {
    /// Adds a file, as Spark's `distribute`. `link`: its link, if not its own name; one that ends in `/` is the
    /// directory of it.
    fn add(
        &mut self,
        uri: &str,
        link: Option<&str>,
        kind: LocalResourceType,
        for_executors: bool,
    ) -> Result<Added> {
        let uri = uri.trim();
        if uri.starts_with("local:") {
            return Ok(Added::OnNodes);
        }
        let (path, fragment) = match uri.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment)),
            None => (uri, None),
        };
        let from = self.origin(path)?;
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_directory = link.is_some_and(|link| link.ends_with('/'));
        let is_pattern = path.contains(['*', '?', '[']);
        let is_known = !self.uris.insert(uri.to_owned()) || !self.names.insert(name.clone());
        if is_known && !is_pattern {
            let what = format!(
                "{path} is added to the distributed cache several times: the first one counts"
            );
            self.plan.warnings.push(what);
            return Ok(Added::Again);
        }
        let link = match link {
            Some(directory) if is_directory && path.contains(['*', '?', '[']) => {
                directory.to_owned()
            }
            Some(directory) if is_directory => format!("{directory}{}", fragment.unwrap_or(&name)),
            Some(link) => link.to_owned(),
            None => fragment.unwrap_or(&name).to_owned(),
        };
        self.plan.dependencies.push(Dependency { from, link: link.clone(), kind, for_executors });
        Ok(Added::Link(link))
    }

    fn origin(&self, path: &str) -> Result<Origin> {
        let location = match path.split_once(':') {
            Some(("file", _)) | None => None,
            Some(_) => Some(Location::parse(path)?),
        };
        Ok(match location {
            Some(location) if location.scheme.is_some() => Origin::There(location),
            _ => Origin::Here(self.submitter.path(path)),
        })
    }

    fn libraries(&mut self, application: &Application<'_>) -> Result<()> {
        let conf = &application.conf;
        if let Some(archive) = conf.read_optional(&keys::ARCHIVE)? {
            if archive.starts_with("local:") {
                return Err(Error::invalid("spark.yarn.archive cannot be a local URI.").with_hint(
                    "name a directory of the nodes with spark.yarn.jars=local:/path/*",
                ));
            }
            self.add(&archive, Some(LIBS), LocalResourceType::Archive, true)?;
            return Ok(());
        }
        let Some(jars) = conf.read_optional(&keys::JARS)? else {
            let jars = application.spark.path.join("jars");
            if !jars.is_dir() {
                return Err(Error::invalid(format!(
                    "{}: there are no jars of Spark, and neither spark.yarn.archive nor spark.yarn.jars is set",
                    jars.display()
                )));
            }
            self.plan.libraries = Libraries::Installed(jars);
            return Ok(());
        };
        let mut on_nodes = Vec::new();
        let directory = format!("{LIBS}/");
        for jar in jars {
            if let Added::OnNodes =
                self.add(&jar, Some(&directory), LocalResourceType::File, true)?
            {
                on_nodes.push(jar);
            }
        }
        self.plan.properties.push((keys::JARS.info.name, on_nodes.join(",")));
        Ok(())
    }

    fn application(&mut self, application: &Application<'_>) -> Result<()> {
        let resource = application.job.primary_resource.as_str();
        if application.job.language != SparkLanguage::Java || resource == NO_RESOURCE {
            return Ok(());
        }
        let added = self.add(resource, Some(APP_JAR), LocalResourceType::File, true)?;
        if let Added::OnNodes = added {
            self.plan.properties.push(("spark.yarn.user.jar", resource.to_owned()));
        }
        Ok(())
    }

    fn listed(&mut self, application: &Application<'_>) -> Result<()> {
        let conf = &application.conf;
        let mut jars = Vec::new();
        for jar in conf.read_optional(&keys::DIST_JARS)?.unwrap_or_default() {
            match self.add(&jar, None, LocalResourceType::File, true)? {
                Added::Link(link) => jars.push(link),
                Added::OnNodes => jars.push(jar),
                Added::Again => {}
            }
        }
        if !jars.is_empty() {
            self.plan.properties.push(("spark.yarn.secondary.jars", jars.join(",")));
        }
        for (key, kind) in [
            (&keys::DIST_FILES, LocalResourceType::File),
            (&keys::DIST_ARCHIVES, LocalResourceType::Archive),
        ] {
            for file in conf.read_optional(key)?.unwrap_or_default() {
                if let Added::Again = self.add(&file, None, kind, true)? {
                    return Err(Error::invalid(format!(
                        "Attempt to add ({file}) multiple times to the distributed cache."
                    ))
                    .with_hint(format!(
                        "name it once in {}, or give it another name with #NAME",
                        key.info.name
                    )));
                }
            }
        }
        if application.job.language == SparkLanguage::R {
            self.add(&application.job.primary_resource, None, LocalResourceType::File, false)?;
        }
        Ok(())
    }

    fn python(&mut self, application: &Application<'_>) -> Result<()> {
        if application.job.language == SparkLanguage::Python {
            self.add(&application.job.primary_resource, None, LocalResourceType::File, false)?;
        }
        let own = match application.job.language {
            SparkLanguage::Python => self.archives(&application.spark.path)?,
            _ => Vec::new(),
        };
        let given = application.conf.read_optional(&keys::DIST_PY_FILES)?.unwrap_or_default();
        if given.iter().any(|file| file.ends_with(".py")) {
            self.plan.python_path.push(format!("{{{{PWD}}}}/{PY_FILES}"));
        }
        let directory = format!("{PY_FILES}/");
        for file in own.iter().chain(&given) {
            let is_script = file.ends_with(".py");
            let link = is_script.then_some(directory.as_str());
            self.add(file, link, LocalResourceType::File, true)?;
            if !is_script {
                let path = file.split('#').next().unwrap_or_default();
                let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
                self.plan.python_path.push(match file.strip_prefix("local:") {
                    Some(path) => path.to_owned(),
                    None => format!("{{{{PWD}}}}/{name}"),
                });
            }
        }
        Ok(())
    }

    /// The archives of Python's part of Spark (Spark 3.5, `Client.findPySparkArchives`).
    fn archives(&self, spark: &Path) -> Result<Vec<String>> {
        if let Some(given) = self.submitter.get("PYSPARK_ARCHIVES_PATH") {
            return Ok(split_list(given).map(str::to_owned).collect());
        }
        let lib = spark.join("python/lib");
        let is_archive = |name: &str| {
            name == "pyspark.zip" || name.starts_with("py4j-") && name.ends_with("-src.zip")
        };
        let entries = std::fs::read_dir(&lib).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter(|entry| is_archive(&entry.file_name().to_string_lossy()))
            .map(|entry| entry.path().display().to_string())
            .collect();
        // Spark has its own first.
        found.sort_by_key(|path| !path.ends_with("pyspark.zip"));
        match found.len() {
            2.. => Ok(found),
            _ => Err(Error::invalid(format!(
                "{} has no pyspark.zip and py4j-*-src.zip; cannot run pyspark application in YARN mode.",
                lib.display()
            ))
            .with_hint("set PYSPARK_ARCHIVES_PATH to where they are")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{application, job, submitter};
    use super::*;

    fn links(plan: &Plan) -> Vec<(&str, bool)> {
        plan.dependencies.iter().map(|it| (it.link.as_str(), it.for_executors)).collect()
    }

    #[test]
    fn files_have_the_links_that_spark_gives_them() {
        let job = job();
        let properties = [
            ("spark.yarn.archive", "hdfs:/spark.zip"),
            ("spark.yarn.dist.jars", "/a/one.jar,local:/b/two.jar"),
            ("spark.yarn.dist.files", "x.txt#y,hdfs://nn/z"),
            ("spark.yarn.dist.archives", "env.tar.gz#env"),
            ("spark.yarn.dist.pyFiles", "m.py,n.zip"),
        ];
        let plan = plan(&application(&job, &properties).unwrap(), &submitter()).unwrap();
        assert_eq!(
            links(&plan),
            [
                (LIBS, true),
                (APP_JAR, true),
                ("one.jar", true),
                ("y", true),
                ("z", true),
                ("env", true),
                ("__pyfiles__/m.py", true),
                ("n.zip", true),
            ]
        );
        let secondary = ("spark.yarn.secondary.jars", "one.jar,local:/b/two.jar".to_owned());
        assert!(plan.properties.contains(&secondary), "{:?}", plan.properties);
        assert_eq!(plan.python_path, ["{{PWD}}/__pyfiles__", "{{PWD}}/n.zip"]);
        assert!(
            matches!(&plan.dependencies[3].from, Origin::Here(path) if path.ends_with("x.txt"))
        );
        assert!(matches!(&plan.dependencies[4].from, Origin::There(_)));
    }

    #[test]
    fn the_same_file_twice_is_skipped_for_jars_and_refused_for_files() {
        let job = job();
        let archive = ("spark.yarn.archive", "hdfs:/spark.zip");
        let jars = [archive, ("spark.yarn.dist.jars", "/a/x.jar,/b/x.jar")];
        let twice = plan(&application(&job, &jars).unwrap(), &submitter()).unwrap();
        assert_eq!(twice.warnings.len(), 1);
        let files = [archive, ("spark.yarn.dist.files", "/a/x,/b/x")];
        let error = plan(&application(&job, &files).unwrap(), &submitter()).unwrap_err();
        assert_eq!(
            error.message(),
            "Attempt to add (/b/x) multiple times to the distributed cache."
        );
    }

    #[test]
    fn jars_on_the_nodes_stay_a_property_and_others_are_distributed() {
        let job = job();
        let jars = [("spark.yarn.jars", "local:/opt/spark/jars/*,hdfs:/libs/*.jar")];
        let plan = plan(&application(&job, &jars).unwrap(), &submitter()).unwrap();
        assert_eq!(plan.dependencies[0].link, "__spark_libs__/");
        assert!(
            plan.properties.contains(&("spark.yarn.jars", "local:/opt/spark/jars/*".to_owned()))
        );
        let local = [("spark.yarn.archive", "local:/x.zip")];
        assert!(super::plan(&application(&job, &local).unwrap(), &submitter()).is_err());
    }
}

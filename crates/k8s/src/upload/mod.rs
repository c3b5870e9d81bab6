//! Uploads local dependencies, and replaces them with their URLs in the driver's properties (Spark
//! 3.5, `KubernetesUtils.uploadAndTransformFileUris`).

mod run;

use std::path::{Path, PathBuf};

use anymaster_core::conf::keys::split_list;
use anymaster_core::conf::{Conf, REDACTED};
use anymaster_core::model::{SparkJob, SparkLanguage};
use anymaster_core::{Error, Result};

use crate::keys;
use crate::names::Ids;
use crate::staging::{self, StagedFile};
use crate::submitter_env::SubmitterEnv;

/// What Spark decodes in the last segment of a URL, and then takes for something else (`DependencyUtils`).
const LOST_BY_SPARK: [char; 4] = [',', '?', '[', ']'];

/// A local file, and its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    from: PathBuf,
    /// The name below the upload path; on a staging server, that of the file.
    name: String,
}

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Below the upload path, as the property has it.
    Path(String),
    /// To the staging server at this URL.
    Staging(String),
}

/// All files of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uploads {
    to: Place,
    /// The application, by whose end a staging server removes its files.
    app: String,
    conf: Conf,
    files: Vec<Upload>,
}

impl Default for Uploads {
    fn default() -> Self {
        let to = Place::Path(String::new());
        Self { to, app: String::new(), conf: Conf::new(), files: Vec::new() }
    }
}

/// What was uploaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uploaded {
    /// On a staging server, in the order of the plan: their URLs are known now. Empty for other places.
    pub(crate) staged: Vec<StagedFile>,
}

/// Whether something is a file of the submitter's machine (`KubernetesUtils.isLocalAndResolvable`).
pub(crate) fn is_local(uri: &str) -> bool {
    if matches!(uri, "spark-internal" | "spark-shell" | "pyspark-shell" | "sparkr-shell") {
        return false;
    }
    match uri.split_once(':') {
        Some((scheme, _)) if is_scheme(scheme) => scheme == "file",
        _ => true,
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The uploads of a submission, and what they change.
pub(crate) struct UploadPlan {
    /// The changed properties.
    pub(crate) properties: Vec<(&'static str, String)>,
    /// The changed primary resource, if it is uploaded.
    pub(crate) primary_resource: Option<String>,
    pub(crate) uploads: Uploads,
}

/// Finds the local files among a submission's dependencies. `staged`: those that are on a staging server already.
pub(crate) fn plan(
    ids: Ids<'_>,
    job: &SparkJob,
    conf: &Conf,
    submitter: &SubmitterEnv,
    staged: &[StagedFile],
) -> Result<UploadPlan> {
    let to = match staging::server(conf)? {
        Some(base) => Place::Staging(base),
        None => {
            let path = conf.read_optional(&keys::FILE_UPLOAD_PATH)?.unwrap_or_default();
            Place::Path(path.trim_end_matches('/').to_owned())
        }
    };
    let mut planner = Planner { ids, submitter, to, staged, files: Vec::new() };
    let mut properties = Vec::new();
    for key in ["spark.jars", "spark.files", "spark.archives", "spark.submit.pyFiles"] {
        let items: Vec<&str> = split_list(conf.get(key).unwrap_or_default()).collect();
        let (local, remote): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| is_local(item));
        if local.is_empty() {
            continue;
        }
        let mut urls = Vec::new();
        for item in local {
            urls.extend(planner.add_all(key, item)?);
        }
        urls.extend(remote.into_iter().map(str::to_owned));
        properties.push((key, urls.join(",")));
    }
    // A jar is in spark.jars; Spark leaves a script in R where it is.
    let is_script = job.language == SparkLanguage::Python && is_local(&job.primary_resource);
    let primary_resource =
        if is_script { Some(planner.add("the application", &job.primary_resource)?) } else { None };
    let (to, files) = (planner.to, planner.files);
    let uploads = Uploads { to, app: ids.application(), conf: conf.clone(), files };
    Ok(UploadPlan { properties, primary_resource, uploads })
}

struct Planner<'a> {
    ids: Ids<'a>,
    submitter: &'a SubmitterEnv,
    to: Place,
    staged: &'a [StagedFile],
    files: Vec<Upload>,
}

impl Planner<'_> {
    /// As [`add`](Self::add), for all files that match a glob pattern.
    fn add_all(&mut self, key: &str, uri: &str) -> Result<Vec<String>> {
        self.submitter.check_owner(key, uri)?;
        let (path, fragment) = self.local_path(uri);
        if path.is_file() || !uri.contains(['*', '?', '[']) {
            return Ok(vec![self.add(key, uri)?]);
        }
        let pattern = path.display().to_string();
        let invalid = |why: String| Error::invalid(format!("{key}: {pattern}: {why}"));
        let found = glob::glob(&pattern).map_err(|error| invalid(error.to_string()))?;
        let mut files: Vec<PathBuf> =
            found.filter_map(std::result::Result::ok).filter(|path| path.is_file()).collect();
        files.sort();
        match files.as_slice() {
            [] => Err(invalid("it fits no file".to_owned())),
            [_, _, ..] if fragment.is_some() => {
                Err(invalid("it resolves ambiguously to multiple files".to_owned()))
            }
            files => {
                files.iter().map(|file| self.add_file(key, file, fragment.as_deref())).collect()
            }
        }
    }

    /// Plans the upload of one file. Returns its future URL.
    fn add(&mut self, key: &str, uri: &str) -> Result<String> {
        self.submitter.check_owner(key, uri)?;
        let (path, fragment) = self.local_path(uri);
        self.add_file(key, &path, fragment.as_deref())
    }

    fn add_file(&mut self, key: &str, path: &Path, fragment: Option<&str>) -> Result<String> {
        if !path.is_file() {
            return Err(Error::invalid(format!("{key}: there is no file {}", path.display()))
                .with_hint("write local:// before the path if it is in the image"));
        }
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        let (name, mut url) = match &self.to {
            Place::Path(to) if to.is_empty() => {
                return Err(Error::invalid(
                    "Please specify spark.kubernetes.file.upload.path property.",
                )
                .with_hint(format!(
                    "{} is a file of this machine: it is uploaded to where the driver can fetch it, for example \
                     s3a://bucket/path, or a staging server (spark.anymaster.staging.url). Write local:// before the \
                     path if it is in the image",
                    path.display()
                )));
            }
            Place::Path(to) => {
                let id = self.ids.uuid(&format!("upload {} {}", self.files.len(), path.display()));
                let name = format!("spark-upload-{id}/{file}");
                let url = format!("{to}/{name}");
                (name, url)
            }
            Place::Staging(base) => {
                if file.contains(LOST_BY_SPARK) {
                    return Err(Error::invalid(format!(
                        "{key}: Spark cannot fetch {file:?} from a URL: ',', '?', '[' and ']' are not what they are in \
                         its lists of URLs"
                    ))
                    .with_hint("rename the file"));
                }
                let staged = self.staged.get(self.files.len()).map(|staged| staged.url.clone());
                // Before the upload, nobody knows it.
                let url = staged.unwrap_or_else(|| format!("{base}/token/{REDACTED}/{file}"));
                (file.to_owned(), url)
            }
        };
        self.files.push(Upload { from: path.to_owned(), name });
        if key == "spark.archives" {
            // Java writes `file:/path` for a URI without a host.
            if let Some(path) = url.strip_prefix("file:///") {
                url = format!("file:/{path}");
            }
        }
        if let Some(fragment) = fragment {
            url = format!("{url}#{fragment}");
        }
        Ok(url)
    }

    fn local_path(&self, uri: &str) -> (PathBuf, Option<String>) {
        let (path, fragment) = match uri.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment.to_owned())),
            None => (uri, None),
        };
        (self.submitter.path(&decoded(path)), fragment)
    }
}

/// The percent-decoded path of a `file:` URI; other texts are returned unchanged.
fn decoded(uri: &str) -> String {
    if !uri.starts_with("file:") {
        return uri.to_owned();
    }
    let mut bytes = Vec::with_capacity(uri.len());
    let mut rest = uri.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| uri.to_owned())
}

impl Uploads {
    /// The staging server that has the files, if it is one and there are any.
    pub(crate) fn staging_server(&self) -> Option<&str> {
        match &self.to {
            Place::Staging(base) if !self.files.is_empty() => Some(base),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::SubmissionId;

    use super::*;

    fn job(language: SparkLanguage, primary: &str) -> SparkJob {
        SparkJob {
            language,
            primary_resource: primary.into(),
            main_class: None,
            args: vec![],
            proxy_user: None,
        }
    }

    #[test]
    fn local_files_are_distinguished_from_remote_ones() {
        for (uri, local) in [
            ("file:/a.jar", true),
            ("/a.jar", true),
            ("a.jar", true),
            ("local:///a.jar", false),
            ("s3a://b/a.jar", false),
            ("https://h/a.jar", false),
            ("spark-internal", false),
        ] {
            assert_eq!(is_local(uri), local, "{uri}");
        }
    }

    #[test]
    fn urls_are_those_that_spark_makes() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            std::fs::write(directory.path().join(name), "x").unwrap();
            format!("file:{}/{}", directory.path().display(), name.replace(' ', "%20"))
        };
        let conf: Conf = [
            (
                "spark.jars".to_owned(),
                format!("https://h/r.jar,{},{}", file("a b.jar"), file("c.jar")),
            ),
            ("spark.archives".to_owned(), format!("{}#zz", file("z.zip"))),
            ("spark.files".to_owned(), format!("{}/?.jar", directory.path().display())),
            ("spark.kubernetes.file.upload.path".to_owned(), "file:///up/".to_owned()),
        ]
        .into_iter()
        .collect();
        let id = SubmissionId::new("s").unwrap();
        let submitter = SubmitterEnv::default();
        let job = job(SparkLanguage::Python, &file("m.py"));
        let planned = plan(Ids(&id), &job, &conf, &submitter, &[]).unwrap();
        let bare = |text: &str| {
            let parts = text.split("spark-upload-");
            parts
                .map(|part| {
                    part.get(37..)
                        .filter(|_| part.as_bytes().get(36) == Some(&b'/'))
                        .unwrap_or(part)
                })
                .collect::<Vec<_>>()
                .join("ID/")
        };
        let properties: Vec<_> = planned
            .properties
            .iter()
            .map(|(key, value)| format!("{key}={}", bare(value)))
            .collect();
        assert_eq!(
            properties,
            [
                "spark.jars=file:///up/ID/a b.jar,file:///up/ID/c.jar,https://h/r.jar",
                "spark.files=file:///up/ID/c.jar",
                "spark.archives=file:/up/ID/z.zip#zz",
            ]
        );
        assert_eq!(bare(&planned.primary_resource.unwrap()), "file:///up/ID/m.py");
        assert_eq!(planned.uploads.files.len(), 5);
        assert_eq!(plan(Ids(&id), &job, &conf, &submitter, &[]).unwrap().uploads, planned.uploads);
    }

    #[test]
    fn missing_files_and_properties_are_named() {
        let id = SubmissionId::new("s").unwrap();
        let error = |pairs: &[(&str, &str)]| {
            let conf: Conf = pairs.iter().copied().collect();
            plan(
                Ids(&id),
                &job(SparkLanguage::Java, "local:///a.jar"),
                &conf,
                &SubmitterEnv::default(),
                &[],
            )
            .map(|_| ())
            .unwrap_err()
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        assert!(
            error(&[("spark.jars", &path)]).message().contains("spark.kubernetes.file.upload.path")
        );
        assert!(
            error(&[("spark.jars", "/nope.jar")])
                .message()
                .contains("spark.jars: there is no file /nope.jar")
        );
        assert!(error(&[("spark.files", "/nope/*.txt")]).message().contains("it fits no file"));
    }

    #[test]
    fn urls_of_a_staging_server_are_unknown_before_the_upload() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, "x").unwrap();
            path.display().to_string()
        };
        let id = SubmissionId::new("s").unwrap();
        let planned = |files: &str, staged: &[StagedFile]| {
            let conf: Conf =
                [("spark.files", files), ("spark.anymaster.staging.url", "https://h:1")]
                    .into_iter()
                    .collect();
            let job = job(SparkLanguage::Java, "local:///a.jar");
            plan(Ids(&id), &job, &conf, &SubmitterEnv::default(), staged)
        };
        let two = format!("{}#alias,{}", file("a b.csv"), file("c.csv"));
        let before = planned(&two, &[]).unwrap();
        let urls = |plan: &UploadPlan| plan.properties[0].1.clone();
        let hidden = format!("https://h:1/token/{REDACTED}");
        assert_eq!(urls(&before), format!("{hidden}/a b.csv#alias,{hidden}/c.csv"));
        assert_eq!(before.uploads.staging_server(), Some("https://h:1"));
        let staged = ["https://d/token/1/a%20b.csv", "https://d/token/2/c.csv"].map(StagedFile::at);
        let after = planned(&two, &staged).unwrap();
        assert_eq!(urls(&after), "https://d/token/1/a%20b.csv#alias,https://d/token/2/c.csv");
        assert_eq!(after.uploads, before.uploads);
        let glob = format!("{}/x*y", directory.path().display());
        for name in ["x,y", "x?y", "x[y"] {
            file(name);
            let error = planned(&glob, &[]).map(|_| ()).unwrap_err();
            assert!(error.message().contains("Spark cannot fetch"), "{error}");
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
    }
}

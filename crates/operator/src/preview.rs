//! What the applications of a manifest would create.

use anymaster_core::model::SubmissionId;
use anymaster_core::{Error, Result};
use anymaster_submitter::Submitter;
use serde_json::Value;

use crate::identity::{Attempt, submission_id};
use crate::translate::{Identity, Translation, translate};
use crate::v1beta2::{self, Map};

/// The uid of an application that is not in a cluster.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// What one application would create.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// `namespace/name` of the application.
    pub application: String,
    /// The lists of objects, as `submit --dry-run` shows them.
    pub objects: Value,
    /// Fields that have no effect, with the reason.
    pub warnings: Vec<String>,
}

/// Shows what the applications of a manifest, one or several documents of YAML or JSON, would create. `namespace`:
/// that of applications that name none; `master`: the cluster. Nothing is sent.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) or
/// [`Unsupported`](anymaster_core::ErrorKind::Unsupported), with the document and the field at fault.
pub async fn preview(
    manifest: &str,
    namespace: &str,
    master: &str,
    submitter: &Submitter,
) -> Result<Vec<Preview>> {
    let mut previews = Vec::new();
    for application in applications(manifest, namespace)? {
        let Application { identity, spec } = application;
        let shown = format!("{}/{}", identity.namespace, identity.name);
        let found = of_one(&identity, &spec, master, submitter).await;
        let (objects, translation) = found.map_err(|error| error.context(&shown))?;
        let warnings = translation.ignored.iter();
        let warnings =
            warnings.map(|ignored| format!("{} has no effect: {}", ignored.field, ignored.why));
        previews.push(Preview { warnings: warnings.collect(), application: shown, objects });
    }
    Ok(previews)
}

async fn of_one(
    identity: &Identity,
    spec: &Value,
    master: &str,
    submitter: &Submitter,
) -> Result<(Value, Translation)> {
    let attempt = Attempt { uid: &identity.uid, spec, before: "", number: 1 };
    let id = submission_id(attempt);
    let translation = translate(identity, &v1beta2::read(spec)?, master, &id)?;
    let id = SubmissionId::new(&id)?;
    let templates = translation.templates.clone();
    let objects = submitter.preview(&id, &translation.line, templates).await?.ok_or_else(|| {
        Error::unsupported(format!("{master}: SparkApplications run on Kubernetes"))
            .with_hint("write --master k8s://https://host:6443")
    })?;
    Ok((objects, translation))
}

/// An application of a manifest.
#[derive(Debug)]
struct Application {
    identity: Identity,
    spec: Value,
}

fn applications(manifest: &str, namespace: &str) -> Result<Vec<Application>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).map_err(|error| {
        // The message of the parser may quote the manifest, which may have secrets; its place is enough.
        let place = error.location();
        let place = place.map(|at| format!(" in line {}", at.line())).unwrap_or_default();
        Error::invalid(format!("the manifest is not YAML: there is a mistake{place}"))
    })?;
    let named = documents.into_iter().enumerate().filter(|(_, document)| !document.is_null());
    let applications: Vec<_> = named
        .map(|(index, document)| {
            application(document, namespace)
                .map_err(|error| error.context(format!("document {}", index + 1)))
        })
        .collect::<Result<_>>()?;
    match applications.is_empty() {
        true => Err(Error::invalid("there is no SparkApplication in the manifest")),
        false => Ok(applications),
    }
}

fn application(mut document: Value, namespace: &str) -> Result<Application> {
    let (version, kind) = (document["apiVersion"].as_str(), document["kind"].as_str());
    let known = v1beta2::api_version();
    if version != Some(&known) || kind != Some(v1beta2::KIND) {
        let (version, kind) = (version.unwrap_or("none"), kind.unwrap_or("none"));
        return Err(Error::unsupported(format!("apiVersion {version}, kind {kind}"))
            .with_hint(format!("{} of {known} is supported", v1beta2::KIND)));
    }
    let text = |field: &str| document["metadata"][field].as_str().map(str::to_owned);
    let name = text("name").ok_or_else(|| Error::invalid("metadata.name: it is missing"))?;
    let labels: Map = match &document["metadata"]["labels"] {
        Value::Null => Map::new(),
        labels => serde_path_to_error::deserialize(labels).map_err(|error| {
            Error::invalid(format!("metadata.labels.{}: {}", error.path(), error.inner()))
        })?,
    };
    let identity = Identity {
        namespace: text("namespace").unwrap_or_else(|| namespace.to_owned()),
        name,
        uid: text("uid").unwrap_or_else(|| NO_UID.to_owned()),
        labels,
    };
    let spec = document.get_mut("spec").map(Value::take).unwrap_or_default();
    Ok(Application { identity, spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: sparkoperator.k8s.io/v1beta2\nkind: SparkApplication\nmetadata: {name: a}\nspec: {}\n";

    #[test]
    fn a_manifest_has_several_documents() {
        let two = format!("{GOOD}---\n{GOOD}");
        let found = applications(&two, "ns").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].identity.namespace, "ns");
    }

    #[test]
    fn other_kinds_and_mistakes_are_told_with_their_document() {
        let other = format!("{GOOD}---\napiVersion: v1\nkind: Pod\n");
        let error = applications(&other, "ns").unwrap_err();
        assert!(error.message().contains("document 2: apiVersion v1, kind Pod"), "{error}");
        let error = applications("a: [\n", "ns").unwrap_err();
        assert!(error.message().contains("not YAML"), "{error}");
        let error = applications("", "ns").unwrap_err();
        assert!(error.message().contains("no SparkApplication"), "{error}");
    }
}

//! Reads pod templates, from which pods are built.

mod reader;
mod yaml;

use anymaster_core::conf::Conf;
use anymaster_core::conf::places;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::Value;

use super::{PodDraft, Role};
use crate::keys;
use crate::store::Store;
use crate::submitter_env::{SubmitterEnv, text};

use self::reader::Step;
pub(crate) use self::reader::UnknownField;
use self::yaml::Node;

/// A pod template. Unknown fields are kept and sent, as the API server may be newer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pod: Pod,
    unknown: Vec<UnknownField>,
}

impl Template {
    /// Reads a template from a JSON object with `metadata` and `spec`.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with the field at fault.
    pub(crate) fn from_value(source: &Value) -> Result<Self> {
        Self::of(&Node::from(source)).map_err(Error::invalid)
    }

    /// Reads the template of an application's specification, if any.
    ///
    /// # Errors
    /// As [`from_value`](Self::from_value)'s.
    pub(crate) fn given(source: Option<&Value>, role: Role) -> Result<Option<Self>> {
        let template = source.map(Self::from_value).transpose();
        template.map_err(|error| error.context(format!("the template of the {}", role.name())))
    }

    /// The pod, without the fields that are unknown here.
    pub(crate) fn into_pod(self) -> Pod {
        self.pod
    }

    /// Reads a template from the text of a YAML or JSON file.
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Self::of(&Node::read(text)?)
    }

    fn of(node: &Node) -> std::result::Result<Self, String> {
        let (pod, unknown) = reader::read(node)?;
        Ok(Self { pod, unknown })
    }

    /// A warning for each unknown field.
    pub(crate) fn unknown_field_warnings(&self, name: &str) -> impl Iterator<Item = String> {
        self.unknown.iter().map(move |field| {
            let path = reader::shown(&field.path);
            let line = match field.line {
                0 => String::new(),
                line => format!(" (line {line})"),
            };
            let near = field.near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            format!("{name}: {path}{line} is not a known field of a pod{near}")
        })
    }
}

/// Starts a pod with the template of its role, or with an empty one.
pub(crate) fn start(
    given: Option<&Template>,
    conf: &Conf,
    role: Role,
    submitter: &SubmitterEnv,
    warnings: &mut Vec<String>,
) -> Result<PodDraft> {
    let (file, container) = match role {
        Role::Driver => (&keys::DRIVER_POD_TEMPLATE, &keys::DRIVER_POD_TEMPLATE_CONTAINER),
        Role::Executor => (&keys::EXECUTOR_POD_TEMPLATE, &keys::EXECUTOR_POD_TEMPLATE_CONTAINER),
    };
    let template = match (given, conf.read_optional(file)?) {
        (Some(template), _) => {
            warnings.extend(
                template.unknown_field_warnings(&format!("the template of the {}", role.name())),
            );
            template.clone()
        }
        (None, Some(path)) => load(submitter, file.info.name, &path, warnings)?.1,
        (None, None) => return Ok(PodDraft::default()),
    };
    let Template { mut pod, unknown } = template;
    let name = conf.read_optional(container)?;
    let (container, at) = take_container(&mut pod, name.as_deref(), warnings);
    let spec = pod.spec.unwrap_or_default();
    let sidecars = spec.containers.len();
    let unknown = unknown.into_iter().map(|field| reindexed(field, at, sidecars)).collect();
    Ok(PodDraft { metadata: pod.metadata, spec, container, unknown })
}

/// Removes the named container of a pod, or its first one. Returns it with its index.
fn take_container(
    pod: &mut Pod,
    name: Option<&str>,
    warnings: &mut Vec<String>,
) -> (Container, usize) {
    let containers = &mut pod.spec.get_or_insert_default().containers;
    let named =
        name.and_then(|name| containers.iter().position(|container| container.name == name));
    if let (Some(name), None) = (name, named) {
        warnings.push(format!(
            "specified container {name} not found on pod template, falling back to taking the first \
             container"
        ));
    }
    let at = named.unwrap_or(0);
    let taken = if at < containers.len() { containers.remove(at) } else { Container::default() };
    (taken, at)
}

/// Adjusts the path of an unknown field: the main container moves from index `main` to the end.
fn reindexed(mut field: UnknownField, main: usize, sidecars: usize) -> UnknownField {
    if let [Step::Field(spec), Step::Field(list), Step::Item(index), ..] = field.path.as_mut_slice()
        && spec == "spec"
        && list == "containers"
    {
        *index = match (*index).cmp(&main) {
            std::cmp::Ordering::Less => *index,
            std::cmp::Ordering::Equal => sidecars,
            std::cmp::Ordering::Greater => *index - 1,
        };
    }
    field
}

/// Inserts unknown fields into the JSON of an object.
pub(crate) fn insert_unknown_fields(object: &mut Value, unknown: &[UnknownField]) {
    for field in unknown {
        let Some((last, way)) = field.path.split_last() else { continue };
        let mut place = Some(&mut *object);
        for step in way {
            place = match step {
                Step::Field(name) => place.and_then(|place| {
                    let map = place.as_object_mut()?;
                    Some(
                        map.entry(name.as_str())
                            .or_insert_with(|| Value::Object(Default::default())),
                    )
                }),
                Step::Item(index) => place.and_then(|place| place.get_mut(*index)),
            };
        }
        if let (Some(place), Step::Field(name)) = (place.and_then(Value::as_object_mut), last) {
            place.insert(name.clone(), field.value.clone());
        }
    }
}

/// Fetches remote templates beforehand, from object stores with the credentials of uploads, or from
/// HTTP URLs.
///
/// # Errors
/// If a template cannot be read; the error names its property.
pub(crate) async fn fetch(conf: &Conf, submitter: &SubmitterEnv) -> Result<SubmitterEnv> {
    let (mut conf, mut submitter) = (conf.clone(), submitter.clone());
    conf.set_variables(submitter.variables());
    for key in [&keys::DRIVER_POD_TEMPLATE, &keys::EXECUTOR_POD_TEMPLATE] {
        let Some(text) = conf.read_optional(key)? else { continue };
        let Some((scheme, _)) = text.split_once("://") else { continue };
        if matches!(scheme, "file" | "local") || submitter.fetched.contains_key(&text) {
            continue;
        }
        let property = key.info.name;
        submitter.check_owner(property, &text)?;
        let content = Store::read(property, &text, &conf, &submitter).await?;
        submitter.fetched.insert(text, content);
    }
    Ok(submitter)
}

/// Reads and checks a template. Warns of unknown fields.
pub(crate) fn load(
    submitter: &SubmitterEnv,
    property: &str,
    path: &str,
    warnings: &mut Vec<String>,
) -> Result<(String, Template)> {
    let shown = places(path);
    let invalid =
        |why: String| Error::invalid(format!("{property}: {shown} is not a pod template: {why}"));
    // For templates, Spark treats local: as file:.
    let file = path.strip_prefix("local://").or_else(|| path.strip_prefix("local:"));
    let bytes = submitter.read(property, file.unwrap_or(path))?;
    let text = text(&shown, bytes, warnings);
    let template = Template::from_text(&text).map_err(invalid)?;
    warnings.extend(template.unknown_field_warnings(&shown));
    Ok((text, template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_inserted_at_their_paths() {
        let template = Template::from_text(
            "metadata: {futureA: 1}\nspec:\n  futureB: [2]\n  futureC: {d: {e: 3}}\n  containers:\n  \
             - {name: side, futureD: 4}\n  - {name: main, futureE: {f: 1.50}, securityContext: {futureF: 6}}\n  \
             - {name: last, futureG: 7}\n  volumes: [{name: v, futureH: 8}]\n",
        )
        .unwrap();
        let conf = Conf::from_iter([(keys::DRIVER_POD_TEMPLATE_CONTAINER.info.name, "main")]);
        let submitter = SubmitterEnv::default();
        let draft =
            start(Some(&template), &conf, Role::Driver, &submitter, &mut Vec::new()).unwrap();
        let (pod, unknown) = draft.finish();
        let mut value = serde_json::to_value(pod).unwrap();
        insert_unknown_fields(&mut value, &unknown);
        assert_eq!(
            value,
            serde_json::json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"futureA": 1},
                "spec": {
                    "futureB": [2], "futureC": {"d": {"e": 3}}, "volumes": [{"name": "v", "futureH": 8}],
                    "containers": [
                        {"name": "side", "futureD": 4}, {"name": "last", "futureG": 7},
                        {"name": "main", "futureE": {"f": 1.5}, "securityContext": {"futureF": 6}},
                    ],
                },
            })
        );
    }
}

//! Pod templates: the ground that everything else is put on.

mod reader;
mod yaml;

use anymaster_core::conf::Conf;
use anymaster_core::conf::places;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::Value;

use super::{PodDraft, Role};
use crate::keys;
use crate::machine::{Machine, text};
use crate::store::Store;

use self::reader::Step;
pub(crate) use self::reader::Unknown;
use self::yaml::Node;

/// A pod template. Fields of it that are not known here reach the API server all the same: it may be
/// newer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pod: Pod,
    unknown: Vec<Unknown>,
}

impl Template {
    /// A template as an object has it: `metadata` and `spec`.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with the field at fault.
    pub(crate) fn from_value(source: &Value) -> Result<Self> {
        Self::of(&Node::from(source)).map_err(Error::invalid)
    }

    /// The template that a specification has, if it has one.
    ///
    /// # Errors
    /// As [`from_value`](Self::from_value)'s.
    pub(crate) fn given(source: Option<&Value>, role: Role) -> Result<Option<Self>> {
        let template = source.map(Self::from_value).transpose();
        template.map_err(|error| error.context(format!("the template of the {}", role.name())))
    }

    /// A template as a file has it: YAML or JSON.
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Self::of(&Node::read(text)?)
    }

    fn of(node: &Node) -> std::result::Result<Self, String> {
        let (pod, unknown) = reader::read(node)?;
        Ok(Self { pod, unknown })
    }

    /// What of it is not known here, a sentence each.
    pub(crate) fn doubts(&self, name: &str) -> impl Iterator<Item = String> {
        self.unknown.iter().map(move |field| {
            let path = reader::shown(&field.path);
            let line = match field.line {
                0 => String::new(),
                line => format!(" (line {line})"),
            };
            let near = field.near.map(|near| format!("; is {near} meant?")).unwrap_or_default();
            format!("{name}: {path}{line} is no field of a pod that is known here{near}")
        })
    }
}

/// A pod as the template of its role has it, or an empty one.
pub(crate) fn start(
    given: Option<&Template>,
    conf: &Conf,
    role: Role,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<PodDraft> {
    let (file, container) = match role {
        Role::Driver => (&keys::DRIVER_POD_TEMPLATE, &keys::DRIVER_POD_TEMPLATE_CONTAINER),
        Role::Executor => (&keys::EXECUTOR_POD_TEMPLATE, &keys::EXECUTOR_POD_TEMPLATE_CONTAINER),
    };
    let template = match (given, conf.read_optional(file)?) {
        (Some(template), _) => {
            warnings.extend(template.doubts(&format!("the template of the {}", role.name())));
            template.clone()
        }
        (None, Some(path)) => load(machine, file.info.name, &path, warnings)?.1,
        (None, None) => return Ok(PodDraft::default()),
    };
    let Template { mut pod, unknown } = template;
    let name = conf.read_optional(container)?;
    let (container, at) = take_container(&mut pod, name.as_deref(), warnings);
    let spec = pod.spec.unwrap_or_default();
    let beside = spec.containers.len();
    let unknown = unknown.into_iter().map(|field| moved(field, at, beside)).collect();
    Ok(PodDraft { metadata: pod.metadata, spec, container, unknown })
}

/// The named container of a pod, or else its first one; and where it was.
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

/// The main container was at `main`, and comes after the others.
fn moved(mut field: Unknown, main: usize, beside: usize) -> Unknown {
    if let [Step::Field(spec), Step::Field(list), Step::Item(index), ..] = field.path.as_mut_slice()
        && spec == "spec"
        && list == "containers"
    {
        *index = match (*index).cmp(&main) {
            std::cmp::Ordering::Less => *index,
            std::cmp::Ordering::Equal => beside,
            std::cmp::Ordering::Greater => *index - 1,
        };
    }
    field
}

/// Puts the fields that are not known into an object that was made of the known ones.
pub(crate) fn complete(object: &mut Value, unknown: &[Unknown]) {
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

/// Reads the templates that are elsewhere, so that all else needs no network: in object stores, with the
/// credentials that uploads use, or at HTTP URLs.
///
/// # Errors
/// If one cannot be read, with the property that names it.
pub(crate) async fn fetch(conf: &Conf, machine: &Machine) -> Result<Machine> {
    let (mut conf, mut machine) = (conf.clone(), machine.clone());
    conf.set_variables(machine.variables());
    for key in [&keys::DRIVER_POD_TEMPLATE, &keys::EXECUTOR_POD_TEMPLATE] {
        let Some(text) = conf.read_optional(key)? else { continue };
        let Some((scheme, _)) = text.split_once("://") else { continue };
        if matches!(scheme, "file" | "local") || machine.fetched.contains_key(&text) {
            continue;
        }
        let property = key.info.name;
        machine.check_owner(property, &text)?;
        let content = Store::read(property, &text, &conf, &machine).await?;
        machine.fetched.insert(text, content);
    }
    Ok(machine)
}

/// Reads a template and checks that it is one. Warns of fields that are not known.
pub(crate) fn load(
    machine: &Machine,
    property: &str,
    path: &str,
    warnings: &mut Vec<String>,
) -> Result<(String, Template)> {
    let shown = places(path);
    let invalid =
        |why: String| Error::invalid(format!("{property}: {shown} is not a pod template: {why}"));
    // Of a template, Spark reads local: as file:.
    let file = path.strip_prefix("local://").or_else(|| path.strip_prefix("local:"));
    let bytes = machine.read(property, file.unwrap_or(path))?;
    let text = text(&shown, bytes, warnings);
    let template = Template::from_text(&text).map_err(invalid)?;
    warnings.extend(template.doubts(&shown));
    Ok((text, template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays_where_it_was() {
        let template = Template::from_text(
            "metadata: {futureA: 1}\nspec:\n  futureB: [2]\n  futureC: {d: {e: 3}}\n  containers:\n  \
             - {name: side, futureD: 4}\n  - {name: main, futureE: {f: 1.50}, securityContext: {futureF: 6}}\n  \
             - {name: last, futureG: 7}\n  volumes: [{name: v, futureH: 8}]\n",
        )
        .unwrap();
        let conf = Conf::from_iter([(keys::DRIVER_POD_TEMPLATE_CONTAINER.info.name, "main")]);
        let machine = Machine::default();
        let draft = start(Some(&template), &conf, Role::Driver, &machine, &mut Vec::new()).unwrap();
        let (pod, unknown) = draft.finish();
        let mut value = serde_json::to_value(pod).unwrap();
        complete(&mut value, &unknown);
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

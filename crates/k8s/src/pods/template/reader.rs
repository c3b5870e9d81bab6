//! Deserializes YAML into a pod, as leniently as Spark's Kubernetes client: any scalar is accepted
//! where a string is expected, and `"5"` where a number is. Unknown fields are collected.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::yaml::{Content, Node};

/// One step of a path into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Field(String),
    Item(usize),
}

/// A field that is not in this version of the API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnknownField {
    pub(crate) path: Vec<Step>,
    pub(crate) line: usize,
    pub(crate) value: Value,
    /// The most similar known field.
    pub(crate) near: Option<&'static str>,
}

/// A path as text: `spec.containers[0].env`, `metadata.labels["a/b"]`.
pub(crate) fn shown(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        // Writing to a string does not fail.
        let _ = match step {
            Step::Item(index) => write!(text, "[{index}]"),
            Step::Field(name) if name.chars().all(|c| c.is_ascii_alphanumeric()) => {
                let dot = if text.is_empty() { "" } else { "." };
                write!(text, "{dot}{name}")
            }
            Step::Field(name) => write!(text, "[{name:?}]"),
        };
    }
    text
}

/// Deserializes a value.
///
/// # Errors
/// The fault, with the field and the line.
pub(super) fn read<T: DeserializeOwned>(node: &Node) -> Result<(T, Vec<UnknownField>), String> {
    let unknown = RefCell::default();
    let place = Place { node, path: &Path::Top, fields: &[], as_text: false, unknown: &unknown };
    let value = T::deserialize(place).map_err(|fault| fault.0)?;
    Ok((value, unknown.into_inner()))
}

/// The path of a value, as a list linked from its last step.
enum Path<'a> {
    Top,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn steps(&self) -> Vec<Step> {
        let (before, step) = match self {
            Self::Top => return Vec::new(),
            Self::Field(before, name) => (before, Step::Field((*name).to_owned())),
            Self::Item(before, index) => (before, Step::Item(*index)),
        };
        let mut steps = before.steps();
        steps.push(step);
        steps
    }
}

/// A value with its position.
#[derive(Clone, Copy)]
struct Place<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
    /// The names of the fields that are known in its place.
    fields: &'static [&'static str],
    /// Whether any scalar is read as text.
    as_text: bool,
    unknown: &'a RefCell<Vec<UnknownField>>,
}

/// A fault, with its position once that is known.
#[derive(Debug)]
struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

impl Place<'_> {
    fn fault(&self, what: impl fmt::Display) -> Fault {
        let path = shown(&self.path.steps());
        let at = if path.is_empty() { "the template" } else { &path };
        match self.node.line {
            0 => Fault(format!("{at} {what}")),
            line => Fault(format!("{at} {what} (line {line})")),
        }
    }

    fn wanted(&self, wanted: &str) -> Fault {
        let found = match (&self.node.content, self.node.text()) {
            (Content::Text(_) | Content::Number(_) | Content::Flag(_), Some(text)) => {
                format!("{text:?}")
            }
            _ => self.node.kind().to_owned(),
        };
        self.fault(format_args!("is {found}, and not {wanted}"))
    }

    fn text(&self) -> Result<String, Fault> {
        let text = self.node.text().ok_or_else(|| self.wanted("text"))?;
        Ok(text.into_owned())
    }

    /// Adds the position to a visitor's error.
    fn place<T>(&self, visited: Result<T, Fault>) -> Result<T, Fault> {
        visited.map_err(|fault| self.fault(format_args!("is not valid: {fault}")))
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let number = match &self.node.content {
                Content::Number(number) => number.as_i64().or_else(|| {
                    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
                    (float.abs() < 1e15).then_some(float as i64)
                }),
                Content::Text(text) => text.trim().parse().ok(),
                _ => None,
            };
            let number = number.ok_or_else(|| self.wanted("a whole number"))?;
            self.place(visitor.visit_i64(number))
        }
    )*};
}

impl<'de> Deserializer<'de> for Place<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.as_text {
            return self.place(visitor.visit_string(self.text()?));
        }
        match &self.node.content {
            Content::Null => self.place(visitor.visit_unit()),
            Content::Flag(flag) => self.place(visitor.visit_bool(*flag)),
            Content::Number(number) => self.place(match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => visitor.visit_i64(number),
                (None, Some(float)) => visitor.visit_f64(float),
                (None, None) => visitor.visit_string(number.to_string()),
            }),
            Content::Text(text) => self.place(visitor.visit_str(text)),
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.place(visitor.visit_string(self.text()?))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let flag = match &self.node.content {
            Content::Flag(flag) => Some(*flag),
            Content::Text(text) => text.to_ascii_lowercase().parse().ok(),
            _ => None,
        };
        let flag = flag.ok_or_else(|| self.wanted("true or false"))?;
        self.place(visitor.visit_bool(flag))
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        // Quantities are numbers or strings, and kept as they are written.
        visitor.visit_newtype_struct(Place { as_text: name == "Quantity", ..self })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Content::List(items) = &self.node.content else { return Err(self.wanted("a list")) };
        visitor.visit_seq(Items { place: self, items: items.iter().enumerate() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Content::Map(entries) = &self.node.content else { return Err(self.wanted("a map")) };
        let place = Place { fields, ..self };
        visitor.visit_map(Entries { place, entries: entries.iter(), current: None })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.steps();
        let near = match path.last() {
            Some(Step::Field(name)) => nearest(name, self.fields),
            _ => None,
        };
        let (line, value) = (self.node.line, self.node.to_value());
        self.unknown.borrow_mut().push(UnknownField { path, line, value, near });
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

/// The known field that is most similar to a misspelt name.
fn nearest(name: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let distance = |field: &str| strsim::damerau_levenshtein(&lower, &field.to_ascii_lowercase());
    let (distance, field) = fields.iter().map(|field| (distance(field), *field)).min()?;
    (distance <= 2 && distance * 3 <= name.len()).then_some(field)
}

struct Items<'a> {
    place: Place<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path::Item(self.place.path, index);
        seed.deserialize(Place { node, path: &path, ..self.place }).map(Some)
    }
}

struct Entries<'a> {
    place: Place<'a>,
    entries: std::slice::Iter<'a, (String, Node)>,
    current: Option<&'a (String, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let Some((key, node)) = self.current else {
            return Err(self.place.fault("has a value without a key"));
        };
        let path = Path::Field(self.place.path, key);
        seed.deserialize(Place { node, path: &path, ..self.place })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(text: &str) -> Result<(Pod, Vec<UnknownField>), String> {
        read(&Node::read(text)?)
    }

    #[test]
    fn scalars_are_converted_to_the_expected_type() {
        let (pod, unknown) = pod("kind: Pod\n\
             metadata:\n  labels: {a: 1.10, b: yes, c: }\n  annotations: {scrape: true, port: 4040}\n\
             spec:\n  terminationGracePeriodSeconds: '7'\n  hostNetwork: 'true'\n  containers:\n  \
             - name: main\n    env: [{name: A, value: yes}, {name: B, value: 5}]\n    \
             command: [sleep, 5]\n    ports: [{containerPort: '8080'}]\n    \
             resources: {limits: {cpu: 1, x/y: 2.50, memory: 1.5Gi}}\n    \
             livenessProbe: {httpGet: {port: 8080, path: /}}\n")
        .unwrap();
        assert_eq!(unknown, []);
        insta::assert_snapshot!(serde_json::to_string_pretty(&pod).unwrap());
    }

    #[test]
    fn errors_have_field_and_line() {
        for (text, words) in [
            (
                "metadata:\n  labels:\n    a/b: {c: d}\n",
                "metadata.labels[\"a/b\"] is a map, and not text (line 3)",
            ),
            (
                "spec:\n  containers:\n  - name: x\n    ports: [{containerPort: 80a}]\n",
                "spec.containers[0].ports[0].containerPort is \"80a\", and not a whole number (line 4)",
            ),
            (
                "spec:\n  hostNetwork: yes\n",
                "spec.hostNetwork is \"yes\", and not true or false (line 2)",
            ),
            ("spec:\n  containers: {name: x}\n", "spec.containers is a map, and not a list"),
            ("kind: Deployment\n", "Deployment"),
            ("- a\n", "the template is a list, and not a map (line 1)"),
        ] {
            let error = pod(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn unknown_fields_are_kept_with_their_paths() {
        let (_, unknown) = pod("spec:\n  imagePullSecret: [{name: registry}]\n  containers:\n  \
             - name: main\n    requests: {cpu: 2}\n  tolerations: [{key: a, operater: Exists}]\n")
        .unwrap();
        let shown: Vec<_> = unknown
            .iter()
            .map(|field| {
                format!("{} {} {:?} {}", shown(&field.path), field.line, field.near, field.value)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "spec.imagePullSecret 2 Some(\"imagePullSecrets\") [{\"name\":\"registry\"}]",
                "spec.containers[0].requests 5 None {\"cpu\":2}",
                "spec.tolerations[0].operater 6 Some(\"operator\") \"Exists\"",
            ]
        );
    }
}

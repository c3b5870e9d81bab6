//! The fields of a request, without their values: whoever sends millions of them, or values as deep as
//! they are long, gets no more memory than the request has.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::json;

/// The names of all fields of a submission: others are told back as unknown.
const FIELDS: [&str; 7] = [
    "action",
    "appArgs",
    "appResource",
    "clientSparkVersion",
    "environmentVariables",
    "mainClass",
    "sparkProperties",
];
/// How many fields a request may have: those of the protocol, and some that nobody knows.
const MAX_FIELDS: usize = 100;
/// How much of a request is said back.
const ECHO: usize = 4 << 10;

/// What a request is, and which of its fields nobody knows.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) action: Option<String>,
    pub(super) unknown: Vec<String>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        for _ in 0..MAX_FIELDS {
            let Some(name) = map.next_key::<String>()? else { return Ok(fields) };
            if name == "action" {
                fields.action = Some(map.next_value()?);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            if !FIELDS.contains(&name.as_str()) && !fields.unknown.contains(&name) {
                fields.unknown.push(name);
            }
        }
        Err(A::Error::custom(format!("it has more than {MAX_FIELDS} fields")))
    }
}

/// What was said, to be said back, or the beginning of it if it is long.
pub(super) fn echo(said: &[u8]) -> String {
    if said.len() <= ECHO
        && let Ok(value) = serde_json::from_slice::<Value>(said)
    {
        return json::to_string(&value);
    }
    format!("{}…", String::from_utf8_lossy(&said[..said.len().min(ECHO)]))
}

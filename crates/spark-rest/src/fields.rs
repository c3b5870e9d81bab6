//! Reads the action and the field names of a request without building its values, so that a request with
//! millions of fields or deep nesting needs no additional memory.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::json;

/// The fields of a submission; others are reported as unknown.
const FIELDS: [&str; 7] = [
    "action",
    "appArgs",
    "appResource",
    "clientSparkVersion",
    "environmentVariables",
    "mainClass",
    "sparkProperties",
];
/// The largest number of fields in a request, including unknown ones.
const MAX_FIELDS: usize = 100;
/// How many bytes of a request are repeated in an error response.
const ECHO: usize = 4 << 10;

/// The action of a request, and its unknown fields.
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

/// A request as it is repeated in an error response; truncated if it is long.
pub(super) fn echo(said: &[u8]) -> String {
    if said.len() <= ECHO
        && let Ok(value) = serde_json::from_slice::<Value>(said)
    {
        return json::to_string(&value);
    }
    format!("{}…", String::from_utf8_lossy(&said[..said.len().min(ECHO)]))
}

//! The messages of Spark's REST submission protocol (Spark 3.5 and 4, `SubmitRestProtocolRequest` and
//! `SubmitRestProtocolResponse`).

use std::collections::BTreeMap;
use std::fmt;

use anymaster_core::model::State;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// The version of the protocol, part of all paths.
pub(super) const VERSION: &str = "v1";
/// The Spark version that is reported to the peer.
pub const SPARK_VERSION: &str = "4.0.5";

/// `CreateSubmissionRequest`: an application to submit.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Create {
    /// `CreateSubmissionRequest`.
    pub action: String,
    /// The application's own arguments.
    pub app_args: Option<Vec<String>>,
    /// The jar, or another file, as a URI.
    pub app_resource: Option<String>,
    /// The client's Spark version.
    pub client_spark_version: Option<String>,
    /// The driver's environment.
    #[serde(deserialize_with = "texts")]
    pub environment_variables: Option<BTreeMap<String, String>>,
    /// The class whose `main` is the driver's.
    pub main_class: Option<String>,
    /// All properties.
    #[serde(deserialize_with = "texts")]
    pub spark_properties: Option<BTreeMap<String, String>>,
}

impl fmt::Debug for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Create").field("app_resource", &self.app_resource).finish_non_exhaustive()
    }
}

/// Strings, or values that Jackson converts to strings: numbers and booleans.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let values: Option<BTreeMap<String, Text>> = Option::deserialize(from)?;
    Ok(values.map(|values| values.into_iter().map(|(key, Text(text))| (key, text)).collect()))
}

struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextReader)
    }
}

/// Refuses arrays and objects at their first byte.
struct TextReader;

impl Visitor<'_> for TextReader {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Text, E> {
        Ok(Text(flag.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Text, E> {
        let number = serde_json::Number::from_f64(number);
        number.map(|number| Text(number.to_string())).ok_or_else(|| E::custom("no number"))
    }
}

impl Create {
    /// A property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.spark_properties.as_ref()?.get(name).map(String::as_str)
    }
}

/// Any answer. Fields are in the order of their names, as Spark writes them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// Which answer it is, for example `CreateSubmissionResponse`.
    pub action: String,
    /// `SUBMITTED`, `RUNNING`, `FINISHED`, `KILLED`, `FAILED`, `ERROR` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_state: Option<String>,
    /// `v1`, for those who asked in another version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_protocol_version: Option<String>,
    /// What there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The server's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_spark_version: Option<String>,
    /// `driver-20261120211223-0002`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission_id: Option<String>,
    /// Whether it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// Fields of the request that the server does not know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_fields: Vec<String>,
    /// Where the driver runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_host_port: Option<String>,
    /// On which worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}

impl Answer {
    /// What a master says to a submission.
    pub fn created(id: &str) -> Self {
        let message = format!("Driver successfully submitted as {id}");
        Self::told("CreateSubmissionResponse", Some(id.to_owned()), true, Some(message))
    }

    /// What a master says of a driver.
    pub fn status(id: &str, state: &State) -> Self {
        Self {
            driver_state: Some(state.driver_word().to_owned()),
            ..Self::told("SubmissionStatusResponse", Some(id.to_owned()), true, None)
        }
    }

    /// An answer to what was understood.
    pub(super) fn told(
        action: &str,
        id: Option<String>,
        success: bool,
        message: Option<String>,
    ) -> Self {
        Self { submission_id: id, success: Some(success), message, ..Self::new(action) }
    }

    fn new(action: &str) -> Self {
        Self {
            action: action.to_owned(),
            server_spark_version: Some(SPARK_VERSION.to_owned()),
            ..Self::default()
        }
    }

    /// An answer to what was not understood.
    pub fn error(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::new("ErrorResponse") }
    }
}

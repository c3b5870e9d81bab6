//! Validation of submissions (Spark 3.5, `CreateSubmissionRequest.doValidate`).

use anymaster_core::conf::{SizeUnit, parse_size};

use super::message::Create;

impl Create {
    /// What is missing or invalid, in Spark's words.
    pub(super) fn validation_error(&self) -> Option<String> {
        let fields = [
            ("clientSparkVersion", self.client_spark_version.is_some()),
            ("appArgs", self.app_args.is_some()),
            ("appResource", self.app_resource.is_some()),
            ("environmentVariables", self.environment_variables.is_some()),
            ("sparkProperties", self.spark_properties.is_some()),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, is_set)| !is_set) {
            return Some(format!("'{field}' is missing."));
        }
        if self.property("spark.app.name").is_none() {
            return Some("'spark.app.name' is missing.".to_owned());
        }
        let flag: fn(&str) -> bool = |text| text.parse::<bool>().is_ok();
        // Java's `toInt`.
        let number: fn(&str) -> bool = |text| text.parse::<i32>().is_ok();
        let expected = [
            ("spark.driver.supervise", "boolean value", flag),
            ("spark.driver.cores", "numeric value", number),
            ("spark.cores.max", "numeric value", number),
            ("spark.driver.memory", "memory value", is_size),
            ("spark.executor.memory", "memory value", is_size),
        ];
        expected.iter().find_map(|(name, what, is_one)| {
            let value = self.property(name).filter(|value| !is_one(value))?;
            Some(format!("Property '{name}' expected {what}: actual was '{value}'."))
        })
    }
}

fn is_size(text: &str) -> bool {
    parse_size(text, SizeUnit::Mebi).is_ok()
}

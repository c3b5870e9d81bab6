//! Variables of the master in submissions: where a value of `environmentVariables` or `sparkProperties` is
//! `{{NAME}}` as a whole, and the master has a variable of that name, its value takes the place of that
//! (Spark 4.0, `StandaloneRestServer`, SPARK-49033 and SPARK-49034).
//!
//! Unlike Spark's, this master does not give out a variable whose name or value is secret by
//! `spark.redaction.regex`: whoever may submit could read it otherwise. Such a submission is refused.

use std::collections::BTreeMap;

use anymaster_core::conf::Redaction;
use anymaster_core::{Error, ErrorKind, Result};
use anymaster_spark_rest::Create;

/// Puts the master's variables in their places.
///
/// # Errors
/// [`Denied`](ErrorKind::Denied) for one that may be secret.
pub(super) fn replace(
    mut request: Create,
    of_master: impl Fn(&str) -> Option<String>,
    redaction: &Redaction,
) -> Result<Create> {
    let maps = [
        ("environmentVariables", &mut request.environment_variables),
        ("sparkProperties", &mut request.spark_properties),
    ];
    for (field, map) in maps {
        let map: &mut BTreeMap<String, String> = map.get_or_insert_default();
        for (key, value) in map.iter_mut() {
            let name = value.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
            let Some((name, of_master)) = name.and_then(|name| Some((name, of_master(name)?)))
            else {
                continue;
            };
            if is_secret(redaction, name, &of_master) {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!(
                        "{field}.{key}: {{{{{name}}}}} is a variable of the master that may be \
                         secret: it is not given out"
                    ),
                )
                .with_hint("set it on the workers, or give it to the application as a file"));
            }
            *value = of_master;
        }
    }
    Ok(request)
}

/// Whether a variable is one that is not shown. Names of variables have underscores where those of
/// properties have dots.
fn is_secret(redaction: &Redaction, name: &str, value: &str) -> bool {
    redaction.is_secret(name)
        || redaction.is_secret(&name.replace('_', "."))
        || redaction.is_secret(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(value: &str, redaction: &Redaction) -> Result<[String; 2]> {
        let map = || Some(BTreeMap::from([("key".to_owned(), value.to_owned())]));
        let request =
            Create { environment_variables: map(), spark_properties: map(), ..Create::default() };
        let of_master = |name: &str| {
            let value = match name {
                "ENDPOINT" => "http://store:9000",
                "AWS_SECRET_ACCESS_KEY" | "AWS_ACCESS_KEY_ID" | "GITHUB_TOKEN" => "x",
                "JAVA_OPTS" => "-Dpassword=x",
                "EMPTY" => "",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let done = replace(request, of_master, redaction)?;
        let of = |map: Option<BTreeMap<String, String>>| map.unwrap().remove("key").unwrap();
        Ok([of(done.environment_variables), of(done.spark_properties)])
    }

    #[test]
    fn a_value_that_is_a_variable_of_the_master_is_replaced_as_a_whole() {
        for (value, is) in [
            ("{{ENDPOINT}}", "http://store:9000"),
            ("{{EMPTY}}", ""),
            // As Spark: nothing else is touched.
            ("{{NO_SUCH_VARIABLE}}", "{{NO_SUCH_VARIABLE}}"),
            ("a {{ENDPOINT}}", "a {{ENDPOINT}}"),
            ("{ENDPOINT}", "{ENDPOINT}"),
            ("{{}}", "{{}}"),
            ("{{ENDPOINT", "{{ENDPOINT"),
        ] {
            let is = [is.to_owned(), is.to_owned()];
            assert_eq!(replaced(value, &Redaction::default()).unwrap(), is, "{value}");
        }
    }

    #[test]
    fn a_variable_that_may_be_secret_is_not_given_out() {
        for name in ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "GITHUB_TOKEN", "JAVA_OPTS"] {
            let refused = replaced(&format!("{{{{{name}}}}}"), &Redaction::default()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied);
            assert!(refused.message().contains(&format!("{{{{{name}}}}}")), "{refused}");
        }
        let conf = [("spark.redaction.regex", "(?i)endpoint")].into_iter().collect();
        let other = Redaction::from_conf(&conf).unwrap();
        replaced("{{ENDPOINT}}", &other).unwrap_err();
        replaced("{{GITHUB_TOKEN}}", &other).unwrap();
    }
}

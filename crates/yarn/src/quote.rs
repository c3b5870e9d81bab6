//! Quoting for containers. A NodeManager writes `export NAME="VALUE"` and `exec /bin/bash -c "COMMAND"` without
//! escaping, after it has replaced its own marks: so each text passes two shells (Hadoop 3.4,
//! `ContainerLaunch`). Spark's own quoting loses some arguments on that way; this one none.

/// What a NodeManager replaces wherever it stands.
const MARKS: [&str; 5] = ["<LOG_DIR>", "<CPS>", "<JVM_ADD_OPENS>", "{{", "}}"];

/// An argument of a command.
pub(crate) fn argument(text: &str) -> String {
    outer(&broken(format!("'{}'", text.replace('\'', r"'\''")), "''"))
}

/// An option of the JVM, in which the NodeManager's marks are meant (`-Xlog:gc:<LOG_DIR>/gc.log`).
pub(crate) fn option(text: &str) -> String {
    outer(&format!("'{}'", text.replace('\'', r"'\''")))
}

/// The value of a variable.
pub(crate) fn value(text: &str) -> String {
    broken(outer(text), "\"\"")
}

/// For what stands between double quotes.
fn outer(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '\\' | '"' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted
}

/// Breaks the marks with an empty pair of quotes, until there are none.
fn broken(mut text: String, pair: &str) -> String {
    while let Some(at) = MARKS.iter().filter_map(|mark| text.find(mark)).min() {
        text.insert_str(at + 1, pair);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// As a NodeManager's script starts it.
    fn run(variable: &str, argument: &str) -> String {
        let replaced = |text: &str| {
            let text = text.replace("<LOG_DIR>", "/log").replace("<CPS>", ":");
            text.replace("<JVM_ADD_OPENS>", "").replace("{{", "$").replace("}}", "")
        };
        let script = format!(
            "export V=\"{}\"\nexec /bin/bash -c \"printf %s {} \\\"\\$V\\\"\"\n",
            replaced(variable),
            replaced(argument)
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn every_text_arrives_as_it_is() {
        for text in [
            "plain",
            "",
            "two words",
            "it's",
            "'",
            "''",
            "\"double\"",
            "$HOME ${HOME} $(id) `id`",
            r"back\slash \\ \n",
            r#"{"a":{"b":1}}"#,
            "{{PWD}}/x",
            "}}}",
            "<LOG_DIR><CPS><JVM_ADD_OPENS>",
            "a;b&c|d>e<f(g)h*i?j[k]l#m~n!o%p^q",
            "line\nline",
            "tab\there",
            "äöü €",
            "-Dx={{y}} \\\"z\\\"",
        ] {
            assert_eq!(run(&value(text), &argument(text)), format!("{text}{text}"), "{text:?}");
        }
    }
}

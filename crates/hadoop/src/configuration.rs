//! Hadoop's configuration: XML files, the later of which win (Hadoop 3.4, `Configuration`).

use std::collections::BTreeMap;
use std::path::Path;

use anymaster_core::{Error, Result};
use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

/// The files of a client, in the order in which they are read.
const FILES: [&str; 4] = ["core-site.xml", "hdfs-site.xml", "yarn-site.xml", "mapred-site.xml"];
/// How many times references within values are followed (Hadoop: the same).
const DEPTH: usize = 20;
/// The longest file that is read.
const MAX_FILE: u64 = 16 << 20;

/// The properties of a Hadoop cluster, as its clients know them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    values: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    text: String,
    is_final: bool,
}

impl Configuration {
    /// Reads the configuration files that are in a directory.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if the directory cannot be read, a file is not
    /// XML of this form, or includes another file.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut configuration = Self::default();
        let unreadable =
            |path: &Path, error| Error::invalid(format!("{}", path.display())).with_source(error);
        std::fs::read_dir(dir).map_err(|error| {
            Error::invalid(format!("cannot read the directory {}", dir.display()))
                .with_source(error)
        })?;
        for name in FILES {
            let path = dir.join(name);
            match std::fs::metadata(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&path, error)),
                Ok(file) if file.len() > MAX_FILE => {
                    return Err(Error::invalid(format!("{} is too long", path.display())));
                }
                Ok(_) => {}
            }
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            configuration.add(&text).map_err(|error| error.context(path.display()))?;
        }
        Ok(configuration)
    }

    /// Adds the properties of a file. Those that an earlier file calls final stay as they are.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for another text than a configuration.
    pub fn add(&mut self, xml: &str) -> Result<()> {
        for Property { name, value, is_final } in properties(xml)? {
            if !self.values.get(&name).is_some_and(|known| known.is_final) {
                self.values.insert(name, Value { text: value, is_final });
            }
        }
        Ok(())
    }

    /// Sets a property, whatever files say.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), Value { text: value.into(), is_final: true });
    }

    /// A value with what it refers to: other properties (`${name}`), variables of the environment
    /// (`${env.NAME}`, with `:-` and `-` for defaults).
    pub fn get(&self, name: &str) -> Option<String> {
        let value = self.values.get(name)?.text.trim();
        Some(self.expand(value)).filter(|value| !value.is_empty())
    }

    /// All properties, with what their values refer to.
    pub fn all(&self) -> BTreeMap<String, String> {
        let all = self.values.keys().filter_map(|name| Some((name.clone(), self.get(name)?)));
        all.collect()
    }

    /// All properties as a configuration file.
    pub fn to_xml(&self) -> String {
        let mut xml = "<?xml version=\"1.0\"?>\n<configuration>\n".to_owned();
        for (name, value) in self.all() {
            let (name, value) = (escape(&name), escape(&value));
            xml += &format!("<property><name>{name}</name><value>{value}</value></property>\n");
        }
        xml + "</configuration>\n"
    }

    /// Whether a property is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A list, of which the parts are separated by commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let value = self.get(name).unwrap_or_default();
        value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The values of a key for each member of a group that is highly available: `name.id`. Without a group,
    /// of the key itself.
    pub fn of_each(&self, name: &str, ids: &[String]) -> Vec<Option<String>> {
        match ids {
            [] => vec![self.get(name)],
            ids => ids.iter().map(|id| self.get(&format!("{name}.{id}"))).collect(),
        }
    }

    fn expand(&self, value: &str) -> String {
        let mut text = value.to_owned();
        for _ in 0..DEPTH {
            let Some(begin) = text.find("${") else { break };
            let Some(length) = text[begin..].find('}') else { break };
            let Some(found) = self.referred(&text[begin + 2..begin + length]) else { break };
            text.replace_range(begin..=begin + length, &found);
        }
        text
    }

    fn referred(&self, name: &str) -> Option<String> {
        let Some(variable) = name.strip_prefix("env.") else {
            return self.values.get(name).map(|value| value.text.clone());
        };
        let (variable, default) = match variable.split_once(":-").or(variable.split_once('-')) {
            Some((variable, default)) => (variable, Some(default)),
            None => (variable, None),
        };
        std::env::var(variable).ok().or_else(|| default.map(str::to_owned))
    }
}

/// Properties that are set, whatever files say.
impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Configuration {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(properties: I) -> Self {
        let mut configuration = Self::default();
        properties.into_iter().for_each(|(name, value)| configuration.set(name, value));
        configuration
    }
}

#[derive(Debug, Default)]
struct Property {
    name: String,
    value: String,
    is_final: bool,
}

fn properties(xml: &str) -> Result<Vec<Property>> {
    let invalid = |what: String| Error::invalid(what);
    let mut reader = Reader::from_str(xml);
    let (mut all, mut open) = (Vec::new(), Vec::<String>::new());
    let mut property = Property::default();
    let mut text = String::new();
    loop {
        let event = reader.read_event().map_err(|error| {
            invalid(format!("this is not XML, at byte {}", reader.error_position()))
                .with_source(error)
        })?;
        match event {
            Event::Start(tag) => {
                let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
                match (open.len(), name.as_str()) {
                    (0, "configuration") => {}
                    (0, other) => {
                        return Err(invalid(format!(
                            "it begins with <{other}>, not <configuration>"
                        )));
                    }
                    (1, "property") => property = Property::default(),
                    (_, "include") => return Err(included()),
                    _ => {}
                }
                text.clear();
                open.push(name);
            }
            Event::Empty(tag) if tag.local_name().as_ref() == b"include" => return Err(included()),
            Event::Text(part) => {
                text += &part.decode().map_err(|error| {
                    invalid("a text of it is not UTF-8".to_owned()).with_source(error)
                })?;
            }
            Event::CData(part) => text += &String::from_utf8_lossy(&part),
            Event::GeneralRef(reference) => text.push_str(&resolved(&reference)?),
            Event::End(_) => {
                let closed = open.pop();
                match (open.len(), closed.as_deref()) {
                    (1, Some("property")) if !property.name.is_empty() => {
                        all.push(std::mem::take(&mut property));
                    }
                    (2, Some("name")) => text.trim().clone_into(&mut property.name),
                    (2, Some("value")) => property.value.clone_from(&text),
                    (2, Some("final")) => property.is_final = text.trim() == "true",
                    _ => {}
                }
            }
            Event::Eof if open.is_empty() => return Ok(all),
            Event::Eof => return Err(invalid(format!("<{}> is not closed", open.join("><")))),
            _ => {}
        }
    }
}

fn resolved(reference: &quick_xml::events::BytesRef<'_>) -> Result<String> {
    let name = String::from_utf8_lossy(reference).into_owned();
    let known = match name.as_str() {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => reference.resolve_char_ref().ok().flatten(),
    };
    let known = known.map(String::from);
    known.ok_or_else(|| Error::invalid(format!("&{name}; is not a character")))
}

fn included() -> Error {
    Error::unsupported("it includes another file (XInclude), which is not read")
        .with_hint("write the properties of that file into this one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let written: Configuration = [("a", "x < y & \"z\""), ("b", "${a}!")].into_iter().collect();
        let mut read = Configuration::default();
        read.add(&written.to_xml()).unwrap();
        assert_eq!(read.get("b").as_deref(), Some("x < y & \"z\"!"));
        assert_eq!(read.all(), written.all());
    }

    fn of(text: &str) -> Configuration {
        let mut configuration = Configuration::default();
        configuration.add(text).unwrap();
        configuration
    }

    fn property(name: &str, value: &str, rest: &str) -> String {
        format!("<property><name>{name}</name><value>{value}</value>{rest}</property>")
    }

    #[test]
    fn later_files_win_except_over_what_is_final() {
        let file = |rest: &str, value: &str| {
            let all = property("a", value, rest) + &property("b", value, "<source>x</source>");
            format!(
                "<?xml version=\"1.0\"?>\n<!-- c -->\n<configuration>\n {all}\n</configuration>"
            )
        };
        let mut configuration = of(&file("<final>true</final>", "1"));
        configuration.add(&file("", "2")).unwrap();
        assert_eq!(configuration.get("a").as_deref(), Some("1"));
        assert_eq!(configuration.get("b").as_deref(), Some("2"));
        configuration.set("a", "3");
        assert_eq!(configuration.get("a").as_deref(), Some("3"));
    }

    #[test]
    fn values_refer_to_others_and_to_the_environment() {
        let all = [
            property("host", "rm", ""),
            property("address", "${host}:8032", ""),
            property("home", "${env.NO_SUCH_VARIABLE:-/none}", ""),
            property("loop", "${loop}x", ""),
            property("unknown", "a ${no.such} b", ""),
            property("list", " a , b,,", ""),
            property("marks", "&lt;a&amp;b&#x3E;<![CDATA[<c>]]>", ""),
            property("empty", "  ", ""),
        ];
        let configuration = of(&format!("<configuration>{}</configuration>", all.concat()));
        let get = |name| configuration.get(name);
        assert_eq!(get("address").as_deref(), Some("rm:8032"));
        assert_eq!(get("home").as_deref(), Some("/none"));
        assert!(get("loop").unwrap().ends_with('x'));
        assert_eq!(get("unknown").as_deref(), Some("a ${no.such} b"));
        assert_eq!(configuration.list("list"), ["a", "b"]);
        assert_eq!(get("marks").as_deref(), Some("<a&b><c>"));
        assert_eq!(get("empty"), None);
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_place() {
        for (text, words) in [
            ("<configuration><property>", "is not closed"),
            ("<project></project>", "<project>"),
            ("<configuration><include href='x'/></configuration>", "XInclude"),
            ("<configuration></property></configuration>", "not XML"),
        ] {
            let error = Configuration::default().add(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }
}

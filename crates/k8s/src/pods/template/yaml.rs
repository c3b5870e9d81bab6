//! YAML as Spark's Kubernetes client reads it (fabric8 6.7, `snakeyaml-engine` with the JSON
//! schema), with the line of each value: `yes` and `010` are strings, `1.10` is the number 1.1.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Number, Value};

/// The most values of a template, with aliases expanded.
const MAX_VALUES: usize = 100_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// A value with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Parses a text with one document.
    ///
    /// # Errors
    /// The fault, with its line.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { anchors: HashMap::new(), count: 0 };
        let mut parser = Parser::new_from_str(text);
        let mut document = None;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| error.to_string())?;
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) if document.is_some() => {
                    return Err(at(&span, "a second document begins, and a pod is one"));
                }
                Event::DocumentStart(..) => {}
                event => {
                    if let Some(node) = reader.node(&mut parser, event, &span, 0)? {
                        document = Some(node);
                    }
                }
            }
        }
        document.ok_or_else(|| "it is empty".to_owned())
    }

    /// The type of the value, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "empty",
            Content::Flag(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// A scalar as text, as Spark's client converts it.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        Some(match &self.content {
            Content::Null => Cow::Borrowed(""),
            Content::Flag(flag) => Cow::Owned(flag.to_string()),
            Content::Number(number) => Cow::Owned(written(number)),
            Content::Text(text) => Cow::Borrowed(text),
            Content::List(_) | Content::Map(_) => return None,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Flag(flag) => Value::Bool(*flag),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Map(entries) => Value::Object(
                entries.iter().map(|(key, node)| (key.clone(), node.to_value())).collect(),
            ),
        }
    }
}

impl From<&Value> for Node {
    /// A value that was not parsed from text has line 0.
    fn from(value: &Value) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(flag) => Content::Flag(*flag),
            Value::Number(number) => Content::Number(number.clone()),
            Value::String(text) => Content::Text(text.clone()),
            Value::Array(items) => Content::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => Content::Map(
                entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect(),
            ),
        };
        Self { line: 0, content }
    }
}

/// A number as Java formats it.
fn written(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float == 0.0 || (1e-3..1e7).contains(&float.abs()) => format!("{float:?}"),
        Some(float) => {
            let text = format!("{float:E}");
            match text.split_once('E') {
                Some((mantissa, exponent)) if !mantissa.contains('.') => {
                    format!("{mantissa}.0E{exponent}")
                }
                _ => text,
            }
        }
        None => number.to_string(),
    }
}

fn at(span: &Span, what: &str) -> String {
    format!("{what} (line {})", span.start.line())
}

struct Reader {
    anchors: HashMap<usize, Node>,
    count: usize,
}

type Source<'a> = Parser<'a, granit_parser::StrInput<'a>>;

impl Reader {
    /// The value that starts with an event; `None` for other events.
    fn node<'a>(
        &mut self,
        source: &mut Source<'a>,
        event: Event<'a>,
        span: &Span,
        depth: usize,
    ) -> Result<Option<Node>, String> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(at(span, "values are nested too deeply"));
        }
        self.count += 1;
        if self.count > MAX_VALUES {
            return Err(at(span, "it has too many values"));
        }
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix() == "str");
                let is_plain = style == ScalarStyle::Plain && !is_text;
                // The parser returns `~` for a missing value.
                let is_missing = is_plain && span.start.index() == span.end.index();
                let text = text.into_owned();
                let content = match (is_missing, is_plain) {
                    (true, _) => Content::Null,
                    (false, true) => plain(text),
                    (false, false) => Content::Text(text),
                };
                (content, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                while let Some((event, span)) = following(source)? {
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.extend(self.node(source, event, &span, depth + 1)?);
                }
                (Content::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.map(source, depth)?, anchor),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let node = known.ok_or_else(|| at(span, "an alias refers to nothing"))?.clone();
                self.count += size(&node);
                (node.content, 0)
            }
            _ => return Ok(None),
        };
        let node = Node { line, content };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(Some(node))
    }

    fn map(&mut self, source: &mut Source<'_>, depth: usize) -> Result<Content, String> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut key: Option<String> = None;
        while let Some((event, span)) = following(source)? {
            if event == Event::MappingEnd {
                break;
            }
            let Some(node) = self.node(source, event, &span, depth + 1)? else { continue };
            match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let name = node.text().ok_or_else(|| at(&span, "a key is no text"))?;
                    if entries.iter().any(|(known, _)| *known == name) {
                        return Err(at(&span, &format!("{name} is there twice")));
                    }
                    key = Some(name.into_owned());
                }
            }
        }
        Ok(Content::Map(entries))
    }
}

fn following<'a>(source: &mut Source<'a>) -> Result<Option<(Event<'a>, Span)>, String> {
    source.next_event().transpose().map_err(|error| error.to_string())
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    }
}

/// Resolves a plain scalar with the JSON schema of YAML 1.2.
fn plain(text: String) -> Content {
    match text.as_str() {
        "" | "null" => return Content::Null,
        "true" => return Content::Flag(true),
        "false" => return Content::Flag(false),
        _ => {}
    }
    match number(&text) {
        Some(number) => Content::Number(number),
        None => Content::Text(text),
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?`; integers of more than 64 bits stay text.
fn number(text: &str) -> Option<Number> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let positive = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = positive.split_at(digits(positive));
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if rest.is_empty() {
        let parsed = text.parse::<i64>().map(Number::from);
        return parsed.or_else(|_| text.parse::<u64>().map(Number::from)).ok();
    }
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => &fraction[digits(fraction)..],
        None => rest,
    };
    if !rest.is_empty() {
        let exponent = rest.strip_prefix(['e', 'E'])?;
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent.is_empty() || digits(exponent) < exponent.len() {
            return None;
        }
    }
    Number::from_f64(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_resolved_as_by_sparks_client() {
        // As the real Spark 3.5.9 writes them into labels.
        for (text, want) in [
            ("1.10", "1.1"),
            ("yes", "yes"),
            ("010", "010"),
            ("0x1F", "0x1F"),
            ("1e3", "1000.0"),
            (".5", ".5"),
            ("null", ""),
            ("~", "~"),
            ("True", "True"),
            ("true", "true"),
            ("1_000", "1_000"),
            ("0o17", "0o17"),
            ("2024-01-02", "2024-01-02"),
            ("-0", "0"),
            ("12345678901234567890", "12345678901234567890"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("\"1.10\"", "1.10"),
            ("1.", "1.0"),
            ("+5", "+5"),
            ("1.0E10", "1.0E10"),
            ("", ""),
        ] {
            let node = Node::read(&format!("{{a: {text}}}")).unwrap();
            let Content::Map(entries) = &node.content else { panic!("{node:?}") };
            assert_eq!(entries[0].1.text().unwrap(), want, "{text}");
        }
    }

    #[test]
    fn values_and_errors_have_lines() {
        let node = Node::read("a: 1\nb:\n- c\n- d: &x {e: f}\n  g: *x\n").unwrap();
        assert_eq!(
            node.to_value(),
            serde_json::json!({"a": 1, "b": ["c", {"d": {"e": "f"}, "g": {"e": "f"}}]})
        );
        let Content::Map(entries) = &node.content else { panic!("{node:?}") };
        assert_eq!((entries[0].1.line, entries[1].1.line), (1, 3));
        for (text, words) in [
            ("a: 1\na: 2\n", "a is there twice (line 2)"),
            ("a: 1\n---\nb: 2\n", "a second document begins, and a pod is one (line 2)"),
            ("a: [1\nb: 2", "line"),
            ("", "empty"),
            ("a: *x", "unknown anchor at char 3 line 1"),
        ] {
            let error = Node::read(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn expansion_and_nesting_are_bounded() {
        let mut text = "a0: &a0 [x, x]\n".to_owned();
        for depth in 1..40 {
            let below = depth - 1;
            text += &format!("a{depth}: &a{depth} [*a{below}, *a{below}]\n");
        }
        assert!(Node::read(&text).unwrap_err().contains("too many values"));
        assert!(Node::read(&"[".repeat(1000)).is_err());
    }
}

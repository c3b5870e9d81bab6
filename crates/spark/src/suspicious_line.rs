//! Detects command lines that are probably mistakes: typographic dashes and quotes, missing values,
//! options after the application. Run as they are, they would start something unintended.

use anymaster_core::{Error, Result};

use crate::flags::{self, Flag};
use crate::parse::split;

/// Characters that look like `-`, which web pages and word processors substitute.
const DASHES: [char; 11] = [
    '\u{ad}', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}',
    '\u{fe58}', '\u{fe63}', '\u{ff0d}',
];

/// Characters that look like the shell's quotes.
const QUOTES: [char; 8] = ['“', '”', '„', '‘', '’', '‚', '«', '»'];

/// Options that applications often have themselves: no warning if they follow the application.
const COMMON: [&str; 6] =
    ["--files", "--queue", "--remote", "--archives", "--principal", "--output"];

/// A sign that the word taken as the application was not meant to be it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// An option has another option as its value.
    Swallowed { option: &'static str, value: String },
    /// The value before the application ends with a comma.
    Comma { option: &'static str },
}

impl Suspicion {
    /// Detects it from the value of an option and the rest of the line.
    pub(crate) fn from_value(flag: &Flag, value: &str, rest: &[String]) -> Option<Self> {
        if flags::find(split(value).0).is_some() {
            return Some(Self::Swallowed { option: flag.name, value: value.to_owned() });
        }
        let is_last = rest.first().is_some_and(|next| !next.starts_with('-'));
        let is_list = flag.is_list || flag.name == "--conf";
        (value.ends_with(',') && is_last && is_list).then_some(Self::Comma { option: flag.name })
    }

    /// The message.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Swallowed { option, value } => {
                format!("the value of {option} is {value}: is its own value missing?")
            }
            Self::Comma { option } => format!("the value of {option} ends with a comma"),
        }
    }

    /// Fails if the value before the application ends with a comma and the words after it look like
    /// a part of the list, or like options.
    pub(crate) fn check(&self, application: &str, rest: &[String]) -> Result<()> {
        let Self::Comma { option } = self else { return Ok(()) };
        let is_more =
            |word: &String| flags::find(split(word).0).is_some() || is_file_of_spark(word);
        match rest.iter().find(|word| is_more(word)) {
            None => Ok(()),
            Some(more) => Err(Error::invalid(format!(
                "{}, so that {application} would be the application, and {more} an argument of it",
                self.message()
            ))
            .with_hint(format!("write the list without blanks: {option} a,b"))),
        }
    }
}

/// Whether a word has the extension of a Spark application.
pub(crate) fn is_file_of_spark(word: &str) -> bool {
    [".jar", ".py", ".R", ".r"].iter().any(|ending| word.ends_with(ending))
}

/// Options of spark-submit among the arguments of an application that are unlikely to be the
/// application's own.
pub(crate) fn options_among(args: &[String]) -> impl Iterator<Item = &str> {
    args.iter().enumerate().filter_map(move |(at, word)| {
        let (name, inline) = split(word);
        let flag = flags::find(name).filter(|flag| flag.name == name)?;
        let value = inline.or_else(|| args.get(at + 1).map(String::as_str)).unwrap_or_default();
        let is_meant = match name {
            "--conf" => value.starts_with("spark."),
            "--master" => value.contains("://") || value.starts_with("local") || value == "yarn",
            "--class" => value.contains('.'),
            "--jars" | "--py-files" => is_file_of_spark(value),
            "--supervise" => true,
            _ => flag.value.is_some() && name[2..].contains('-') && !COMMON.contains(&name),
        };
        is_meant.then_some(name)
    })
}

/// Fails if a word that is not an option cannot be an application either.
pub(crate) fn check_application(word: &str) -> Result<()> {
    if word.starts_with('-') {
        return Err(unknown(word));
    }
    if word.trim().is_empty() {
        return Err(if word.is_empty() {
            Error::invalid("the name of the application is empty")
                .with_hint("is it a variable that is not set?")
        } else {
            Error::invalid("the name of the application is a blank").with_hint(
                "is there a blank after the \\ at the end of a line? Nothing may follow it",
            )
        });
    }
    if word.starts_with(DASHES) {
        return Err(unknown(word));
    }
    if let Some(quote) = word.chars().find(|c| QUOTES.contains(c))
        && (word.starts_with(quote) || word.ends_with(quote))
    {
        return Err(Error::invalid(format!(
            "{word}: a text is quoted with ' or \", not with {}",
            character(quote)
        ))
        .with_hint("web pages and word processors make such quotes; write them anew"));
    }
    Ok(())
}

fn character(c: char) -> String {
    format!("{c:?} (U+{:04X})", u32::from(c))
}

/// The error for an unknown option.
pub(crate) fn unknown(word: &str) -> Error {
    let error = Error::invalid(format!("Unrecognized option: {word}"));
    let plain = plain_dashes(word);
    let (name, inline) = split(&plain);
    let known = flags::find(name);
    if let Some(dash) = word.chars().find(|c| DASHES.contains(c)) {
        let error = Error::invalid(format!(
            "Unrecognized option: {word}: an option begins with \"-\" (U+002D), and has no {} in it",
            character(dash)
        ));
        let meant = known.map(|flag| flag.name).or_else(|| flags::suggest(name));
        let meant = meant.map(|name| format!("write {name}: ")).unwrap_or_default();
        return error.with_hint(format!("{meant}web pages and word processors make such dashes"));
    }
    if let Some(blank) = word.chars().find(|c| c.is_whitespace() && !matches!(c, ' ' | '\t' | '\n'))
    {
        return error.with_hint(format!(
            "it has a {} in it: web pages and word processors make such blanks; write it anew",
            character(blank)
        ));
    }
    match (known, inline) {
        (Some(flag), Some(_)) => error.with_hint(format!("{} takes no value", flag.name)),
        _ if word.ends_with('=') && flags::find(word.trim_end_matches('=')).is_some() => {
            error.with_hint(format!("write {} \"\" for an empty value", word.trim_end_matches('=')))
        }
        _ => match flags::suggest(name.split('=').next().unwrap_or(name)) {
            Some(known) => error.with_hint(format!("did you mean {known}?")),
            None => error.with_hint("--help lists the options"),
        },
    }
}

/// Replaces look-alike dashes with `-`, with two of them before a long name.
fn plain_dashes(word: &str) -> String {
    if !word.contains(DASHES) {
        return word.to_owned();
    }
    let plain: String = word.chars().map(|c| if DASHES.contains(&c) { '-' } else { c }).collect();
    let name = plain.trim_start_matches('-');
    if name.chars().count() > 1 { format!("--{name}") } else { format!("-{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_and_quotes_of_web_pages_are_named() {
        let error = |word: &str| {
            let error = check_application(word).unwrap_err();
            format!("{error}\n  {}", error.hint().unwrap_or("-"))
        };
        insta::assert_snapshot!(
            ["–-class", "—master", "−c", "--driver–memory", "–frobnicate", "--class\u{a0}A", "App”", " ", ""]
                .map(error)
                .join("\n"),
            @r#"
            Unrecognized option: –-class: an option begins with "-" (U+002D), and has no '–' (U+2013) in it
              write --class: web pages and word processors make such dashes
            Unrecognized option: —master: an option begins with "-" (U+002D), and has no '—' (U+2014) in it
              write --master: web pages and word processors make such dashes
            Unrecognized option: −c: an option begins with "-" (U+002D), and has no '−' (U+2212) in it
              write --conf: web pages and word processors make such dashes
            Unrecognized option: --driver–memory: an option begins with "-" (U+002D), and has no '–' (U+2013) in it
              write --driver-memory: web pages and word processors make such dashes
            Unrecognized option: –frobnicate: an option begins with "-" (U+002D), and has no '–' (U+2013) in it
              web pages and word processors make such dashes
            Unrecognized option: --class A
              it has a '\u{a0}' (U+00A0) in it: web pages and word processors make such blanks; write it anew
            App”: a text is quoted with ' or ", not with '”' (U+201D)
              web pages and word processors make such quotes; write them anew
            the name of the application is a blank
              is there a blank after the \ at the end of a line? Nothing may follow it
            the name of the application is empty
              is it a variable that is not set?
            "#
        );
        for word in ["app.jar", "local:///a.jar", "a–b.jar", "it’s.py"] {
            check_application(word).unwrap();
        }
    }

    #[test]
    fn options_behind_the_application_are_recognised_by_what_they_are_given() {
        let among = |line: &str| {
            let message: Vec<_> = line.split(' ').map(str::to_owned).collect();
            options_among(&message).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(among("1 --num-executors 3"), ["--num-executors"]);
        assert_eq!(among("--conf spark.x=y --master yarn"), ["--conf", "--master"]);
        assert_eq!(among("--class org.A --executor-memory=2g"), ["--class", "--executor-memory"]);
        for own in ["--name x --files y", "--conf app.yaml", "--master no", "-v -o x --status up"] {
            assert!(among(own).is_empty(), "{own}");
        }
    }
}

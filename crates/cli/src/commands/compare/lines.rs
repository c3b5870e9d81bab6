//! `anymaster compare --from FILE`: what becomes of spark-submit lines on other clusters.

use std::path::Path;

use anymaster_compare::{Fate, Lines, Translation, translate};
use anymaster_core::conf::Conf;
use anymaster_core::{Error, MasterUrl};
use anymaster_spark::Environment;
use serde::Serialize;

use super::CompareFormat;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::{Colors, Format, Verdict};
use crate::table::{Cell, Fit, Table};

/// A line of the file, translated for each cluster.
#[derive(Debug, Serialize)]
struct Translated {
    /// Where it is in the file.
    line: usize,
    masters: Vec<Translation>,
}

pub(super) async fn run(
    context: &Context,
    masters: &[MasterUrl],
    file: &Path,
    text: &str,
    format: CompareFormat,
) -> Outcome {
    let shown = file.display().to_string();
    let lines = Lines::parse(text).map_err(|error| error.context(&shown))?;
    let environment = Environment::of_process();
    let mut all = Vec::new();
    for (line, words) in lines.0 {
        let mut translated = Translated { line, masters: Vec::new() };
        for master in masters {
            let options = context.connect_options(master, Conf::new())?;
            let translation = translate(&words, &options, &environment, &context.registry).await;
            let place = format!("{shown}: line {line}");
            translated.masters.push(translation.map_err(|error| error.context(place))?);
        }
        all.push(translated);
    }
    show(context, &all, format)?;
    let accepted = all.iter().flat_map(|line| &line.masters).all(|it| it.obstacle.is_none());
    Ok(if accepted { Exit::Success } else { Exit::Failure })
}

fn show(
    context: &Context,
    all: &[Translated],
    format: CompareFormat,
) -> std::result::Result<(), Failure> {
    let printer = context.printer;
    let every = all.iter().flat_map(|line| line.masters.iter().map(move |it| (line.line, it)));
    match format {
        CompareFormat::Json => printer.value(Format::Json, &all),
        CompareFormat::Yaml => printer.value(Format::Yaml, &all),
        CompareFormat::Csv | CompareFormat::Markdown => {
            Err(Error::invalid("--from has no such format")
                .with_hint("write -o json or -o yaml")
                .into())
        }
        CompareFormat::Text | CompareFormat::Wide => {
            let texts = every.map(|(line, it)| render(line, it, printer.colors()));
            printer.data(&texts.collect::<Vec<_>>().join("\n"))
        }
    }
}

fn render(line: usize, it: &Translation, colors: Colors) -> String {
    let mut text = format!("{}\n", colors.heading(&format!("line {line} on {}", it.master)));
    let mut table = Table::continuing(Vec::new(), Fit::Whole);
    for given in &it.given {
        let verdict = match given.fate {
            Fate::Refused => Verdict::Bad,
            Fate::Dropped => Verdict::Doubtful,
            _ => Verdict::Good,
        };
        let word = given.fate.word();
        let becomes = given.becomes.as_ref().map(|name| format!("→ {name}"));
        let words =
            [becomes, given.why.clone()].into_iter().flatten().collect::<Vec<_>>().join("  ");
        table.row([
            Cell::from("  "),
            Cell::painted(word, colors.verdict(verdict, word)),
            given.name.as_str().into(),
            words.into(),
        ]);
    }
    text.push_str(&table.render());
    for warning in &it.warnings {
        text.push_str(&format!("  warning: {}\n", anymaster_core::text::printable(warning)));
    }
    if let Some(obstacle) = &it.obstacle {
        let why = format!("  would be refused: {}", anymaster_core::text::printable(&obstacle.why));
        text.push_str(&format!("{}\n", colors.verdict(Verdict::Bad, &why)));
        for hint in obstacle.hint.iter().flat_map(|hint| hint.lines()) {
            text.push_str(&format!("  hint: {}\n", anymaster_core::text::printable(hint)));
        }
    }
    text.push_str(&format!("  {}\n", anymaster_core::text::printable(&it.line)));
    text
}

#[cfg(test)]
mod tests {
    use anymaster_core::conf::keys;

    /// Whether a property, or the family of them, is in the tables of a backend or of all.
    fn knows(info: &anymaster_core::BackendInfo, name: &str) -> bool {
        let own = info.properties.iter().flat_map(|table| table.iter());
        own.chain(keys::TABLE).any(|key| key.name == name)
    }

    #[test]
    fn equivalents_are_properties_of_both_sides() {
        let backends = crate::backends();
        for info in backends.backends() {
            for (of, here) in info.equivalents.iter().copied().flatten() {
                assert!(knows(info, here), "{}: {here}", info.name);
                assert!(!knows(info, of), "{}: {of} is its own", info.name);
                assert!(backends.backends().any(|other| knows(other, of)), "{of}");
                assert_eq!(of.ends_with('*'), here.ends_with('*'), "{of} {here}");
            }
        }
    }
}

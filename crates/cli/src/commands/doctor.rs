//! `anymaster doctor --master URL`: what works, what is missing, and what mends it.

mod checks;

use clap::Args;
use serde::Serialize;

use crate::args::{Connection, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::{Colors, Format, Verdict};
use crate::table::{Cell, Table};

#[derive(Debug, Args)]
#[command(after_help = "Exits with 1 if something that is needed is missing.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What.
    name: &'static str,
    /// How it is.
    verdict: Judgement,
    /// What was found.
    detail: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Judgement {
    Ok,
    /// Some things do not work without it.
    Optional,
    Missing,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Judgement::Ok, detail: detail.into(), remedy: None }
    }

    fn optional(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Judgement::Optional,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn missing(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Judgement::Missing, ..Self::optional(name, detail, remedy) }
    }
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = context.format(arguments.output.output);
    let master = arguments.connection.master(context)?;
    let checks = checks::all(context, &arguments.connection, &master).await;
    match format {
        Format::Json | Format::Yaml => context.printer.value(format, &checks)?,
        Format::Text | Format::Wide => {
            context.printer.data(&render(&checks, context.printer.colors()))?;
        }
    }
    let broken = checks.iter().any(|check| check.verdict == Judgement::Missing);
    Ok(if broken { Exit::Failure } else { Exit::Success })
}

fn render(checks: &[Check], colors: Colors) -> String {
    let mut table = Table::of_facts();
    for check in checks {
        let (sign, verdict) = match check.verdict {
            Judgement::Ok => ("✓", Verdict::Good),
            Judgement::Optional => ("!", Verdict::Doubtful),
            Judgement::Missing => ("✗", Verdict::Bad),
        };
        let sign = Cell::painted(sign, colors.verdict(verdict, sign));
        table.row([sign, check.name.into(), check.detail.as_str().into()]);
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            table.row(["".into(), "".into(), format!("→ {line}").into()]);
        }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        let checks = [
            Check::ok("backend", "local: this machine"),
            Check::optional("memory limits", "not enforced", "run as root, or\nuse systemd-run"),
            Check::missing("java", "not found", "apt install openjdk-17-jre-headless"),
        ];
        insta::assert_snapshot!(render(&checks, Colors::OFF));
    }
}

//! `anymaster doctor --master URL`: what works, what is missing, and what mends it.

mod checks;

use anymaster_core::{Check, Health};
use clap::Args;

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
    let broken = checks.iter().any(|check| check.health == Health::Missing);
    Ok(if broken { Exit::Failure } else { Exit::Success })
}

fn render(checks: &[Check], colors: Colors) -> String {
    let mut table = Table::of_facts();
    for check in checks {
        let (sign, verdict) = match check.health {
            Health::Ok => ("✓", Verdict::Good),
            Health::Optional => ("!", Verdict::Doubtful),
            Health::Missing => ("✗", Verdict::Bad),
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

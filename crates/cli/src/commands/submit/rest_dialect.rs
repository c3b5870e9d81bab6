//! Drivers of standalone clusters and of Mesos' dispatcher, in the words of Spark's client for them
//! (Spark 3.5, `RestSubmissionClient`), which other tools read.

use anymaster_core::MasterUrl;
use anymaster_core::model::{DriverStatus, State};
use anymaster_spark_rest::{Answer, json};

use crate::args::Connection;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::lookup;
use crate::printer::Printer;

/// Tells of a driver that was taken in.
pub(super) fn submitted(
    printer: Printer,
    master: &MasterUrl,
    driver: &DriverStatus,
    verbose: bool,
) {
    let id = &driver.submission;
    if printer.is_stderr_terminal() && !verbose {
        let words = format!("  anymaster watch {id} --master {master}   waits for its end");
        return printer.message(words);
    }
    printer.message(format!("State of driver {id} is now {}.", driver.state.driver_word()));
    if let (State::Running, Some(host)) = (&driver.state, &driver.host) {
        printer.message(format!("Driver is running at {host}."));
    }
    responded(printer, &Answer::created(id.as_str()));
}

/// `--status`
pub(super) async fn status(context: &Context, connection: &Connection, id: &str) -> Outcome {
    let (printer, master) = (context.printer, connection.master(context)?);
    printer.message(format!("Submitting a request for the status of submission {id} in {master}."));
    let cluster = connection.open(context, Some(id)).await?;
    let driver = lookup::one(&*cluster, id).await?;
    responded(printer, &Answer::status(driver.submission.as_str(), &driver.state));
    Ok(Exit::Success)
}

fn responded(printer: Printer, answer: &Answer) {
    let words = format!("Server responded with {}:\n{}", answer.action, json::to_string(answer));
    printer.message_lines(words);
}

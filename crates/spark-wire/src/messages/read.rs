//! Reads messages to a master, by the names of classes and fields.

use super::{
    ApplicationDescription, CommandDescription, DriverDescription, RegisterApplication,
    ResourceProfile, ToMaster,
};
use crate::dialect::CHECK_EXISTENCE;
use crate::error::{Result, WireError};
use crate::java::{Stream, Value};
use crate::request::RpcAddress;
use crate::scala;

const DEPLOY: &str = "org.apache.spark.deploy.DeployMessages$";

/// The message that a stream contains.
///
/// # Errors
/// If it is no message, or lacks something that it has to have.
pub fn read(stream: &Stream) -> Result<ToMaster> {
    let root = Part { stream, value: stream.root() };
    let class = stream.class_of(root.value).unwrap_or("something that is no object");
    let app_id = || root.text("appId");
    let driver_id = || root.text("driverId");
    let message = match class.strip_prefix(DEPLOY) {
        None if class == CHECK_EXISTENCE => ToMaster::CheckExistence { name: root.text("name")? },
        Some("RegisterApplication") => {
            ToMaster::RegisterApplication(Box::new(registration(&root)?))
        }
        Some("UnregisterApplication") => ToMaster::UnregisterApplication { app_id: app_id()? },
        Some("MasterChangeAcknowledged") => {
            ToMaster::MasterChangeAcknowledged { app_id: app_id()? }
        }
        Some("RequestExecutors") => {
            ToMaster::RequestExecutors { app_id: app_id()?, totals: totals(&root)? }
        }
        Some("KillExecutors") => {
            ToMaster::KillExecutors { app_id: app_id()?, executor_ids: root.texts("executorIds")? }
        }
        Some("RequestSubmitDriver") => {
            ToMaster::RequestSubmitDriver(Box::new(driver(&root.part("driverDescription")?)?))
        }
        Some("RequestDriverStatus") => ToMaster::RequestDriverStatus { driver_id: driver_id()? },
        Some("RequestKillDriver") => ToMaster::RequestKillDriver { driver_id: driver_id()? },
        _ => ToMaster::Other { class: class.to_owned() },
    };
    Ok(message)
}

/// An object whose fields are taken by name.
struct Part<'a> {
    stream: &'a Stream,
    value: Value,
}

impl<'a> Part<'a> {
    fn field(&self, name: &str) -> Result<Value> {
        self.stream.required(self.value, name)
    }

    fn part(&self, name: &str) -> Result<Part<'a>> {
        Ok(Part { stream: self.stream, value: self.field(name)? })
    }

    fn text(&self, name: &str) -> Result<String> {
        let text = self.stream.text(self.field(name)?);
        text.map(str::to_owned).ok_or_else(|| self.wrong(name, "a text"))
    }

    fn wrong(&self, name: &str, what: &str) -> WireError {
        let class = self.stream.class_of(self.value).unwrap_or_default();
        WireError::unsupported(format!("{name} of {class} is not {what}"))
    }

    fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T> {
        let number = scala::integer(self.stream, self.field(name)?)?;
        T::try_from(number).map_err(|_| self.wrong(name, "a number that is possible here"))
    }

    fn optional_number(&self, name: &str) -> Result<Option<u32>> {
        // A release that lacks the field means what `None` means.
        let Some(field) = self.stream.field(self.value, name) else { return Ok(None) };
        let Some(value) = scala::option(self.stream, field)? else { return Ok(None) };
        let number = scala::integer(self.stream, value)?;
        // Spark has no rule against numbers below 0: they ask for nothing.
        Ok(Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX)))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>> {
        let elements = scala::seq(self.stream, self.field(name)?)?;
        let text = |value| {
            let text = self.stream.text(value).map(str::to_owned);
            text.ok_or_else(|| self.wrong(name, "a sequence of texts"))
        };
        elements.into_iter().map(text).collect()
    }
}

fn registration(root: &Part<'_>) -> Result<RegisterApplication> {
    let (driver, endpoint) = reference(&root.part("driver")?)?;
    let application = root.part("appDescription")?;
    let application = ApplicationDescription {
        name: application.text("name")?,
        max_cores: application.optional_number("maxCores")?,
        command: command(&application.part("command")?)?,
        ui_url: application.text("appUiUrl").unwrap_or_default(),
        default_profile: profile(&application.part("defaultProfile")?)?,
        initial_executor_limit: application.optional_number("initialExecutorLimit")?,
        user: application.text("user").unwrap_or_default(),
    };
    Ok(RegisterApplication { application, driver, endpoint })
}

fn reference(reference: &Part<'_>) -> Result<(RpcAddress, String)> {
    let endpoint = reference.part("endpointAddress")?;
    let address = endpoint.part("rpcAddress")?;
    let address = RpcAddress { host: address.text("host")?, port: address.number("port")? };
    Ok((address, endpoint.text("name")?))
}

fn command(command: &Part<'_>) -> Result<CommandDescription> {
    let environment = scala::map(command.stream, command.field("environment")?)?;
    let text = |value| command.stream.text(value).map(str::to_owned);
    let variable = |(name, value)| Some((text(name)?, text(value)?));
    let environment = environment.into_iter().map(variable).collect::<Option<_>>();
    Ok(CommandDescription {
        main_class: command.text("mainClass")?,
        arguments: command.texts("arguments")?,
        environment: environment.ok_or_else(|| command.wrong("environment", "a map of texts"))?,
        class_path: command.texts("classPathEntries")?,
        library_path: command.texts("libraryPathEntries")?,
        java_options: command.texts("javaOpts")?,
    })
}

fn profile(profile: &Part<'_>) -> Result<ResourceProfile> {
    let stream = profile.stream;
    let entries = scala::map(stream, profile.field("executorResources")?)?;
    let resource = |(name, request)| {
        let name = stream.text(name).map(str::to_owned);
        let name = name.ok_or_else(|| profile.wrong("executorResources", "a map by names"))?;
        let amount = Part { stream, value: request }.number("amount")?;
        Ok((name, amount))
    };
    Ok(ResourceProfile {
        id: profile.number("_id")?,
        executor: entries.into_iter().map(resource).collect::<Result<_>>()?,
        is_of_tasks: stream
            .class_of(profile.value)
            .is_some_and(|class| class.ends_with(".TaskResourceProfile")),
    })
}

fn totals(root: &Part<'_>) -> Result<Vec<(ResourceProfile, u32)>> {
    let entries = scala::map(root.stream, root.field("resourceProfileToTotalExecs")?)?;
    let total = |(key, total)| {
        let total = scala::integer(root.stream, total)?;
        let profile = profile(&Part { stream: root.stream, value: key })?;
        Ok((profile, u32::try_from(total.max(0)).unwrap_or(u32::MAX)))
    };
    entries.into_iter().map(total).collect()
}

fn driver(driver: &Part<'_>) -> Result<DriverDescription> {
    Ok(DriverDescription {
        jar_url: driver.text("jarUrl")?,
        memory_mib: driver.number("mem")?,
        cores: driver.number("cores")?,
        supervise: driver.field("supervise")? == Value::Boolean(true),
        command: command(&driver.part("command")?)?,
    })
}

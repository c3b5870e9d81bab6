//! What a NodeManager is told to start for an executor. No I/O.

use std::collections::BTreeMap;

use anymaster_core::model::{AppId, ExecutorTarget, ResourceProfile};
use anymaster_core::native::{self, Placeholder};
use anymaster_core::reconcile::ExecutorLaunch;
use anymaster_core::{Error, Result};

use crate::proto::{
    ContainerLaunchContext, NamedResource, Resource, ResourceInformation, StringPair,
};
use crate::quote;

/// The file with the secret of driver and executors, in the directory of each.
pub(crate) const SECRET: &str = "anymaster-secret";
/// Stands for the directory of a container until its text is quoted: only its node knows it.
const WORK_DIR: &str = "\u{1}anymaster.work.dir\u{1}";
const PWD: &str = "{{PWD}}";
/// What YARN calls the resources that Spark calls so.
const NAMES: [(&str, &str); 2] = [("gpu", "yarn.io/gpu"), ("fpga", "yarn.io/fpga")];

/// What all executors of an application are told.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) app: AppId,
    pub(super) driver_host: String,
    pub(super) driver_port: u16,
    /// The file with the secret.
    pub(super) secret: NamedResource,
}

/// The resources of a container for an executor.
pub(super) fn resource(profile: &ResourceProfile) -> Result<Resource> {
    let whole = profile.cores.round();
    if (whole - profile.cores).abs() > f64::EPSILON || whole < 1.0 || whole > f64::from(i32::MAX) {
        return Err(Error::unsupported(format!(
            "YARN has whole cores only, and not {} of them for an executor",
            profile.cores
        ))
        .with_hint("set spark.executor.cores to a whole number"));
    }
    let other = |(name, amount): (&String, &u64)| {
        let known = NAMES.iter().find(|(ours, _)| ours == name).map(|(_, theirs)| *theirs);
        let value = i64::try_from(*amount).unwrap_or(i64::MAX);
        ResourceInformation {
            key: known.unwrap_or(name).to_owned(),
            value: Some(value),
            units: Some(String::new()),
        }
    };
    Ok(Resource {
        memory: Some(i64::try_from(profile.memory_limit_mib()).unwrap_or(i64::MAX)),
        // It is a whole number of this range.
        virtual_cores: Some(whole as i32),
        others: profile.extra.iter().map(other).collect(),
    })
}

/// Refuses executors that the cluster can never give.
pub(super) fn check(target: &ExecutorTarget, maximum: &Resource, common: &Common) -> Result<()> {
    target.check()?;
    target.template.refuse_spark()?;
    for (id, profile) in &target.profiles {
        let wanted = resource(&profile.profile)?;
        let known = |key: &str| maximum.others.iter().find(|other| other.key == key);
        for other in &wanted.others {
            let Some(most) = known(&other.key) else {
                let names: Vec<_> = maximum.others.iter().map(|other| other.key.as_str()).collect();
                return Err(Error::invalid(format!("the cluster has no resource {}", other.key))
                    .with_hint(format!("it has {}", names.join(", "))));
            };
            too_much(&other.key, other.value, most.value)?;
        }
        too_much("MiB of memory", wanted.memory, maximum.memory)?;
        too_much(
            "cores",
            wanted.virtual_cores.map(i64::from),
            maximum.virtual_cores.map(i64::from),
        )?;
        // What is wrong with its text is told now.
        let launch = ExecutorLaunch {
            id: anymaster_core::model::ExecutorId(1),
            profile_id: *id,
            profile: profile.profile.clone(),
            template: std::sync::Arc::new(target.template.clone()),
        };
        context(common, &launch, "host")?;
    }
    Ok(())
}

fn too_much(what: &str, wanted: Option<i64>, most: Option<i64>) -> Result<()> {
    match (wanted, most) {
        (Some(wanted), Some(most)) if wanted > most => Err(Error::invalid(format!(
            "an executor of {wanted} {what} is more than a container of this cluster can have: {most}"
        ))
        .with_hint(
            "ask for less, or raise yarn.scheduler.maximum-allocation-mb, -vcores on the cluster",
        )),
        _ => Ok(()),
    }
}

/// What is started for an executor on a host.
pub(super) fn context(
    common: &Common,
    launch: &ExecutorLaunch,
    host: &str,
) -> Result<ContainerLaunchContext> {
    let ExecutorLaunch { id, profile_id, profile, template } = launch;
    let known = |placeholder: Placeholder<'_>| {
        Some(match placeholder {
            Placeholder::AppId => common.app.to_string(),
            Placeholder::DriverHost => common.driver_host.clone(),
            Placeholder::DriverPort => common.driver_port.to_string(),
            Placeholder::WorkDir => WORK_DIR.to_owned(),
            Placeholder::ExecutorId => id.to_string(),
            Placeholder::ExecutorCores => profile.cores.to_string(),
            Placeholder::ExecutorMemory => profile.memory_mib.to_string(),
            Placeholder::ExecutorProfile => profile_id.to_string(),
            Placeholder::ExecutorHost => host.to_owned(),
            Placeholder::ExecutorPort(_) | Placeholder::Spark(_) => return None,
        })
    };
    let expand = |text: &str| {
        let mut has_port = false;
        let expanded = native::expand(text, |placeholder| {
            has_port |= matches!(placeholder, Placeholder::ExecutorPort(_));
            known(placeholder)
        });
        match expanded {
            Err(_) if has_port => {
                Err(Error::unsupported("YARN gives executors no ports ({{executor.port}})")
                    .with_hint("have executors take any free port, and tell it to their driver"))
            }
            expanded => expanded,
        }
    };
    let mut env: BTreeMap<String, String> =
        native::executor_env(&common.app, *id, *profile_id, profile)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
    for (name, value) in [
        (native::ENV_MASTER, "yarn".to_owned()),
        (native::ENV_DRIVER_HOST, common.driver_host.clone()),
        (native::ENV_DRIVER_PORT, common.driver_port.to_string()),
        (native::ENV_SECRET_FILE, format!("{WORK_DIR}/{SECRET}")),
    ] {
        env.insert(name.to_owned(), value);
    }
    for (name, value) in &template.env {
        env.insert(name.clone(), expand(value)?);
    }
    let mut words = vec![expand(&template.command.program)?];
    for argument in &template.command.args {
        words.push(expand(argument)?);
    }
    let directory = template.working_dir.as_ref().map(|dir| expand(&dir.display().to_string()));
    let change = directory.transpose()?.map(|dir| format!("cd {} && ", quoted(&dir)));
    Ok(ContainerLaunchContext {
        local_resources: vec![common.secret.clone()],
        environment: env
            .iter()
            .map(|(name, value)| variable(name, value))
            .collect::<Result<_>>()?,
        // The shell becomes the program.
        command: vec![format!("{}exec {}", change.unwrap_or_default(), command(&words, ""))],
        ..ContainerLaunchContext::default()
    })
}

/// A variable of a container.
pub(crate) fn variable(name: &str, text: &str) -> Result<StringPair> {
    let is_letter = |char: char| char.is_ascii_alphabetic() || char == '_';
    let is_name = name.starts_with(is_letter)
        && name.chars().all(|char| is_letter(char) || char.is_ascii_digit());
    if !is_name {
        return Err(Error::unsupported(format!(
            "YARN starts containers with a shell, which takes no variable of the name {name:?}"
        )));
    }
    let value = quote::value(text).replace(WORK_DIR, PWD);
    Ok(StringPair { key: Some(name.to_owned()), value: Some(value) })
}

/// A command with its output in the container's logs, in files that begin so.
pub(crate) fn command(words: &[String], prefix: &str) -> String {
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    let output = format!("1><LOG_DIR>/{prefix}stdout 2><LOG_DIR>/{prefix}stderr");
    format!("{} {output}", words.join(" "))
}

fn quoted(text: &str) -> String {
    quote::argument(text).replace(WORK_DIR, &format!("'{PWD}'"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anymaster_core::ErrorKind;
    use anymaster_core::model::{CommandLine, ExecutorId, ExecutorTemplate, ProfileId};

    use super::*;

    fn common() -> Common {
        Common {
            app: AppId::new("app-1").unwrap(),
            driver_host: "driver".to_owned(),
            driver_port: 7,
            secret: NamedResource { name: Some(SECRET.to_owned()), resource: None },
        }
    }

    fn target(args: &[&str]) -> ExecutorTarget {
        let command = CommandLine::new("worker").args(args.iter().copied());
        ExecutorTarget::new(ExecutorTemplate::new(command), ResourceProfile::new(2.0, 512), 1)
    }

    fn launch(target: &ExecutorTarget) -> ExecutorLaunch {
        ExecutorLaunch {
            id: ExecutorId(3),
            profile_id: ProfileId(0),
            profile: ResourceProfile::new(2.0, 512),
            template: Arc::new(target.template.clone()),
        }
    }

    #[test]
    fn a_command_has_its_placeholders_and_is_quoted() {
        let mut target = target(&["{{executor.id}}@{{executor.host}}", "it's", "{{work.dir}}/x"]);
        target.template.env.insert("DIR".to_owned(), "{{work.dir}}".to_owned());
        let context = context(&common(), &launch(&target), "node").unwrap();
        assert_eq!(
            context.command,
            [
                r"exec 'worker' '3@node' 'it'\\''s' ''{{PWD}}'/x' 1><LOG_DIR>/stdout 2><LOG_DIR>/stderr"
            ]
        );
        let value = |name: &str| {
            let found = context.environment.iter().find(|pair| pair.key.as_deref() == Some(name));
            found.and_then(|pair| pair.value.clone()).unwrap()
        };
        assert_eq!(value("DIR"), "{{PWD}}");
        assert_eq!(value("ANYMASTER_SECRET_FILE"), "{{PWD}}/anymaster-secret");
        assert_eq!(value("ANYMASTER_EXECUTOR_CORES"), "2");
    }

    #[test]
    fn what_no_container_can_be_is_refused_with_numbers_and_names() {
        let maximum = Resource { memory: Some(1024), virtual_cores: Some(4), others: Vec::new() };
        let refused = |target: &ExecutorTarget| check(target, &maximum, &common()).unwrap_err();
        assert!(check(&target(&[]), &maximum, &common()).is_ok());
        let of = |profile| ExecutorTarget::new(target(&[]).template, profile, 1);
        let error = refused(&of(ResourceProfile::new(1.0, 2048)));
        assert!(
            error.message().contains("2048 MiB") && error.message().contains("1024"),
            "{error}"
        );
        assert!(refused(&of(ResourceProfile::new(5.0, 1))).message().contains("5 cores"));
        let error = refused(&of(ResourceProfile::new(0.5, 1)));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = refused(&of(ResourceProfile::new(1.0, 1).with_extra("gpu", 1)));
        assert!(error.message().contains("yarn.io/gpu"), "{error}");
        assert!(refused(&target(&["{{executor.port}}"])).message().contains("no ports"));
        let mut odd = target(&[]);
        odd.template.env.insert("A.B".to_owned(), String::new());
        assert!(refused(&odd).message().contains("A.B"));
    }
}

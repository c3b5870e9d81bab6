//! Discovers the resources of a machine: memory, and others such as GPUs (Spark 3.5, `ResourceUtils`).

use std::collections::BTreeMap;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use serde::Deserialize;
use tokio::process::Command;

/// What a discovery script prints.
#[derive(Deserialize)]
struct Found {
    name: String,
    addresses: Vec<String>,
}

/// Runs the scripts of `spark.worker.resource.NAME.discoveryScript`.
pub(super) async fn discover(conf: &Conf) -> Result<BTreeMap<String, Vec<String>>> {
    let mut resources = BTreeMap::new();
    for (rest, script) in conf.with_prefix("spark.worker.resource.") {
        let Some(name) = rest.strip_suffix(".discoveryScript") else { continue };
        let property = format!("spark.worker.resource.{rest}");
        let mut addresses = ask(&property, name, script).await?;
        let amount = format!("spark.worker.resource.{name}.amount");
        if let Some(text) = conf.get(&amount) {
            let wanted: usize = text
                .trim()
                .parse()
                .map_err(|_| Error::invalid(format!("{amount}: {text:?} is not a whole number")))?;
            if addresses.len() < wanted {
                return Err(Error::invalid(format!(
                    "{amount} is {wanted}, and {script} found {}",
                    addresses.len()
                )));
            }
            addresses.truncate(wanted);
        }
        resources.insert(name.to_owned(), addresses);
    }
    Ok(resources)
}

async fn ask(property: &str, name: &str, script: &str) -> Result<Vec<String>> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::invalid(format!("{property}: {script}: {why}")).with_hint(
            "the script has to print, for example, {\"name\": \"gpu\", \"addresses\": [\"0\", \"1\"]}",
        )
    };
    let output = Command::new(script).output().await.map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    let found: Found = serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))?;
    if found.name != name {
        return Err(failed(&format_args!("it printed the name {:?}, not {name:?}", found.name)));
    }
    Ok(found.addresses)
}

/// The memory of this machine less 1 GiB for others, but at least 1 GiB (Spark 3.5,
/// `WorkerArguments.inferDefaultMemory`).
pub(super) fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    (total.unwrap_or(0) / 1024).saturating_sub(1024).max(1024)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn discovery_scripts_list_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("gpus");
        let text = "#!/bin/sh\necho '{\"name\": \"gpu\", \"addresses\": [\"0\", \"1\", \"2\"]}'\n";
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let script = script.display().to_string();
        let conf = |pairs: &[(&str, &str)]| -> Conf { pairs.iter().copied().collect() };
        let gpu = ("spark.worker.resource.gpu.discoveryScript", script.as_str());
        let found = discover(&conf(&[gpu])).await.unwrap();
        assert_eq!(found["gpu"], ["0", "1", "2"]);
        let few = ("spark.worker.resource.gpu.amount", "2");
        assert_eq!(discover(&conf(&[gpu, few])).await.unwrap()["gpu"], ["0", "1"]);
        let many = ("spark.worker.resource.gpu.amount", "4");
        let error = discover(&conf(&[gpu, many])).await.unwrap_err();
        assert!(error.message().contains("found 3"), "{error}");
        let other = ("spark.worker.resource.fpga.discoveryScript", script.as_str());
        let error = discover(&conf(&[other])).await.unwrap_err();
        assert!(error.message().contains("not \"fpga\""), "{error}");
        assert!(memory_mib() >= 1024);
    }
}

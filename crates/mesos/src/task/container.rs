//! What a task runs in (Spark 3.5, `MesosSchedulerBackendUtil.buildContainerInfo`): an image of the Docker
//! or the Mesos containerizer, or none, with volumes, ports and networks.

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::Key;
use anymaster_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Role, labels::labels, secrets};
use crate::keys;

/// The container of a driver or an executor: one without an image where none is asked for, as Spark always
/// names one.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), naming the property, for what cannot be read;
/// Spark leaves such volumes, ports and parameters out.
pub fn container(conf: &Conf, role: Role) -> Result<Value> {
    let mut container = Map::new();
    let network = conf.read_optional(&keys::NETWORK_NAME)?;
    let image = conf.read_optional(&keys::DOCKER_IMAGE)?;
    let is_docker = is_dockers(conf)?;
    container.insert("type".to_owned(), json!(if is_docker { "DOCKER" } else { "MESOS" }));
    let mut volumes = Vec::new();
    if let Some(image) = image {
        let is_pulled = conf.read(&keys::DOCKER_FORCE_PULL)?;
        if is_docker {
            let docker = docker(conf, &image, is_pulled, network.is_some())?;
            container.insert("docker".to_owned(), docker);
        } else {
            let image = json!({"type": "DOCKER", "docker": {"name": image}, "cached": !is_pulled});
            container.insert("mesos".to_owned(), json!({"image": image}));
        }
        volumes = each(conf, &keys::DOCKER_VOLUMES, "[HOST:]CONTAINER[:ro|:rw]", volume)?;
    }
    volumes.extend(secrets::volumes(conf, role)?);
    if !volumes.is_empty() {
        container.insert("volumes".to_owned(), Value::Array(volumes));
    }
    if let Some(name) = network {
        let key = &keys::NETWORK_LABELS;
        let labels = labels(key.info.name, &conf.read_optional(key)?.unwrap_or_default())?;
        let network = json!([{"name": name, "labels": {"labels": labels}}]);
        container.insert("network_infos".to_owned(), network);
    }
    Ok(Value::Object(container))
}

/// Whether an image is run by Docker's containerizer.
///
/// # Errors
/// As [`container`].
pub fn is_dockers(conf: &Conf) -> Result<bool> {
    Ok(conf.read_optional(&keys::DOCKER_IMAGE)?.is_some()
        && conf.read(&keys::CONTAINERIZER)? == "docker")
}

/// The agent's ports that are passed on to the container. A task has to take them: Mesos does not start it
/// otherwise (1.11, `Port [80] not included in resources`).
///
/// # Errors
/// As [`container`].
pub fn mapped_ports(conf: &Conf) -> Result<Vec<u16>> {
    if !is_dockers(conf)? {
        return Ok(Vec::new());
    }
    let ports = each(conf, &keys::DOCKER_PORTMAPS, PORTMAP, port)?;
    Ok(ports.into_iter().map(|port| port.host).collect())
}

fn docker(conf: &Conf, image: &str, is_pulled: bool, has_network: bool) -> Result<Value> {
    let ports = each(conf, &keys::DOCKER_PORTMAPS, PORTMAP, port)?;
    let parameters = each(conf, &keys::DOCKER_PARAMETERS, "KEY=VALUE", parameter)?;
    let mut docker = json!({"image": image, "force_pull_image": is_pulled});
    if has_network {
        // Spark names it as the parameter `net` once more. Mesos 1.x does so itself, and Docker refuses a
        // network that is named twice (20.10: `network "…" is specified multiple times`).
        docker["network"] = json!("USER");
    }
    if !ports.is_empty() {
        docker["port_mappings"] = ports.iter().map(Port::json).collect();
    }
    if !parameters.is_empty() {
        docker["parameters"] = Value::Array(parameters);
    }
    Ok(docker)
}

/// The items of a list property, each of them read.
fn each<T>(
    conf: &Conf,
    key: &Key<Vec<String>>,
    form: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>> {
    let one = |item: &String| {
        read(item).ok_or_else(|| {
            Error::invalid(format!("{}: {item:?} is not of the form {form}", key.info.name))
                .with_hint(format!("write {form}, with commas between several"))
        })
    };
    conf.read_optional(key)?.unwrap_or_default().iter().map(one).collect()
}

fn volume(text: &str) -> Option<Value> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, path, mode) = match parts[..] {
        [path] => (None, path, "rw"),
        [path, mode @ ("ro" | "rw")] => (None, path, mode),
        [host, path] => (Some(host), path, "rw"),
        [host, path, mode @ ("ro" | "rw")] => (Some(host), path, mode),
        _ => return None,
    };
    if path.is_empty() || host == Some("") {
        return None;
    }
    let mut volume = json!({"container_path": path, "mode": mode.to_ascii_uppercase()});
    if let Some(host) = host {
        volume["host_path"] = json!(host);
    }
    Some(volume)
}

/// The form of a port that is passed on.
const PORTMAP: &str = "HOST:CONTAINER[:tcp|:udp]";

/// A port of the agent that is passed on to one of the container.
struct Port {
    host: u16,
    container: u16,
    protocol: &'static str,
}

impl Port {
    fn json(&self) -> Value {
        let Self { host, container, protocol } = self;
        json!({"host_port": host, "container_port": container, "protocol": protocol})
    }
}

fn port(text: &str) -> Option<Port> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, protocol) = match parts[..] {
        [host, container] | [host, container, "tcp"] => (host, container, "tcp"),
        [host, container, "udp"] => (host, container, "udp"),
        _ => return None,
    };
    let number = |text: &str| text.trim().parse::<u16>().ok();
    Some(Port { host: number(host)?, container: number(container)?, protocol })
}

fn parameter(text: &str) -> Option<Value> {
    let (key, value) = text.split_once('=')?;
    (!key.is_empty()).then(|| json!({"key": key, "value": value}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(pairs: &[(&str, &str)]) -> Conf {
        pairs.iter().map(|(name, value)| (format!("spark.mesos.{name}"), *value)).collect()
    }

    #[test]
    fn dockers_own_containers() {
        let conf = conf(&[
            ("executor.docker.image", "spark:3.5"),
            ("executor.docker.forcePullImage", "true"),
            ("executor.docker.portmaps", "80:8080,53:53:udp"),
            ("executor.docker.parameters", "a=1,b=x=y"),
            ("executor.docker.volumes", "/a,/b:ro,/c:/d,/e:/f:rw,/g:/h:ro"),
            ("network.name", "net"),
            ("network.labels", "k:v"),
        ]);
        assert_eq!(
            container(&conf, Role::Executor).unwrap(),
            json!({
                "type": "DOCKER",
                "docker": {
                    "image": "spark:3.5", "force_pull_image": true, "network": "USER",
                    "port_mappings": [
                        {"host_port": 80, "container_port": 8080, "protocol": "tcp"},
                        {"host_port": 53, "container_port": 53, "protocol": "udp"},
                    ],
                    "parameters": [{"key": "a", "value": "1"}, {"key": "b", "value": "x=y"}],
                },
                "volumes": [
                    {"container_path": "/a", "mode": "RW"},
                    {"container_path": "/b", "mode": "RO"},
                    {"container_path": "/d", "mode": "RW", "host_path": "/c"},
                    {"container_path": "/f", "mode": "RW", "host_path": "/e"},
                    {"container_path": "/h", "mode": "RO", "host_path": "/g"},
                ],
                "network_infos": [{"name": "net", "labels": {"labels": [{"key": "k", "value": "v"}]}}],
            })
        );
    }

    #[test]
    fn mesos_containers_with_an_image_or_without() {
        assert_eq!(container(&conf(&[]), Role::Driver).unwrap(), json!({"type": "MESOS"}));
        let conf = conf(&[
            ("executor.docker.image", "i"),
            ("containerizer", "mesos"),
            ("driver.secret.names", "n"),
            ("driver.secret.filenames", "/f"),
        ]);
        let container = container(&conf, Role::Driver).unwrap();
        assert_eq!(
            container["mesos"]["image"],
            json!({"type": "DOCKER", "docker": {"name": "i"}, "cached": true})
        );
        assert_eq!(container["volumes"][0]["source"]["secret"]["reference"]["name"], "n");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_its_property() {
        for (name, value) in [
            ("volumes", "/a:/b:rx"),
            ("volumes", "a:b:c:ro"),
            ("volumes", ":/b"),
            ("portmaps", "80"),
            ("portmaps", "80:x"),
            ("portmaps", "80:80:sctp"),
            ("portmaps", "70000:80"),
            ("parameters", "privileged"),
        ] {
            let name = format!("executor.docker.{name}");
            let conf = conf(&[("executor.docker.image", "i"), (&name, value)]);
            let error = container(&conf, Role::Executor).unwrap_err();
            assert!(error.message().starts_with(&format!("spark.mesos.{name}: ")), "{error}");
        }
    }
}

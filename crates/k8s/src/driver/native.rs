//! The pod of a driver that is any program: its command, environment, properties and secret (see
//! [`native`]).

use std::collections::BTreeMap;

use anymaster_core::conf::{Conf, Redaction, write_properties};
use anymaster_core::model::CommandLine;
use anymaster_core::native::Placeholder;
use anymaster_core::text::hex;
use anymaster_core::{Result, native};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use rand::RngExt as _;

use super::basic::{DRIVER_ENV, container_port, metadata, other_resources, port};
use super::{Draft, is_submitter_property};
use crate::executors::janitor;
use crate::keys;
use crate::pods::container::{self, Resources};
use crate::pods::{Role, env, env_of_field, escaped, in_cluster, local_dirs, placement, secrets};

/// The key of an application's properties in its config map and in its secret.
pub(crate) const PROPERTIES: &str = "spark.properties";
/// The key of the shared secret of driver and executors, in the application's Kubernetes secret.
pub(crate) const SECRET: &str = "secret";
/// The directory of both in the driver's pod, and of the secret in executors' pods.
pub(crate) const DIRECTORY: &str = "/etc/anymaster";
/// The volume with them.
pub(crate) const VOLUME: &str = "anymaster-application";
/// Readable for any user of the container.
pub(crate) const MODE: i32 = 0o444;
/// The default port of the driver, as with Spark.
const PORT: u16 = 7078;

pub(super) fn apply(draft: &mut Draft<'_>, command: &CommandLine) -> Result<()> {
    metadata(draft)?;
    container::image(&mut draft.pod, &draft.conf, Role::Driver)?;
    let port = match draft.conf.get("spark.driver.port") {
        None | Some("0") => PORT,
        Some(_) => port(&draft.conf, "spark.driver.port", PORT)?,
    };
    resources(draft)?;
    placement::apply(&mut draft.pod, &draft.conf, Role::Driver)?;
    // PID 1 of a container ignores SIGTERM unless it installs a handler; with this, it is not PID
    // 1.
    draft.pod.spec.share_process_namespace.get_or_insert(true);
    let directory = "/var/data/anymaster".to_owned();
    let work_dir = local_dirs::apply(&mut draft.pod, &draft.conf, None, directory)?;
    properties(draft, port)?;
    program(draft, command, port, &work_dir)?;
    janitor::add(&mut draft.pod, &draft.conf, &draft.app_id, &draft.namespace)
}

fn resources(draft: &mut Draft<'_>) -> Result<()> {
    let (conf, wanted) = (&draft.conf, &draft.request.app.driver.resources);
    let cpu = match container::quantity(conf, &keys::DRIVER_REQUEST_CORES)? {
        Some(cores) => cores,
        None => container::cores(wanted.cores),
    };
    let given = Resources {
        cpu,
        cpu_limit: container::quantity(conf, &keys::DRIVER_LIMIT_CORES)?,
        memory_mib: wanted.memory_limit_mib(),
        others: other_resources(conf)?,
    };
    container::resources(&mut draft.pod, given);
    Ok(())
}

/// Puts all properties and the shared secret into a Kubernetes secret, which the driver mounts.
/// Properties that are not redacted also go into a config map, for processes outside of the pod
/// that manage the executors.
fn properties(draft: &mut Draft<'_>, port: u16) -> Result<()> {
    draft.add("spark.master", in_cluster(&draft.conf)?);
    draft.add("spark.app.id", draft.app_id.clone());
    draft.add("spark.driver.port", port.to_string());
    draft.add(keys::NAMESPACE.info.name, draft.namespace.clone());
    // Makes the driver use its own credentials, not the submitter's.
    draft.add(keys::SUBMIT_IN_DRIVER.info.name, "true");
    let mut conf = draft.conf.clone();
    draft.added.iter().for_each(|(key, value)| conf.set(key.as_str(), value.as_str()));
    let conf: Conf = conf.iter().filter(|(key, _)| !is_submitter_property(key)).collect();
    let redaction = Redaction::from_conf(&conf)?;
    let is_open = |key: &str, value: &str| redaction.show(key, value) == value;
    let open: Conf = conf.iter().filter(|(key, value)| is_open(key, value)).collect();

    let name = format!("spark-drv-{}-conf-map", draft.ids.unique("config map"));
    let mut metadata = draft.metadata(name);
    let label = (crate::pods::APP_LABEL.to_owned(), draft.app_id.clone());
    metadata.labels.get_or_insert_default().extend([label.clone()]);
    draft.objects.configmaps.push(ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(PROPERTIES.to_owned(), write_properties(open.iter()))])),
        immutable: Some(true),
        ..ConfigMap::default()
    });

    let name = format!("{}-application", draft.prefix);
    secrets::mount(&mut draft.pod, VOLUME, &name, DIRECTORY, Some(MODE));
    let mut metadata = draft.metadata(name);
    metadata.labels.get_or_insert_default().extend([label]);
    let bytes: [u8; 32] = rand::rng().random();
    let secret = hex(&bytes);
    draft.objects.secrets.push(Secret {
        metadata,
        data: Some(BTreeMap::from([
            (SECRET.to_owned(), ByteString(secret.into_bytes())),
            (PROPERTIES.to_owned(), ByteString(write_properties(conf.iter()).into_bytes())),
        ])),
        immutable: Some(true),
        ..Secret::default()
    });
    Ok(())
}

fn program(draft: &mut Draft<'_>, command: &CommandLine, port: u16, work_dir: &str) -> Result<()> {
    let app = draft.app_id.clone();
    let expand = |text: &str| {
        native::expand(&escaped(text), |placeholder| {
            Some(match placeholder {
                Placeholder::AppId => app.clone(),
                Placeholder::DriverHost => format!("$({})", native::ENV_DRIVER_HOST),
                Placeholder::DriverPort => port.to_string(),
                Placeholder::WorkDir => work_dir.to_owned(),
                _ => return None,
            })
        })
    };
    let master = draft.added.get("spark.master").cloned().unwrap_or_default();
    // Fields of the pod come first: later variables may refer to them.
    let mut variables = vec![
        env_of_field(native::ENV_DRIVER_HOST, "status.podIP"),
        env(native::ENV_DRIVER_PORT, port.to_string()),
        env(native::ENV_MASTER, master),
        env(native::ENV_APPLICATION_ID, &app),
        env(native::ENV_SECRET_FILE, format!("{DIRECTORY}/{SECRET}")),
        env(native::ENV_PROPERTIES_FILE, format!("{DIRECTORY}/{PROPERTIES}")),
    ];
    let given = draft.conf.with_prefix(DRIVER_ENV);
    let of_spec = draft.request.app.driver.env.iter();
    for (name, value) in given.chain(of_spec.map(|(name, value)| (name.as_str(), value.as_str()))) {
        variables.push(env(name, expand(value)?));
    }
    let arguments = command.args.iter().map(|arg| expand(arg)).collect::<Result<Vec<_>>>()?;
    let program = expand(&command.program)?;
    draft.pod.env(variables);
    let container = &mut draft.pod.container;
    container.command = Some(vec![program]);
    container.args = Some(arguments);
    let directory = draft.request.app.driver.working_dir.as_ref();
    if let Some(directory) = directory {
        container.working_dir = Some(directory.display().to_string());
    }
    // The last lines of a failed container's log become part of the pod's status.
    container.termination_message_policy.get_or_insert_with(|| "FallbackToLogsOnError".to_owned());
    container
        .ports
        .get_or_insert_default()
        .push(container_port("driver-rpc-port", i32::from(port)));
    Ok(())
}

/// The application's secret that a native driver mounts; `None` for Spark's driver.
pub(crate) fn secret_of(driver: &Pod) -> Option<String> {
    let volumes = driver.spec.as_ref()?.volumes.as_deref()?;
    let volume = volumes.iter().find(|volume| volume.name == VOLUME)?;
    volume.secret.as_ref()?.secret_name.clone()
}

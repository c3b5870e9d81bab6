//! The headless service through which executors reach the driver (`DriverServiceFeatureStep`).

use anymaster_core::{Error, Result, SparkChange};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::basic::Ports;
use super::{APP_LABEL, Draft};
use crate::{keys, names};

/// Checks that Spark makes in the constructor of the step, even if the step is excluded.
pub(super) fn check(draft: &Draft<'_>) -> Result<()> {
    for (key, why) in [
        ("spark.driver.bindAddress", "it is the address of the driver's pod"),
        ("spark.driver.host", "it is the name of the driver's service"),
    ] {
        if draft.conf.get(key).is_some() {
            return Err(Error::invalid(format!(
                "{key} is not supported in Kubernetes mode: {why}"
            ))
            .with_hint(format!("leave {key} out")));
        }
    }
    Ok(())
}

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let name = name(draft);
    let ports = Ports::of(draft)?;
    draft.add("spark.driver.host", format!("{name}.{}.svc", draft.namespace));
    draft.add("spark.driver.port", ports.rpc.to_string());
    draft.add("spark.driver.blockManager.port", ports.service_block_manager.to_string());

    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let conf = &draft.conf;
    let has_readiness = draft.has(SparkChange::ServiceReadiness);
    let has_protocol = draft.has(SparkChange::ConnectProtocol);
    let not_ready = conf.read(&keys::SERVICE_PUBLISH_NOT_READY)?;
    let mut metadata = draft.metadata(name);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(APP_LABEL.to_owned(), draft.app_id.clone());
    labels.extend(conf.with_prefix("spark.kubernetes.driver.service.label.").map(owned));
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.extend(conf.with_prefix("spark.kubernetes.driver.service.annotation.").map(owned));
    let service = Service {
        metadata,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ip_family_policy: Some(conf.read(&keys::SERVICE_IP_FAMILY_POLICY)?),
            ip_families: Some(conf.read(&keys::SERVICE_IP_FAMILIES)?),
            selector: Some(draft.labels()?),
            publish_not_ready_addresses: has_readiness.then_some(not_ready),
            ports: Some(
                Ports { block_manager: ports.service_block_manager, ..ports }
                    .named()
                    .map(|(name, port)| ServicePort {
                        name: Some(name.to_owned()),
                        port,
                        target_port: Some(IntOrString::Int(port)),
                        app_protocol: (has_protocol && name == "spark-connect")
                            .then(|| "grpc".to_owned()),
                        ..ServicePort::default()
                    })
                    .collect(),
            ),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    draft.objects.services.push(service);
    Ok(())
}

/// The name of the service; a shorter one, as with Spark, if the first would be too long.
fn name(draft: &mut Draft<'_>) -> String {
    let preferred = format!("{}-driver-svc", draft.prefix);
    if preferred.len() <= names::MAX_LABEL {
        return preferred;
    }
    let shorter = format!("spark-{}-driver-svc", draft.ids.unique("service"));
    draft.objects.warnings.push(format!(
        "the driver's service is {shorter}, as {preferred} has more than {} characters",
        names::MAX_LABEL
    ));
    shorter
}

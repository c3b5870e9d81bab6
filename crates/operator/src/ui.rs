//! The service of a driver's web page (`spec.sparkUIOptions`).

use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::translate::{APP_NAME_LABEL, Identity, LAUNCHED_LABEL, SUBMISSION_LABEL, owner};
use crate::v1beta2::{DriverInfo, Map, Spec};

/// The label of what an operator makes beside pods.
const CREATED_LABEL: &str = "sparkoperator.k8s.io/created-by-spark-operator";
/// The name of the port, if the application names none.
const PORT_NAME: &str = "spark-driver-ui-port";
/// The property of the driver's port, and its default.
const UI_PORT: (&str, i32) = ("spark.ui.port", 4040);
/// The end of the name of the service.
const SUFFIX: &str = "ui-svc";
/// The longest name of a service.
const MAX_NAME: usize = 63;

/// The service of the web page of an application's driver.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a port that is none.
pub(crate) fn service(identity: &Identity, spec: &Spec, submission: &str) -> Result<Service> {
    let conf = spec.spark_conf.as_ref().and_then(|conf| conf.get(UI_PORT.0));
    let target: i32 = match conf {
        None => UI_PORT.1,
        Some(port) => port.trim().parse().map_err(|_| {
            Error::invalid(format!("spec.sparkConf: {}: {port:?} is not a port", UI_PORT.0))
        })?,
    };
    let options = spec.spark_ui_options.clone().unwrap_or_default();
    let own = || {
        Map::from([
            (APP_NAME_LABEL.to_owned(), identity.name.clone()),
            (SUBMISSION_LABEL.to_owned(), submission.to_owned()),
        ])
    };
    let mut labels = options.service_labels.unwrap_or_else(own);
    labels.insert(CREATED_LABEL.to_owned(), "true".to_owned());
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name(&identity.name), "namespace": identity.namespace, "labels": labels,
            "annotations": options.service_annotations, "ownerReferences": [owner(identity)],
        },
        "spec": {
            "type": options.service_type.as_deref().unwrap_or("ClusterIP"),
            "selector": {APP_NAME_LABEL: identity.name, "spark-role": "driver", LAUNCHED_LABEL: "true"},
            "ports": [{
                "name": options.service_port_name.as_deref().unwrap_or(PORT_NAME), "protocol": "TCP",
                "port": options.service_port.unwrap_or(target), "targetPort": target,
            }],
        },
    });
    serde_json::from_value(service).map_err(|error| {
        Error::invalid("spec.sparkUIOptions: no service can be made of it").with_source(error)
    })
}

/// Says in a status where the web page is.
pub(crate) fn describe(service: &Service, info: &mut DriverInfo) {
    info.web_ui_service_name = service.metadata.name.clone().unwrap_or_default();
    let Some(spec) = &service.spec else { return };
    let port = spec.ports.iter().flatten().next();
    info.web_ui_port = port.map_or(0, |port| port.port);
    let address = spec.cluster_ip.as_deref().filter(|address| *address != "None");
    info.web_ui_address =
        address.map(|address| format!("{address}:{}", info.web_ui_port)).unwrap_or_default();
}

/// `<application>-ui-svc`; of a long name, its beginning and a hash of it.
fn name(application: &str) -> String {
    let name = format!("{application}-{SUFFIX}");
    if name.len() <= MAX_NAME {
        return name;
    }
    let digits = hex(&Sha256::digest(&name)[..4]);
    let room = MAX_NAME - SUFFIX.len() - digits.len() - 2;
    format!("{}-{digits}-{SUFFIX}", &application[..room])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::v1beta2;

    fn identity(name: &str) -> Identity {
        let (namespace, uid) = ("ns".to_owned(), "u-1".to_owned());
        Identity { namespace, name: name.to_owned(), uid, labels: Map::new() }
    }

    fn made(spec: Value) -> Result<Value> {
        let mut whole =
            json!({"type": "Scala", "sparkVersion": "3.5.9", "driver": {}, "executor": {}});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        let spec = v1beta2::read(&whole).unwrap().spec;
        service(&identity("app"), &spec, "s-1")
            .map(|service| serde_json::to_value(service).unwrap())
    }

    #[test]
    fn it_leads_to_the_port_of_the_driver() {
        let service = made(json!({"sparkConf": {"spark.ui.port": "4041"}})).unwrap();
        assert_eq!(service["metadata"]["name"], "app-ui-svc");
        assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(service["metadata"]["labels"][SUBMISSION_LABEL], "s-1");
        let port = &service["spec"]["ports"][0];
        assert_eq!(
            (&port["port"], &port["targetPort"], &port["name"]),
            (&json!(4041), &json!(4041), &json!(PORT_NAME))
        );
        let error = made(json!({"sparkConf": {"spark.ui.port": "web"}})).unwrap_err();
        assert!(error.message().contains("\"web\" is not a port"), "{error}");
    }

    #[test]
    fn options_of_the_application_count() {
        let service = made(json!({"sparkUIOptions": {"servicePort": 80, "servicePortName": "http", "serviceType": "NodePort",
            "serviceLabels": {"a": "b"}, "serviceAnnotations": {"c": "d"}}}))
        .unwrap();
        assert_eq!(service["spec"]["type"], "NodePort");
        let port = &service["spec"]["ports"][0];
        assert_eq!(
            (&port["port"], &port["targetPort"], &port["name"]),
            (&json!(80), &json!(4040), &json!("http"))
        );
        assert_eq!(service["metadata"]["labels"], json!({"a": "b", CREATED_LABEL: "true"}));
        assert_eq!(service["metadata"]["annotations"], json!({"c": "d"}));
    }

    #[test]
    fn long_names_stay_within_what_kubernetes_takes_and_differ() {
        let (one, two) =
            (name(&format!("{}a", "x".repeat(62))), name(&format!("{}b", "x".repeat(62))));
        assert!(one.len() == 63 && two.len() == 63 && one != two, "{one} {two}");
        assert!(one.ends_with("-ui-svc"), "{one}");
    }
}

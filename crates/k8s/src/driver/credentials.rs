//! Sets the driver's service account, or mounts its credentials from a secret
//! (`DriverKubernetesCredentialsFeatureStep`).

use std::collections::BTreeMap;

use anymaster_core::model::Payload;
use anymaster_core::{Error, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::Draft;
use crate::keys;
use crate::pods::secrets;

const PREFIX: &str = "spark.kubernetes.authenticate.driver.";
const MOUNTED: &str = "spark.kubernetes.authenticate.driver.mounted.";
const VOLUME: &str = "kubernetes-credentials";
const DIRECTORY: &str = "/mnt/secrets/spark-kubernetes-credentials";

/// Replaces a token in the driver's properties.
const REDACTED: &str = "<present_but_redacted>";

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let mut data = BTreeMap::new();
    let mut take = |draft: &mut Draft<'_>, mounted: &str, key: &str, value: Option<Vec<u8>>| {
        if let Some(value) = value {
            data.insert(key.to_owned(), ByteString(value));
            let property = format!("{MOUNTED}{mounted}");
            if draft.conf.get(&property).is_none() {
                draft.add(&property, format!("{DIRECTORY}/{key}"));
            }
        }
    };
    if draft.conf.get(&format!("{PREFIX}oauthTokenFile")).is_some() {
        return Err(Error::invalid(format!(
            "{PREFIX}oauthTokenFile is not supported in cluster mode"
        ))
        .with_hint(format!(
            "write {PREFIX}oauthToken, or {MOUNTED}oauthTokenFile for a file in the pod"
        )));
    }
    for (suffix, key) in [
        ("caCertFile", "ca-cert"),
        ("clientKeyFile", "client-key"),
        ("clientCertFile", "client-cert"),
    ] {
        let property = format!("{PREFIX}{suffix}");
        let path = draft.conf.get(&property).map(str::to_owned);
        let content =
            path.map(|path| draft.request.submitter.read(&property, &path)).transpose()?;
        take(draft, suffix, key, content);
    }
    let token =
        draft.conf.get(&format!("{PREFIX}oauthToken")).map(|token| token.as_bytes().to_vec());
    take(draft, "oauthTokenFile", "oauth-token", token);

    let tokens: Vec<String> = draft
        .conf
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            name.starts_with("spark.kubernetes.authenticate.") && name.ends_with(".oauthToken")
        })
        .collect();
    for name in tokens {
        draft.add(&name, REDACTED);
    }
    // Spark sets the account only without credentials; the janitor of another driver needs it in
    // any case.
    let is_spark = matches!(draft.request.app.driver.payload, Payload::Spark(_));
    if (data.is_empty() || !is_spark)
        && let Some(account) = draft.conf.read_optional(&keys::DRIVER_SERVICE_ACCOUNT)?
    {
        draft.pod.spec.service_account = Some(account.clone());
        draft.pod.spec.service_account_name = Some(account);
    }
    if data.is_empty() {
        return Ok(());
    }
    let name = format!("{}-kubernetes-credentials", draft.prefix);
    secrets::mount(&mut draft.pod, VOLUME, &name, DIRECTORY, None);
    let metadata = draft.metadata(name);
    draft.objects.secrets.push(Secret {
        metadata,
        data: Some(data),
        immutable: Some(true),
        ..Secret::default()
    });
    Ok(())
}

//! The staging server (`anymaster staging`) to which a submission uploads, and from which its driver fetches by plain
//! GET; and the removal of what an application has there.

mod client;

use anymaster_core::conf::Conf;
use anymaster_core::model::AppId;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use url::Url;

pub(crate) use self::client::{StagedFile, StagingClient};
use crate::keys;
use crate::submitter_env::SubmitterEnv;

/// The annotation of a driver's pod with the server that has its files.
pub(crate) const STAGING_ANNOTATION: &str = "anymaster.dev/staging";
/// The scheme of `spark.kubernetes.file.upload.path` for a staging server.
const SCHEME: &str = "anymaster://";

/// The URL of the staging server that properties name; `None` if files go elsewhere.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it is no URL of a server, or the properties name two places.
pub(crate) fn server(conf: &Conf) -> Result<Option<String>> {
    let url = conf.read_optional(&keys::STAGING_URL)?.filter(|url| !url.is_empty());
    let path = conf.read_optional(&keys::FILE_UPLOAD_PATH)?.filter(|path| !path.is_empty());
    let (of_url, of_path) = (keys::STAGING_URL.info.name, keys::FILE_UPLOAD_PATH.info.name);
    let authority = path.as_deref().map(|path| path.strip_prefix(SCHEME));
    match (url, authority) {
        (None, None | Some(None)) => Ok(None),
        (None, Some(Some(authority))) => {
            let base = format!("https://{}", authority.trim_end_matches('/'));
            check(of_path, &base)?;
            Ok(Some(base))
        }
        (Some(url), None) => {
            check(of_url, &url)?;
            Ok(Some(url.trim_end_matches('/').to_owned()))
        }
        (Some(url), Some(authority)) => {
            check(of_url, &url)?;
            let url = url.trim_end_matches('/');
            match authority
                .is_some_and(|it| url.ends_with(&format!("://{}", it.trim_end_matches('/'))))
            {
                true => Ok(Some(url.to_owned())),
                false => {
                    Err(Error::invalid(format!("{of_url} and {of_path} name two places for files"))
                        .with_hint("set one of them only"))
                }
            }
        }
    }
}

fn check(property: &str, base: &str) -> Result<()> {
    let is_server = Url::parse(base).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    match is_server && !base.contains([',', ' ']) {
        true => Ok(()),
        false => {
            Err(Error::invalid(format!("{property}: it is not the address of a staging server"))
                .with_hint(format!(
                    "write {}=https://HOST:PORT, or {}={SCHEME}HOST:PORT, without user and query",
                    keys::STAGING_URL.info.name,
                    keys::FILE_UPLOAD_PATH.info.name
                )))
        }
    }
}

/// Removes the files of an application that has ended, if its pod says that a staging server has them. What cannot be
/// removed expires there by its age.
///
/// The token goes to the server of this process's properties only, whatever the pod says.
pub(crate) async fn end(pod: &Pod, app: &AppId, conf: &Conf, submitter: &SubmitterEnv) {
    let Some(base) = pod.annotations().get(STAGING_ANNOTATION) else { return };
    let removed = async {
        if server(conf)?.as_ref() != Some(base)
            || conf.get(keys::STAGING_TOKEN_FILE.info.name).is_none()
        {
            tracing::info!(%app, "its files on the staging server expire by their age: {} and {} are not set here",
                keys::STAGING_URL.info.name, keys::STAGING_TOKEN_FILE.info.name);
            return Ok(());
        }
        StagingClient::new(base, conf, submitter)?.delete(&format!("/v1/applications/{app}")).await
    };
    if let Err(error) = removed.await {
        tracing::warn!(%app, "its files on the staging server expire by their age: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_once() {
        let of = |pairs: &[(&str, &str)]| server(&pairs.iter().copied().collect::<Conf>());
        let (url, path) = ("spark.anymaster.staging.url", "spark.kubernetes.file.upload.path");
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[(path, "s3a://b/x")]).unwrap(), None);
        assert_eq!(of(&[(path, "anymaster://h:1/")]).unwrap().unwrap(), "https://h:1");
        assert_eq!(of(&[(url, "http://h:1/x/")]).unwrap().unwrap(), "http://h:1/x");
        let both = [(url, "http://h:1"), (path, "anymaster://h:1")];
        assert_eq!(of(&both).unwrap().unwrap(), "http://h:1");
        for bad in [
            &[(url, "http://h:1"), (path, "s3a://b")][..],
            &[(url, "http://h:1"), (path, "anymaster://h:2")],
            &[(url, "h:1")],
            &[(url, "ftp://h")],
            &[(url, "http://me:hush@h")],
            &[(url, "http://h?hush")],
            &[(path, "anymaster://")],
        ] {
            let error = of(bad).unwrap_err();
            assert!(error.message().contains("spark."), "{error}");
            assert!(!error.message().contains("hush"), "{error}");
        }
    }
}

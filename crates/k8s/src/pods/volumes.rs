//! Volumes by property (`KubernetesVolumeUtils`, `MountVolumesFeatureStep`).

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, NFSVolumeSource, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{PodDraft, Role};
use crate::keys;

/// A claim that is to be made has this in its name.
const ON_DEMAND: &str = "OnDemand";

/// What properties say of one volume.
#[derive(Debug)]
struct Spec<'a> {
    kind: &'a str,
    name: &'a str,
    /// What follows the name, for example `options.path`.
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Spec<'a> {
    /// All volumes below a prefix, sorted by kind and name.
    fn all(conf: &'a Conf, prefix: &'a str) -> Result<Vec<Self>> {
        let mut specs: BTreeMap<(&str, &str), BTreeMap<&str, &str>> = BTreeMap::new();
        for (rest, value) in conf.with_prefix(prefix) {
            let mut parts = rest.splitn(3, '.');
            let (Some(kind), Some(name), Some(option)) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(Error::invalid(format!(
                    "{prefix}{rest}: a volume needs a type, a name and an option"
                ))
                .with_hint(format!("write for example {prefix}hostPath.data.mount.path=/data")));
            };
            specs.entry((kind, name)).or_default().insert(option, value);
        }
        let specs: Vec<_> =
            specs.into_iter().map(|((kind, name), values)| Self { kind, name, values }).collect();
        specs.iter().try_for_each(|spec| spec.check(prefix))?;
        Ok(specs)
    }

    fn check(&self, prefix: &str) -> Result<()> {
        let needed: &[&str] = match self.kind {
            "hostPath" => &["mount.path", "options.path"],
            "persistentVolumeClaim" => &["mount.path", "options.claimName"],
            "emptyDir" => &["mount.path"],
            "nfs" => &["mount.path", "options.path", "options.server"],
            other => {
                return Err(Error::invalid(format!("Kubernetes Volume type `{other}` is not supported"))
                    .with_hint("known: hostPath, persistentVolumeClaim, emptyDir, nfs; a pod template takes all"));
            }
        };
        for option in needed {
            if self.get(option).is_none() {
                let (kind, name) = (self.kind, self.name);
                return Err(Error::invalid(format!(
                    "{prefix}{kind}.{name}.{option} is required for {kind}"
                )));
            }
        }
        if let Some(text) = self.get("mount.readOnly").filter(|text| text.parse::<bool>().is_err())
        {
            let (kind, name) = (self.kind, self.name);
            return Err(Error::invalid(format!(
                "{prefix}{kind}.{name}.mount.readOnly: {text:?} is neither true nor false"
            )));
        }
        if self.get("mount.subPath").is_some() && self.get("mount.subPathExpr").is_some() {
            return Err(Error::invalid(format!(
                "{prefix}{}.{}: mount.subPath and mount.subPathExpr exclude each other",
                self.kind, self.name
            )));
        }
        Ok(())
    }

    fn get(&self, option: &str) -> Option<&'a str> {
        self.values.get(option).copied().filter(|value| !value.is_empty())
    }

    fn owned(&self, option: &str) -> Option<String> {
        self.get(option).map(str::to_owned)
    }

    fn read_only(&self) -> Option<bool> {
        self.get("mount.readOnly").filter(|text| *text == "true").map(|_| true)
    }

    fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.name.to_owned(),
            mount_path: self.owned("mount.path").unwrap_or_default(),
            sub_path: self.owned("mount.subPath"),
            sub_path_expr: self.owned("mount.subPathExpr"),
            read_only: self.read_only(),
            ..VolumeMount::default()
        }
    }

    fn volume(&self, claim: Option<String>) -> Volume {
        let mut volume = Volume { name: self.name.to_owned(), ..Volume::default() };
        let path = || self.owned("options.path").unwrap_or_default();
        match self.kind {
            "hostPath" => {
                let kind = self.owned("options.type").unwrap_or_default();
                volume.host_path = Some(HostPathVolumeSource { path: path(), type_: Some(kind) });
            }
            "emptyDir" => {
                volume.empty_dir = Some(EmptyDirVolumeSource {
                    medium: self.owned("options.medium"),
                    size_limit: self.owned("options.sizeLimit").map(Quantity),
                    ..EmptyDirVolumeSource::default()
                });
            }
            "nfs" => {
                let server = self.owned("options.server").unwrap_or_default();
                volume.nfs = Some(NFSVolumeSource { path: path(), server, read_only: None });
            }
            _ => {
                volume.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.unwrap_or_default(),
                    read_only: self.read_only(),
                });
            }
        }
        volume
    }

    /// Labels or annotations of the claim that is made (4.x).
    fn texts(&self, kind: &str) -> BTreeMap<String, String> {
        self.values
            .iter()
            .filter_map(|(option, value)| {
                Some((
                    option.strip_prefix(kind)?.strip_prefix('.')?.to_owned(),
                    (*value).to_owned(),
                ))
            })
            .collect()
    }
}

/// Mounts the volumes that properties ask for. Returns the claims that are to be made; `metadata`
/// makes theirs of their names. A claim `OnDemand` is called by `name`, with its number.
pub(crate) fn apply(
    draft: &mut PodDraft,
    conf: &Conf,
    role: Role,
    default_access: &str,
    name: impl Fn(usize) -> String,
    metadata: impl Fn(&str) -> ObjectMeta,
) -> Result<Vec<PersistentVolumeClaim>> {
    let prefix = role.prefix("volumes.");
    let specs = Spec::all(conf, &prefix)?;
    let taken = draft.container.volume_mounts.iter().flatten();
    check_paths(&specs, taken.map(|mount| mount.mount_path.clone()).collect())?;
    let access = match conf.read_optional(&keys::LEGACY_READ_WRITE_ONCE)? {
        Some(true) => "ReadWriteOnce",
        Some(false) => "ReadWriteOncePod",
        None => default_access,
    };
    let mut claims = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let claim =
            spec.get("options.claimName").map(|given| given.replace(ON_DEMAND, &name(index)));
        if let (Some(name), Some(class), Some(size)) =
            (&claim, spec.owned("options.storageClass"), spec.owned("options.sizeLimit"))
        {
            let mut metadata = metadata(name);
            let labels = metadata.labels.get_or_insert_default();
            let own = std::mem::take(labels);
            labels.extend(spec.texts("label"));
            labels.extend(own);
            metadata.annotations.get_or_insert_default().extend(spec.texts("annotation"));
            claims.push(PersistentVolumeClaim {
                metadata,
                spec: Some(PersistentVolumeClaimSpec {
                    access_modes: Some(vec![access.to_owned()]),
                    storage_class_name: Some(class),
                    resources: Some(VolumeResourceRequirements {
                        requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size))])),
                        limits: None,
                    }),
                    ..PersistentVolumeClaimSpec::default()
                }),
                status: None,
            });
        }
        draft.mount(spec.volume(claim), spec.mount());
    }
    Ok(claims)
}

/// Finds mistakes in the volumes of executors before there is a driver that would make them.
pub(crate) fn check(conf: &Conf, role: Role) -> Result<()> {
    check_paths(&Spec::all(conf, &role.prefix("volumes."))?, BTreeSet::new())
}

fn check_paths(specs: &[Spec<'_>], mut taken: BTreeSet<String>) -> Result<()> {
    for spec in specs {
        let path = spec.owned("mount.path").unwrap_or_default();
        if taken.contains(&path) {
            return Err(Error::invalid(format!("Found duplicated mountPath: '{path}'"))
                .with_hint(format!("volume {} needs a path of its own", spec.name)));
        }
        taken.insert(path);
    }
    Ok(())
}

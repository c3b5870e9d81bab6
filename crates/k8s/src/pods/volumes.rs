//! Volumes that properties define (`KubernetesVolumeUtils`, `MountVolumesFeatureStep`).

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result, SparkChange, SparkRelease};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, NFSVolumeSource, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{PodDraft, Role};
use crate::checks::check_mount_path;
use crate::{keys, names, quantity};

/// The placeholder in the name of a claim that is created on demand.
const ON_DEMAND: &str = "OnDemand";

/// The types of `hostPath` volumes.
const HOST_PATH_TYPES: [&str; 7] = [
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
];

/// The media of `emptyDir` volumes other than the default.
const MEDIA: [&str; 2] = ["Memory", "HugePages"];

/// Whether a path contains `..`.
fn has_parent_dir(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// The properties of one volume.
#[derive(Debug)]
struct Spec<'a> {
    kind: &'a str,
    name: &'a str,
    /// The values by option, for example `options.path`.
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Spec<'a> {
    /// All volumes below a prefix, sorted by type and name, with the options that the release
    /// supports.
    fn all(conf: &'a Conf, prefix: &'a str, release: &SparkRelease) -> Result<Vec<Self>> {
        let has_all = release.has(SparkChange::VolumeOptions);
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
            let options = specs.entry((kind, name)).or_default();
            if has_all || !is_new(option) {
                options.insert(option, value);
            }
        }
        let specs: Vec<_> =
            specs.into_iter().map(|((kind, name), values)| Self { kind, name, values }).collect();
        let mut names = BTreeSet::new();
        for spec in &specs {
            spec.check(prefix)?;
            if !names.insert(spec.name) {
                return Err(spec
                    .fault(prefix, "", "another volume has the same name")
                    .with_hint("names of volumes differ, whatever their types are"));
            }
        }
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
        if !names::is_label(self.name) {
            return Err(self
                .fault(prefix, "", "it cannot be the name of a volume")
                .with_hint(names::LABEL_RULE));
        }
        let is_flag =
            |text: &&str| ["true", "false"].iter().any(|flag| text.eq_ignore_ascii_case(flag));
        if let Some(text) = self.values.get("mount.readOnly").filter(|text| !is_flag(text)) {
            let why = format!("{text:?} is neither true nor false");
            return Err(self.fault(prefix, "mount.readOnly", &why));
        }
        if self.get("mount.subPath").is_some() && self.get("mount.subPathExpr").is_some() {
            let why = "mount.subPath and mount.subPathExpr exclude each other";
            return Err(self.fault(prefix, "", why));
        }
        let path = format!("{prefix}{}.{}.mount.path", self.kind, self.name);
        check_mount_path(&path, self.get("mount.path").unwrap_or_default())?;
        for option in ["mount.subPath", "mount.subPathExpr"] {
            if self.get(option).is_some_and(|path| path.starts_with('/') || has_parent_dir(path)) {
                return Err(self.fault(
                    prefix,
                    option,
                    "it is a path within the volume, without ..",
                ));
            }
        }
        self.check_source(prefix)
    }

    /// Checks options that the API server or the kubelet would refuse.
    fn check_source(&self, prefix: &str) -> Result<()> {
        let path = self.get("options.path").unwrap_or_default();
        match self.kind {
            "hostPath" => {
                if has_parent_dir(path) {
                    return Err(self.fault(prefix, "options.path", "there is .. in it"));
                }
                self.check_one_of(prefix, "options.type", &HOST_PATH_TYPES, |_| false)?;
            }
            "nfs" if !path.starts_with('/') => {
                return Err(self.fault(prefix, "options.path", "it is not an absolute path"));
            }
            "emptyDir" => {
                let is_of_pages = |medium: &str| medium.starts_with("HugePages-");
                self.check_one_of(prefix, "options.medium", &MEDIA, is_of_pages)?;
            }
            "persistentVolumeClaim" => self.check_claim(prefix)?,
            _ => {}
        }
        match self.values.get("options.sizeLimit") {
            Some(size) if matches!(self.kind, "emptyDir" | "persistentVolumeClaim") => {
                quantity::of_size(&self.property(prefix, "options.sizeLimit"), size).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn check_claim(&self, prefix: &str) -> Result<()> {
        let claim = self.get("options.claimName").unwrap_or_default();
        let made = claim.replace(ON_DEMAND, "a").replace("SPARK_EXECUTOR_ID", "1");
        if !names::is_subdomain(&made) {
            let why = format!("{claim:?} cannot be the name of a claim");
            return Err(self.fault(prefix, "options.claimName", &why));
        }
        if let Some(class) =
            self.get("options.storageClass").filter(|class| !names::is_subdomain(class))
        {
            let why = format!("{class:?} cannot be the name of a storage class");
            return Err(self.fault(prefix, "options.storageClass", &why));
        }
        let label = self.property(prefix, "label.");
        for (name, value) in self.texts("label") {
            names::check_key(&label, &name)?;
            names::check_label_value(&label, &name, &value)?;
        }
        let annotation = self.property(prefix, "annotation.");
        self.texts("annotation").keys().try_for_each(|name| names::check_key(&annotation, name))
    }

    fn check_one_of(
        &self,
        prefix: &str,
        option: &str,
        known: &[&str],
        is_other: impl Fn(&str) -> bool,
    ) -> Result<()> {
        match self.get(option) {
            Some(text) if !known.contains(&text) && !is_other(text) => {
                let why = format!("{text:?} is none of {}", known.join(", "));
                Err(self.fault(prefix, option, &why))
            }
            _ => Ok(()),
        }
    }

    fn property(&self, prefix: &str, option: &str) -> String {
        let (kind, name) = (self.kind, self.name);
        let dot = if option.is_empty() { "" } else { "." };
        format!("{prefix}{kind}.{name}{dot}{option}")
    }

    fn fault(&self, prefix: &str, option: &str, why: &str) -> Error {
        Error::invalid(format!("{}: {why}", self.property(prefix, option)))
    }

    fn get(&self, option: &str) -> Option<&'a str> {
        self.values.get(option).copied().filter(|value| !value.is_empty())
    }

    /// The value of an option, which may be empty.
    fn set(&self, option: &str) -> Option<String> {
        self.values.get(option).map(|value| (*value).to_owned())
    }

    fn owned(&self, option: &str) -> Option<String> {
        self.get(option).map(str::to_owned)
    }

    fn read_only(&self) -> Option<bool> {
        self.get("mount.readOnly").filter(|text| text.eq_ignore_ascii_case("true")).map(|_| true)
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

    /// Labels or annotations of the claim that is created (4.x).
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

/// Mounts the configured volumes. Returns the claims to be created, with the metadata that
/// `metadata` returns for their names. `OnDemand` is replaced with what `name` returns for the
/// index of the volume.
pub(crate) fn apply(
    draft: &mut PodDraft,
    conf: &Conf,
    role: Role,
    release: &SparkRelease,
    name: impl Fn(usize) -> String,
    metadata: impl Fn(&str) -> ObjectMeta,
) -> Result<Vec<PersistentVolumeClaim>> {
    let prefix = role.prefix("volumes.");
    let specs = Spec::all(conf, &prefix, release)?;
    let taken = draft.container.volume_mounts.iter().flatten();
    check_paths(&specs, taken.map(|mount| mount.mount_path.clone()).collect())?;
    let several = match conf.read_optional(&keys::LEGACY_READ_WRITE_ONCE)? {
        Some(several) => several,
        None => !release.has(SparkChange::OncePodClaims),
    };
    let access = if several { "ReadWriteOnce" } else { "ReadWriteOncePod" };
    let mut claims = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let claim =
            spec.get("options.claimName").map(|given| given.replace(ON_DEMAND, &name(index)));
        if let (Some(name), Some(class), Some(size)) =
            (&claim, spec.set("options.storageClass"), spec.set("options.sizeLimit"))
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

/// Options that older releases do not have.
fn is_new(option: &str) -> bool {
    matches!(option, "options.type" | "mount.subPathExpr")
        || option.starts_with("label.")
        || option.starts_with("annotation.")
}

/// Warnings about options that the release does not have.
pub(crate) fn without_effect(conf: &Conf, release: &SparkRelease) -> Vec<String> {
    if release.has(SparkChange::VolumeOptions) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for prefix in [Role::Driver, Role::Executor].map(|role| role.prefix("volumes.")) {
        for (rest, _) in conf.with_prefix(&prefix) {
            if rest.splitn(3, '.').nth(2).is_some_and(is_new) {
                warnings.push(format!(
                    "{prefix}{rest} has no effect: Spark {release} has no such option of volumes"
                ));
            }
        }
    }
    warnings
}

/// Checks the volumes of executors, so that errors are reported before the driver starts.
pub(crate) fn check(conf: &Conf, role: Role, release: &SparkRelease) -> Result<()> {
    check_paths(&Spec::all(conf, &role.prefix("volumes."), release)?, BTreeSet::new())
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

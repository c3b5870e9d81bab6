//! Reads properties files, the master URL and the deploy mode.

use std::path::PathBuf;

use anymaster_core::conf::{Layers, Origin, keys};
use anymaster_core::model::DeployMode;
use anymaster_core::{Error, MasterUrl, Registry, Result, SparkChange, SparkRelease};

use crate::home::SparkHome;
use crate::{Environment, SubmitArgs};

/// Options that older releases do not have.
const RELEASE_DEPENDENT: [(&str, SparkChange); 3] = [
    ("--load-spark-defaults", SparkChange::LoadSparkDefaults),
    ("--driver-default-class-path", SparkChange::DefaultClassPathOption),
    ("--extra-properties-file", SparkChange::ExtraPropertiesFile),
];

/// Adds `--properties-file`, or `spark-defaults.conf` if it exists; both with
/// `--load-spark-defaults` (from 4.0). `--extra-properties-file` overrides them, later ones earlier
/// ones. Returns the path of the first.
pub(super) fn add_files(
    layers: &mut Layers,
    args: &SubmitArgs,
    environment: &Environment,
) -> Result<Option<PathBuf>> {
    let given = args.value("--properties-file").map(|file| environment.current_dir.join(file));
    let default = || {
        let conf_dir = environment.get("SPARK_CONF_DIR").map(PathBuf::from);
        let conf_dir = conf_dir
            .or_else(|| Some(PathBuf::from(environment.get("SPARK_HOME")?).join("conf")))?;
        Some(conf_dir.join("spark-defaults.conf")).filter(|file| file.is_file())
    };
    let default = match &given {
        Some(_) if !args.has("--load-spark-defaults") => None,
        _ => default(),
    };
    // Later files override earlier ones.
    for file in default.iter().chain(&given) {
        layers.add_file(file)?;
    }
    for file in &args.extra_files {
        layers.add_file(&environment.current_dir.join(file))?;
    }
    Ok(given.or(default))
}

/// Refuses options that the Spark release does not have: that of `spark.anymaster.sparkVersion`,
/// else of `SPARK_HOME`, else the newest.
pub(super) fn check_options(
    layers: &Layers,
    args: &SubmitArgs,
    environment: &Environment,
) -> Result<()> {
    let is_given = |option: &str| match option {
        "--extra-properties-file" => !args.extra_files.is_empty(),
        _ => args.has(option) || args.value(option).is_some(),
    };
    let mut given = RELEASE_DEPENDENT.iter().filter(|(option, _)| is_given(option)).peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let release = match layers.get("spark.anymaster.sparkVersion") {
        Some(text) => text.parse().ok(),
        None => environment.get("SPARK_HOME").and_then(|home| SparkHome::of(home.into()).release),
    };
    let Some(release): Option<SparkRelease> = release else { return Ok(()) };
    let Some((option, change)) = given.find(|(_, change)| !release.has(*change)) else {
        return Ok(());
    };
    let (major, minor) = change.came_with();
    Err(Error::invalid(format!("Unrecognized option: {option}"))
        .with_hint(format!("Spark {major}.{minor} and later have it; this is Spark {release}")))
}

/// Parses a master URL. YARN needs no backend: its client is part of the installed Spark.
fn master(text: &str, masters: &Registry) -> Result<MasterUrl> {
    match text {
        "yarn" => text.parse(),
        "yarn-client" | "yarn-cluster" => {
            let mode = &text["yarn-".len()..];
            Err(Error::invalid(format!("master URL {text:?}: Spark gave this form up"))
                .with_hint(format!("use --master yarn --deploy-mode {mode}")))
        }
        _ => masters.parse(text),
    }
}

pub(super) fn place(
    layers: &mut Layers,
    environment: &Environment,
    masters: &Registry,
) -> Result<(MasterUrl, DeployMode)> {
    layers.add(Origin::Derived, keys::MASTER.info.name, "local[*]");
    layers.add(Origin::Derived, keys::DEPLOY_MODE.info.name, "client");
    let text = layers.get(keys::MASTER.info.name).unwrap_or_default();
    let master = self::master(text, masters)?;
    let deploy_mode = layers.get(keys::DEPLOY_MODE.info.name).unwrap_or_default().parse()?;
    if master.scheme() == "yarn"
        && environment.get("HADOOP_CONF_DIR").is_none()
        && environment.get("YARN_CONF_DIR").is_none()
    {
        return Err(Error::invalid(
            "When running with master 'yarn' either HADOOP_CONF_DIR or YARN_CONF_DIR must be set in \
             the environment.",
        )
        .with_hint("export HADOOP_CONF_DIR=the directory of yarn-site.xml"));
    }
    Ok((master, deploy_mode))
}

//! The table of options of `spark-submit`, for the parser, the help text, the man page and
//! completions.

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The long name, with dashes.
    pub name: &'static str,
    /// The short name, with its dash.
    pub short: Option<&'static str>,
    /// The placeholder of its value; `None` for a switch.
    pub value: Option<&'static str>,
    /// Whether its value is a comma-separated list.
    pub is_list: bool,
    /// The help text.
    pub help: &'static str,
    /// The group under which it is listed.
    pub group: Group,
}

/// The headings of the help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// What to submit, and to which cluster.
    Application,
    /// Resources.
    Resources,
    /// Dependencies.
    Dependencies,
    /// Users and credentials.
    Identity,
    /// Operations on existing submissions.
    Submissions,
    /// Options that spark-submit does not have.
    Anymaster,
    /// The rest.
    Other,
    /// Accepted, but not listed.
    Hidden,
}

impl Group {
    /// The groups that are listed, in order.
    pub const LISTED: [Self; 7] = [
        Self::Application,
        Self::Resources,
        Self::Dependencies,
        Self::Identity,
        Self::Submissions,
        Self::Anymaster,
        Self::Other,
    ];

    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Resources => "Resources",
            Self::Dependencies => "Dependencies",
            Self::Identity => "Identity",
            Self::Submissions => "Submissions",
            Self::Anymaster => "Of anymaster alone",
            Self::Other | Self::Hidden => "Other",
        }
    }
}

const fn value(name: &'static str, value: &'static str, group: Group, help: &'static str) -> Flag {
    Flag { name, short: None, value: Some(value), is_list: false, help, group }
}

/// An option of the group [`Dependencies`] whose value is a comma-separated list.
const fn list(name: &'static str, meaning: &'static str, help: &'static str) -> Flag {
    Flag { is_list: true, ..value(name, meaning, Dependencies, help) }
}

const fn switch(name: &'static str, group: Group, help: &'static str) -> Flag {
    Flag { name, short: None, value: None, is_list: false, help, group }
}

const fn short(short: &'static str, flag: Flag) -> Flag {
    Flag { short: Some(short), ..flag }
}

use Group::{
    Anymaster, Application, Dependencies, Hidden, Identity, Other, Resources, Submissions,
};

/// All options.
pub const FLAGS: &[Flag] = &[
    value(
        "--master",
        "URL",
        Application,
        "Where the cluster is: local[N], local-cluster[n,c,m], spark://host:7077, k8s://https://host:6443, mesos://host:5050, yarn [default: local[*]]",
    ),
    value(
        "--deploy-mode",
        "MODE",
        Application,
        "Where the driver runs: client (here) or cluster (there) [default: client]",
    ),
    value(
        "--class",
        "CLASS",
        Application,
        "The main class of a Java or Scala application [default: the jar's]",
    ),
    value("--name", "NAME", Application, "The application's name"),
    short(
        "-c",
        value("--conf", "PROP=VALUE", Application, "A property; may be given several times"),
    ),
    value(
        "--properties-file",
        "FILE",
        Application,
        "A file with properties, instead of conf/spark-defaults.conf",
    ),
    switch(
        "--load-spark-defaults",
        Application,
        "Read conf/spark-defaults.conf too; the properties file wins (Spark 4.0 and later)",
    ),
    value(
        "--extra-properties-file",
        "FILE",
        Hidden,
        "A file with properties that win over the other files' (Spark 4.2 and later)",
    ),
    value("--remote", "URL", Hidden, "A Spark Connect server"),
    value(
        "--driver-default-class-path",
        "PATH",
        Hidden,
        "spark.driver.defaultExtraClassPath (Spark 4.0 and later)",
    ),
    value(
        "--driver-memory",
        "MEM",
        Resources,
        "Memory of the driver, for example 1000m or 2g [default: 1g]",
    ),
    value("--driver-cores", "NUM", Resources, "Cores of the driver, in cluster mode [default: 1]"),
    value("--executor-memory", "MEM", Resources, "Memory of each executor [default: 1g]"),
    value(
        "--executor-cores",
        "NUM",
        Resources,
        "Cores of each executor [default: 1; standalone: all of a worker]",
    ),
    value(
        "--num-executors",
        "NUM",
        Resources,
        "How many executors (Kubernetes, YARN) [default: 2]",
    ),
    value(
        "--total-executor-cores",
        "NUM",
        Resources,
        "Cores of all executors together (standalone, Mesos)",
    ),
    switch(
        "--supervise",
        Resources,
        "Start the driver again when it fails (standalone, Mesos; cluster mode)",
    ),
    value("--queue", "NAME", Resources, "The queue (YARN) [default: default]"),
    list("--jars", "JARS", "Jars for driver and executors, with commas between them"),
    list("--files", "FILES", "Files for each executor's working directory"),
    list("--archives", "ARCHIVES", "Archives that are unpacked there; name.zip#dir chooses where"),
    list("--py-files", "FILES", ".py, .zip and .egg files for the Python path"),
    list("--packages", "COORDS", "Maven coordinates of jars: group:artifact:version,…"),
    list("--exclude-packages", "COORDS", "group:artifact,… that --packages leaves out"),
    list("--repositories", "URLS", "More Maven repositories for --packages"),
    value(
        "--driver-class-path",
        "PATH",
        Dependencies,
        "Class path entries before all others of the driver",
    ),
    value("--driver-library-path", "PATH", Dependencies, "Where the driver finds native libraries"),
    value("--driver-java-options", "OPTS", Dependencies, "JVM options of the driver"),
    value("--proxy-user", "NAME", Identity, "Run the application as this user"),
    value("--principal", "NAME", Identity, "Kerberos principal"),
    value("--keytab", "FILE", Identity, "Kerberos keytab of that principal"),
    value("--kill", "ID", Submissions, "End a submission (with the --master it was submitted to)"),
    value("--status", "ID", Submissions, "Show a submission"),
    switch("--dry-run", Anymaster, "Only print what would be started or sent; secrets are hidden"),
    short("-o", value("--output", "FORMAT", Anymaster, "Print data as json or yaml")),
    value(
        "--submission-id",
        "ID",
        Anymaster,
        "The submission's id; the same id and application again attach to what runs",
    ),
    value(
        "--ttl",
        "TIME",
        Anymaster,
        "How long after its end the driver is removed, with all it owns (Kubernetes, cluster mode)",
    ),
    short("-h", switch("--help", Other, "Print this")),
    short(
        "-v",
        switch(
            "--verbose",
            Other,
            "Print how the command line was understood, as spark-submit does",
        ),
    ),
    switch("--version", Other, "Print the version"),
    switch("--usage-error", Hidden, "As spark-submit: an error of usage"),
    value(
        "--kubernetes-namespace",
        "NS",
        Hidden,
        "The old name of --conf spark.kubernetes.namespace=NS",
    ),
];

impl Flag {
    /// Whether it has an effect only for Spark's drivers.
    pub(crate) fn is_for_spark_alone(&self) -> bool {
        self.group == Dependencies || self.name == "--total-executor-cores"
    }
}

/// Finds an option by its long or short name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name || flag.short == Some(name))
}

/// The most similar option to an unknown name.
pub fn suggest(name: &str) -> Option<&'static str> {
    FLAGS
        .iter()
        .filter(|flag| flag.group != Group::Hidden)
        .map(|flag| (strsim::damerau_levenshtein(flag.name, name), flag.name))
        .filter(|(distance, known)| *distance <= (known.len() / 4).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_near_misses_are_recognised() {
        let mut names: Vec<_> =
            FLAGS.iter().flat_map(|flag| [Some(flag.name), flag.short]).flatten().collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(suggest("--excutor-memory"), Some("--executor-memory"));
        assert_eq!(suggest("--num-executor"), Some("--num-executors"));
        assert_eq!(suggest("--blarg"), None);
    }
}

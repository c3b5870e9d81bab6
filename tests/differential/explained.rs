//! Differences that are meant: each is of one check, by its words, with its reason. A check that
//! refuses what is right is not explained by its rule: `is_wrong` looks at the value again.

use anymaster_core::conf::keys;
use regex::{Captures, Regex};

use crate::compare::Difference;
use crate::line::Line;

/// A kind of difference that is as it should be.
pub(crate) struct Rule {
    /// What it is called in the counts.
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    side: Side,
    /// The words of the refusal, or the path of what differs.
    words: &'static str,
    /// Whether what the words say of the value is true.
    is_wrong: fn(&Captures<'_>, &Line) -> bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Ours refuses the line.
    Ours,
    /// Spark refuses it.
    Spark,
    /// Both submit it, and something differs.
    Objects,
}

use Side::{Objects, Ours, Spark};

const NO_OBJECT: &str =
    "the API server would refuse the object: it is refused before anything is made";

const BY_DRIVER: &str =
    "the driver would refuse the value as it reads it: it is refused before there is one";

const OF_THE_FORK: &str = "lines for the fork of Spark 2.2 are understood";

const RULES: &[Rule] = &[
    // The API server: names, labels, places, amounts.
    refused(
        "name of a volume",
        NO_OBJECT,
        r"volumes\.\w+\.(\S+): it cannot be the name of a volume",
        |found, _| !is(LABEL, &found[1]),
    ),
    refused(
        "two volumes of one name",
        NO_OBJECT,
        r"volumes\.\w+\.\S+: another volume has the same name",
        always,
    ),
    refused(
        "size of a volume",
        NO_OBJECT,
        r#"options\.sizeLimit: "(.*)" is not a quantity above 0"#,
        |found, _| !is(QUANTITY, &found[1]),
    ),
    refused(
        "option of a volume that is missing",
        NO_OBJECT,
        r"volumes\.\S+ is required for \w+",
        always,
    ),
    refused(
        "place of a mount",
        NO_OBJECT,
        r#": "(.*)" is not a path where something can be mounted"#,
        |found, _| found[1].is_empty() || found[1].contains(':'),
    ),
    refused(
        "one medium of a volume",
        NO_OBJECT,
        r#"options\.medium: "(.*)" is none of"#,
        |found, _| !matches!(&found[1], "" | "Memory"),
    ),
    refused("type of a hostPath", NO_OBJECT, r#"options\.type: "(.*)" is none of"#, |found, _| {
        !matches!(&found[1], "" | "Directory" | "File" | "DirectoryOrCreate")
    }),
    refused(
        "name of a claim",
        NO_OBJECT,
        r#"options\.claimName: "(.*)" cannot be the name of a claim"#,
        |found, _| !is(SUBDOMAIN, &found[1]),
    ),
    refused(
        "name of an object",
        NO_OBJECT,
        r#": "(.*)" cannot be the name of (?:a pod|an object|a namespace)"#,
        |found, _| !is(SUBDOMAIN, &found[1]),
    ),
    refused(
        "volume of a secret",
        NO_OBJECT,
        r"secrets\.(\S+): the volume of a secret of this name would be",
        |found, _| !is(LABEL, &found[1]),
    ),
    refused(
        "name of a secret's key",
        NO_OBJECT,
        r#": "(.*)" cannot be a key of a secret"#,
        |found, _| !is(r"[-._a-zA-Z0-9]+", &found[1]),
    ),
    refused(
        "name of a variable",
        NO_OBJECT,
        r#": "(.*)" cannot be the name of a variable"#,
        |found, _| !is(r"[ -<>-~]+", &found[1]),
    ),
    refused(
        "key of a label",
        NO_OBJECT,
        r#": "(.*)" cannot be the key of a label or an annotation"#,
        |found, _| !is(r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[-._A-Za-z0-9]*[A-Za-z0-9])?", &found[1]),
    ),
    refused(
        "value of a label",
        NO_OBJECT,
        r#": "(.*)" cannot be the value of a label"#,
        |found, _| {
            found[1].len() > 63
                || !is(r"(?:[A-Za-z0-9](?:[-._A-Za-z0-9]*[A-Za-z0-9])?)?", &found[1])
        },
    ),
    refused(
        "request above limit",
        NO_OBJECT,
        r"The \w+ cpu request \((.*)\) should be less than or equal to cpu limit \((.*)\)",
        |found, _| match (cores(&found[1]), cores(&found[2])) {
            (Some(request), Some(limit)) => request > limit,
            _ => false,
        },
    ),
    refused(
        "quantity of CPUs",
        NO_OBJECT,
        r#"\.cores: "(.*)" is not a quantity above 0"#,
        |found, _| cores(&found[1]).is_none(),
    ),
    refused(
        "amount of another resource",
        NO_OBJECT,
        r#"\.resource\.\w+\.amount: "(.*)" is not a whole number"#,
        |found, _| found[1].parse::<u32>().is_err(),
    ),
    refused(
        "vendor of the driver's resource",
        NO_OBJECT,
        r"Resource: (\w+) was requested, but vendor was not specified",
        |found, line| line.to_string().contains(&format!("driver.resource.{}.vendor=", &found[1])),
    ),
    refused(
        "vendor of the executors' resource",
        BY_DRIVER,
        r"Resource: (\w+) was requested, but vendor was not specified",
        |found, line| {
            line.to_string().contains(&format!("executor.resource.{}.amount=", &found[1]))
        },
    ),
    refused(
        "less than a MiB of heap",
        BY_DRIVER,
        r"(Driver|Executor) memory must be a positive number",
        |found, line| {
            let role = found[1].to_lowercase();
            is(&format!(r"(?s).*{role}[.-]memory[= ]100b.*"), &line.to_string())
        },
    ),
    refused(
        "size of off-heap memory",
        BY_DRIVER,
        r"spark\.memory\.offHeap\.size must be > 0",
        |_, line| line.to_string().contains("offHeap.enabled"),
    ),
    refused(
        "bounds of dynamic allocation",
        BY_DRIVER,
        r"minExecutors \(\d+\) must be less than or equal to|maxExecutors cannot be 0!",
        |_, line| line.to_string().contains("spark.dynamicAllocation.m"),
    ),
    refused(
        "CPUs of a task",
        BY_DRIVER,
        r"The number of cores per executor \(=(\S+)\) has to be >= the number of cpus per task = (\d+)\.",
        |found, _| found[1].parse::<f64>().unwrap() < found[2].parse::<f64>().unwrap(),
    ),
    refused("an empty image", NO_OBJECT, r"Must specify the \w+ container image", |_, line| {
        line.to_string().contains(".image")
    }),
    refused(
        "two families of addresses",
        NO_OBJECT,
        r"ipFamilies: there are two, and \S+ is SingleStack",
        always,
    ),
    refused(
        "two mounts at one place",
        NO_OBJECT,
        r"Found duplicated mountPath: '(.*)'",
        |found, line| {
            line.to_string().matches(&format!("mount.path={}", &found[1])).count() > 1
                || line.to_string().contains("podTemplateFile")
        },
    ),
    refused(
        "a driver without its name and image",
        NO_OBJECT,
        r"without \S+BasicDriverFeatureStep the driver's pod has neither",
        always,
    ),
    refused(
        "template of executors",
        BY_DRIVER,
        r"spark\.kubernetes\.executor\.podTemplateFile: \S+f\.txt is not a pod template",
        always,
    ),
    refused(
        "a port of the service",
        NO_OBJECT,
        r#": "(.*)" is not a port from 1 to 65535"#,
        |found, _| !found[1].trim().parse::<u16>().is_ok_and(|port| port > 0),
    ),
    refused(
        "reference to a key of a secret",
        NO_OBJECT,
        r"secretKeyRef\.\S+: SecretKeyRef must be in the form name:key",
        |_, line| is(r"(?s).*secretKeyRef\.\w+[= ](?::\w*|\w*:)['\] ].*", &line.to_string()),
    ),
    // Spark's driver, which reads what the submission only passes on.
    refused("a flag", BY_DRIVER, r#"(spark\.[\w.]+): "(.*)" is not a flag"#, |found, _| {
        !is("(?i)true|false", found[2].trim())
    }),
    refused("a size", BY_DRIVER, r#"(spark\.[\w.]+): "(.*)" is not a size"#, |found, _| {
        !is(r"(?i)\d+([kmgtp]?b?)", found[2].trim()) || found[2].len() > 12
    }),
    refused("a time", BY_DRIVER, r#"(spark\.[\w.]+): "(.*)" is not a time"#, |found, _| {
        !is(r"(?i)\d+(us|ms|s|m|min|h|d)?", found[2].trim())
    }),
    refused(
        "a number",
        BY_DRIVER,
        r#"(spark\.[\w.]+): "(.*)" is not valid: it is not a (?:whole )?number"#,
        |found, _| {
            !found[2].trim().parse::<f64>().is_ok_and(|number| number >= 0.0)
                || is(r"\d+\.\d+|\d{10,}|.*e.*", found[2].trim())
        },
    ),
    refused(
        "one of several words",
        BY_DRIVER,
        r#"(spark\.[\w.]+): "(.*)" is not valid: it is none of (.*)"#,
        |found, _| !found[3].split(", ").any(|known| known == &found[2]),
    ),
    refused("a value above 0", BY_DRIVER, r"(spark\.[\w.]+): it must be above 0", always),
    refused(
        "prefix of executors",
        BY_DRIVER,
        r#"podNamePrefix: "(.*)" cannot begin the names of executors' pods"#,
        |found, _| found[1].len() > 47 || !is(LABEL, &found[1]),
    ),
    refused(
        "heap of executors",
        BY_DRIVER,
        r"spark\.executor\.\w+JavaOptions is not allowed to",
        always,
    ),
    // What is ours on purpose.
    refused(
        "features that need a JVM",
        "no property is ignored: one that cannot be honoured is refused by name",
        r"^error: spark\.kubernetes\.driver\.(?:labels|annotations) cannot be honoured",
        always,
    ),
    Rule {
        name: "an empty template",
        reason: "an empty template is as good as none; Spark's reader throws a NullPointerException",
        side: Spark,
        words: r#"because the return value of "io\.fabric8\.kubernetes\.api\.model\.Pod\.getSpec\(\)" is null"#,
        is_wrong: always,
    },
    Rule {
        name: "jars of R",
        reason: "Spark builds R packages out of jars for the submitter, who does not run the application",
        side: Spark,
        words: r#"java\.util\.zip\.ZipException: zip END header not found|URI scheme is not "file""#,
        is_wrong: |_, line| line.application[0].ends_with(".R"),
    },
    Rule {
        name: "parts of a core of the fork",
        reason: OF_THE_FORK,
        side: Spark,
        words: r"Driver cores must be a positive number",
        is_wrong: |_, line| is(r"(?s).*spark\.driver\.cores[= ]\d+m.*", &line.to_string()),
    },
    Rule {
        name: "old option of the fork",
        reason: OF_THE_FORK,
        side: Spark,
        words: r"Unrecognized option: --kubernetes-namespace",
        is_wrong: always,
    },
    Rule {
        name: "prefix of names",
        reason: "spark.kubernetes.driver.resourceNamePrefix has an effect in Spark's own tests alone; ours honours it",
        side: Objects,
        words: r#"ours "?(.*)"#,
        is_wrong: |found, line| {
            let prefix = Regex::new(r"resourceNamePrefix[= ]([\w.-]+)").unwrap();
            let line = line.to_string();
            prefix
                .captures(&line)
                .is_some_and(|prefix| found[1].contains(&format!("{}-", &prefix[1])))
        },
    },
    Rule {
        name: "old names of the fork",
        reason: OF_THE_FORK,
        side: Objects,
        words: r"/image: |/imagePullPolicy: |namespace: |/in: |driver\.host: |/image/(?:reference|pullPolicy)",
        is_wrong: |_, line| {
            [".docker.image", "spark.kubernetes.driver.namespace"]
                .iter()
                .any(|old| line.to_string().contains(old))
        },
    },
    Rule {
        name: "old names",
        reason: "a property by its old name reaches the driver by its present name, too",
        side: Objects,
        words: r"/spark\.properties/(\S+): ours ",
        is_wrong: |found, line| {
            let mut infos = anymaster_k8s::keys::TABLE.iter().copied().chain(keys::table());
            let line = line.to_string();
            infos.any(|info| {
                info.name == &found[1] && info.old_names.iter().any(|old| line.contains(old))
            })
        },
    },
    Rule {
        name: "krb5.conf by its own name",
        reason: "the file is mounted as krb5.conf: Spark mounts a directory unless it is called so",
        side: Objects,
        words: r#"/configMap/items\[0\]/path: ours "krb5\.conf""#,
        is_wrong: |_, line| line.to_string().contains("krb5.path"),
    },
    Rule {
        name: "krb5.conf by a URI",
        reason: "file: is read, as it is for all other files",
        side: Spark,
        words: r"(?:NoSuchFile|FileNotFound)Exception: file:/",
        is_wrong: |_, line| is(r"(?s).*krb5\.path[= ]file:.*", &line.to_string()),
    },
    Rule {
        name: "a keytab by a URI",
        reason: "file: is read, as it is for all other files",
        side: Spark,
        words: r"Keytab file: file:/\S+ does not exist",
        is_wrong: |_, line| is(r"(?s).*keytab[= ]'?file:.*", &line.to_string()),
    },
    Rule {
        name: "blanks in a list",
        reason: "blanks around what a list has are no part of it",
        side: Spark,
        words: "Illegal character in scheme name at index 0:  ",
        is_wrong: always,
    },
    Rule {
        name: "blanks around an amount",
        reason: "blanks around an amount, which the API server would refuse, are no part of it",
        side: Objects,
        words: r#"/cpu: ours "= (\S+)", Spark's "(?: \S+|\S+ )"$"#,
        is_wrong: always,
    },
    Rule {
        name: "an empty SPARK_LOCAL_DIRS",
        reason: "it is as good as none: Spark mounts a volume at no path, which the API server refuses",
        side: Objects,
        words: r"/Pod\[0\]/spec/",
        is_wrong: |_, line| line.to_string().contains("SPARK_LOCAL_DIRS=''"),
    },
    Rule {
        name: "an empty PYSPARK_PYTHON",
        reason: "no program has an empty name: it is as good as none",
        side: Objects,
        words: r"/Pod\[0\]/spec/containers\[0\]/env",
        is_wrong: |_, line| line.to_string().contains("PYSPARK_PYTHON=''"),
    },
    Rule {
        name: "names without letters",
        reason: "they are random, and begin with x where they would with a digit",
        side: Objects,
        words: r#"ours "x?[0-9a-f]{15,16}-.*", Spark's "x?[0-9a-f]{15,16}-"#,
        is_wrong: always,
    },
];

const LABEL: &str = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9](?:[-.a-z0-9]*[a-z0-9])?";
const QUANTITY: &str = r"(?:\d+\.?\d*|\.\d+)(?:[numkMGTPE]|[KMGTPE]i|[eE]-?\d+)?";

const fn refused(
    name: &'static str,
    reason: &'static str,
    words: &'static str,
    is_wrong: fn(&Captures<'_>, &Line) -> bool,
) -> Rule {
    Rule { name, reason, side: Ours, words, is_wrong }
}

fn always(_: &Captures<'_>, _: &Line) -> bool {
    true
}

/// Whether the whole text is of this form.
fn is(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(text)
}

/// CPUs in thousandths.
fn cores(text: &str) -> Option<f64> {
    let text = text.trim();
    if !is(QUANTITY, text) {
        return None;
    }
    let (number, factor) = match text.strip_suffix(['m', 'k']) {
        Some(number) if text.ends_with('k') => (number, 1e6),
        Some(number) => (number, 1.0),
        None => (text, 1e3),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The rule that a difference of a line falls under, if there is one.
pub(crate) fn rule(difference: &Difference, line: &Line) -> Option<&'static Rule> {
    let (side, text) = match difference {
        Difference::OursFails(said) => (Ours, said),
        Difference::SparkFails(said) => (Spark, said),
        Difference::Object(what) => (Objects, what),
    };
    RULES.iter().filter(|rule| rule.side == side).find(|rule| {
        let found = Regex::new(rule.words).unwrap().captures(text);
        found.is_some_and(|found| (rule.is_wrong)(&found, line))
    })
}

//! Pieces of lines that interact, and whole lines.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::line::{Line, Piece};
use crate::{table, values};

/// Lines for one release.
pub(crate) fn lines() -> BoxedStrategy<Line> {
    let piece = prop_oneof![
        5 => table::property(),
        2 => volume(),
        2 => flag(),
        1 => variable(),
        1 => memory(),
        1 => resource(),
        1 => template(),
        1 => upload(),
        1 => kerberos(),
    ];
    (vec(piece, 0..8), application())
        .prop_map(|(mut pieces, (class, application))| {
            pieces.extend(class);
            Line { pieces, application }
        })
        .boxed()
}

fn application() -> impl Strategy<Value = (Option<Piece>, Vec<String>)> {
    let class = || Just(Some(Piece::Words(vec!["--class".to_owned(), "A".to_owned()])));
    let of = |values: &'static [&'static str]| select(values);
    let kinds = prop_oneof![
        8 => (class(), of(&["local:///a.jar", "http://h/a.jar"])),
        3 => (Just(None), of(&["local:///a.py", "http://h/a.py"])),
        1 => (Just(None), of(&["local:///a.R"])),
        1 => (class(), of(&["DIR/a.jar", "a.jar", "file://DIR/b.jar", "DIR/missing.jar"])),
        1 => (Just(None), of(&["DIR/a.py", "DIR/a.jar", "local:///a.jar", "spark-shell"])),
    ];
    let arguments = select(&["1", "-x", "--class", "a b", "", "$(HOME)", "a=b", "ä"][..]);
    (kinds, vec(arguments, 0..3)).prop_map(|((class, resource), arguments)| {
        let arguments = arguments.into_iter().map(str::to_owned);
        (class, std::iter::once(resource.to_owned()).chain(arguments).collect())
    })
}

pub(crate) fn flag() -> impl Strategy<Value = Piece> {
    let with = |names: &'static [&'static str], values: BoxedStrategy<String>| {
        (select(names), values).prop_map(|(name, value)| vec![name.to_owned(), value])
    };
    let of = values::one_of;
    let words = prop_oneof![
        with(&["--driver-memory", "--executor-memory"], values::sizes()),
        with(
            &["--driver-cores", "--executor-cores", "--num-executors", "--total-executor-cores"],
            values::counts()
        ),
        with(&["--jars", "--files"], values::uris()),
        with(&["--archives"], of(&["local:///z.zip#z", "DIR/z.zip#z", "DIR/z.zip", ""])),
        with(&["--py-files"], of(&["local:///d.py", "DIR/d.py,local:///e.zip", "DIR/missing.py"])),
        with(
            &["--name"],
            of(&[
                "n",
                "My App_1",
                "1st",
                "ä",
                "-a",
                "a-name-that-is-much-longer-than-a-service-of-kubernetes-may-be-called"
            ])
        ),
        with(
            &["--driver-class-path", "--driver-library-path", "--queue"],
            of(&["/x.jar", "/x/*", "a b"])
        ),
        with(&["--driver-java-options"], of(&["-Da=b", "-Da=b -Dc=d", "-Xmx1g", ""])),
        with(&["--proxy-user"], of(&["bob", "a b"])),
        with(&["--properties-file"], of(&["DIR/my.conf", "DIR/missing", "DIR/f.txt"])),
        with(&["--extra-properties-file"], of(&["DIR/more.conf", "DIR/my.conf", "DIR/missing"])),
        with(&["--driver-default-class-path"], of(&["/x.jar", ""])),
        with(&["--kubernetes-namespace"], of(&["team", "Upper"])),
        with(&["--principal"], of(&["p@R"])),
        with(&["--keytab"], of(&["DIR/f.txt", "local:///f", "DIR/missing"])),
        with(&["--remote"], of(&["sc://h:1"])),
        select(
            &["--supervise", "--load-spark-defaults", "--verbose", "--usage-error", "--blarg"][..]
        )
        .prop_map(|switch| vec![switch.to_owned()]),
    ];
    words.prop_map(Piece::Words)
}

/// Options that are not drawn, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("--master", "of every line"),
    ("--deploy-mode", "of every line"),
    ("--class", "drawn with the application"),
    ("--conf", "how properties are drawn"),
    ("--packages", "Spark downloads them while it submits"),
    ("--exclude-packages", "the same"),
    ("--repositories", "the same"),
    ("--kill", "nothing is submitted"),
    ("--status", "the same"),
    ("--help", "the same"),
    ("--version", "the same"),
    ("--dry-run", "ours alone"),
    ("--output", "the same"),
    ("--submission-id", "the same"),
    ("--ttl", "the same"),
];

fn variable() -> impl Strategy<Value = Piece> {
    const VARIABLES: &[(&str, &[&str])] = &[
        ("SPARK_USER", &["alice", ""]),
        ("HADOOP_USER_NAME", &["hadoop"]),
        ("SPARK_LOCAL_DIRS", &["/x", "/x,/y", ""]),
        ("PYSPARK_PYTHON", &["/p", ""]),
        ("PYSPARK_DRIVER_PYTHON", &["/dp"]),
        ("HADOOP_CONF_DIR", &["DIR/hadoop", "DIR/missing", "DIR/empty", ""]),
        ("SPARK_CONF_DIR", &["DIR/conf", "DIR/missing"]),
        ("SPARK_DRIVER_MEMORY", &["2g", "x"]),
        ("SPARK_EXECUTOR_MEMORY", &["2g", "x"]),
        ("SPARK_EXECUTOR_CORES", &["3", "x"]),
    ];
    select(VARIABLES).prop_flat_map(|(name, values)| {
        values::one_of(values).prop_map(move |v| Piece::Variable(name, v))
    })
}

fn several(properties: impl IntoIterator<Item = (String, String)>) -> Piece {
    let words = properties
        .into_iter()
        .flat_map(|(key, value)| ["--conf".to_owned(), format!("{key}={value}")]);
    Piece::Words(words.collect())
}

/// A volume: what its kind needs, mostly, and some of what it may have.
fn volume() -> impl Strategy<Value = Piece> {
    const KINDS: &[(&str, &[&str])] = &[
        ("hostPath", &["options.path"]),
        ("emptyDir", &[]),
        ("nfs", &["options.path", "options.server"]),
        ("persistentVolumeClaim", &["options.claimName"]),
        ("hostpath", &["options.path"]),
    ];
    const OPTIONS: &[(&str, &[&str])] = &[
        ("mount.subPath", &["s", ""]),
        ("mount.subPathExpr", &["$(A)", ""]),
        ("mount.readOnly", &["true", "false", "x", ""]),
        ("options.type", &["Directory", "x", ""]),
        ("options.medium", &["Memory", "x", ""]),
        ("options.sizeLimit", &["1Gi", "500M", "1g", "2", "x", ""]),
        ("options.storageClass", &["gp", ""]),
        ("label.l", &["m", ""]),
        ("annotation.a", &["m", ""]),
        ("options.unknown", &["x"]),
    ];
    let own = |name: &str| match name {
        "options.claimName" => {
            values::one_of(&["OnDemand", "mine", "a-OnDemand-b", "SPARK_EXECUTOR_ID", ""])
        }
        "options.server" => values::one_of(&["h", ""]),
        "mount.path" => values::one_of(&["/d", "/e", "/var", "relative", ""]),
        _ => values::one_of(&["/e", ""]),
    };
    let option =
        select(OPTIONS).prop_flat_map(|(name, values)| (Just(name), values::one_of(values)));
    let place = (
        prop_oneof![3 => Just("driver"), 1 => Just("executor")],
        prop_oneof![9 => select(&KINDS[..4]), 1 => select(KINDS)],
        select(&["data", "spark-local-dir-1", "spark-local-dir-2", "Data", "a_b"][..]),
    );
    (place, vec(option, 0..4), prop_oneof![9 => Just(None), 1 => (0..4_usize).prop_map(Some)])
        .prop_flat_map(move |((role, (kind, needed), name), options, lacking)| {
            let prefix = format!("spark.kubernetes.{role}.volumes.{kind}.{name}");
            let needed: Vec<_> =
                std::iter::once("mount.path").chain(needed.iter().copied()).collect();
            let needed: Vec<_> = needed.into_iter().map(|name| (Just(name), own(name))).collect();
            (Just(prefix), needed, Just(options), Just(lacking)).prop_map(
                |(prefix, mut needed, options, lacking)| {
                    if let Some(lacking) = lacking.filter(|at| *at < needed.len()) {
                        needed.remove(lacking);
                    }
                    several(
                        needed
                            .into_iter()
                            .chain(options)
                            .map(|(name, value)| (format!("{prefix}.{name}"), value)),
                    )
                },
            )
        })
}

/// What memory and its overhead are made from.
fn memory() -> impl Strategy<Value = Piece> {
    let keys = [
        "spark.driver.memory",
        "spark.driver.memoryOverhead",
        "spark.driver.minMemoryOverhead",
        "spark.executor.memory",
        "spark.executor.memoryOverhead",
    ];
    let factors = [
        "spark.driver.memoryOverheadFactor",
        "spark.kubernetes.memoryOverheadFactor",
        "spark.executor.memoryOverheadFactor",
    ];
    let sizes = subsequence(keys.to_vec(), 1..=2);
    let of_size = sizes.prop_flat_map(|keys| {
        keys.into_iter().map(|key| (Just(key.to_owned()), values::sizes())).collect::<Vec<_>>()
    });
    let of_factor = subsequence(factors.to_vec(), 0..=2).prop_flat_map(|keys| {
        let factor = || values::one_of(&["0.3", "0.1", "1.5", "0", "-0.5", "x"]);
        keys.into_iter().map(|key| (Just(key.to_owned()), factor())).collect::<Vec<_>>()
    });
    (of_size, of_factor).prop_map(|(sizes, factors)| several(sizes.into_iter().chain(factors)))
}

/// CPUs, and resources of other vendors.
fn resource() -> impl Strategy<Value = Piece> {
    let role = select(&["driver", "executor"][..]);
    let cpu = (role.clone(), values::quantities(), proptest::option::of(values::quantities()))
        .prop_map(|(role, request, limit)| {
            let name = |what: &str| format!("spark.kubernetes.{role}.{what}.cores");
            let limit = limit.map(|limit| (name("limit"), limit));
            several(std::iter::once((name("request"), request)).chain(limit))
        });
    let amount = values::one_of(&["1", "2", "0", "-1", "0.5", "x", ""]);
    let vendor =
        proptest::option::weighted(0.8, values::one_of(&["nvidia.com", "amd.com", "a b", ""]));
    let gpu = (role, select(&["gpu", "fpga"][..]), amount, vendor).prop_map(
        |(role, name, amount, vendor)| {
            let property = |what: &str| format!("spark.{role}.resource.{name}.{what}");
            let vendor = vendor.map(|vendor| (property("vendor"), vendor));
            several(std::iter::once((property("amount"), amount)).chain(vendor))
        },
    );
    prop_oneof![cpu, gpu]
}

fn template() -> impl Strategy<Value = Piece> {
    let file = values::one_of(&[
        "DIR/driver.yaml",
        "DIR/executor.yaml",
        "DIR/bare.yaml",
        "DIR/secured.yaml",
    ]);
    let container = proptest::option::of(values::one_of(&["main", "side", "none"]));
    (select(&["driver", "executor"][..]), file, container).prop_map(|(role, file, container)| {
        let name = |what: &str| format!("spark.kubernetes.{role}.podTemplate{what}");
        let container = container.map(|container| (name("ContainerName"), container));
        several(std::iter::once((name("File"), file)).chain(container))
    })
}

/// Files of this machine, and where they go.
fn upload() -> impl Strategy<Value = Piece> {
    let files = select(
        &[("jars", "DIR/b.jar"), ("files", "DIR/f.txt,local:///g"), ("archives", "DIR/z.zip#zz")][..],
    );
    let place = ("spark.kubernetes.file.upload.path".to_owned(), "file://DIR/up".to_owned());
    files.prop_map(move |(name, files)| {
        several([(format!("spark.{name}"), files.to_owned()), place.clone()])
    })
}

fn kerberos() -> impl Strategy<Value = Piece> {
    let pairs = [
        ("spark.kubernetes.kerberos.tokenSecret.name", "s"),
        ("spark.kubernetes.kerberos.tokenSecret.itemKey", "k"),
        ("spark.kerberos.keytab", "DIR/f.txt"),
        ("spark.kerberos.principal", "p@R"),
        ("spark.kubernetes.kerberos.krb5.path", "DIR/krb5.conf"),
        ("spark.kubernetes.kerberos.krb5.configMapName", "m"),
        ("spark.kubernetes.hadoop.configMapName", "h"),
    ];
    subsequence(pairs.to_vec(), 1..=3).prop_map(|pairs| {
        several(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())))
    })
}

//! What properties say of containers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::{Containers, KINDS, PROGRAM};

#[test]
#[ignore = "needs Mesos and Docker"]
fn volumes_are_read_only_or_not_and_the_working_directory_is_the_images() {
    let containers = Containers::new();
    let (from, to) = (containers.directory("from"), containers.directory("to"));
    std::fs::write(from.join("word"), "found\n").unwrap();
    let volumes = format!(
        "spark.mesos.executor.docker.volumes={}:/from:ro,{}:/to:rw",
        from.display(),
        to.display()
    );
    for kind in KINDS {
        let id = format!("volumes-{kind}");
        let line = "cat /from/word; echo x 2>&1 >/from/new; echo $ANYMASTER_APPLICATION_ID >/to/new; \
                    ls -d $MESOS_SANDBOX; pwd; echo done";
        containers.submit(&id, kind, PROGRAM, &[&volumes], line).expect(0, &[]);
        let out = containers.output(&id, "done");
        let directory = if kind == "docker" { "/" } else { "/mnt/mesos/sandbox" };
        assert!(out.starts_with("found\n"), "{out}");
        assert!(out.ends_with(&format!("/mnt/mesos/sandbox\n{directory}\ndone\n")), "{out}");
        assert_eq!(std::fs::read_to_string(to.join("new")).unwrap(), format!("{id}\n"));
        assert!(!from.join("new").exists(), "{kind}: it is read-only");
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn parameters_go_to_docker_and_its_user_has_its_secrets_though_the_sandbox_is_not_its_own() {
    let containers = Containers::new();
    let conf = [
        "spark.mesos.executor.docker.parameters=hostname=boxed,user=1000,workdir=/tmp,env=WORD=x=y",
    ];
    let line = "id -u; pwd; hostname; echo $WORD; head -c 5 $ANYMASTER_PROPERTIES_FILE; echo; \
                ls -l $ANYMASTER_SECRET_FILE | cut -c 1-10; echo done";
    containers.submit("boxed", "docker", PROGRAM, &conf, line).expect(0, &[]);
    let out = containers.output("boxed", "done");
    assert_eq!(out, "1000\n/tmp\nboxed\nx=y\nspark\n-rw-------\ndone\n");
    // One that Docker does not know.
    let conf = ["spark.mesos.executor.docker.parameters=no-such=1"];
    let said = containers.submit("unknown", "docker", PROGRAM, &conf, "true");
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("standard error says why"), "{said:?}");
    assert!(containers.told("unknown").contains("no-such"), "{said:?}");
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn programs_run_as_the_dispatchers_user_with_mesos_and_as_the_images_with_docker() {
    let containers = Containers::with(&[("SPARK_USER", "nobody")]);
    let line = "id -u; head -c 5 $ANYMASTER_PROPERTIES_FILE; echo; \
                ls -l $ANYMASTER_SECRET_FILE | cut -c 1-10; echo done";
    for (kind, user) in [("mesos", 65534), ("docker", 0)] {
        let id = format!("user-{kind}");
        containers.submit(&id, kind, PROGRAM, &[], line).expect(0, &[]);
        assert_eq!(
            containers.output(&id, "done"),
            format!("{user}\nspark\n-rw-------\ndone\n"),
            "{id}"
        );
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn secrets_of_properties_are_in_variables_and_with_mesos_in_files() {
    let containers = Containers::new();
    let conf = [
        "spark.mesos.driver.secret.values=sesame",
        "spark.mesos.driver.secret.envkeys=WORD",
        "spark.mesos.driver.secret.filenames=word",
    ];
    let line = "echo $WORD; cat $MESOS_SANDBOX/word; echo; echo done";
    containers.submit("secret-mesos", "mesos", PROGRAM, &conf, line).expect(0, &[]);
    assert_eq!(containers.output("secret-mesos", "done"), "sesame\nsesame\ndone\n");
    // Docker's containers would have none.
    let said = containers.submit("secret-docker", "docker", PROGRAM, &conf, line);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("spark.mesos.driver.secret.envkeys"), "{said:?}");
    // A name is for whoever resolves it: Mesos alone does not.
    let conf = ["spark.mesos.driver.secret.names=/a/b", "spark.mesos.driver.secret.envkeys=WORD"];
    let said = containers.submit("named", "mesos", PROGRAM, &conf, line);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("secret resolver"), "{said:?}");
}

/// Gives a file to whoever asks.
fn server() -> u16 {
    let listener = TcpListener::bind((super::ADDRESS, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nfetched";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn what_is_fetched_is_in_the_container_and_fetched_once_where_agents_keep_it() {
    let containers = Containers::new();
    for kind in KINDS {
        let (file, port) = (containers.scene.home.path().join(kind), server());
        let http = format!("http://{}:{port}/some/word", super::ADDRESS);
        let file_uri = format!("file://{}", file.display());
        for (at, (content, uri, cache, expected)) in [
            ("", http.as_str(), "false", "fetched"),
            ("first", &file_uri, "true", "first"),
            // The agent has kept it.
            ("second", &file_uri, "true", "first"),
            ("third", &file_uri, "false", "third"),
        ]
        .into_iter()
        .enumerate()
        {
            std::fs::write(&file, content).unwrap();
            let id = format!("fetches-{kind}-{at}");
            let uri = format!("spark.mesos.uris={uri}");
            let cache = format!("spark.mesos.fetcherCache.enable={cache}");
            let line = format!("cat $MESOS_SANDBOX/word $MESOS_SANDBOX/{kind}; echo; echo done");
            containers.start(&id, kind, PROGRAM, &[&uri, &cache], &line).wait();
            assert_eq!(containers.output(&id, "done"), format!("{expected}\ndone\n"), "{id}");
        }
    }
}

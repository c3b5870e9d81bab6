//! A service that is asked everything an executor asks, and more, over real connections. What it answers is what
//! Spark's own service answers (3.5.9 and 4.0.5), but for stack traces.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod client;

use std::fs;
use std::os::unix::fs::symlink;

use anymaster_spark_wire::Frame;
use anymaster_spark_wire::blocks::{
    BlockFrame, BlockMessage, CorruptionCause, DiagnoseCorruption, LocalDirs,
};
use client::{Client, Running, fetch, open, register};

/// What a map task wrote for four reduce tasks.
fn data() -> Vec<u8> {
    (0..1024).map(|at| at as u8).collect()
}

const OFFSETS: [i64; 5] = [0, 100, 100, 500, 1024];

/// A service, and the files of an executor.
async fn served() -> (Running, String) {
    let running = Running::start(None).await;
    let dir = running.local_dir("app/blockmgr");
    running.shuffle(&dir, "shuffle_0_0_0", &data(), &OFFSETS);
    running.shuffle(&dir, "shuffle_0_4294967296_0", b"xxxxxxxxxx", &[0, 10]);
    running.put(&dir, "rdd_1_2", &[b'r'; 33]);
    let sums: Vec<u8> = OFFSETS
        .windows(2)
        .flat_map(|range| adler(&data()[range[0] as usize..range[1] as usize]).to_be_bytes())
        .collect();
    running.put(&dir, "shuffle_0_0_0.checksum.ADLER32", &sums);
    (running, dir)
}

fn adler(bytes: &[u8]) -> i64 {
    let (mut a, mut b) = (1_i64, 0_i64);
    for byte in bytes {
        a = (a + i64::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

#[tokio::test]
async fn blocks_are_sent_as_sparks_own_service_sends_them() {
    let (running, dir) = served().await;
    let mut client = running.client().await;
    // Before the registration there is a stream, and nothing in it.
    client
        .one_fails(
            &fetch("app", "1", 0, &[(0, &[0])], false),
            "Executor is not registered (appId=app, execId=1)",
        )
        .await;
    assert_eq!(client.ask(&register("app", "1", &[&dir])).await, Ok(None));
    assert_eq!(client.ask(&register("app", "1", &[&dir])).await, Ok(None));
    assert_eq!(client.ask(&register("app", "7", &[])).await, Ok(None));

    let stream = client.open(&fetch("app", "1", 0, &[(0, &[0, 2, 3])], false), 3).await;
    assert_eq!(client.chunk(stream, 0).await.unwrap(), data()[..100]);
    let error = client.chunk(stream, 2).await.unwrap_err();
    assert!(error.ends_with("Received out-of-order chunk index 2 (expected 1)"), "{error}");
    assert_eq!(client.chunk(stream, 1).await.unwrap(), data()[100..500]);
    assert_eq!(client.chunk(stream, 2).await.unwrap(), data()[500..]);
    let error = client.chunk(stream, 3).await.unwrap_err();
    assert!(error.ends_with(&format!("since streamId {stream} is closed")), "{error}");

    let batch = fetch("app", "1", 0, &[(0, &[0, 4])], true);
    assert_eq!(client.one(&batch).await.unwrap(), data());
    assert_eq!(client.one(&fetch("app", "1", 0, &[(0, &[1])], false)).await.unwrap(), b"");
    let far = fetch("app", "1", 0, &[(1 << 32, &[0])], false);
    assert_eq!(client.one(&far).await.unwrap(), b"xxxxxxxxxx");
    for (question, error) in [
        (fetch("app", "1", 0, &[(0, &[9])], false), "java.lang.IndexOutOfBoundsException"),
        (fetch("app", "1", 0, &[(0, &[-1])], false), "java.lang.IndexOutOfBoundsException"),
        (fetch("app", "1", 5, &[(0, &[0])], false), "Failed to open file: "),
        (fetch("app", "77", 0, &[(0, &[0])], false), "execId=77"),
        (fetch("app", "7", 0, &[(0, &[0])], false), "Failed to open file: "),
        (open("app", "1", &["rdd_9_9"]), "java.lang.IllegalStateException: Chunk was not found"),
    ] {
        client.one_fails(&question, error).await;
    }
    assert_eq!(client.one(&open("app", "1", &["rdd_1_2"])).await.unwrap(), [b'r'; 33]);
    let two = client.open(&open("app", "1", &["shuffle_0_0_0", "shuffle_0_0_2"]), 2).await;
    assert_eq!(client.chunk(two, 0).await.unwrap(), data()[..100]);
    assert_eq!(client.chunk(two, 1).await.unwrap(), data()[100..500]);

    // As streams.
    let stream = client.open(&fetch("app", "1", 0, &[(0, &[3])], false), 1).await;
    assert_eq!(client.stream(&format!("{stream}_0")).await.unwrap(), data()[500..]);
    assert!(client.stream(&format!("{stream}_0")).await.unwrap_err().contains("is closed"));
    assert!(client.stream("nonsense").await.is_err());
}

#[tokio::test]
async fn questions_are_answered_or_refused_as_by_sparks_own_service() {
    let (running, dir) = served().await;
    let mut client = running.client().await;
    client.ask(&register("app", "1", &[&dir])).await.unwrap();
    let [app, executor] = ["app", "1"].map(str::to_owned);
    let dirs = |executors: &[&str]| BlockMessage::GetLocalDirs {
        app: "app".to_owned(),
        executors: executors.iter().map(|id| (*id).to_owned()).collect(),
    };
    let known = LocalDirs { executor: "1".to_owned(), dirs: vec![dir.clone()] };
    assert_eq!(
        client.ask(&dirs(&["1", "1"])).await,
        Ok(Some(BlockMessage::LocalDirs(vec![known])))
    );
    let diagnose = |algorithm: &str, checksum| {
        BlockMessage::DiagnoseCorruption(DiagnoseCorruption {
            app: "app".to_owned(),
            executor: "1".to_owned(),
            shuffle: 0,
            map: 0,
            reduce: 0,
            checksum,
            algorithm: algorithm.to_owned(),
        })
    };
    let right = adler(&data()[..100]);
    for (algorithm, checksum, cause) in [
        ("ADLER32", right, CorruptionCause::ChecksumVerified),
        ("CRC32", right, CorruptionCause::Unknown),
        ("MD5", right, CorruptionCause::UnsupportedAlgorithm),
        ("ADLER32", 1, CorruptionCause::Network),
    ] {
        let answer = client.ask(&diagnose(algorithm, checksum)).await;
        assert_eq!(answer, Ok(Some(BlockMessage::CorruptionCause(cause))), "{algorithm}");
    }
    let mut damaged = data();
    damaged[7] ^= 1;
    running.put(&dir, "shuffle_0_0_0.data", &damaged);
    let answer = client.ask(&diagnose("ADLER32", right)).await;
    assert_eq!(answer, Ok(Some(BlockMessage::CorruptionCause(CorruptionCause::Disk))));

    let remove = |executor: &str, blocks: &[&str]| BlockMessage::RemoveBlocks {
        app: "app".to_owned(),
        executor: executor.to_owned(),
        blocks: blocks.iter().map(|name| (*name).to_owned()).collect(),
    };
    let removed = |count| Ok(Some(BlockMessage::BlocksRemoved(count)));
    assert_eq!(client.ask(&remove("1", &["rdd_1_2", "rdd_9_9"])).await, removed(1));
    let outside = ["../../../etc/passwd", "..", "", "/etc/passwd", "../rdd_1_2"];
    assert_eq!(client.ask(&remove("1", &outside)).await, removed(0));
    let files = ["shuffle_0_0_0.index", "shuffle_0_0_0.data", "shuffle_0_0_0.checksum.ADLER32"];
    assert_eq!(client.ask(&remove("1", &files)).await, removed(3));
    let gone = fetch("app", "1", 0, &[(0, &[0])], false);
    client.one_fails(&gone, "Failed to open file: ").await;

    for (question, error) in [
        (dirs(&["1", "55"]), "Executor is not registered (appId=app, execId=55)"),
        (remove("99", &["rdd_1_2"]), "Executor is not registered (appId=app, execId=99)"),
        (
            register("app", "9", &["/etc"]),
            "is not under any of the service's local directories: /etc",
        ),
        (
            open("app", "1", &["shuffle_0_4294967296_0"]),
            "NumberFormatException: For input string: \"4294967296\"",
        ),
        (
            open("app", "1", &["shuffle_0_0_0", "shuffle_1_0_0"]),
            "Expected shuffleId=0, got:shuffle_1_0_0",
        ),
        (open("app", "1", &["../../etc/passwd"]), "Unexpected block id format: ../../etc/passwd"),
        (
            BlockMessage::RegisterDriver { app: app.clone(), heartbeat_timeout_ms: 1 },
            "RegisterDriver",
        ),
        (BlockMessage::Upload { name: "UploadBlock" }, "Unexpected message: UploadBlock"),
        (BlockMessage::Merge { name: "FinalizeShuffleMerge" }, "Cannot handle shuffle block merge"),
    ] {
        let answer = client.ask(&question).await.unwrap_err();
        assert!(answer.contains(error), "{question:?}: {answer}");
    }
    client.send(&BlockFrame::Message(Frame::RpcRequest { id: 5, body: vec![99] })).await;
    let BlockFrame::Message(Frame::RpcFailure { id: 5, text }) = client.receive().await else {
        panic!("another")
    };
    assert!(text.contains("Unknown message type: 99"), "{text}");
    client.send(&BlockFrame::MergedBlockMetaRequest { id: 6 }).await;
    let BlockFrame::Message(Frame::RpcFailure { id: 6, text }) = client.receive().await else {
        panic!("another")
    };
    assert!(text.contains("Cannot handle shuffle block merge"), "{text}");
    // What has no answer disturbs nothing.
    client.send(&BlockFrame::Message(Frame::OneWay { body: vec![19, 0] })).await;
    let known = LocalDirs { executor, dirs: vec![dir] };
    assert_eq!(client.ask(&dirs(&["1"])).await, Ok(Some(BlockMessage::LocalDirs(vec![known]))));
    for bad in [
        [&3_i64.to_be_bytes()[..], &[0]].concat(),
        (-1_i64).to_be_bytes().to_vec(),
        (1_i64 << 40).to_be_bytes().to_vec(),
        [&9_i64.to_be_bytes()[..], &[77]].concat(),
        BlockFrame::UploadStream { id: 1 }.encode(),
        BlockFrame::Message(Frame::RpcRequest { id: 1, body: vec![9, 0, 0] }).encode(),
    ] {
        let mut client = running.client().await;
        client.send_bytes(&bad).await;
        assert!(client.is_closed().await, "{bad:?}");
    }
}

#[tokio::test]
async fn large_blocks_go_from_the_file_to_the_socket_in_order() {
    let running = Running::start(None).await;
    let dir = running.local_dir("app/blockmgr");
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|at| (at % 251) as u8).collect();
    let offsets = [0, 10, 70_000, 5_000_000, 5_000_000, 9_000_000];
    running.shuffle(&dir, "shuffle_3_1_0", &bytes, &offsets);
    let mut client = running.client().await;
    client.ask(&register("app", "1", &[&dir])).await.unwrap();
    let stream = client.open(&fetch("app", "1", 3, &[(1, &[0, 1, 2, 3, 4])], false), 5).await;
    // All are asked for at once.
    for chunk in 0..5 {
        client.request(stream, chunk).await;
    }
    for (chunk, range) in offsets.windows(2).enumerate() {
        let block = client.received(stream, chunk as i32).await.unwrap();
        assert!(block == bytes[range[0] as usize..range[1] as usize], "chunk {chunk}");
    }
    let stream = client.open(&fetch("app", "1", 3, &[(1, &[0, 5])], true), 1).await;
    assert!(client.stream(&format!("{stream}_0")).await.unwrap() == bytes);
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_not_believed() {
    let (running, dir) = served().await;
    let mut client = running.client().await;
    client.ask(&register("app", "1", &[&dir])).await.unwrap();
    let shuffle = |number: i32, index: &[u8], data: &[u8]| {
        running.put(&dir, &format!("shuffle_{number}_0_0.index"), index);
        running.put(&dir, &format!("shuffle_{number}_0_0.data"), data);
    };
    let offsets = |all: &[i64]| all.iter().flat_map(|at| at.to_be_bytes()).collect::<Vec<_>>();
    shuffle(1, &offsets(&[0, 10])[..15], b"0123456789");
    shuffle(2, &offsets(&[0, 10, 5]), b"0123456789");
    shuffle(3, &offsets(&[0, 11]), b"0123456789");
    shuffle(4, &[], b"");
    for (number, error) in
        [(1, "damaged"), (2, "damaged"), (3, "its index says 11"), (4, "damaged")]
    {
        client.one_fails(&fetch("app", "1", number, &[(0, &[0])], false), error).await;
    }
    // Whatever an executor plants in its directory, nothing but its own files is read.
    running.put(&dir, "rdd_5_1", b"");
    for (name, target) in [("rdd_5_1", "/etc/passwd"), ("shuffle_6_0_0.data", "/etc/passwd")] {
        let path = running.path(&dir, name);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
    running.put(&dir, "shuffle_6_0_0.index", &offsets(&[0, 10]));
    client.one_fails(&open("app", "1", &["rdd_5_1"]), "Failed to open file").await;
    client.one_fails(&fetch("app", "1", 6, &[(0, &[0])], false), "Failed to open file").await;
    // An empty block needs no file of data.
    running.put(&dir, "shuffle_7_0_0.index", &offsets(&[0, 0]));
    assert_eq!(client.one(&fetch("app", "1", 7, &[(0, &[0])], false)).await.unwrap(), b"");
}

#[tokio::test]
async fn registrations_outlive_the_service_and_one_that_is_killed() {
    let (mut running, dir) = served().await;
    let mut client = running.client().await;
    client.ask(&register("app", "1", &[&dir])).await.unwrap();
    running.start_again().await;
    assert!(client.is_closed().await);
    let mut client = running.client().await;
    assert_eq!(client.one(&fetch("app", "1", 0, &[(0, &[0, 4])], true)).await.unwrap(), data());
    // A directory is of the application that has it, and a copy of its name opens nothing.
    let error = client.ask(&register("other", "1", &[&dir])).await.unwrap_err();
    assert!(error.contains("is of another application"), "{error}");
}

#[tokio::test]
async fn an_application_that_has_ended_leaves_nothing() {
    let (mut running, dir) = served().await;
    let mut client = running.client().await;
    client.ask(&register("app", "1", &[&dir])).await.unwrap();
    let other = running.local_dir("other/blockmgr");
    running.put(&other, "rdd_1_2", b"other");
    client.ask(&register("other", "1", &[&other])).await.unwrap();
    assert!(running.handle().application_ended("unknown").await.is_err());
    running.handle().application_ended("app").await.unwrap();
    client
        .one_fails(&fetch("app", "1", 0, &[(0, &[0])], false), "Executor is not registered")
        .await;
    client::eventually(|| !std::path::Path::new(&dir).exists()).await;
    running.start_again().await;
    let mut client = running.client().await;
    client.one_fails(&open("app", "1", &["rdd_1_2"]), "Executor is not registered").await;
    assert_eq!(client.one(&open("other", "1", &["rdd_1_2"])).await.unwrap(), b"other");
}

#[tokio::test]
async fn nothing_is_said_to_somebody_who_proves_nothing() {
    let running = Running::start(Some("s3cret")).await;
    let dir = running.local_dir("app/blockmgr");
    for message in [register("app", "1", &[&dir]), fetch("app", "1", 0, &[(0, &[0])], false)] {
        let mut client = running.client().await;
        let refused = client.ask(&message).await.unwrap_err();
        assert!(refused.contains("Expected SaslMessage"), "{refused}");
        assert!(client.is_closed().await);
    }
    let mut client: Client = running.client().await;
    client.request(1, 0).await;
    assert!(client.is_closed().await);
}

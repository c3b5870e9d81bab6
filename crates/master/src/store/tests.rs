//! Stores that are damaged, cut off, emptied, removed and replaced: what was acknowledged is there when
//! they are opened again, or that is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anymaster_core::ErrorKind;
use tempfile::TempDir;

use super::*;

type Records = BTreeMap<String, Vec<u8>>;

fn set(name: &str, value: &str) -> Change {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

fn open(directory: &Path) -> Result<Arc<dyn Store>> {
    file(directory, None)
}

async fn load(directory: &Path, accepted: Option<u64>) -> Result<Records> {
    Ok(file(directory, accepted)?.load().await?.into_iter().collect())
}

/// A directory with five writes, and what they leave.
async fn written() -> (TempDir, Records) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    assert!(store.load().await.unwrap().is_empty());
    for number in 0..4 {
        store
            .write(&[set(&format!("app/{number}"), "first"), set("last", "x")].into())
            .await
            .unwrap();
    }
    store.write(&[set("app/3", "second"), ("app/0".to_owned(), None)].into()).await.unwrap();
    drop(store);
    let records = load(directory.path(), None).await.unwrap();
    assert_eq!(records.keys().collect::<Vec<_>>(), ["app/1", "app/2", "app/3", "last"]);
    assert_eq!(records["app/3"], b"second");
    (directory, records)
}

/// Opens a log with this content.
async fn with(content: &[u8]) -> Result<Records> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.log"), content).unwrap();
    load(directory.path(), None).await
}

#[tokio::test]
async fn a_log_with_any_byte_flipped_is_refused_or_loses_nothing() {
    let (directory, records) = written().await;
    let content = fs::read(directory.path().join("state.log")).unwrap();
    let mut refused = 0;
    for at in 0..content.len() {
        for bit in [0, 3, 7] {
            let mut content = content.clone();
            content[at] ^= 1 << bit;
            match with(&content).await {
                Ok(read) => assert_eq!(read, records, "byte {at}, bit {bit}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
                    assert!(error.hint().unwrap().contains(ACCEPT_LOSS), "{error}");
                    refused += 1;
                }
            }
        }
    }
    // All but what stands for nothing in the header.
    assert!(refused >= 3 * (content.len() - 512 + 64), "{refused}");
}

#[tokio::test]
async fn a_log_that_was_cut_off_anywhere_or_emptied_is_refused() {
    let (directory, _) = written().await;
    let content = fs::read(directory.path().join("state.log")).unwrap();
    for length in 0..content.len() {
        let error = with(&content[..length]).await.unwrap_err();
        assert!(error.message().contains("is damaged at byte"), "{length}: {error}");
    }
}

#[tokio::test]
async fn an_older_frame_in_the_place_of_a_newer_one_is_refused() {
    let (directory, _) = written().await;
    let path = directory.path().join("state.log");
    let content = fs::read(&path).unwrap();
    // Both are of equal length: the second and the third write.
    let frame = (content.len() - 512 - 56) / 4;
    let at = |number: usize| 512 + number * frame;
    let mut other = content.clone();
    other.copy_within(at(1)..at(2), at(2));
    assert_ne!(other, content);
    with(&other).await.unwrap_err();
}

#[tokio::test]
async fn what_was_never_acknowledged_is_cut_off() {
    let (directory, records) = written().await;
    let content = fs::read(directory.path().join("state.log")).unwrap();
    for rest in [&b"\0"[..], b"a torn write", &[0xff; 700]] {
        assert_eq!(with(&[&content, rest].concat()).await.unwrap(), records);
    }
}

#[tokio::test]
async fn loss_is_accepted_by_its_number_only_and_once() {
    let (directory, _) = written().await;
    let path = directory.path().join("state.log");
    let mut content = fs::read(&path).unwrap();
    // In the value of the second write.
    let at = content.windows(5).position(|some| some == b"app/1").unwrap();
    content[at] ^= 1;
    fs::write(&path, &content).unwrap();
    for accepted in [None, Some(4), Some(6)] {
        let refused = load(directory.path(), accepted).await.unwrap_err();
        assert!(refused.message().contains("its change 2 cannot be read"), "{refused}");
        assert!(refused.hint().unwrap().ends_with("acceptLoss=5"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), content, "nothing is changed");
    }
    let records = load(directory.path(), Some(5)).await.unwrap();
    assert_eq!(records.keys().collect::<Vec<_>>(), ["app/2", "app/3", "last"]);
    assert_eq!(fs::read(directory.path().join("state.damaged-5")).unwrap(), content);
    // From now on it is whole, and the next damage is another one.
    assert_eq!(load(directory.path(), None).await.unwrap(), records);
    fs::write(&path, b"").unwrap();
    load(directory.path(), Some(5)).await.unwrap_err();
}

#[tokio::test]
async fn a_directory_that_was_removed_acknowledges_nothing_until_it_is_there_again() {
    let (directory, _) = written().await;
    let path = directory.path().join("below");
    let store = open(&path).unwrap();
    store.load().await.unwrap();
    store.write(&[set("a", "1")].into()).await.unwrap();
    fs::remove_dir_all(&path).unwrap();
    for _ in 0..2 {
        let error = store.write(&[set("b", "2")].into()).await.unwrap_err();
        assert!(error.to_string().contains("its directory is gone"), "{error}");
    }
    fs::create_dir(&path).unwrap();
    store.write(&[set("c", "3")].into()).await.unwrap();
    open(&path).unwrap_err();
    drop(store);
    let records = load(&path, None).await.unwrap();
    assert_eq!(records.keys().collect::<Vec<_>>(), ["a", "c"], "what was refused is not known");
}

#[tokio::test]
async fn a_log_in_whose_place_is_another_is_left_alone() {
    let (directory, _) = written().await;
    let path = directory.path().join("state.log");
    let store = open(directory.path()).unwrap();
    store.load().await.unwrap();
    fs::rename(&path, directory.path().join("moved")).unwrap();
    fs::write(&path, b"of another").unwrap();
    let error = store.write(&[set("b", "2")].into()).await.unwrap_err();
    assert!(error.to_string().contains("another file is in its place"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"of another");
    // It is moved back.
    fs::rename(directory.path().join("moved"), &path).unwrap();
    store.write(&[set("b", "2")].into()).await.unwrap();
}

#[tokio::test]
async fn a_long_log_of_few_records_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    store.load().await.unwrap();
    let long = "x".repeat(100_000);
    for number in 0..200 {
        let name = format!("app/{}", number % 7);
        store.write(&[set(&name, &format!("{number}{long}"))].into()).await.unwrap();
        let length = fs::metadata(directory.path().join("state.log")).unwrap().len();
        assert!(length < 5 << 20, "{length}");
    }
    drop(store);
    let records = load(directory.path(), None).await.unwrap();
    assert_eq!(records.len(), 7);
    assert!(records["app/3"].starts_with(b"199x"));
}

#[tokio::test]
async fn two_masters_do_not_use_one_directory_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, _) = written().await;
    let store = open(directory.path()).unwrap();
    let second = open(directory.path()).unwrap_err();
    assert!(second.hint().unwrap().contains("another master"), "{second}");
    drop(store);
    let mode = |name: &str| {
        fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("state.log")), (0o700, 0o600));
}

#[tokio::test]
async fn a_store_of_a_release_that_is_not_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("anymaster.redb"), b"redb").unwrap();
    let refused = open(directory.path()).unwrap_err();
    assert!(refused.message().contains("does not read"), "{refused}");
}

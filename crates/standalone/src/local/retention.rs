//! Removes the oldest ended applications when there are more than `keep`.
//!
//! The cost is amortised: each launch and each end appends one byte to a counter file. Only when the
//! counter reaches the limit in the file's header, all applications are scanned and a tenth of `keep` is
//! removed, as Spark's master does.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::SystemTime;

use anymaster_core::Result;

use super::lock::Lock;
use super::store::{AppDir, Store, failed, write_private};
use crate::host::files;

/// The counter file. No application id begins with a dot.
const COUNT: &str = ".launches";
/// Held while all applications are scanned.
const LOCK: &str = ".retention.lock";
/// The length of the header in bytes: `keep`, and the number of launches and ends until the next scan.
const HEADER_LEN: usize = 22;

impl Store {
    /// Called at each launch and each end: removes the oldest ended applications if there are more than
    /// `keep` in total. There may be a few more while many are launched at once.
    pub(crate) fn retain(&self, keep: u32) -> Result<()> {
        if !self.count_event(keep)? {
            return Ok(());
        }
        // The holder of the lock does the scan.
        let Some(_lock) = Lock::try_take(&self.root().join(LOCK))? else { return Ok(()) };
        loop {
            let before = self.counted()?;
            let left = self.remove_surplus(keep)?;
            let launches = keep.saturating_sub(left).max(keep / 10);
            // Those who launch in the meantime find the lock taken: what they add is removed here.
            if self.reset_count(keep, launches, before)? <= u64::from(launches) {
                return Ok(());
            }
        }
    }

    /// How many launches and ends are counted.
    fn counted(&self) -> Result<u64> {
        let path = self.root().join(COUNT);
        let length = fs::symlink_metadata(&path).map_err(failed("read", &path))?.len();
        Ok(length.saturating_sub(HEADER_LEN as u64))
    }

    /// Counts a launch or an end; returns whether a scan is due.
    fn count_event(&self, keep: u32) -> Result<bool> {
        let path = self.root().join(COUNT);
        let mut options = File::options();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = files::open(&path, &mut options).map_err(failed("open", &path))?;
        let mut head = [0; HEADER_LEN];
        let counted = file.read_exact(&mut head).and_then(|()| {
            file.write_all(b".")?;
            Ok(file.metadata()?.len() - HEADER_LEN as u64)
        });
        let launches = match counted {
            Ok(launches) => launches,
            // The file is new or damaged.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
            Err(error) => return Err(failed("write", &path)(error)),
        };
        let of_keep = std::str::from_utf8(&head).ok().and_then(|head| {
            let mut numbers = head.split_ascii_whitespace();
            let of = numbers.next()?.parse::<u32>().ok()?;
            numbers.next()?.parse::<u64>().ok().filter(|_| of == keep)
        });
        Ok(of_keep.is_none_or(|until| launches > until))
    }

    /// Resets the counter; the next scan is due after this many launches and ends. Those counted after the
    /// first `before` stay counted, as the scan may have missed them; returns how many they are.
    fn reset_count(&self, keep: u32, launches: u32, before: u64) -> Result<u64> {
        let path = self.root().join(COUNT);
        let old = files::open(&path, File::options().read(true)).map_err(failed("open", &path))?;
        let draft = self.root().join(format!("{COUNT}-{:016x}", rand::random::<u64>()));
        write_private(&draft, &format!("{keep:10} {launches:10}\n"))?;
        fs::rename(&draft, &path).map_err(failed("write", &path))?;
        // Only now: until here others have counted in the old file.
        let counted = old.metadata().map_err(failed("read", &path))?.len();
        let since = counted.saturating_sub(HEADER_LEN as u64).saturating_sub(before);
        let mut new =
            files::open(&path, File::options().append(true)).map_err(failed("open", &path))?;
        io::copy(&mut io::repeat(b'.').take(since), &mut new).map_err(failed("write", &path))?;
        Ok(since)
    }

    /// Removes the surplus; returns how many applications are left.
    fn remove_surplus(&self, keep: u32) -> Result<u32> {
        let apps = self.apps()?;
        let keep = keep as usize;
        let mut left = apps.len();
        if left > keep {
            let mut oldest: Vec<(Option<SystemTime>, AppDir)> =
                apps.iter().map(|app| self.dir(app)).map(|dir| (submitted(&dir), dir)).collect();
            oldest.sort_by_key(|(submitted, _)| *submitted);
            for (_, dir) in oldest {
                if left <= keep - keep / 10 {
                    break;
                }
                if dir.has_ended() {
                    dir.remove();
                    left -= 1;
                }
            }
        }
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// When an application was submitted: the modification time of its record, which is written once.
fn submitted(dir: &AppDir) -> Option<SystemTime> {
    fs::symlink_metadata(dir.record_path()).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use anymaster_core::conf::Conf;
    use anymaster_core::model::{AppId, Cause, Outcome, State, Status, SubmissionId};
    use jiff::Timestamp;

    use super::super::driver::accepted_status;
    use super::super::journal::Line;
    use super::super::store::Record;
    use super::*;

    /// Adds an application that has ended.
    fn launch(store: &Store, id: &str) {
        drop(launch_with(store, id, Some(Cause::Finished)));
    }

    /// Adds an application with this end, or one that runs as long as the lock is held.
    fn launch_with(store: &Store, id: &str, end: Option<Cause>) -> Lock {
        let record = Record {
            name: id.to_owned(),
            master: "local".to_owned(),
            submitted: Timestamp::now(),
            digest: String::new(),
            driver_host: "127.0.0.1".to_owned(),
            driver_port: 1,
        };
        let (submission, app) = (SubmissionId::new(id).unwrap(), AppId::new(id).unwrap());
        let mut status = accepted_status(&submission, &app, &record);
        status.state = end.map_or(State::Running, |end| Outcome::from(end).into_state());
        let line = Line::from(Status::Driver(status));
        let (_, lock) = store.create(&app, &record, &Conf::default(), line).unwrap().unwrap();
        lock
    }

    fn left(store: &Store) -> Vec<String> {
        store.apps().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_oldest_that_ended_go_and_what_runs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let _lock = launch_with(&store, "app-0", None);
        for number in 1..=5 {
            launch(&store, &format!("app-{number}"));
            store.retain(3).unwrap();
        }
        assert_eq!(left(&store), ["app-0", "app-4", "app-5"]);
        store.retain(1).unwrap();
        assert_eq!(left(&store), ["app-0"], "a new limit applies at once");
    }

    #[test]
    fn a_launch_rarely_scans_all_applications() {
        const KEEP: u32 = 100;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (mut scans, mut most) = (0, 0);
        for number in 0..300 {
            launch(&store, &format!("app-{number:03}"));
            if store.count_event(KEEP).unwrap() {
                scans += 1;
                let left = store.remove_surplus(KEEP).unwrap();
                let launches = KEEP.saturating_sub(left).max(KEEP / 10);
                store.reset_count(KEEP, launches, store.counted().unwrap()).unwrap();
            }
            most = most.max(left(&store).len());
        }
        assert!(scans <= 25, "{scans} scans");
        assert_eq!(most, KEEP as usize);
        assert!(left(&store).len() >= 90 && left(&store).contains(&"app-299".to_owned()));
    }

    #[test]
    fn concurrent_launches_remove_no_more_than_sequential_ones() {
        const KEEP: u32 = 40;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..30 {
                        launch(store, &format!("app-{thread}-{number}"));
                        store.retain(KEEP).unwrap();
                    }
                });
            }
        });
        let left = left(&store).len();
        assert!((36..=KEEP as usize + 8).contains(&left), "{left} are left");
    }

    #[test]
    fn a_damaged_counter_is_reset() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for damaged in ["", "x", "one two three four five six", "         3          x\n"] {
            fs::write(store.root().join(COUNT), damaged).unwrap();
            launch(&store, "app-1");
            store.retain(3).unwrap();
            let begun = fs::read_to_string(store.root().join(COUNT)).unwrap();
            assert_eq!(begun, "         3          2\n", "after {damaged:?}");
            fs::remove_dir_all(store.root().join("app-1")).unwrap();
        }
    }
}

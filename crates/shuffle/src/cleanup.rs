//! Removes files and directories of executors: from descriptors, through no link, and never into another file
//! system that is mounted there.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, unlinkat};
use rustix::io::Errno;

use crate::names::FileName;
use crate::roots::{LocalDir, Root};

/// How deep directories are nested at most: Spark's are two deep.
const MAX_DEPTH: usize = 64;
/// How many names are kept at once.
const NAMES: usize = 4096;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY);

/// Removes a file of a local directory.
pub(crate) fn remove_file(dir: &LocalDir, path: &str) -> io::Result<()> {
    let (root, below) = dir.place();
    let path = below.join(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent =
        root.open_below(parent, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
    Ok(unlinkat(parent, name, AtFlags::empty())?)
}

/// Removes a local directory with all that is in it. One that is not there is no error.
pub(crate) fn remove_dir(dir: &LocalDir) -> io::Result<()> {
    let (root, below) = dir.place();
    empty(root, below, &|_| false)?;
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match parent == Path::new("") {
        true => Path::new("."),
        false => parent,
    };
    let parent =
        root.open_below(parent, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Removes the files of an executor that has ended, except those of shuffles and cached RDDs.
pub(crate) fn remove_rest(dir: &LocalDir) -> io::Result<()> {
    let (root, below) = dir.place();
    let is_block = |name: &CStr| name.to_str().is_ok_and(|name| FileName::parse(name).is_some());
    empty(root, below, &is_block)
}

fn empty(root: &Root, below: &Path, keeps: &dyn Fn(&CStr) -> bool) -> io::Result<()> {
    let directory = root.open_below(below, DIRECTORY, ResolveFlags::NO_XDEV)?;
    empty_at(directory.as_fd(), root.device(), MAX_DEPTH, keeps)
}

fn empty_at(
    directory: BorrowedFd<'_>,
    device: u64,
    depth: usize,
    keeps: &dyn Fn(&CStr) -> bool,
) -> io::Result<()> {
    // Names that are kept, or cannot be removed, are skipped; the first error is returned.
    let mut failed = None;
    let mut passed = 0;
    loop {
        let names = names(directory, passed)?;
        if names.is_empty() {
            break;
        }
        for (name, kind) in names {
            match remove_at(directory, &name, kind, device, depth, keeps) {
                Ok(true) => {}
                Ok(false) => passed += 1,
                Err(error) => {
                    passed += 1;
                    failed.get_or_insert(error);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Some of the names in a directory, behind the first `passed` ones.
fn names(directory: BorrowedFd<'_>, passed: usize) -> io::Result<Vec<(CString, FileType)>> {
    let mut names = Vec::new();
    let mut skipped = 0;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if skipped < passed {
            skipped += 1;
            continue;
        }
        names.push((name.to_owned(), entry.file_type()));
        if names.len() == NAMES {
            break;
        }
    }
    Ok(names)
}

/// Removes an entry; false: it is kept.
fn remove_at(
    directory: BorrowedFd<'_>,
    name: &CStr,
    kind: FileType,
    device: u64,
    depth: usize,
    keeps: &dyn Fn(&CStr) -> bool,
) -> io::Result<bool> {
    if kind != FileType::Directory {
        if keeps(name) {
            return Ok(false);
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            // Its file system does not say what is a directory.
            Err(Errno::ISDIR | Errno::PERM) if kind == FileType::Unknown => {}
            Err(error) => return Err(error.into()),
        }
    }
    if depth == 0 {
        return Err(io::Error::other("directories are nested too deep"));
    }
    let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(directory, name, flags, Mode::empty())?;
    if fstat(&inner)?.st_dev != device {
        return Err(io::Error::other("another file system is mounted there"));
    }
    empty_at(inner.as_fd(), device, depth - 1, keeps)?;
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        // There is something in it that is kept.
        Err(Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::roots::Roots;

    fn local(place: &Path) -> LocalDir {
        let dir = place.join("app/blockmgr");
        fs::create_dir_all(dir.join("0a")).unwrap();
        fs::create_dir_all(dir.join("0b/deeper")).unwrap();
        for file in ["0a/shuffle_0_1_0.index", "0a/shuffle_0_1_0.data", "0b/rdd_1_2"] {
            fs::write(dir.join(file), "kept").unwrap();
        }
        for file in ["0a/temp_shuffle_x", "0b/broadcast_0", "0b/deeper/file", "file"] {
            fs::write(dir.join(file), "rest").unwrap();
        }
        fs::create_dir(place.join("outside")).unwrap();
        fs::write(place.join("outside/precious"), "precious").unwrap();
        symlink(place.join("outside"), dir.join("0a/link")).unwrap();
        symlink("../../../outside/precious", dir.join("0a/file")).unwrap();
        let roots = Roots::open(&[place.to_owned()]).unwrap();
        roots.local_dir(dir.to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_directory_goes_with_all_that_is_in_it_and_links_lead_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let dir = local(place.path());
        remove_dir(&dir).unwrap();
        assert!(!place.path().join("app/blockmgr").exists());
        assert!(place.path().join("app").exists());
        assert!(place.path().join("outside/precious").exists());
        assert_eq!(remove_dir(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn of_an_executor_that_has_ended_the_blocks_stay() {
        let place = tempfile::tempdir().unwrap();
        let dir = local(place.path());
        remove_rest(&dir).unwrap();
        let at = place.path().join("app/blockmgr");
        let mut left: Vec<_> = ["0a", "0b"]
            .iter()
            .flat_map(|sub| fs::read_dir(at.join(sub)).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["rdd_1_2", "shuffle_0_1_0.data", "shuffle_0_1_0.index"]);
        assert!(!at.join("file").exists());
        assert!(place.path().join("outside/precious").exists());
    }

    #[test]
    fn many_files_are_removed_in_pieces() {
        let place = tempfile::tempdir().unwrap();
        let dir = local(place.path());
        let at = place.path().join("app/blockmgr/0a");
        (0..2 * NAMES).for_each(|number| fs::write(at.join(number.to_string()), "").unwrap());
        remove_rest(&dir).unwrap();
        assert_eq!(fs::read_dir(&at).unwrap().count(), 2);
        remove_file(&dir, "0a/shuffle_0_1_0.data").unwrap();
        assert!(remove_file(&dir, "0a/shuffle_0_1_0.data").is_err());
        remove_dir(&dir).unwrap();
    }
}

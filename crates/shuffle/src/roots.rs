//! The directories below which local directories of executors may be, and how files in them are opened: from the
//! descriptor of such a directory, never out of it, and through no symbolic link (`openat2`).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anymaster_core::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// The directory below the first root in which a service keeps what outlives it.
pub const OWN: &str = ".anymaster-shuffle";
/// How often an open is repeated that was disturbed by a rename somewhere in the path.
const TRIES: usize = 8;

/// How long a file may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// No longer than memory takes: what would need the disk is [`WouldBlock`](io::ErrorKind::WouldBlock).
    Cached,
    /// As long as the disk takes.
    Disk,
}

/// A directory below which all is served.
pub(crate) struct Root {
    /// As it was given, and without symbolic links.
    names: [PathBuf; 2],
    directory: OwnedFd,
    device: u64,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.names[0].display())
    }
}

impl Root {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it is no absolute path of a directory, and
    /// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) if the kernel lacks `openat2`.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let failed = |error: io::Error| {
            Error::invalid(format!("cannot serve the directory {}", path.display()))
                .with_source(error)
                .with_hint("it has to exist, and to be readable for this user")
        };
        let given = std::path::absolute(path).map_err(failed)?;
        let real = given.canonicalize().map_err(failed)?;
        if real.parent().is_none() {
            return Err(Error::invalid(format!("{}: all files of this machine", path.display()))
                .with_hint(
                    "name the directories in which executors have their local directories",
                ));
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory =
            openat(CWD, &real, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&directory, ".", flags, Mode::empty(), resolve).map_err(|error| {
            Error::unsupported("files cannot be opened safely here: the system has no openat2")
                .with_source(io::Error::from(error))
                .with_hint("Linux 5.6 or later has it; some sandboxes forbid it")
        })?;
        let device = real.metadata().map_err(failed)?.dev();
        Ok(Arc::new(Self { names: [given, real], directory, device }))
    }

    /// Its path without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.names[1]
    }

    /// The device on which it is.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// Opens what is at a path below it.
    pub(crate) fn open_below(
        &self,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::RUSR | Mode::WUSR,
            false => Mode::empty(),
        };
        let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let is_cached = resolve.contains(ResolveFlags::CACHED);
        for _ in 0..TRIES {
            match openat2(self.directory.as_fd(), path, flags, mode, resolve) {
                Err(Errno::AGAIN) if !is_cached => {}
                // Older kernels do not know what is in memory.
                Err(Errno::AGAIN | Errno::INVAL) if is_cached => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(Errno::INTR) => {}
                opened => return Ok(opened?),
            }
        }
        Err(Errno::BUSY.into())
    }
}

/// A local directory of an executor.
#[derive(Debug, Clone)]
pub(crate) struct LocalDir {
    root: Arc<Root>,
    /// Its path below the root.
    below: PathBuf,
    /// As the executor calls it.
    name: String,
    /// The user to whom it belongs, and all files in it.
    owner: u32,
}

impl LocalDir {
    /// As the executor calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its root, and its path below that.
    pub(crate) fn place(&self) -> (&Arc<Root>, &Path) {
        (&self.root, &self.below)
    }

    /// Its path without symbolic links.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join(&self.below)
    }

    /// Opens a regular file of its owner, and says how many bytes it has.
    ///
    /// # Errors
    /// As the system's, and [`InvalidInput`](io::ErrorKind::InvalidInput) for what is no such file.
    pub(crate) fn open(&self, file: &str, patience: Patience) -> io::Result<(File, u64)> {
        let resolve = match patience {
            Patience::Cached => ResolveFlags::CACHED,
            Patience::Disk => ResolveFlags::empty(),
        };
        // A pipe that nobody writes would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.root.open_below(&self.below.join(file), flags, resolve)?);
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != self.owner {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file of the user of its directory",
            ));
        }
        Ok((file, found.len()))
    }
}

/// All directories that are served.
#[derive(Debug, Clone)]
pub(crate) struct Roots(Arc<[Arc<Root>]>);

impl Roots {
    /// Opens them.
    ///
    /// # Errors
    /// As [`Root::open`]'s, and if there are none.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::invalid("a shuffle service without a directory serves nothing")
                .with_hint(
                    "name the directories in which executors have their local directories",
                ));
        }
        Ok(Self(paths.iter().map(|path| Root::open(path)).collect::<Result<_>>()?))
    }

    /// The first one.
    pub(crate) fn first(&self) -> &Arc<Root> {
        &self.0[0]
    }

    /// The local directory of this name, which has to exist below a root.
    ///
    /// # Errors
    /// Why it is refused, in one line.
    pub(crate) fn local_dir(&self, name: &str) -> Result<LocalDir, String> {
        let path = Path::new(name);
        let is_plain = path.is_absolute()
            && !name.contains('\0')
            && path
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let below = |root: &Arc<Root>| {
            let below = root.names.iter().find_map(|known| path.strip_prefix(known).ok())?;
            let first = below.components().next()?;
            (first.as_os_str() != OWN).then(|| (Arc::clone(root), below.to_owned()))
        };
        let found = self.0.iter().filter(|_| is_plain).find_map(below);
        let Some((root, below)) = found else {
            return Err(format!(
                "java.lang.IllegalArgumentException: localDirs entry is not under any of the service's \
                 local directories: {name}"
            ));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opened = root.open_below(&below, flags, ResolveFlags::empty());
        let owner = opened.and_then(|directory| File::from(directory).metadata());
        let owner =
            owner.map_err(|error| format!("cannot use the local directory {name}: {error}"))?;
        Ok(LocalDir { root, below, name: name.to_owned(), owner: owner.uid() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_directories_strictly_below_a_root_are_local_directories() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("app/blockmgr-1")).unwrap();
        fs::create_dir_all(root.join(OWN)).unwrap();
        fs::create_dir_all(place.path().join("rooted")).unwrap();
        symlink("app", root.join("link")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let named = place.path().join("named");
        symlink("root", &named).unwrap();
        let roots = Roots::open(std::slice::from_ref(&named)).unwrap();
        for root in [&root, &named] {
            let dir = root.join("app/blockmgr-1");
            let found = roots.local_dir(dir.to_str().unwrap()).unwrap();
            assert_eq!(
                found.path(),
                place.path().canonicalize().unwrap().join("root/app/blockmgr-1")
            );
            assert_eq!(found.name(), dir.to_str().unwrap());
        }
        for bad in ["/etc", "/", "", "relative", "/proc/self/cwd"] {
            assert!(roots.local_dir(bad).unwrap_err().contains("not under any"), "{bad}");
        }
        for bad in
            ["", "/", "/../rooted", "/app/../app/blockmgr-1", "ed", "/.anymaster-shuffle", "/./app"]
        {
            let path = format!("{}{bad}", root.display());
            let accepted = roots.local_dir(&path);
            // `.` in the middle is no part of a path.
            assert!(accepted.is_err() || bad == "/./app", "{path}");
        }
        for bad in ["link/blockmgr-1", "file", "missing"] {
            let path = format!("{}/{bad}", root.display());
            assert!(roots.local_dir(&path).unwrap_err().contains("cannot use"), "{path}");
        }
    }

    #[test]
    fn nothing_but_regular_files_is_opened_and_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("blockmgr");
        fs::create_dir_all(dir.join("00")).unwrap();
        fs::write(dir.join("00/file"), "content").unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        symlink("../../secret", dir.join("00/link")).unwrap();
        symlink("00", dir.join("01")).unwrap();
        symlink("/dev/zero", dir.join("00/device")).unwrap();
        rustix::fs::mknodat(
            CWD,
            dir.join("00/pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let roots = Roots::open(&[place.path().to_owned()]).unwrap();
        let local = roots.local_dir(dir.to_str().unwrap()).unwrap();
        assert_eq!(local.open("00/file", Patience::Disk).unwrap().1, 7);
        for bad in
            ["00/link", "01/file", "00/device", "00/pipe", "00", "../../secret", "00/missing"]
        {
            assert!(local.open(bad, Patience::Disk).is_err(), "{bad}");
        }
        assert!(Roots::open(&[]).is_err());
        assert!(Roots::open(&["/".into()]).is_err());
        assert!(Roots::open(&[place.path().join("missing")]).is_err());
    }
}

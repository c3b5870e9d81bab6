//! Picks the backend for a master URL. Built by hand in `main`; there is no global one.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::conf::Conf;
use crate::model::{ApplicationSpec, SubmissionId};
use crate::{ClusterManager, Error, MasterUrl, Result};

/// What a backend crate offers: its name, the schemes it serves, and how to connect.
#[derive(Clone, Copy)]
pub struct Backend {
    /// As in [`ClusterManager::name`].
    pub name: &'static str,
    /// The [schemes](MasterUrl::scheme) of the master URLs it serves.
    pub schemes: &'static [&'static str],
    /// One line for `--help` and error messages, with an example of a URL.
    pub summary: &'static str,
    /// Connects; fails if the cluster cannot be reached or the URL has a part that it does not know.
    pub connect: Connect,
    /// What launching a driver would create or send, without a connection; where there is none, the
    /// call itself is all there is to show.
    pub preview: Option<Preview>,
}

/// How a backend shows what launching a driver would create.
pub type Preview = for<'a> fn(
    &'a ConnectOptions,
    &'a SubmissionId,
    &'a ApplicationSpec,
) -> BoxFuture<'a, Result<serde_json::Value>>;

/// How a backend connects.
pub type Connect = fn(ConnectOptions) -> BoxFuture<'static, Result<Arc<dyn ClusterManager>>>;

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("name", &self.name).field("schemes", &self.schemes).finish()
    }
}

/// What a backend is given to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Where the cluster is.
    pub master: MasterUrl,
    /// Properties, for those that say how to connect.
    pub conf: Conf,
    /// A directory of the user's in which a backend may keep state between runs.
    pub state_dir: PathBuf,
    /// The `anymaster` program, for backends that start helper processes; looked up when unset.
    pub program: Option<PathBuf>,
    /// Who is told what takes long.
    pub observer: Observer,
}

/// Someone who is told what a backend is doing while a call takes long, in words.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(String) + Send + Sync>>);

impl Observer {
    /// Calls a function with the words.
    pub fn new(tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Tells what is being done.
    pub fn tell(&self, words: String) {
        if let Some(tell) = &self.0 {
            tell(words);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Where backends keep state unless the user says otherwise: `$ANYMASTER_STATE_DIR`, else
/// `$XDG_STATE_HOME/anymaster`, else `$HOME/.local/state/anymaster`.
///
/// `variable` looks up an environment variable.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) if none of these is set.
pub fn default_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let path = |name| variable(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    let absolute = |name| path(name).filter(|path| path.is_absolute());
    path("ANYMASTER_STATE_DIR")
        .or_else(|| absolute("XDG_STATE_HOME").map(|dir| dir.join("anymaster")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(".local/state/anymaster")))
        .ok_or_else(|| {
            Error::invalid("no directory for applications: HOME is not set")
                .with_hint("set ANYMASTER_STATE_DIR to a directory of yours")
        })
}

/// The backends of a program.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    backends: Vec<Backend>,
}

impl Registry {
    /// A registry without backends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend. For a scheme that two of them serve, the later one wins.
    #[must_use]
    pub fn with(mut self, backend: Backend) -> Self {
        self.backends.push(backend);
        self
    }

    /// The backends, in the order in which they were added.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// The backend that serves this URL.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported), with the schemes that there are.
    pub fn find(&self, master: &MasterUrl) -> Result<&Backend> {
        let scheme = master.scheme();
        self.backends.iter().rev().find(|backend| backend.schemes.contains(&scheme)).ok_or_else(
            || {
                let known: Vec<_> =
                    self.backends.iter().flat_map(|backend| backend.schemes).copied().collect();
                let hint = match known.as_slice() {
                    [] => "this program was built without any backend".to_owned(),
                    known => format!("available: {}", known.join(", ")),
                };
                Error::unsupported(format!("no backend here serves {scheme} masters ({master})"))
                    .with_hint(hint)
            },
        )
    }

    /// Connects to the cluster at a master URL.
    ///
    /// # Errors
    /// As [`find`](Self::find), and as the backend's own.
    pub async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        (self.find(&options.master)?.connect)(options).await
    }
}

//! Which executors there are, and where their blocks are. A local directory is of one application: no other one
//! registers it, or what is in it, or what it is in.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use anymaster_core::{Error, ErrorKind, Result};

use crate::bounds::check;
use crate::names::{self, FileName};
use crate::roots::{LocalDir, Patience, Roots};
use crate::store::{Change, Loaded, Pending, Registration, Removal, Store};

/// How many executors are registered at most.
const MAX_EXECUTORS: usize = 200_000;
/// An executor that has registered.
#[derive(Debug)]
pub(crate) struct Executor {
    /// Of this registration.
    pub(crate) number: u64,
    dirs: Vec<LocalDir>,
    sub_dirs: u32,
    /// When it registered, in seconds since 1970.
    pub(crate) registered: u64,
}

impl Executor {
    /// Its local directories.
    pub(crate) fn dirs(&self) -> &[LocalDir] {
        &self.dirs
    }

    /// Where a file of its is; `None`: it has no directories.
    pub(crate) fn file(&self, name: FileName<'_>) -> Option<(&LocalDir, String)> {
        if self.dirs.is_empty() {
            return None;
        }
        let (dir, path) = names::place(&name.to_string(), self.dirs.len(), self.sub_dirs);
        Some((&self.dirs[dir], path))
    }

    /// Opens a file of its, and says how many bytes it has.
    pub(crate) fn open(
        &self,
        name: FileName<'_>,
        patience: Patience,
    ) -> std::io::Result<(std::fs::File, u64)> {
        match self.file(name) {
            Some((dir, path)) => dir.open(&path, patience),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    apps: HashMap<String, HashMap<String, Arc<Executor>>>,
    executors: usize,
    /// Local directories by their paths: of which application, and of how many executors.
    owners: BTreeMap<PathBuf, (String, usize)>,
    next: u64,
}

/// All executors.
#[derive(Debug)]
pub(crate) struct Registry {
    roots: Roots,
    store: Store,
    state: RwLock<State>,
}

/// Why a registration is not made.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It never will be: the executor is told so.
    Final(String),
    /// It may be later.
    Later(Error),
}

/// An executor, for people.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) local_dirs: Vec<String>,
    pub(crate) registered: u64,
}

impl Registry {
    /// What was there when the service began last, beside what is to be removed.
    pub(crate) fn load(roots: Roots, store: Store, loaded: Loaded) -> (Self, Vec<Removal>) {
        let mut state = State::default();
        for (app, executor, registration) in loaded.executors {
            // What is not below a root any more stays written down: the root may come back.
            let dirs = dirs(&roots, &registration.local_dirs).and_then(|dirs| {
                let executor = (app.clone(), executor.clone());
                state.enter(executor, dirs, registration.sub_dirs, registration.registered)
            });
            if let Err(why) = dirs {
                tracing::warn!(
                    app,
                    executor,
                    "an executor that was registered is not served: {why}"
                );
            }
        }
        let registry = Self { roots, store, state: RwLock::new(state) };
        (registry, loaded.removals)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directories that are served.
    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The executor, if it is registered.
    pub(crate) fn find(&self, app: &str, executor: &str) -> Option<Arc<Executor>> {
        self.state().apps.get(app)?.get(executor).cloned()
    }

    /// How many applications and executors there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.apps.len(), state.executors)
    }

    /// The applications, sorted, with how many executors each has.
    pub(crate) fn apps(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let mut apps: Vec<_> =
            state.apps.iter().map(|(app, executors)| (app.clone(), executors.len())).collect();
        apps.sort();
        apps
    }

    /// The executors of an application, sorted; `None`: there is no such application.
    pub(crate) fn executors(&self, app: &str) -> Option<Vec<Listed>> {
        let state = self.state();
        let listed = |(id, executor): (&String, &Arc<Executor>)| Listed {
            id: id.clone(),
            local_dirs: executor.dirs.iter().map(|dir| dir.name().to_owned()).collect(),
            registered: executor.registered,
        };
        let mut executors: Vec<_> = state.apps.get(app)?.iter().map(listed).collect();
        executors.sort_by(|one, other| (one.id.len(), &one.id).cmp(&(other.id.len(), &other.id)));
        Some(executors)
    }

    /// Enters an executor, which is registered when the result is durable. Looks at its directories: not for a
    /// thread that serves others.
    ///
    /// # Errors
    /// If its directories cannot be served, or the disk is too slow.
    pub(crate) fn register(
        &self,
        app: &str,
        executor: &str,
        local_dirs: Vec<String>,
        sub_dirs: i32,
        shuffle_manager: String,
    ) -> Result<Pending, Refusal> {
        let sub_dirs = check(app, executor, &local_dirs, sub_dirs, &shuffle_manager)
            .map_err(|why| Refusal::Final(format!("java.lang.IllegalArgumentException: {why}")))?;
        let dirs = dirs(&self.roots, &local_dirs).map_err(Refusal::Final)?;
        let registered = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let registration = Registration { local_dirs, sub_dirs, shuffle_manager, registered };
        let mut state = self.change();
        let id = (app.to_owned(), executor.to_owned());
        state.enter(id, dirs, sub_dirs, registered).map_err(Refusal::Final)?;
        // Of two registrations of one executor, the disk has to have the one that is here.
        let (app, executor) = (app.to_owned(), executor.to_owned());
        let written = self.store.write(Change::Register { app, executor, registration });
        drop(state);
        written.map_err(Refusal::Later)
    }

    /// An application has ended: it is forgotten, and its directories are to be removed, when the result is
    /// durable. `None`: there is no such application.
    ///
    /// # Errors
    /// [`Quota`](ErrorKind::Quota) if the disk is too slow.
    pub(crate) fn end(&self, app: &str) -> Result<Option<(Removal, Pending)>> {
        let mut state = self.change();
        let Some(executors) = state.apps.get(app) else { return Ok(None) };
        let mut local_dirs: Vec<_> = executors
            .values()
            .flat_map(|executor| &executor.dirs)
            .map(|dir| dir.name().to_owned())
            .collect();
        local_dirs.sort_unstable();
        local_dirs.dedup();
        let removal = Removal { app: app.to_owned(), number: rand::random(), local_dirs };
        let written = self.store.write(Change::End(removal.clone()))?;
        if let Some(executors) = state.apps.remove(app) {
            state.executors -= executors.len();
            executors.values().for_each(|executor| state.disown(executor));
        }
        Ok(Some((removal, written)))
    }

    /// The directories of an application are removed.
    ///
    /// # Errors
    /// If that cannot be written down: they are removed again at the next start.
    pub(crate) async fn removed(&self, removal: &Removal) -> Result<()> {
        let (app, number) = (removal.app.clone(), removal.number);
        self.store.write(Change::Removed { app, number })?.durable().await
    }

    /// Undoes a registration that has not become durable.
    pub(crate) fn forget(&self, app: &str, executor: &str) {
        self.change().remove(app, executor);
    }
}

impl State {
    fn enter(
        &mut self,
        (app, executor): (String, String),
        dirs: Vec<LocalDir>,
        sub_dirs: u32,
        registered: u64,
    ) -> Result<(), String> {
        if let Some(taken) = dirs.iter().find(|dir| !self.is_free(&dir.path(), &app)) {
            return Err(format!(
                "java.lang.SecurityException: the local directory {} is of another application",
                taken.name()
            ));
        }
        self.remove(&app, &executor);
        if self.executors >= MAX_EXECUTORS {
            return Err(format!(
                "the limit of {MAX_EXECUTORS} executors is reached: end applications at the service's \
                 administration"
            ));
        }
        for dir in &dirs {
            self.owners.entry(dir.path()).or_insert_with(|| (app.clone(), 0)).1 += 1;
        }
        self.next += 1;
        let entry = Executor { number: self.next, dirs, sub_dirs, registered };
        self.apps.entry(app).or_default().insert(executor, Arc::new(entry));
        self.executors += 1;
        Ok(())
    }

    /// Whether a directory has nothing to do with those of other applications.
    fn is_free(&self, path: &PathBuf, app: &str) -> bool {
        let is_own = |(_, (owner, _)): (&PathBuf, &(String, usize))| owner == app;
        let is_below = |(below, _): &(&PathBuf, &(String, usize))| below.starts_with(path);
        let begin = (Bound::Included(path), Bound::Unbounded);
        path.ancestors().all(|above| self.owners.get(above).is_none_or(|(owner, _)| owner == app))
            && self.owners.range::<PathBuf, _>(begin).take_while(is_below).all(is_own)
    }

    fn remove(&mut self, app: &str, executor: &str) {
        let Some(executors) = self.apps.get_mut(app) else { return };
        if let Some(entry) = executors.remove(executor) {
            if executors.is_empty() {
                self.apps.remove(app);
            }
            self.executors -= 1;
            self.disown(&entry);
        }
    }

    fn disown(&mut self, executor: &Executor) {
        for dir in &executor.dirs {
            let path = dir.path();
            if let Some((_, count)) = self.owners.get_mut(&path) {
                *count -= 1;
                if *count == 0 {
                    self.owners.remove(&path);
                }
            }
        }
    }
}

fn dirs(roots: &Roots, names: &[String]) -> Result<Vec<LocalDir>, String> {
    names.iter().map(|name| roots.local_dir(name)).collect()
}

/// An error for an application that is not known.
pub(crate) fn unknown(app: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no executor of the application {app} is registered"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::Root;

    fn registry(place: &std::path::Path) -> Registry {
        let (store, loaded) = Store::open(&Root::open(place).unwrap(), "here").unwrap();
        Registry::load(Roots::open(&[place.to_owned()]).unwrap(), store, loaded).0
    }

    #[tokio::test]
    async fn a_directory_is_of_one_application() {
        let place = tempfile::tempdir().unwrap();
        for dir in ["a/1", "a/2", "b", "ab"] {
            std::fs::create_dir_all(place.path().join(dir)).unwrap();
        }
        let registry = registry(place.path());
        let register = |app: &str, executor: &str, dirs: &[&str]| {
            let dirs = dirs.iter().map(|dir| format!("{}/{dir}", place.path().display()));
            registry.register(app, executor, dirs.collect(), 64, "sort".to_owned())
        };
        let refused = |app: &str, dirs: &[&str]| match register(app, "1", dirs) {
            Err(Refusal::Final(why)) => assert!(why.contains("of another application"), "{why}"),
            other => panic!("{app} {dirs:?}: {other:?}"),
        };
        register("a", "1", &["a/1"]).unwrap().durable().await.unwrap();
        register("a", "2", &["a/1"]).unwrap();
        register("b", "1", &["b", "ab"]).unwrap();
        refused("b", &["a/1"]);
        refused("b", &["b", "a"]);
        assert_eq!(registry.counts(), (2, 3));
        // With the second of its executors, the directory is still the application's.
        register("a", "2", &["a/2"]).unwrap();
        refused("b", &["a/1"]);
        let (removal, written) = registry.end("a").unwrap().unwrap();
        written.durable().await.unwrap();
        assert_eq!(removal.local_dirs.len(), 2);
        assert!(registry.find("a", "1").is_none());
        register("b", "2", &["a/1"]).unwrap();
        assert!(registry.end("a").unwrap().is_none());
        assert_eq!(registry.apps(), [("b".to_owned(), 2)]);
    }

    #[tokio::test]
    async fn what_an_executor_says_of_itself_has_a_bound() {
        let place = tempfile::tempdir().unwrap();
        let registry = registry(place.path());
        let long = "x".repeat(5000);
        for (app, executor, dirs, sub_dirs, manager) in [
            ("", "1", vec![], 64, "sort"),
            (&*long, "1", vec![], 64, "sort"),
            ("app", "", vec![], 64, "sort"),
            ("app", "a\nb", vec![], 64, "sort"),
            ("app", "1", vec!["/x".to_owned(); 300], 64, "sort"),
            ("app", "1", vec![], 0, "sort"),
            ("app", "1", vec![], -1, "sort"),
            ("app", "1", vec![], i32::MAX, "sort"),
            ("app", "1", vec![], 64, &*long),
            ("app", "1", vec![long.clone()], 64, "sort"),
        ] {
            let refused = registry.register(app, executor, dirs, sub_dirs, manager.to_owned());
            assert!(matches!(refused, Err(Refusal::Final(_))), "{refused:?}");
        }
        assert_eq!(registry.counts(), (0, 0));
    }
}

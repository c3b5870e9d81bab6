//! What a process learns from its environment: whether it is a driver or an executor, and of what.

use std::path::PathBuf;

use crate::conf::{Conf, keys, read_properties};
use crate::model::{AppId, DeployMode, ExecutorId, ProfileId};
use crate::{Driver, Error, Registry, Result, Secret, native};

/// What this process is.
#[derive(Debug)]
pub enum Role {
    /// The driver of an application.
    Driver(DriverContext),
    /// One of its executors.
    Executor(ExecutorContext),
}

/// What both are told.
#[derive(Debug, Clone)]
struct Shared {
    app: AppId,
    host: String,
    port: u16,
    secret: Secret,
}

/// What a driver is told.
#[derive(Debug)]
pub struct DriverContext {
    shared: Shared,
    master: String,
    conf: Conf,
}

/// What an executor is told.
#[derive(Debug, Clone)]
pub struct ExecutorContext {
    shared: Shared,
    id: ExecutorId,
    profile: ProfileId,
    cores: f64,
    memory_mib: u64,
}

/// What this process is, by its environment ([`native`]).
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) if it is neither, with how to start it as one.
pub fn role() -> Result<Role> {
    Environment(&|name| std::env::var(name).ok()).role()
}

/// Where variables are looked up.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    fn role(&self) -> Result<Role> {
        let shared = self.shared()?;
        if (self.0)(native::ENV_EXECUTOR_ID).is_some() {
            return Ok(Role::Executor(ExecutorContext {
                shared,
                id: ExecutorId(self.number(native::ENV_EXECUTOR_ID)?),
                profile: ProfileId(self.number(native::ENV_EXECUTOR_PROFILE)?),
                cores: self.number(native::ENV_EXECUTOR_CORES)?,
                memory_mib: self.number(native::ENV_EXECUTOR_MEMORY_MIB)?,
            }));
        }
        let conf = match (self.0)(native::ENV_PROPERTIES_FILE) {
            None => Conf::new(),
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    Error::unavailable(format!("cannot read the properties file {path}"))
                        .with_source(error)
                })?;
                read_properties(&text)?.into_iter().collect()
            }
        };
        Ok(Role::Driver(DriverContext { shared, master: self.text(native::ENV_MASTER)?, conf }))
    }

    fn shared(&self) -> Result<Shared> {
        Ok(Shared {
            app: AppId::new(&self.text(native::ENV_APPLICATION_ID)?)?,
            host: self.text(native::ENV_DRIVER_HOST)?,
            port: self.number(native::ENV_DRIVER_PORT)?,
            secret: Secret::read(&PathBuf::from(self.text(native::ENV_SECRET_FILE)?))?,
        })
    }

    fn text(&self, name: &str) -> Result<String> {
        (self.0)(name).ok_or_else(|| {
            Error::invalid(format!("{name} is not set: nobody started this program as a driver"))
                .with_hint("a cluster starts it: submit it, with the program anymaster or with Run")
        })
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Error::invalid(format!("{name}: {text:?} is not a number")))
    }
}

impl DriverContext {
    /// Connects to the cluster that runs this driver, with the backends of [`registry`](crate::registry).
    ///
    /// # Errors
    /// If the cluster can't be reached or does not know the application.
    pub async fn connect(self) -> Result<Driver> {
        self.connect_with(&crate::registry()).await
    }

    /// Connects to the cluster that runs this driver, with these backends.
    ///
    /// # Errors
    /// If none of them serves its master URL, and as [`connect`](Self::connect).
    pub async fn connect_with(self, backends: &Registry) -> Result<Driver> {
        let mut conf = self.conf.clone();
        if DeployMode::of(&conf) == Some(DeployMode::Client) {
            // Nobody but this process can tell the cluster of it.
            conf.set("spark.app.id", self.app().as_str());
            conf.set("spark.driver.host", self.host());
            conf.set("spark.driver.port", self.port().to_string());
            conf.set(keys::APPLICATION_SECRET.info.name, self.secret().expose());
        }
        let (cluster, info) = crate::open(backends, &self.master, conf).await?;
        Driver::new(self, cluster, info).await
    }

    /// The properties with which the application was submitted.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }
}

impl ExecutorContext {
    /// This executor's id.
    pub fn id(&self) -> ExecutorId {
        self.id
    }

    /// The id of its resource profile.
    pub fn profile(&self) -> ProfileId {
        self.profile
    }

    /// The cores it was given.
    pub fn cores(&self) -> f64 {
        self.cores
    }

    /// The memory it was given, in MiB, without overhead.
    pub fn memory_mib(&self) -> u64 {
        self.memory_mib
    }
}

macro_rules! shared {
    ($($type:ty),*) => {$(
        impl $type {
            /// The application.
            pub fn app(&self) -> &AppId {
                &self.shared.app
            }

            /// Where executors reach the driver: a host name or an address.
            pub fn host(&self) -> &str {
                &self.shared.host
            }

            /// Where executors reach the driver: the TCP port that is kept free for it.
            pub fn port(&self) -> u16 {
                self.shared.port
            }

            /// The secret that driver and executors share.
            pub fn secret(&self) -> &Secret {
                &self.shared.secret
            }
        }
    )*};
}

shared!(DriverContext, ExecutorContext);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anymaster_core::testing::{FakeBackend, FakeCluster};

    use super::*;
    use crate::model::{ApplicationSpec, CommandLine, ResourceProfile, SubmissionId};
    use crate::{BackendInfo, ClusterManager as _};

    fn role(set: &[(&str, &str)]) -> Result<Role> {
        let set: BTreeMap<_, _> = set.iter().copied().collect();
        Environment(&|name| set.get(name).map(|value| (*value).to_owned())).role()
    }

    #[tokio::test]
    async fn a_driver_asks_the_backends_that_it_is_given_for_the_shape_of_its_executors() {
        const INFO: BackendInfo = {
            let mut info = BackendInfo::new("fake", &[("fake", "fake://here")], "in memory");
            info.executor_profile = |conf| {
                let mut profile = ResourceProfile::of_executors(conf)?;
                profile.extra.insert("abacus".to_owned(), 1);
                Ok(profile)
            };
            info
        };
        let cluster = FakeCluster::new();
        let id = SubmissionId::new("app-1").unwrap();
        let app = ApplicationSpec::new("sums", CommandLine::new("sleep"));
        cluster.launch_driver(&id, &app).await.unwrap();
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "s3cret").unwrap();
        let Role::Driver(driver) = role(&[
            ("ANYMASTER_MASTER", "fake://here"),
            ("ANYMASTER_APPLICATION_ID", "app-1"),
            ("ANYMASTER_DRIVER_HOST", "127.0.0.1"),
            ("ANYMASTER_DRIVER_PORT", "4040"),
            ("ANYMASTER_SECRET_FILE", secret.path().to_str().unwrap()),
        ])
        .unwrap() else {
            panic!("a driver")
        };
        let backends = Registry::new().with(FakeBackend::new(&INFO, cluster));
        let driver = driver.connect_with(&backends).await.unwrap();
        let error = driver.request(1).await.unwrap_err();
        assert_eq!(error.message(), "there is no abacus here");
    }

    #[test]
    fn a_process_learns_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let secret = file("secret", "s3cret");
        let properties = file("properties", "spark.app.name=pi\n");
        let mut set = vec![
            ("ANYMASTER_MASTER", "local[2]"),
            ("ANYMASTER_APPLICATION_ID", "app-1"),
            ("ANYMASTER_DRIVER_HOST", "127.0.0.1"),
            ("ANYMASTER_DRIVER_PORT", "4040"),
            ("ANYMASTER_SECRET_FILE", &secret),
            ("ANYMASTER_PROPERTIES_FILE", &properties),
        ];
        let Role::Driver(driver) = role(&set).unwrap() else { panic!("a driver") };
        assert_eq!((driver.host(), driver.port()), ("127.0.0.1", 4040));
        assert_eq!(driver.conf().get("spark.app.name"), Some("pi"));

        set.extend([
            ("ANYMASTER_EXECUTOR_ID", "7"),
            ("ANYMASTER_EXECUTOR_CORES", "2"),
            ("ANYMASTER_EXECUTOR_MEMORY_MIB", "512"),
            ("ANYMASTER_EXECUTOR_PROFILE", "0"),
        ]);
        let Role::Executor(executor) = role(&set).unwrap() else { panic!("an executor") };
        assert_eq!((executor.id(), executor.cores()), (ExecutorId(7), 2.0));
        assert!(!format!("{executor:?}").contains("s3cret"));

        set.push(("ANYMASTER_EXECUTOR_CORES", "two"));
        let error = role(&set).unwrap_err();
        assert_eq!(error.message(), "ANYMASTER_EXECUTOR_CORES: \"two\" is not a number");
        assert!(role(&[]).unwrap_err().hint().unwrap().contains("submit it"));
    }
}

//! Calls to the API server: with a time limit, and tried again where that may help.

use std::fmt::Debug;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use kube::api::{DeleteParams, ListParams, ObjectList, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use rand::RngExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::config::Connection;
use crate::error::translate;

/// How many objects one answer lists at most.
const PAGE: u32 = 500;

/// How long a call is tried again before its error is final.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

impl Connection {
    /// Makes a call, again and again while the API server is not able to answer.
    ///
    /// `what` says what is done, on what, for errors: `create pod ns/name`. The call must be one that
    /// can be made twice: what it did the first time may have had its effect.
    pub(crate) async fn call<T, F>(&self, what: &str, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::default();
        loop {
            let error = match self.once(what, call()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let wait = backoff.failed(error.retry_after());
            if !worth_another_try(&error) || Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::info!(%error, ?wait, "trying again");
            backoff.pause().await;
        }
    }

    /// Makes a call that is under way, once, for as long as an answer may take. `what` as for
    /// [`call`](Self::call).
    pub(crate) async fn once<T>(
        &self,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T> {
        let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
        let (kind, name) = rest.split_once(' ').unwrap_or((rest, ""));
        let span = debug_span!("api_call", verb, kind, name);
        match tokio::time::timeout(self.timeout, call.instrument(span)).await {
            Ok(answer) => answer.map_err(|error| translate(what, error)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("cannot {what}: no answer within {:?}", self.timeout),
            )
            .with_hint("spark.kubernetes.submission.requestTimeout says how long is waited")),
        }
    }

    /// Lists objects page by page. `take` says whether to go on.
    pub(crate) async fn list<K>(
        &self,
        what: &str,
        api: &Api<K>,
        params: ListParams,
        take: impl FnMut(Vec<K>) -> bool,
    ) -> Result<()>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let page = |params| async {
            let params = params;
            api.list(&params).await
        };
        self.pages(what, params, page, take).await
    }

    /// As [`list`](Self::list), of whatever `page` gets.
    pub(crate) async fn pages<T: Clone, F>(
        &self,
        what: &str,
        mut params: ListParams,
        page: impl Fn(ListParams) -> F,
        mut take: impl FnMut(Vec<T>) -> bool,
    ) -> Result<()>
    where
        F: Future<Output = kube::Result<ObjectList<T>>>,
    {
        params.limit = Some(PAGE);
        loop {
            let list = self.call(what, || page(params.clone())).await?;
            let more = list.metadata.continue_.filter(|token| !token.is_empty());
            match (take(list.items), more) {
                (true, Some(token)) => params.continue_token = Some(token),
                _ => return Ok(()),
            }
        }
    }

    /// Creates an object; whether it was there already.
    pub(crate) async fn create<K>(&self, api: &Api<K>, object: &K) -> Result<bool>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let kind = K::kind(&()).to_lowercase();
        let what = format!("create {kind} {namespace}/{}", object.name_any());
        let params = PostParams::default();
        match self.call(&what, || api.create(&params, object)).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Deletes exactly this object, and not another that has its name by now. Gone already is success.
    pub(crate) async fn delete_exactly<K>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<String>,
    ) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::background()
        };
        let what = format!("delete {} {name}", K::kind(&()).to_lowercase());
        match self.call(&what, || api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Which Kubernetes it is: `v1.34.4`.
    pub(crate) async fn version(&self) -> Result<String> {
        let version = self.call("reach the API server", || self.client.apiserver_version()).await?;
        Ok(version.git_version)
    }
}

/// Pauses between tries, longer and longer, of random length.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    wait: Duration,
}

impl Backoff {
    /// A try failed, and the server asked for this pause, if any: it is not shortened. Returns how long
    /// the next one is.
    pub(crate) fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let pause = PAUSES.0.saturating_mul(1 << self.failures.min(16)).min(PAUSES.1);
        self.failures += 1;
        self.wait = match asked {
            Some(asked) => asked.mul_f64(rand::rng().random_range(1.0..1.5)),
            None => pause.mul_f64(rand::rng().random_range(0.5..1.5)),
        };
        self.wait
    }

    /// A try succeeded.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Waits, if the last try failed.
    pub(crate) async fn pause(&mut self) {
        let wait = std::mem::take(&mut self.wait);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// A quota is not lifted within seconds, but for the rest an API server that restarts is the rule.
fn worth_another_try(error: &Error) -> bool {
    error.kind().is_retryable() && error.kind() != ErrorKind::Quota
}

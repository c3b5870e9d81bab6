//! Calls to the API server, with a time-out and retries.

use std::fmt::Debug;
use std::time::Duration;

use anymaster_core::{Backoff, Error, ErrorKind, Result};
use kube::api::{DeleteParams, ListParams, ObjectList, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};

use crate::config::Connection;
use crate::error::translate;

/// How many objects one page lists at most.
const PAGE: u32 = 500;

/// How long a call is retried before its error is returned.
const RETRY_LIMIT: Duration = Duration::from_secs(15);
/// The first pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Connection {
    /// Makes a call, and retries it while the API server is unavailable.
    ///
    /// `what` is the verb and the object, for errors: `create pod ns/name`. The call has to be
    /// idempotent: an attempt that failed may have taken effect.
    pub(crate) async fn call<T, F>(&self, what: &str, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let deadline = Instant::now() + RETRY_LIMIT;
        let mut backoff = backoff();
        loop {
            let error = match self.once(what, call()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let wait = backoff.failed(error.retry_after());
            if !is_worth_retrying(&error) || Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::info!(%error, ?wait, "retrying");
            backoff.pause().await;
        }
    }

    /// Awaits one attempt of a call, with the time-out. `what` as for [`call`](Self::call).
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
            .with_hint("spark.kubernetes.submission.requestTimeout sets the time-out")),
        }
    }

    /// Lists objects page by page, until `take` returns `false`.
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

    /// As [`list`](Self::list), with a function that gets a page.
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

    /// Creates an object. Returns whether it existed already.
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

    /// Deletes the object with this uid, and not another one of the same name. An object that is
    /// gone already is success.
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

    /// The version of Kubernetes: `v1.34.4`.
    pub(crate) async fn version(&self) -> Result<String> {
        let version = self.call("reach the API server", || self.client.apiserver_version()).await?;
        Ok(version.git_version)
    }
}

/// The pauses between attempts of a call.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Retryable errors but quotas, which are not lifted within seconds.
fn is_worth_retrying(error: &Error) -> bool {
    error.kind().is_retryable() && error.kind() != ErrorKind::Quota
}

//! Translates errors of the Kubernetes client into [`Error`]s with a kind and a hint.

use std::time::Duration;

use anymaster_core::{Error, ErrorKind};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use kube::core::Status;

/// Translates an error of the client. `what` is the verb and the object: `create pod ns/name`.
pub(crate) fn translate(what: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => from_status(what, &status),
        kube::Error::Auth(error) => {
            if let Some(error) = plugin_missing(what, &error) {
                return error;
            }
            let words = format!("cannot {what}: no credentials: {}", chain(&error));
            Error::new(ErrorKind::Unauthenticated, words).with_hint(
                "the kubeconfig's user names a plugin or a file that has none; try kubectl version",
            )
        }
        other => from_transport(what, &other),
    }
}

/// The error for a credential plugin of the kubeconfig that cannot be started.
fn plugin_missing(what: &str, error: &kube::client::AuthError) -> Option<Error> {
    let kube::client::AuthError::AuthExecStart(cause) = error else { return None };
    let config = kube::config::Kubeconfig::read().ok();
    let plugins = config.iter().flat_map(|config| &config.auth_infos);
    let plugins = plugins.filter_map(|user| user.auth_info.as_ref()?.exec.as_ref());
    let commands: Vec<_> =
        plugins.filter_map(|plugin| Some((plugin.command.as_ref()?, plugin))).collect();
    let missing = commands.iter().find(|(command, _)| !is_program(command));
    let (command, plugin) = missing.or(commands.first())?;
    let hint = plugin.install_hint.clone().unwrap_or_else(|| {
        format!(
            "install {command}, or add it to PATH: the kubeconfig's user gets its credentials from it"
        )
    });
    let words = format!("cannot {what}: no credentials: {command} cannot be started: {cause}");
    Some(Error::new(ErrorKind::Unauthenticated, words).with_hint(hint))
}

/// Whether a command is an existing file, or a name in `PATH`.
fn is_program(command: &str) -> bool {
    if command.contains('/') {
        return std::path::Path::new(command).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(command).is_file())
}

/// Copies a `Retry-After` header into a `Status` body, as the client drops the headers of error
/// responses. The API server's own 429 has it only in the header.
pub(crate) fn with_retry_after<B>(answer: Response<B>) -> Response<Either<B, Full<Bytes>>> {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let is_refusal =
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status());
    let says_all = header(CONTENT_TYPE)
        .is_some_and(|kind| kind.contains("json") || kind.contains("kubernetes.protobuf"));
    let seconds = header(RETRY_AFTER).and_then(|text| text.trim().parse::<u32>().ok());
    let Some(seconds) = seconds.filter(|_| is_refusal && !says_all) else {
        return answer.map(Either::Left);
    };
    let (mut parts, _) = answer.into_parts();
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": parts.status.as_u16(),
        "message": format!("the API server asks for a retry after {seconds} s"),
        "details": {"retryAfterSeconds": seconds},
    });
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Either::Right(Full::from(status.to_string())))
}

fn from_status(what: &str, status: &Status) -> Error {
    let message = status.message.trim_end_matches('.');
    let words = format!("cannot {what}: {message}");
    let error = match (status.code, status.reason.as_str()) {
        (401, _) => Error::new(ErrorKind::Unauthenticated, format!("cannot {what}: the API server does not accept the credentials"))
            .with_hint("are the kubeconfig's credentials, or those of spark.kubernetes.authenticate.submission.*, still valid?"),
        (403, _) if message.contains("exceeded quota") => Error::new(ErrorKind::Quota, words)
            .with_hint("ask for less, wait until others end, or have the quota raised: kubectl describe resourcequota"),
        (403, _) if message.contains("failed quota") => {
            let error = Error::new(ErrorKind::Quota, words);
            match missing_limit_hint(message) {
                Some(hint) => error.with_hint(hint),
                None => error.with_hint("kubectl describe resourcequota shows what has to be specified"),
            }
        }
        (403, _) if is_limit_range(message) => Error::new(ErrorKind::Denied, words)
            .with_hint("a limit range of the namespace refuses it: ask for what it allows (kubectl describe limitrange)"),
        (403, _) if message.contains("error looking up service account") => {
            let hint = match message.rsplit("service account ").next().and_then(|rest| rest.split(':').next()?.split_once('/')) {
                Some((namespace, account)) => format!("kubectl -n {namespace} create serviceaccount {account}"),
                None => "create the service account first".to_owned(),
            };
            Error::not_found(words).with_hint(hint)
        }
        (403, _) => denied(words, message),
        (404, _) => {
            let error = Error::not_found(words);
            match quoted(message).filter(|_| message.starts_with("namespaces ")) {
                Some(namespace) => error.with_hint(format!("kubectl create namespace {namespace}")),
                None => error,
            }
        }
        (409, "AlreadyExists") => Error::conflict(words),
        // The uid or resource version differs: it is another object.
        (409, _) if message.contains("recondition") => Error::conflict(words),
        (422, _) if message.contains("metadata.uid: Invalid value") => Error::conflict(words),
        // A concurrent change of the object, or of a quota's usage: worth a retry.
        (409, _) => Error::unavailable(words),
        (400 | 405 | 406 | 413 | 415 | 422, _) => {
            let admission = message.contains("admission webhook").then_some(
                "a webhook of the cluster refuses it: ask who runs it, or change what it names",
            );
            let error = Error::invalid(words);
            admission.map_or(error, |hint| Error::new(ErrorKind::Denied, format!("cannot {what}: {message}")).with_hint(hint))
        }
        (410, _) => Error::protocol(words),
        (429, _) => Error::unavailable(format!("cannot {what}: the API server is overloaded")),
        (408 | 504, _) | (_, "Timeout" | "ServerTimeout") => Error::new(ErrorKind::Timeout, words),
        (500.., _) => Error::unavailable(words),
        _ => Error::protocol(format!("cannot {what}: the API server answered {}: {message}", status.code)),
    };
    match status.details.as_ref().map_or(0, |details| details.retry_after_seconds) {
        0 => error,
        seconds => error.with_retry_after(Duration::from_secs(seconds.into())),
    }
}

/// `pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "n"`.
fn denied(words: String, message: &str) -> Error {
    let error = Error::new(ErrorKind::Denied, words);
    if message.contains("admission webhook") || message.contains("violates PodSecurity") {
        return error.with_hint("an admission rule of the cluster refuses it: change what it names, or ask for an exception");
    }
    let after = |word: &str| message.split_once(word).and_then(|(_, rest)| quoted(rest));
    let (user, verb) = (
        after("User "),
        message.split_once("cannot ").and_then(|(_, rest)| rest.split(' ').next()),
    );
    let (resource, namespace) = (after("resource "), after("in the namespace "));
    match (user, verb, resource, namespace) {
        (Some(user), Some(verb), Some(resource), Some(namespace)) => {
            error.with_hint(grant(user, verb, resource, namespace))
        }
        // Other messages are not about RBAC.
        _ if message.contains("cannot ") => {
            error.with_hint("kubectl auth can-i --list shows what is allowed")
        }
        _ => error,
    }
}

/// Whether a limit range refuses a pod: `maximum cpu usage per Container is 1, but limit is 2`.
fn is_limit_range(message: &str) -> bool {
    let is_bound = message.contains("maximum ") || message.contains("minimum ");
    is_bound && message.contains(" usage per ") || message.contains("max limit to request ratio")
}

/// The hint for a quota that requires limits: `failed quota: q: must specify limits.cpu for:
/// spark-kubernetes-driver`.
fn missing_limit_hint(message: &str) -> Option<String> {
    let (what, containers) = message.split_once("must specify ")?.1.split_once(" for: ")?;
    let of_template = || {
        format!(
            "the quota wants {what} of containers that come from a pod template ({containers}): write \
             them there, under resources"
        )
    };
    if !containers.contains("spark-kubernetes") {
        return Some(of_template());
    }
    what.contains("limits.cpu").then(|| {
        "write --conf spark.kubernetes.driver.limit.cores=N and --conf \
         spark.kubernetes.executor.limit.cores=N: the quota wants a limit of pods, and would refuse \
         executors without one for the same reason"
            .to_owned()
    })
}

/// The commands that grant a permission to a user.
pub(crate) fn grant(user: &str, verb: &str, resource: &str, namespace: &str) -> String {
    let subject = match user
        .strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
    {
        Some((of, account)) => format!("--serviceaccount={of}:{account}"),
        None => format!("--user={user}"),
    };
    let name = format!("{resource}-{verb}").replace('/', "-");
    format!(
        "an administrator of the namespace can grant it:\n\
         kubectl -n {namespace} create role {name} --verb={verb} --resource={resource}\n\
         kubectl -n {namespace} create rolebinding {name} --role={name} {subject}"
    )
}

fn quoted(text: &str) -> Option<&str> {
    text.split_once('"')?.1.split('"').next()
}

fn from_transport(what: &str, error: &kube::Error) -> Error {
    let words = chain(error);
    let built =
        |kind, hint: &str| Error::new(kind, format!("cannot {what}: {words}")).with_hint(hint);
    if words.contains("private key") {
        built(
            ErrorKind::Unauthenticated,
            "the client certificate and its key, of the kubeconfig or of \
             spark.kubernetes.authenticate.submission.*, cannot be used",
        )
    } else if words.contains("certificate") {
        built(
            ErrorKind::Unauthenticated,
            "the server's certificate is not trusted: name its CA in the kubeconfig, or by --conf \
             spark.kubernetes.authenticate.submission.caCertFile=FILE",
        )
    } else if matches!(error, kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) {
        built(ErrorKind::Protocol, "is this the address of a Kubernetes API server?")
    } else {
        built(ErrorKind::Unavailable, "is the API server up, and reachable from here?")
    }
}

/// The two innermost errors of a chain.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reasons = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        reasons.push(inner.to_string());
        source = inner.source();
    }
    let last = reasons.len().saturating_sub(2);
    let mut words = reasons.split_off(last);
    words.dedup();
    // Leave out an inner error that the outer one repeats.
    if let [outer, inner] = words.as_slice()
        && outer.contains(inner.as_str())
    {
        words.remove(1);
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> kube::Error {
        let exists = message.ends_with("already exists");
        kube::Error::Api(Box::new(Status {
            code,
            message: message.to_owned(),
            reason: if exists { "AlreadyExists" } else { "Conflict" }.to_owned(),
            ..Status::default()
        }))
    }

    #[test]
    fn answers_have_kinds_and_remedies() {
        let cases = [
            (401, "Unauthorized", ErrorKind::Unauthenticated, "credentials"),
            (
                403,
                r#"pods "x-driver" is forbidden: failed quota: compute: must specify limits.cpu for: spark-kubernetes-driver"#,
                ErrorKind::Quota,
                "--conf spark.kubernetes.driver.limit.cores=N",
            ),
            (
                403,
                r#"pods "x-driver" is forbidden: failed quota: compute: must specify limits.cpu for: sidecar"#,
                ErrorKind::Quota,
                "pod template (sidecar)",
            ),
            (
                403,
                r#"pods "x-driver" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#,
                ErrorKind::Denied,
                "kubectl describe limitrange",
            ),
            (
                403,
                r#"pods is forbidden: User "bob" cannot create resource "pods" in API group "" in the namespace "ns""#,
                ErrorKind::Denied,
                "kubectl -n ns create role pods-create --verb=create --resource=pods",
            ),
            (
                403,
                r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#,
                ErrorKind::Quota,
                "resourcequota",
            ),
            (404, r#"namespaces "nope" not found"#, ErrorKind::NotFound, "create namespace nope"),
            (409, r#"pods "x" already exists"#, ErrorKind::Conflict, ""),
            (
                409,
                r#"Operation cannot be fulfilled on resourcequotas "q": the object has been modified"#,
                ErrorKind::Unavailable,
                "",
            ),
            (
                409,
                r#"Operation cannot be fulfilled on pods "x": Precondition failed: UID in precondition: a, UID in object meta: b"#,
                ErrorKind::Conflict,
                "",
            ),
            (
                422,
                r#"Pod "x" is invalid: metadata.uid: Invalid value: "a": field is immutable"#,
                ErrorKind::Conflict,
                "",
            ),
            (422, "Pod is invalid", ErrorKind::InvalidSpec, ""),
            (400, r#"admission webhook "w" denied the request: no"#, ErrorKind::Denied, "webhook"),
            (429, "slow", ErrorKind::Unavailable, ""),
            (500, "etcd", ErrorKind::Unavailable, ""),
            (504, "late", ErrorKind::Timeout, ""),
        ];
        for (code, message, kind, hint) in cases {
            let error = translate("create pod ns/x", status(code, message));
            assert_eq!(error.kind(), kind, "{message}");
            assert!(error.hint().unwrap_or("").contains(hint), "{error}: {:?}", error.hint());
            assert!(error.message().starts_with("cannot create pod ns/x: "), "{error}");
        }
    }

    #[tokio::test]
    async fn retry_after_headers_are_honoured() {
        let client = |code: u16, kind: &'static str, body: &'static str| {
            let answer = move |_: http::Request<kube::client::Body>| async move {
                let answer = Response::builder().status(code).header(CONTENT_TYPE, kind);
                let answer = answer.header(RETRY_AFTER, "7").body(Full::from(body));
                answer.map_err(|error| error.to_string())
            };
            let service = tower::ServiceBuilder::new()
                .map_response(with_retry_after)
                .service(tower::service_fn(answer));
            kube::Client::new(service, "ns")
        };
        let plain = "text/plain; charset=utf-8";
        let status = r#"{"code":429,"message":"m","details":{"retryAfterSeconds":3}}"#;
        for (code, kind, body, seconds) in [
            (429, plain, "Too many requests, please try again later.\n", Some(7)),
            (503, plain, "no healthy upstream", Some(7)),
            (429, "application/json", status, Some(3)),
            (500, plain, "etcd", None),
        ] {
            let answer = client(code, kind, body).apiserver_version().await;
            let error = translate("look", answer.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.retry_after(), seconds.map(Duration::from_secs), "{error}");
            let mut backoff = crate::api_call::backoff();
            let wait = backoff.failed(error.retry_after());
            assert!(wait >= error.retry_after().unwrap_or_default(), "{wait:?}");
        }
    }

    #[test]
    fn grants_name_service_accounts_as_kubectl_does() {
        let words = grant("system:serviceaccount:a:spark", "create", "pods", "b");
        assert!(words.ends_with("--role=pods-create --serviceaccount=a:spark"), "{words}");
    }
}

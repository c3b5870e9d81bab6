//! Authentication of HTTP requests by a bearer token.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::admission::Admitted;

/// Requires a token: as `Authorization: Bearer`, or as the password of HTTP basic authentication (browsers).
#[derive(Clone, Default)]
pub struct BearerAuth(Option<Arc<[u8; 32]>>);

impl fmt::Debug for BearerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "BearerAuth(token)" } else { "BearerAuth(open)" })
    }
}

impl BearerAuth {
    /// Without a token, all requests are allowed.
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| Arc::new(Sha256::digest(token).into())))
    }

    /// Protects all routes of a router.
    pub fn protect(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self, check))
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0 else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        // Compares digests, so that the time does not depend on the length of what was sent.
        shown.and_then(token).is_some_and(|token| {
            let shown: [u8; 32] = Sha256::digest(token).into();
            bool::from(shown.ct_eq(expected.as_slice()))
        })
    }
}

fn token(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

async fn check(State(auth): State<BearerAuth>, request: Request, next: Next) -> Response {
    let admitted = request.extensions().get::<Arc<Admitted>>().cloned();
    if auth.allows(request.headers()) {
        if let Some(admitted) = admitted.filter(|_| auth.0.is_some()) {
            // At the limit of authenticated connections, it is served as an unauthenticated one.
            let _ = admitted.set_authenticated();
        }
        return next.run(request).await;
    }
    // Browsers first send a request without credentials: this is not a failure.
    if let Some(admitted) =
        admitted.filter(|_| request.headers().contains_key(header::AUTHORIZATION))
    {
        admitted.authentication_failed("token").await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"anymaster\", Bearer")];
    let message = "A token is needed (Authorization: Bearer …). It is derived from the secret of the cluster.\n";
    (StatusCode::UNAUTHORIZED, challenge, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_accepted() {
        let allows = |auth: &BearerAuth, shown: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(shown) = shown {
                headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
            }
            auth.allows(&headers)
        };
        let auth = BearerAuth::new(Some("sesame"));
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert!(allows(&auth, Some("Bearer sesame")));
        assert!(allows(&auth, Some("bearer sesame")));
        assert!(allows(&auth, Some(&basic("anybody:sesame"))));
        for wrong in ["Bearer sesam", "Bearer", "sesame", "Basic sesame", &basic("sesame:")] {
            assert!(!allows(&auth, Some(wrong)), "{wrong}");
        }
        assert!(!allows(&auth, None));
        assert!(allows(&BearerAuth::new(None), None));
        assert!(!format!("{auth:?}").contains("sesame"));
    }
}

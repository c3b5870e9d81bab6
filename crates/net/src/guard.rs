//! Who may ask over HTTP.

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

/// Lets through those who show a token: as a bearer, or as the password of a browser's dialog.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<[u8; 32]>>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Guard(token)" } else { "Guard(open)" })
    }
}

impl Guard {
    /// Without a token, everybody may.
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| Arc::new(Sha256::digest(token).into())))
    }

    /// Puts it before all paths.
    pub fn protect(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self, check))
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0 else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        // Digests are compared: they are equally long, whatever was shown.
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

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let admitted = request.extensions().get::<Arc<Admitted>>().cloned();
    if guard.allows(request.headers()) {
        if let Some(admitted) = admitted.filter(|_| guard.0.is_some()) {
            // Where too many are known, it is served as a stranger is.
            let _ = admitted.prove();
        }
        return next.run(request).await;
    }
    // A browser asks without first, and is not to be slowed down.
    if let Some(admitted) =
        admitted.filter(|_| request.headers().contains_key(header::AUTHORIZATION))
    {
        admitted.proved_wrong("token").await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"anymaster\", Bearer")];
    let message =
        "A token is needed: `anymaster token` prints it, for those who have the secret.\n";
    (StatusCode::UNAUTHORIZED, challenge, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let allows = |guard: &Guard, shown: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(shown) = shown {
                headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
            }
            guard.allows(&headers)
        };
        let guard = Guard::new(Some("sesame"));
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert!(allows(&guard, Some("Bearer sesame")));
        assert!(allows(&guard, Some("bearer sesame")));
        assert!(allows(&guard, Some(&basic("anybody:sesame"))));
        for wrong in ["Bearer sesam", "Bearer", "sesame", "Basic sesame", &basic("sesame:")] {
            assert!(!allows(&guard, Some(wrong)), "{wrong}");
        }
        assert!(!allows(&guard, None));
        assert!(allows(&Guard::new(None), None));
        assert!(!format!("{guard:?}").contains("sesame"));
    }
}

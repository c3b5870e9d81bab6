//! Pages in somebody's browser, which may send requests to any port that the browser reaches: none of
//! them is let near submissions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::message::Answer;
use super::server::answer;

/// Puts it before all paths. `known_as`: where nobody but this machine is served, and nobody shows a
/// token, our own name. Callers have to use it, or one of loopback: a page may give its own name our
/// address.
pub(super) fn keep_out(router: Router, known_as: Option<&str>) -> Router {
    let known_as: Option<Arc<str>> = known_as.map(|name| name.trim_matches(['[', ']']).into());
    router.layer(middleware::from_fn_with_state(known_as, check))
}

async fn check(State(known_as): State<Option<Arc<str>>>, request: Request, next: Next) -> Response {
    match fault(&request, known_as.as_deref()) {
        None => next.run(request).await,
        Some(why) => answer(StatusCode::FORBIDDEN, &Answer::error(why)),
    }
}

fn fault(request: &Request, known_as: Option<&str>) -> Option<String> {
    let said = |name: &str| request.headers().get(name).map(|value| value.as_bytes());
    let site = said("sec-fetch-site");
    let is_from_page = said(header::ORIGIN.as_str()).is_some()
        || site.is_some_and(|site| site != b"same-origin" && site != b"none");
    if is_from_page {
        return Some("Requests of pages in a browser are not taken.".to_owned());
    }
    let known_as = known_as?;
    let host = said(header::HOST.as_str()).map(Authority::try_from);
    let authorities = [request.uri().authority().cloned().map(Ok), host];
    let is_ours = |authority: &Authority| {
        let name = authority.host().trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case(known_as)
            || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    };
    let all_ours = authorities.into_iter().flatten().all(|a| a.as_ref().is_ok_and(is_ours));
    (!all_ours).then(|| {
        format!(
            "This is {known_as}, and serves only its own machine: call it localhost, or set \
             spark.anymaster.authenticate.secretFile."
        )
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_let_in(headers: &[(&str, &str)], known_as: Option<&str>) -> bool {
        let mut request = Request::builder().uri("/v1/submissions/create");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        fault(&request.body(Body::empty()).unwrap(), known_as).is_none()
    }

    #[test]
    fn programs_are_let_in_and_pages_are_not() {
        for known_as in [None, Some("localhost")] {
            let with = |header| is_let_in(&[("host", "localhost:6066"), header], known_as);
            // curl, Spark's own client, a person who typed the address.
            assert!(with(("content-type", "application/x-www-form-urlencoded")));
            assert!(with(("content-type", "application/json;charset=utf-8")));
            assert!(with(("sec-fetch-site", "none")));
            assert!(with(("sec-fetch-site", "same-origin")));
            for page in [
                ("origin", "https://example.org"),
                ("origin", "null"),
                ("origin", "http://localhost:6066"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                assert!(!with(page), "{page:?}");
            }
        }
    }

    #[test]
    fn a_page_does_not_get_in_by_giving_its_name_our_address() {
        let by = |host: &str, known_as| is_let_in(&[("host", host)], known_as);
        for ours in ["localhost:6066", "LOCALHOST", "127.0.0.1:1", "[::1]:6066", "me:6066"] {
            assert!(by(ours, Some("me")), "{ours}");
        }
        for theirs in ["example.org:6066", "127.0.0.1.example.org", "10.0.0.1:6066", ""] {
            assert!(!by(theirs, Some("me")), "{theirs}");
            assert!(by(theirs, None), "others may be meant: {theirs}");
        }
        assert!(is_let_in(&[], Some("me")));
    }
}

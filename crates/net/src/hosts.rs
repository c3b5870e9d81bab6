//! Checks the `Host` and `Origin` headers of HTTP requests.
//!
//! A web site can resolve its own name to the address of a daemon (DNS rebinding) and then read the daemon's
//! answers from within the network of a visitor. A daemon without authentication therefore answers only
//! requests for its own names. Cross-site requests (CSRF) are refused by all daemons.

use std::net::IpAddr;
use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;

use crate::keys::ALLOWED_HOSTS;

/// The host names by which a daemon may be called.
#[derive(Debug, Clone)]
pub struct Hosts(Arc<Names>);

#[derive(Debug)]
struct Names {
    reach: Reach,
    own: Vec<String>,
    more: Vec<Pattern>,
}

/// From where a daemon can be reached, which determines the names that it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Clients are authenticated: all names are accepted.
    Authenticated,
    /// From this machine only.
    Machine,
    /// From other machines, too.
    Network,
}

#[derive(Debug)]
enum Pattern {
    Any,
    Name(String),
    /// A suffix that begins with a dot.
    Below(String),
}

/// The kind of clients that a port serves.
#[derive(Debug, Clone, Copy)]
pub enum Callers {
    /// Browsers: requests from pages of the daemon itself are accepted.
    Browsers,
    /// Programs: requests from any web page are refused, with a response made by this function.
    Programs(fn(StatusCode, &str) -> Response),
}

impl Hosts {
    /// The names of a daemon: `name`, the address of its listener, and those of
    /// `spark.anymaster.http.allowedHosts`. `is_authenticated`: clients are authenticated, or verify the daemon's
    /// certificate.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for an invalid host name.
    pub fn of(
        name: &str,
        listener: &TcpListener,
        is_authenticated: bool,
        conf: &Conf,
    ) -> Result<Self> {
        let address = listener.local_addr().map_err(|error| {
            Error::unavailable("cannot read the address of the listener").with_source(error)
        })?;
        Self::at(name, address.ip(), is_authenticated, conf)
    }

    fn at(name: &str, address: IpAddr, is_authenticated: bool, conf: &Conf) -> Result<Self> {
        let more = conf.read_optional(&ALLOWED_HOSTS)?.unwrap_or_default();
        let more = more.iter().map(|text| pattern(text)).collect::<Result<_>>()?;
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let own = [name, &machine].map(|name| name.trim_matches(['[', ']']).to_ascii_lowercase());
        let reach = match (is_authenticated, address.is_loopback()) {
            (true, _) => Reach::Authenticated,
            (false, true) => Reach::Machine,
            (false, false) => Reach::Network,
        };
        Ok(Self(Arc::new(Names { reach, own: own.to_vec(), more })))
    }

    /// Applies the check to all routes of a router.
    pub fn protect(&self, router: Router, callers: Callers) -> Router {
        router.layer(middleware::from_fn_with_state((self.clone(), callers), check))
    }

    fn fault(&self, request: &Request, callers: Callers) -> Option<&'static str> {
        let headers = request.headers();
        let is_expected = match callers {
            Callers::Programs(_) => !is_of_page(headers),
            Callers::Browsers => self.is_of_our_page(request),
        };
        if !is_expected {
            return Some(match callers {
                Callers::Programs(_) => "Requests from web pages are refused.",
                Callers::Browsers => "Requests from pages of other sites are refused.",
            });
        }
        let mut named = headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
        let is_ours = |authority: &Authority| self.0.is_ours(authority.host());
        let all_ours = request.uri().authority().is_none_or(is_ours)
            && named.all(|host| Authority::try_from(host).is_ok_and(|host| is_ours(&host)));
        (!all_ours).then_some(match self.0.reach {
            Reach::Machine => {
                "This server accepts requests for localhost only, not for this host name: use localhost, add \
                 the name to spark.anymaster.http.allowedHosts, or set a secret."
            }
            _ => {
                "This server does not accept requests for this host name: use its address or its own host \
                 name, add the name to spark.anymaster.http.allowedHosts, or set a secret."
            }
        })
    }

    /// Whether a request comes from a page of the daemon, from a link, or not from a page.
    fn is_of_our_page(&self, request: &Request) -> bool {
        let headers = request.headers();
        let said = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let is_link = request.method() == Method::GET
            && said("sec-fetch-mode") == Some(b"navigate")
            && said("sec-fetch-dest") == Some(b"document");
        let is_own_site =
            said("sec-fetch-site").is_none_or(|site| site == b"same-origin" || site == b"none");
        let host = headers.get(header::HOST).map(|host| host.as_bytes());
        let is_ours = |origin: &[u8]| {
            let authority = std::str::from_utf8(origin)
                .ok()
                .and_then(|origin| origin.split_once("://")?.1.parse::<Authority>().ok());
            authority.is_some_and(|authority| {
                host.is_some_and(|host| authority.as_str().as_bytes().eq_ignore_ascii_case(host))
                    || self.0.is_added(&authority.host().to_ascii_lowercase())
            })
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        (is_own_site || is_link) && origins.all(|origin| is_ours(origin.as_bytes()))
    }
}

impl Names {
    fn is_ours(&self, host: &str) -> bool {
        let name = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = name.parse().ok();
        self.reach == Reach::Authenticated
            || name == "localhost"
            || address.is_some_and(|address| address.is_loopback())
            || self.own.contains(&name)
            || self.is_added(&name)
            || self.reach == Reach::Network && (address.is_some() || is_private(&name))
    }

    fn is_added(&self, name: &str) -> bool {
        self.more.iter().any(|pattern| match pattern {
            Pattern::Any => true,
            Pattern::Name(same) => same == name,
            Pattern::Below(suffix) => name.ends_with(suffix),
        })
    }
}

/// Whether a name cannot be registered in public DNS: it has no dot, or is that of a Kubernetes service.
fn is_private(name: &str) -> bool {
    !name.is_empty() && !name.contains('.')
        || name.ends_with(".svc")
        || name.ends_with(".svc.cluster.local")
}

fn pattern(text: &str) -> Result<Pattern> {
    let text = text.trim_matches(['[', ']']).to_ascii_lowercase();
    if text == "*" {
        return Ok(Pattern::Any);
    }
    let (name, is_below) = text.strip_prefix("*.").map_or((&*text, false), |name| (name, true));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.parse::<IpAddr>().is_err() && (name.is_empty() || !name.chars().all(is_name)) {
        return Err(Error::invalid(format!(
            "{}: {text:?} is not a host name",
            ALLOWED_HOSTS.info.name
        ))
        .with_hint("write names without scheme and port: proxy.example.org, *.example.org"));
    }
    Ok(if is_below { Pattern::Below(format!(".{name}")) } else { Pattern::Name(name.to_owned()) })
}

/// Whether any web page sent the request.
fn is_of_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    headers.contains_key(header::ORIGIN)
        || site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

async fn check(
    State((hosts, callers)): State<(Hosts, Callers)>,
    request: Request,
    next: Next,
) -> Response {
    match (hosts.fault(&request, callers), callers) {
        (None, _) => next.run(request).await,
        (Some(why), Callers::Programs(answer)) => answer(StatusCode::FORBIDDEN, why),
        (Some(why), Callers::Browsers) => {
            (StatusCode::FORBIDDEN, format!("{why}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::Body;

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const EVERYWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    const PROGRAMS: Callers = Callers::Programs(|status, _| status.into_response());

    fn hosts(address: Ipv4Addr, is_authenticated: bool, more: &str) -> Hosts {
        let conf = [(ALLOWED_HOSTS.info.name, more)].into_iter().collect();
        Hosts::at("me.example", address.into(), is_authenticated, &conf).unwrap()
    }

    fn is_accepted(hosts: &Hosts, callers: Callers, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri("/json/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hosts.fault(&request.body(Body::empty()).unwrap(), callers).is_none()
    }

    #[test]
    fn ports_for_programs_refuse_all_web_pages() {
        for is_authenticated in [true, false] {
            let hosts = hosts(HERE, is_authenticated, "");
            let with =
                |header| is_accepted(&hosts, PROGRAMS, &[("host", "localhost:6066"), header]);
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
    fn ports_for_browsers_accept_own_pages_and_links_only() {
        for is_authenticated in [true, false] {
            let hosts = hosts(HERE, is_authenticated, "proxy.example");
            let with = |headers: &[(&str, &str)]| {
                let host = [("host", "localhost:8080")];
                is_accepted(&hosts, Callers::Browsers, &[&host[..], headers].concat())
            };
            assert!(with(&[("origin", "http://localhost:8080")]));
            assert!(with(&[("origin", "https://proxy.example")]), "an allowed proxy");
            assert!(with(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
            let link = [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ];
            assert!(with(&link));
            for origin in ["http://localhost:9", "https://evil.example", "null", "http://me"] {
                assert!(!with(&[("origin", origin)]), "{origin}");
            }
            assert!(!with(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
            assert!(!with(&[("sec-fetch-site", "same-site"), ("sec-fetch-dest", "script")]));
            assert!(!with(&[link[0], link[1], ("sec-fetch-dest", "iframe")]));
        }
    }

    #[test]
    fn dns_rebinding_is_refused() {
        let by = |hosts: &Hosts, host: &str| {
            [PROGRAMS, Callers::Browsers]
                .map(|callers| is_accepted(hosts, callers, &[("host", host)]))
        };
        let [here, everywhere] = [HERE, EVERYWHERE].map(|address| hosts(address, false, ""));
        for ours in ["localhost:6066", "LOCALHOST", "127.0.0.1:1", "[::1]:6066", "ME.example:6066"]
        {
            for hosts in [&here, &everywhere] {
                assert_eq!(by(hosts, ours), [true; 2], "{ours}");
            }
        }
        // A probe by the address of a pod, a service by its name.
        for ours in [
            "10.0.0.1:6066",
            "[fd00::1]:80",
            "submitter",
            "submitter.spark.svc:8080",
            "submitter.spark.svc.cluster.local.",
        ] {
            assert_eq!(by(&everywhere, ours), [true; 2], "{ours}");
            assert_eq!(by(&here, ours), [false; 2], "{ours}");
        }
        for theirs in [
            "evil.example:6066",
            "127.0.0.1.evil.example",
            "",
            "svc",
            "a b",
            "me.example@evil.example",
        ] {
            assert_eq!(by(&here, theirs), [false; 2], "{theirs}");
            if theirs != "svc" {
                assert_eq!(by(&everywhere, theirs), [false; 2], "{theirs}");
            }
            assert_eq!(
                by(&hosts(HERE, true, ""), "evil.example"),
                [true; 2],
                "clients are authenticated"
            );
        }
        assert!(is_accepted(&here, PROGRAMS, &[]), "browsers always name a host");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert!(!is_accepted(&here, Callers::Browsers, &two));
    }

    #[test]
    fn allowed_hosts_can_be_configured() {
        let by = |more: &str, host: &str| {
            is_accepted(&hosts(HERE, false, more), Callers::Browsers, &[("host", host)])
        };
        assert!(by("a.example, b.example", "b.example:80"));
        assert!(by("*.example", "deep.a.example"));
        assert!(!by("*.example", "example"));
        assert!(!by("*.example", "a.notexample"));
        assert!(by("*", "evil.test"));
        let conf = [(ALLOWED_HOSTS.info.name, "http://a:80")].into_iter().collect();
        let error = Hosts::at("me", HERE.into(), false, &conf).unwrap_err();
        assert!(error.message().contains("allowedHosts"), "{error}");
    }
}

//! The ResourceManagers: which of them answer, which one is active, and what time they have.

use std::time::Duration;

use anymaster_core::{Check, HostPort, Result, counted};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::missing;
use crate::cluster::Cluster;
use crate::resource_manager::{ResourceManager, client_addresses};
use crate::staging::caller;
use crate::web::Introduction;

/// How long one has to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far clocks may differ, in seconds, before it is told.
const MAX_SKEW: i64 = 30;
const NAME: &str = "ResourceManager";

/// What was found of one.
#[derive(Debug)]
struct Found {
    /// Where clients call it, and where its pages are.
    rpc: String,
    page: String,
    accepts: bool,
    introduction: Result<Introduction>,
}

/// The checks, and whether one of them answers clients.
pub(super) async fn check(cluster: &Cluster) -> (Vec<Check>, bool) {
    let addresses = match client_addresses(&cluster.configuration) {
        Ok(addresses) => addresses,
        Err(error) => return (vec![missing(NAME, &error)], false),
    };
    let looks = addresses.iter().zip(cluster.web.managers()).map(|(rpc, page)| async move {
        let (accepts, introduction) = futures::join!(accepts(rpc), cluster.web.introduction(page));
        Found { rpc: rpc.to_string(), page: page.clone(), accepts, introduction }
    });
    let found = futures::future::join_all(looks).await;
    let once = ResourceManager::new(&cluster.configuration, caller(&cluster.submitter, None));
    let answer = match once.map(ResourceManager::once) {
        Ok(manager) => manager.resource_types().await.map(drop),
        Err(error) => Err(error),
    };
    let mut checks = vec![match &answer {
        Ok(()) => Check::ok(NAME, answers(&found)),
        Err(error) => missing(NAME, error),
    }];
    checks.push(pages(&found));
    checks.extend(high_availability(&found));
    checks.extend(clock(&found));
    (checks, answer.is_ok())
}

async fn accepts(address: &HostPort) -> bool {
    let host = address.host.trim_matches(['[', ']']);
    matches!(timeout(PATIENCE, TcpStream::connect((host, address.port))).await, Ok(Ok(_)))
}

fn answers(found: &[Found]) -> String {
    let active = found.iter().find(|it| it.accepts).map_or("?", |it| it.rpc.as_str());
    let mut infos = found.iter().filter_map(|it| it.introduction.as_ref().ok());
    let version = infos.next().map(|it| format!(": YARN {}", it.info.resource_manager_version));
    format!("{active} answers{}", version.unwrap_or_default())
}

/// Whether pages can be read: of at least one, as standbys send to the active one.
fn pages(found: &[Found]) -> Check {
    const NAME: &str = "pages";
    let works: Vec<_> =
        found.iter().filter(|it| it.introduction.is_ok()).map(|it| it.page.as_str()).collect();
    match (works.is_empty(), found.iter().find_map(|it| it.introduction.as_ref().err())) {
        (true, Some(error)) => Check::optional(
            NAME,
            error.to_string(),
            "explain, and logs of applications that run, need yarn.resourcemanager.webapp.address",
        ),
        _ => Check::ok(NAME, works.join(", ")),
    }
}

/// Which one of several is active.
fn high_availability(found: &[Found]) -> Option<Check> {
    const NAME: &str = "high availability";
    if found.len() < 2 {
        return None;
    }
    let state = |it: &Found| match &it.introduction {
        Ok(it) => it.info.ha_state.clone(),
        Err(_) => "out of reach".to_owned(),
    };
    let words: Vec<_> = found.iter().map(|it| format!("{} is {}", it.rpc, state(it))).collect();
    let detail = words.join(", ");
    let active = found.iter().filter(|it| state(it) == "ACTIVE").count();
    Some(match active {
        1 if found.iter().all(|it| it.introduction.is_ok()) => Check::ok(NAME, detail),
        1 => Check::optional(NAME, detail, "start the other one: there is nobody to take over"),
        _ => Check::missing(
            NAME,
            format!("{}: {detail}", counted(active, "active ResourceManager")),
            "yarn rmadmin -getAllServiceState says more; see the logs of ResourceManagers and ZooKeeper",
        ),
    })
}

/// Whether the clocks of the ResourceManagers are ours.
fn clock(found: &[Found]) -> Option<Check> {
    const NAME: &str = "clock";
    let known = found.iter().filter_map(|it| {
        let ahead = it.introduction.as_ref().ok()?.ahead?;
        Some((it, ahead))
    });
    let (found, ahead) = known.max_by_key(|(_, ahead)| ahead.abs())?;
    let seconds = counted(ahead.abs(), "second");
    Some(match ahead {
        0 => Check::ok(NAME, "as the ResourceManager's"),
        _ if ahead.abs() <= MAX_SKEW => {
            Check::ok(NAME, format!("{seconds} from the ResourceManager's"))
        }
        _ => Check::optional(
            NAME,
            format!(
                "the clock of {} is {seconds} {} that of this machine",
                found.page,
                if ahead > 0 { "ahead of" } else { "behind" }
            ),
            "set the clocks by NTP: times are wrong, and between nodes tokens expire too early",
        ),
    })
}

#[cfg(test)]
mod tests {
    use anymaster_core::{Error, Health};

    use super::*;
    use crate::web::ClusterInfo;

    fn found(state: &str, ahead: i64) -> Found {
        let info = ClusterInfo {
            started_on: 1,
            ha_state: state.to_owned(),
            resource_manager_version: "3.4.1".to_owned(),
        };
        let introduction = match state {
            "" => Err(Error::unavailable("cannot reach the ResourceManager at http://rm:8088")),
            _ => Ok(Introduction { info, ahead: Some(ahead) }),
        };
        let (rpc, page) = ("rm:8032".to_owned(), "http://rm:8088".to_owned());
        Found { rpc, page, accepts: state == "ACTIVE", introduction }
    }

    #[test]
    fn one_of_several_is_active_and_the_others_stand_by() {
        let of = |states: &[&str]| {
            let all: Vec<_> = states.iter().map(|state| found(state, 0)).collect();
            high_availability(&all).map(|check| (check.health, check.detail))
        };
        assert_eq!(of(&["ACTIVE"]), None);
        let good = "rm:8032 is ACTIVE, rm:8032 is STANDBY".to_owned();
        assert_eq!(of(&["ACTIVE", "STANDBY"]), Some((Health::Ok, good)));
        assert_eq!(of(&["ACTIVE", ""]).unwrap().0, Health::Optional);
        assert_eq!(of(&["STANDBY", "STANDBY"]).unwrap().0, Health::Missing);
        assert_eq!(
            answers(&[found("STANDBY", 0), found("ACTIVE", 0)]),
            "rm:8032 answers: YARN 3.4.1"
        );
        let unread = pages(&[found("", 0)]);
        assert_eq!(unread.health, Health::Optional);
        assert!(unread.detail.contains("http://rm:8088"), "{unread:?}");
        assert_eq!(pages(&[found("", 0), found("ACTIVE", 0)]).health, Health::Ok);
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_with_its_seconds() {
        let of = |ahead| clock(&[found("ACTIVE", 0), found("STANDBY", ahead)]).unwrap();
        assert_eq!(of(0).detail, "as the ResourceManager's");
        assert_eq!(of(-3).health, Health::Ok);
        let wrong = of(-400);
        assert_eq!(wrong.health, Health::Optional);
        assert!(wrong.detail.contains("400 seconds behind"), "{wrong:?}");
        assert_eq!(clock(&[found("", 0)]), None);
    }
}

//! Explains why pods do not run, from their statuses, their events and the cluster's nodes.

mod placement;

use std::collections::BTreeMap;

use anymaster_core::{Finding, Result};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use self::placement::Usage;
use crate::config::Connection;
use crate::error::grant;
use crate::pods::ROLE_LABEL;
use crate::{permissions, pod};

/// How many pods of the cluster are read to compute what nodes have free.
const MAX_PODS: usize = 50_000;

/// Explains why pods of an application are pending or get no executors.
pub(crate) async fn diagnose(connection: &Connection, pods: &[Pod]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let (drivers, executors): (Vec<_>, Vec<_>) =
        pods.iter().partition(|pod| pod::label(pod, ROLE_LABEL) == Some("driver"));
    for driver in &drivers {
        findings.extend(diagnose_pod(connection, driver, "The driver").await);
    }
    // Executors that are pending for the same reason need one explanation.
    let mut groups: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    for executor in executors.into_iter().filter(|pod| is_pending(pod)) {
        groups.entry(pod::pending_reason(executor).unwrap_or_default()).or_default().push(executor);
    }
    for group in groups.values() {
        let who = match group.len() {
            1 => "An executor".to_owned(),
            number => format!("Each of {number} executors"),
        };
        findings.extend(diagnose_pod(connection, group[0], &who).await);
    }
    for driver in drivers.into_iter().filter(|pod| is_running(pod)) {
        findings.extend(missing_permission(connection, driver).await);
    }
    Ok(findings)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn is_pending(pod: &Pod) -> bool {
    phase(pod) == "Pending" && pod.metadata.deletion_timestamp.is_none()
}

fn is_running(pod: &Pod) -> bool {
    phase(pod) == "Running"
}

async fn diagnose_pod(connection: &Connection, pod: &Pod, who: &str) -> Vec<Finding> {
    if !is_pending(pod) {
        return Vec::new();
    }
    let events = events(connection, pod).await;
    let is_placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let finding = if is_placed {
        diagnose_containers(pod, &events, who)
    } else {
        diagnose_scheduling(connection, pod, &events, who).await
    };
    finding.into_iter().collect()
}

/// Explains a pod that is bound to a node and does not start.
fn diagnose_containers(pod: &Pod, events: &[Event], who: &str) -> Option<Finding> {
    let node = pod.spec.as_ref()?.node_name.as_deref().unwrap_or("its node");
    let namespace = pod.namespace().unwrap_or_default();
    let waiting = pod::pending_reason(pod).unwrap_or_default();
    let event = |reasons: &[&str]| {
        let found = events.iter().filter(|event| {
            event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
        });
        found.filter_map(|event| event.message.as_deref()).next_back()
    };
    if pod::is_image_problem(&waiting) {
        let image = pod::main_container(pod)
            .and_then(|container| container.image.as_deref())
            .unwrap_or("its image");
        let why = event(&["Failed"]).filter(|message| message.contains("pull")).unwrap_or(&waiting);
        let what = format!(
            "{who} cannot start on {node}: the image {image} cannot be pulled: {}",
            sentence(why)
        );
        return Some(Finding::new(what).with_remedy(
            "Is the name right, and may the node read it? Registries with passwords need \
                 spark.kubernetes.container.image.pullSecrets. An image that is on the nodes already needs \
                 spark.kubernetes.container.image.pullPolicy=IfNotPresent."));
    }
    let missing = event(&["FailedMount", "FailedAttachVolume"])
        .or(Some(waiting.as_str()).filter(|text| text.contains("not found")));
    if let Some(why) = missing {
        let remedy = match quoted_object(why, &["secret ", "configmap ", "persistentvolumeclaim "])
        {
            Some((kind, name)) => format!(
                "Create it: kubectl -n {namespace} create {kind} {name} …; the pod goes on by itself."
            ),
            None => format!("kubectl -n {namespace} describe pod {} tells more.", pod.name_any()),
        };
        return Some(
            Finding::new(format!("{who} cannot start on {node}: {}", sentence(why)))
                .with_remedy(remedy),
        );
    }
    let why = event(&["FailedCreatePodSandBox", "Failed", "BackOff"])
        .or(Some(waiting.as_str()).filter(|text| !text.is_empty()))?;
    Some(
        Finding::new(format!("{who} does not start on {node}: {}", sentence(why))).with_remedy(
            format!("kubectl -n {namespace} describe pod {} tells more.", pod.name_any()),
        ),
    )
}

/// Explains a pod that is not scheduled.
async fn diagnose_scheduling(
    connection: &Connection,
    pod: &Pod,
    events: &[Event],
    who: &str,
) -> Option<Finding> {
    let waiting = pod::pending_reason(pod);
    if let Some((kind, name)) =
        waiting.as_deref().and_then(|text| quoted_object(text, &["persistentvolumeclaim "]))
    {
        let namespace = pod.namespace().unwrap_or_default();
        if waiting.as_deref().is_some_and(|text| text.contains("not found")) {
            return Some(
                Finding::new(format!("{who} waits for {kind} {name}, which does not exist."))
                    .with_remedy(format!(
                        "Create it in namespace {namespace}; the pod goes on by itself."
                    )),
            );
        }
        return Some(Finding::new(format!("{who} waits for {kind} {name}.")).with_remedy(format!(
            "kubectl -n {namespace} describe {kind} {name} says what it waits for."
        )));
    }
    let scheduler = pod.spec.as_ref()?.scheduler_name.as_deref().unwrap_or("default-scheduler");
    if waiting.is_none() && events.is_empty() && scheduler != "default-scheduler" {
        return Some(
            Finding::new(format!(
                "{who} waits for the scheduler {scheduler}, which has not looked at it."
            ))
            .with_remedy(
                "Is that scheduler there? spark.kubernetes.scheduler.name chooses another.",
            ),
        );
    }
    match usage(connection).await {
        Ok((nodes, usage)) => placement::explain(pod, &nodes, &usage, who),
        // Without access to the nodes, the scheduler's message has to do.
        Err(error) => {
            tracing::info!(%error, "the nodes cannot be listed");
            let waiting = waiting?;
            let words = waiting.split_once(": ").map_or(waiting.as_str(), |(_, words)| words);
            Some(
                Finding::new(format!("{who} fits no node: {}", sentence(words)))
                    .with_remedy("Ask for less, wait until others end, or add nodes."),
            )
        }
    }
}

/// The nodes, and the requests of the pods on each.
async fn usage(connection: &Connection) -> Result<(Vec<Node>, Usage)> {
    let nodes: Api<Node> = Api::all(connection.client.clone());
    let all = ListParams::default();
    let nodes = connection.call("list nodes", || nodes.list(&all)).await?.items;
    let pods: Api<Pod> = Api::all(connection.client.clone());
    let placed = ListParams::default()
        .fields("status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!=");
    let mut usage = Usage::default();
    let mut seen = 0;
    let add = |page: Vec<Pod>| {
        seen += page.len();
        page.iter().for_each(|pod| usage.add(pod));
        seen < MAX_PODS
    };
    connection.list("list pods in all namespaces", &pods, placed, add).await?;
    Ok((nodes, usage))
}

/// The events of a pod, oldest first. They may be missing.
async fn events(connection: &Connection, pod: &Pod) -> Vec<Event> {
    let api: Api<Event> =
        Api::namespaced(connection.client.clone(), &pod.namespace().unwrap_or_default());
    let params = ListParams::default()
        .fields(&format!("involvedObject.uid={}", pod.uid().unwrap_or_default()));
    match connection.call("list events", || api.list(&params)).await {
        Ok(list) => {
            let mut events = list.items;
            events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
            events
        }
        Err(error) => {
            tracing::info!(%error, "no events");
            Vec::new()
        }
    }
}

/// A driver that may not create pods never gets executors. Checking that needs the permission to
/// create subject access reviews.
async fn missing_permission(connection: &Connection, driver: &Pod) -> Option<Finding> {
    let namespace = driver.namespace()?;
    let account =
        driver.spec.as_ref()?.service_account_name.clone().unwrap_or_else(|| "default".to_owned());
    let user = permissions::service_account(&namespace, &account);
    let allowed = permissions::may(connection, &user, &namespace, "create", "pods").await.ok()?;
    let what = format!(
        "The driver's service account {account} may not create pods in {namespace}: it gets no executors."
    );
    let remedy = grant(&user, "create", "pods", &namespace);
    (!allowed).then(|| Finding::new(what).with_remedy(remedy))
}

/// The text as one line that ends with a period.
fn sentence(text: &str) -> String {
    let line = text.trim().trim_end_matches('.').replace('\n', " ");
    format!("{line}.")
}

/// The kind and name of an object in a message such as `secret "x" not found`.
fn quoted_object<'a>(text: &'a str, kinds: &[&'a str]) -> Option<(&'a str, &'a str)> {
    kinds.iter().find_map(|kind| {
        let rest = &text[text.find(&format!("{kind}\""))? + kind.len() + 1..];
        Some((kind.trim(), rest.split('"').next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_objects_are_read_from_messages() {
        let text =
            r#"MountVolume.SetUp failed for volume "creds-volume" : secret "creds" not found"#;
        assert_eq!(quoted_object(text, &["secret ", "configmap "]), Some(("secret", "creds")));
        assert_eq!(quoted_object("nothing", &["secret "]), None);
        assert_eq!(sentence("a.\nb."), "a. b.");
    }
}

//! Explains why a pod fits no node: which resources are short on how many nodes, and what excludes
//! the others.

use std::collections::{BTreeMap, BTreeSet};

use anymaster_core::Finding;
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, Taint, Toleration};

use crate::quantity::thousandths;

/// Amounts by resource, in thousandths.
type Amounts = BTreeMap<String, i128>;

/// The sum of the requests of the pods on each node.
#[derive(Debug, Default)]
pub(super) struct Usage {
    by_node: BTreeMap<String, Amounts>,
}

impl Usage {
    pub(super) fn add(&mut self, pod: &Pod) {
        let Some(spec) = &pod.spec else { return };
        let Some(node) = &spec.node_name else { return };
        let taken = self.by_node.entry(node.clone()).or_default();
        for (name, amount) in requests(spec) {
            *taken.entry(name).or_default() += amount;
        }
        *taken.entry("pods".to_owned()).or_default() += 1000;
    }

    fn free(&self, node: &Node) -> Amounts {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let taken = node.metadata.name.as_ref().and_then(|name| self.by_node.get(name));
        let mut free = Amounts::new();
        for (name, quantity) in allocatable.into_iter().flatten() {
            let used = taken.and_then(|taken| taken.get(name)).copied().unwrap_or(0);
            free.insert(name.clone(), thousandths(quantity).unwrap_or(0) - used);
        }
        free
    }
}

/// The requests of a pod: the sum of its containers, or the largest init container.
fn requests(spec: &PodSpec) -> Amounts {
    let of = |container: &Container| -> Amounts {
        let requests =
            container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests
            .into_iter()
            .flatten()
            .filter_map(|(name, quantity)| Some((name.clone(), thousandths(quantity)?)))
            .collect()
    };
    let mut total = Amounts::new();
    for (name, amount) in spec.containers.iter().flat_map(of) {
        *total.entry(name).or_default() += amount;
    }
    for (name, amount) in spec.init_containers.iter().flatten().flat_map(of) {
        let most = total.entry(name).or_default();
        *most = (*most).max(amount);
    }
    total
}

/// An amount for people.
fn shown(resource: &str, thousandths: i128) -> String {
    let thousandths = thousandths.max(0);
    match resource {
        "memory" | "ephemeral-storage" => {
            let mib = thousandths / 1000 / (1024 * 1024);
            if mib >= 10 * 1024 { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
        }
        _ if thousandths % 1000 == 0 => (thousandths / 1000).to_string(),
        _ => format!("{thousandths}m"),
    }
}

/// What excludes a node whatever it has free: node selector, taint, or cordon.
fn exclusion(spec: &PodSpec, node: &Node) -> Option<String> {
    let labels = node.metadata.labels.as_ref();
    let has = |name: &str, value: &str| {
        labels.and_then(|labels| labels.get(name)).is_some_and(|has| has == value)
    };
    for (name, value) in spec.node_selector.iter().flatten() {
        if !has(name, value) {
            return Some(format!("node selector {name}={value}"));
        }
    }
    let node_spec = node.spec.as_ref();
    for taint in node_spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default() {
        let tolerated =
            spec.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint));
        if matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !tolerated {
            let value = taint
                .value
                .as_deref()
                .filter(|value| !value.is_empty())
                .map_or(String::new(), |value| format!("={value}"));
            return Some(format!("taint {}{value}:{}", taint.key, taint.effect));
        }
    }
    if node_spec.is_some_and(|spec| spec.unschedulable == Some(true)) {
        return Some("being cordoned".to_owned());
    }
    None
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && ((key.is_empty() && exists) || key == taint.key)
        && (exists || value == taint.value.as_deref().unwrap_or_default())
}

/// Explains why a pod fits no node; `None` if one fits.
pub(super) fn explain(pod: &Pod, nodes: &[Node], usage: &Usage, who: &str) -> Option<Finding> {
    let spec = pod.spec.as_ref()?;
    let needs = requests(spec);
    let mut excluded: BTreeMap<String, usize> = BTreeMap::new();
    // For each resource: how many nodes have too little, and the most that one of them has free.
    let mut lacking: BTreeMap<String, (usize, i128)> = BTreeMap::new();
    // For each resource: the largest allocatable amount of any suitable node.
    let mut largest = Amounts::new();
    let mut suitable = 0_usize;
    for node in nodes {
        if let Some(why) = exclusion(spec, node) {
            *excluded.entry(why).or_default() += 1;
            continue;
        }
        suitable += 1;
        let mut lacks = false;
        let free = usage.free(node);
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        for (name, quantity) in allocatable.into_iter().flatten() {
            let most = largest.entry(name.clone()).or_default();
            *most = (*most).max(thousandths(quantity).unwrap_or(0));
        }
        let wanted =
            needs.iter().map(|(name, need)| (name.as_str(), *need)).chain([("pods", 1000)]);
        for (name, need) in wanted {
            let has = free.get(name).copied().unwrap_or(0);
            if has < need {
                lacks = true;
                let entry = lacking.entry(name.to_owned()).or_insert((0, i128::MIN));
                *entry = (entry.0 + 1, entry.1.max(has));
            }
        }
        if !lacks {
            return None;
        }
    }
    let wants = needs.iter().map(|(name, need)| match name.as_str() {
        "cpu" => format!("{} CPU", shown(name, *need)),
        _ => format!("{} of {name}", shown(name, *need)),
    });
    let wants: Vec<_> = wants.collect();
    let mut what = format!(
        "{who} fits none of {}: it needs {}.",
        count(nodes.len(), "node"),
        wants.join(" and ")
    );
    let never = suitable > 0
        && needs.iter().any(|(name, need)| largest.get(name).copied().unwrap_or(0) < *need);
    for (name, (number, most)) in &lacking {
        let have =
            format!("{} {}", count(*number, "node"), if *number == 1 { "has" } else { "have" });
        let need = needs.get(name).copied().unwrap_or(1000);
        what += &match name.as_str() {
            "pods" => format!(" {have} as many pods as it may."),
            _ => format!(
                " {have} too little {}: at most {} free, {} missing.",
                word(name),
                shown(name, *most),
                shown(name, need - *most)
            ),
        };
    }
    for (why, number) in &excluded {
        what += &format!(" {} excluded by {why}.", count_is(*number));
    }
    Some(Finding::new(what).with_remedy(remedy(&lacking, &excluded, suitable, never)))
}

fn remedy(
    lacking: &BTreeMap<String, (usize, i128)>,
    excluded: &BTreeMap<String, usize>,
    suitable: usize,
    never: bool,
) -> String {
    let mut lines = Vec::new();
    if suitable > 0 {
        let knobs: BTreeSet<&str> = lacking
            .keys()
            .filter_map(|name| match name.as_str() {
                "cpu" => Some("spark.kubernetes.driver.request.cores, spark.kubernetes.executor.request.cores"),
                "memory" => Some("--driver-memory, --executor-memory"),
                _ => None,
            })
            .collect();
        let less = if knobs.is_empty() {
            "Ask for less".to_owned()
        } else {
            format!("Ask for less ({})", knobs.into_iter().collect::<Vec<_>>().join("; "))
        };
        lines.push(if never {
            format!("{less}, or add larger nodes: no node has that much, even if it were empty.")
        } else {
            format!("{less}, add nodes, or wait: it starts by itself when others end.")
        });
    }
    if excluded.keys().any(|why| why.starts_with("taint")) {
        lines.push("A toleration in a pod template (spark.kubernetes.driver.podTemplateFile) lets it go to tainted nodes.".to_owned());
    }
    if excluded.keys().any(|why| why.starts_with("node selector")) {
        lines.push("Is the node selector (spark.kubernetes.node.selector.*) right? kubectl get nodes --show-labels".to_owned());
    }
    if lines.is_empty() {
        lines.push("Add nodes: kubectl get nodes shows those that there are.".to_owned());
    }
    lines.join("\n")
}

fn word(resource: &str) -> &str {
    match resource {
        "cpu" => "CPU",
        other => other,
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn count_is(number: usize) -> String {
    format!("{} {}", count(number, "node"), if number == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, cpu: &str, memory: &str, more: Value) -> Node {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"zone": name}},
            "spec": {},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110"}},
        });
        node["spec"] = more;
        serde_json::from_value(node).unwrap()
    }

    fn pod(cpu: &str, memory: &str, selector: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"nodeSelector": selector, "containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}}))
        .unwrap()
    }

    fn taken(node: &str, cpu: &str, memory: &str) -> Pod {
        let mut pod = pod(cpu, memory, json!({}));
        pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        pod
    }

    fn told(pod: &Pod, nodes: &[Node], others: &[Pod]) -> String {
        let mut usage = Usage::default();
        others.iter().for_each(|pod| usage.add(pod));
        match explain(pod, nodes, &usage, "The driver") {
            Some(finding) => format!("{}\n{}", finding.what, finding.remedy.unwrap_or_default()),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn what_is_missing_is_counted() {
        let taint = json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]});
        let nodes = [
            node("a", "4", "8Gi", json!({})),
            node("b", "2", "4Gi", json!({})),
            node("c", "64", "256Gi", taint),
            node("d", "64", "256Gi", json!({"unschedulable": true})),
        ];
        let others = [taken("a", "3500m", "7Gi"), taken("b", "500m", "1Gi")];
        insta::assert_snapshot!(told(&pod("2", "3456Mi", json!({})), &nodes, &others));
        insta::assert_snapshot!(told(&pod("16", "1408Mi", json!({})), &nodes, &others));
        insta::assert_snapshot!(told(&pod("1", "1Gi", json!({"zone": "z"})), &nodes, &others));
        assert_eq!(told(&pod("1", "1Gi", json!({})), &nodes, &others), "nothing");
    }

    #[test]
    fn tolerations_are_those_of_the_scheduler() {
        let taint = |key: &str, value: &str| Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        let toleration = |value: Value| serde_json::from_value::<Toleration>(value).unwrap();
        assert!(tolerates(&toleration(json!({"operator": "Exists"})), &taint("a", "b")));
        assert!(tolerates(
            &toleration(json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"})),
            &taint("a", "b")
        ));
        assert!(tolerates(&toleration(json!({"key": "a", "value": "b"})), &taint("a", "b")));
        assert!(!tolerates(&toleration(json!({"key": "a", "value": "c"})), &taint("a", "b")));
        assert!(!tolerates(
            &toleration(json!({"key": "a", "operator": "Exists", "effect": "NoExecute"})),
            &taint("a", "b")
        ));
    }
}

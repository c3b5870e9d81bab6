//! Checks before a submission: API server, namespace, permissions, service account, quotas, nodes.

use anymaster_core::{Check, ErrorKind, Health};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Node, ResourceQuota, ServiceAccount};
use kube::Api;
use kube::api::ListParams;

use crate::backend::Kubernetes;
use crate::error::grant;
use crate::permissions;

/// The permissions that a submission and its follow-up use: verb, resource, and whether it is
/// required.
const PERMISSIONS: [(&str, &str, bool); 13] = [
    ("create", "pods", true),
    ("get", "pods", true),
    ("list", "pods", true),
    ("watch", "pods", true),
    ("delete", "pods", true),
    ("create", "services", true),
    ("create", "configmaps", true),
    ("patch", "configmaps", true),
    ("get", "pods/log", false),
    ("create", "secrets", false),
    ("create", "persistentvolumeclaims", false),
    // Used for Spark 4.2 and later.
    ("create", "networkpolicies.networking.k8s.io", false),
    ("list", "events", false),
];

impl Kubernetes {
    /// Checks what a submission by this user to this namespace needs, with `service_account` for
    /// the driver.
    pub(crate) async fn check_prerequisites(&self, service_account: &str) -> Vec<Check> {
        const SERVER: &str = "API server";
        let version = match self.connection().version().await {
            Ok(version) => version,
            Err(error) => {
                let hint = error.hint().unwrap_or("the message says what failed").to_owned();
                return vec![Check::not_ok(SERVER, Health::Missing, error.to_string(), hint)];
            }
        };
        let mut found = vec![Check::ok(SERVER, format!("Kubernetes {version}"))];
        let (namespace, permissions, account, quota, nodes) = futures::join!(
            self.check_namespace(),
            self.check_permissions(),
            self.check_account(service_account),
            self.check_quota(),
            self.check_nodes(),
        );
        found.push(namespace);
        found.extend(permissions);
        found.extend(account);
        found.extend(quota);
        found.extend(nodes);
        found
    }

    fn namespace(&self) -> &str {
        &self.connection().namespace
    }

    async fn check_namespace(&self) -> Check {
        const NAME: &str = "namespace";
        let namespace = self.namespace();
        let api: Api<Namespace> = Api::all(self.connection().client.clone());
        let what = format!("get namespace {namespace}");
        match self.connection().call(&what, || api.get_opt(namespace)).await {
            Ok(Some(_)) => Check::ok(NAME, format!("{namespace} exists")),
            Ok(None) => Check::not_ok(
                NAME,
                Health::Missing,
                format!("{namespace} does not exist"),
                format!("kubectl create namespace {namespace}"),
            ),
            // Users of one namespace may not read it; the checks of permissions suffice.
            Err(error) if error.kind() == ErrorKind::Denied => {
                Check::ok(NAME, format!("{namespace} (not allowed to check whether it exists)"))
            }
            Err(error) => Check::not_ok(
                NAME,
                Health::Missing,
                error.to_string(),
                "the message says what failed",
            ),
        }
    }

    async fn check_permissions(&self) -> Vec<Check> {
        const NAME: &str = "permissions";
        let reviews = PERMISSIONS.map(|(verb, resource, needed)| async move {
            let allowed =
                permissions::may_we(self.connection(), self.namespace(), verb, resource).await;
            (verb, resource, needed, allowed)
        });
        let mut missing = Vec::new();
        for (verb, resource, needed, allowed) in join_all(reviews).await {
            match allowed {
                Ok(true) => {}
                Ok(false) => missing.push(Check::not_ok(
                    NAME,
                    if needed { Health::Missing } else { Health::Optional },
                    format!("you may not {verb} {resource} in {}", self.namespace()),
                    grant("YOU", verb, resource, self.namespace()),
                )),
                Err(error) => {
                    return vec![Check::not_ok(
                        NAME,
                        Health::Optional,
                        error.to_string(),
                        "kubectl auth can-i --list shows them",
                    )];
                }
            }
        }
        if missing.is_empty() {
            let detail =
                format!("you have all permissions in {} that a submission needs", self.namespace());
            missing.push(Check::ok(NAME, detail));
        }
        missing
    }

    async fn check_account(&self, account: &str) -> Vec<Check> {
        const NAME: &str = "service account";
        let namespace = self.namespace();
        let api: Api<ServiceAccount> = Api::namespaced(self.connection().client.clone(), namespace);
        let what = format!("get serviceaccount {namespace}/{account}");
        match self.connection().call(&what, || api.get_opt(account)).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                return vec![Check::not_ok(
                    NAME,
                    Health::Missing,
                    format!("{account} does not exist in {namespace}"),
                    format!("kubectl -n {namespace} create serviceaccount {account}"),
                )];
            }
            Err(error) => {
                let detail = format!("{account}: {error}");
                return vec![Check::not_ok(
                    NAME,
                    Health::Optional,
                    detail,
                    "somebody who may read service accounts can check it",
                )];
            }
        }
        let user = permissions::service_account(namespace, account);
        let answer = permissions::may(self.connection(), &user, namespace, "create", "pods").await;
        let check = match answer {
            Ok(true) => Check::ok(NAME, format!("{account} exists, and may create executors")),
            Ok(false) => Check::not_ok(
                NAME,
                Health::Optional,
                format!("{account} may not create pods: its drivers get no executors"),
                grant(&user, "create", "pods", namespace),
            ),
            Err(_) => {
                Check::ok(NAME, format!("{account} exists (not allowed to check its permissions)"))
            }
        };
        vec![check]
    }

    async fn check_quota(&self) -> Vec<Check> {
        let api: Api<ResourceQuota> =
            Api::namespaced(self.connection().client.clone(), self.namespace());
        let all = ListParams::default();
        // Without quotas, or without the permission to list them, there is nothing to report.
        let Ok(quotas) = self.connection().call("list resourcequotas", || api.list(&all)).await
        else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for quota in quotas.items {
            let status = quota.status.unwrap_or_default();
            let (hard, used) = (status.hard.unwrap_or_default(), status.used.unwrap_or_default());
            for (resource, limit) in hard {
                if used.get(&resource) == Some(&limit) {
                    let name = quota.metadata.name.clone().unwrap_or_default();
                    found.push(Check::not_ok(
                        "quota",
                        Health::Missing,
                        format!("{name}: all of {resource} ({}) is used", limit.0),
                        "wait until others end, or have it raised",
                    ));
                }
            }
        }
        found
    }

    async fn check_nodes(&self) -> Vec<Check> {
        const NAME: &str = "nodes";
        let api: Api<Node> = Api::all(self.connection().client.clone());
        let all = ListParams::default();
        let Ok(nodes) = self.connection().call("list nodes", || api.list(&all)).await else {
            return Vec::new();
        };
        let is_ready = |node: &&Node| {
            let conditions = node
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_deref())
                .unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
                && node.spec.as_ref().is_none_or(|spec| spec.unschedulable != Some(true))
        };
        let (ready, number) = (nodes.items.iter().filter(is_ready).count(), nodes.items.len());
        vec![match ready {
            0 => Check::not_ok(
                NAME,
                Health::Missing,
                format!("none of {number} is ready"),
                "kubectl get nodes",
            ),
            ready => Check::ok(NAME, format!("{ready} of {number} are ready")),
        }]
    }
}

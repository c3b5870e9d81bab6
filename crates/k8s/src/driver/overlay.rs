//! Applies what goes on top of the driver's finished pod: the fields of a template that Spark's steps
//! would override.

use anymaster_core::{Error, Result};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::Draft;
use crate::pods::Role;
use crate::pods::template::Template;

/// Applies the overlay of the application's templates, if there is one.
///
/// It is a pod template whose only container stands for the main one. Variables replace those of the same name, and
/// come last; limits, node selector, scheduler and security context win over those of the pod.
pub(super) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let given = draft.request.app.templates.driver_overlay.as_ref();
    let Some(overlay) = Template::given(given, Role::Driver)? else { return Ok(()) };
    let warnings: Vec<String> =
        overlay.unknown_field_warnings("the overlay of the driver").collect();
    if let Some(warning) = warnings.into_iter().next() {
        return Err(Error::invalid(warning));
    }
    let mut pod = overlay.into_pod();
    let mut spec = pod.spec.take().unwrap_or_default();
    let mut container = spec.containers.pop().unwrap_or_default();
    container.name.clear();

    let main = &mut draft.pod.container;
    for variable in container.env.take().into_iter().flatten() {
        let variables = main.env.get_or_insert_default();
        variables.retain(|before| before.name != variable.name);
        variables.push(variable);
    }
    if let Some(mut limits) = container.resources.take().and_then(|resources| resources.limits) {
        let resources = main.resources.get_or_insert_default();
        resources.limits.get_or_insert_default().append(&mut limits);
    }
    if let Some(context) = container.security_context.take() {
        main.security_context = Some(context);
    }
    if let Some(scheduler) = spec.scheduler_name.take() {
        draft.pod.spec.scheduler_name = Some(scheduler);
    }
    if let Some(mut selector) = spec.node_selector.take() {
        draft.pod.spec.node_selector.get_or_insert_default().append(&mut selector);
    }
    let is_applied =
        container == Container::default() && spec == PodSpec::default() && pod == Pod::default();
    is_applied.then_some(()).ok_or_else(|| {
        Error::unsupported(
            "the overlay of a driver has variables, limits, a security context, a node selector and a scheduler \
             only",
        )
    })
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{ApplicationSpec, Payload, SparkJob, SparkLanguage, SubmissionId};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::driver::{Request, SubmitterEnv, objects};

    fn with_overlay(overlay: Value) -> Result<Value> {
        let job = SparkJob {
            language: SparkLanguage::Java,
            primary_resource: "local:///a.jar".to_owned(),
            main_class: Some("Main".to_owned()),
            args: Vec::new(),
            proxy_user: None,
        };
        let mut app = ApplicationSpec::new("a", Payload::Spark(job));
        app.conf.set("spark.kubernetes.container.image", "i");
        app.conf.set("spark.kubernetes.driverEnv.OLD", "1");
        app.conf.set("spark.kubernetes.scheduler.name", "lost");
        app.templates.driver_overlay = Some(overlay);
        let (id, submitter) = (SubmissionId::new("a").unwrap(), SubmitterEnv::default());
        let request = Request::new(&id, &app, &submitter, "ns", Timestamp::UNIX_EPOCH);
        let objects = objects(&request)?;
        Ok(serde_json::to_value(&objects.pods[0]).unwrap()["spec"].take())
    }

    #[test]
    fn an_overlay_wins_over_properties() {
        let spec = with_overlay(json!({"spec": {
            "schedulerName": "mine", "nodeSelector": {"pool": "d"},
            "containers": [{
                "name": "main", "resources": {"limits": {"memory": "2000Mi"}},
                "env": [{"name": "OLD", "value": "2"}, {"name": "NEW", "value": "3"}],
            }],
        }}))
        .unwrap();
        let container = &spec["containers"][0];
        assert_eq!(container["name"], "spark-kubernetes-driver");
        assert_eq!(container["resources"]["limits"]["memory"], "2000Mi");
        assert_eq!(container["resources"]["requests"]["memory"], "1408Mi");
        let env = container["env"].as_array().unwrap();
        assert_eq!(env.iter().filter(|variable| variable["name"] == "OLD").count(), 1);
        assert_eq!(
            env[env.len() - 2..],
            [json!({"name": "OLD", "value": "2"}), json!({"name": "NEW", "value": "3"})]
        );
        assert_eq!(spec["schedulerName"], "mine");
        assert_eq!(spec["nodeSelector"]["pool"], "d");
    }

    #[test]
    fn what_an_overlay_cannot_set_is_refused() {
        let error = with_overlay(json!({"spec": {"hostNetwork": true}})).unwrap_err();
        assert!(error.message().contains("variables, limits"), "{error}");
        let error = with_overlay(json!({"spec": {"schedulerNam": "a"}})).unwrap_err();
        assert!(error.message().contains("schedulerNam"), "{error}");
    }
}

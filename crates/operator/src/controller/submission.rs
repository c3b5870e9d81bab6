//! The submission of an application.

use anymaster_core::model::SubmissionId;
use anymaster_core::{Error, ErrorKind, Launched, Result};

use super::reconcile::Work;
use super::{Controller, in_words};
use crate::notice::Notice;
use crate::state::{self, Seen, Step};
use crate::translate::{Ignored, driver_pod_name, translate};
use crate::ui;
use crate::v1beta2::Read;

impl Controller {
    /// Submits an application with this id, or finds the driver that was started with it. Returns the status that
    /// follows.
    ///
    /// # Errors
    /// What may pass within half a minute: it is no failure of the application.
    pub(super) async fn submit(&self, work: &Work<'_>, seen: &Seen<'_>, id: &str) -> Result<Step> {
        let launched = match &work.read {
            Ok(read) => {
                self.launch(work, read, id).await.map(|(launched, told)| (read, launched, told))
            }
            Err(error) => Err(error.clone()),
        };
        match launched {
            Ok((read, launched, told)) => {
                let pod = driver_pod_name(&work.identity.name, &read.spec);
                let spark_id = launched.driver.app.as_str();
                let mut step = state::submitted(seen, id, spark_id, &pod);
                step.notices.extend(told);
                self.add_ui(work, read, id, &mut step).await;
                Ok(step)
            }
            Err(error) if may_pass(&error) && self.memory.may_try_again(&work.key, id) => {
                Err(error)
            }
            Err(error) => Ok(state::not_submitted(seen, id, &in_words(&error))),
        }
    }

    async fn launch(
        &self,
        work: &Work<'_>,
        read: &Read,
        id: &str,
    ) -> Result<(Launched, Vec<Notice>)> {
        let translation = translate(&work.identity, read, &self.master, id)?;
        let told = told(&translation.ignored);
        let id = SubmissionId::new(id)?;
        let launched = self.submitter.launch(&id, &translation.line, translation.templates).await?;
        Ok((launched, told))
    }

    /// Adds the service of the web page. An application runs without it, too.
    async fn add_ui(&self, work: &Work<'_>, read: &Read, id: &str, step: &mut Step) {
        if !self.ui_service {
            return;
        }
        let created = match ui::service(&work.identity, &read.spec, id) {
            Ok(service) => self.cluster.create_service(&service).await,
            Err(error) => Err(error),
        };
        match created {
            Ok(service) => ui::describe(&service, &mut step.status.driver_info),
            Err(error) => step.notices.push(Notice::UiServiceFailed(in_words(&error))),
        }
    }
}

/// Whether an error says nothing of the application. A quota may be full for hours.
fn may_pass(error: &Error) -> bool {
    error.kind().is_retryable() && error.kind() != ErrorKind::Quota
}

/// Tells of fields without effect: those that cannot reach executors, and others.
fn told(ignored: &[Ignored]) -> Vec<Notice> {
    let (executors, others): (Vec<&Ignored>, Vec<&Ignored>) =
        ignored.iter().partition(|ignored| ignored.field.starts_with("spec.executor."));
    let text = |fields: &[&Ignored]| {
        let parts: Vec<String> = fields
            .iter()
            .map(|ignored| format!("{} has no effect: {}", ignored.field, ignored.why))
            .collect();
        parts.join("; ")
    };
    let mut told = Vec::new();
    if !executors.is_empty() {
        told.push(Notice::ExecutorFieldIgnored(text(&executors)));
    }
    if !others.is_empty() {
        told.push(Notice::FieldIgnored(text(&others)));
    }
    told
}

//! Why a driver does not run: what the scheduler says of its application master (Hadoop 3.4, `AMState`,
//! `CSAMContainerLaunchDiagnosticsConstants`), in numbers. No I/O.

use std::collections::BTreeSet;

use anymaster_core::Finding;

use super::placement::{For, Surroundings};
use super::reports::{App, Scheduler};

/// What the schedulers say of a queue whose drivers have all that they may; the last is that of the fair scheduler.
const QUEUE_LIMIT: [&str; 2] =
    ["Queue's AM resource limit exceeded", "exceeds maximum AM resource allowed"];
const USER_LIMIT: &str = "User's AM resource limit exceeded";
/// It has a container.
const STARTING: [&str; 2] =
    ["waiting for AM container to be launched", "waiting for AM container to Register"];
/// Why an application was not taken.
const UNKNOWN_QUEUE: &str = "to unknown queue";
const NON_LEAF: &str = "to non-leaf queue";
const STOPPED: &str = "Cannot accept submission";
const FORBIDDEN: &str = "does not have permission to submit";

/// Why an application waits that was accepted, or not yet.
pub(super) fn why(app: &App, around: &Surroundings<'_>) -> Vec<Finding> {
    let said = app.diagnostics.as_str();
    if app.state != "ACCEPTED" {
        let what = format!(
            "The ResourceManager has the application ({}), and has not given it to its scheduler yet.",
            app.state
        );
        let remedy = "If that lasts, it cannot write its state: see the ResourceManager's log.";
        return vec![Finding::new(what).with_remedy(remedy)];
    }
    if is_starting(app) {
        let node = app.am_host_http_address.as_deref().filter(|node| !node.is_empty());
        let place = node.map(|node| format!(" on {node}")).unwrap_or_default();
        let what = format!(
            "The container of its driver is being started{place}: its files are fetched, or its application master \
             has not registered yet."
        );
        let remedy =
            "anymaster logs shows what it has written; the NodeManager's log says what is fetched.";
        return vec![Finding::new(what).with_remedy(remedy)];
    }
    if QUEUE_LIMIT.iter().any(|words| said.contains(words))
        && let Some(finding) = queue_limit(app, around)
    {
        return vec![finding];
    }
    if said.contains(USER_LIMIT)
        && let Some(finding) = user_limit(app, around)
    {
        return vec![finding];
    }
    let mut findings: Vec<_> =
        app.asked().flat_map(|request| around.why(For::Driver, request)).collect();
    // Reasons that are not known by numbers: limits of applications that run at once, reservations.
    let told = without_time(said);
    if !told.is_empty() && !told.starts_with("Application is Activated") {
        findings.insert(0, Finding::new(format!("The scheduler says: {told}")));
    }
    findings
}

/// Whether it has a container: it waits for nobody then.
pub(super) fn is_starting(app: &App) -> bool {
    app.state == "ACCEPTED" && STARTING.iter().any(|words| app.diagnostics.contains(words))
}

fn wanted(app: &App) -> String {
    let request = app.asked().next();
    request.map_or_else(String::new, |it| format!("; this one wants {}", it.capability))
}

/// The drivers of its queue have all that they may.
fn queue_limit(app: &App, around: &Surroundings<'_>) -> Option<Finding> {
    let queue = around.queues.last()?;
    let (used, most) = queue.drivers(label(app))?;
    let what = format!(
        "Its driver waits: the drivers of the queue {} use {used} and may use {most} (AM limit){}.",
        queue.path(),
        wanted(app)
    );
    let share = queue.am_share.map(|share| format!(" ({share})")).unwrap_or_default();
    Some(Finding::new(what).with_remedy(format!(
        "Wait until another application of the queue ends, ask for a smaller driver (spark.driver.memory), choose \
         another queue (spark.yarn.queue), or have {}{share} raised.",
        around.key(queue, "maximum-am-resource-percent", "maxAMShare"),
    )))
}

/// The drivers of its user have all that they may.
fn user_limit(app: &App, around: &Surroundings<'_>) -> Option<Finding> {
    let queue = around.queues.last()?;
    let most = queue.drivers_of_user(label(app))?;
    let what = format!(
        "Its driver waits: the drivers of {} in the queue {} may use {most} (user's AM limit){}.",
        app.user,
        queue.path(),
        wanted(app)
    );
    Some(Finding::new(what).with_remedy(around.user_remedy(queue)))
}

fn label(app: &App) -> &str {
    let request = app.asked().next();
    request.and_then(|it| it.node_label_expression.as_deref()).unwrap_or_default()
}

/// Whether an application failed because it was not taken.
pub(super) fn is_refused(said: &str) -> bool {
    [UNKNOWN_QUEUE, NON_LEAF, STOPPED, FORBIDDEN].iter().any(|words| said.contains(words))
}

/// Why an application was not taken. `allowed`: the queues that its user may submit to, where that is known.
pub(super) fn refused(
    app: &App,
    scheduler: &Scheduler,
    allowed: Option<&BTreeSet<String>>,
) -> Option<Finding> {
    let said = app.diagnostics.as_str();
    let is_allowed = |path: &&str| {
        let name = path.rsplit('.').next().unwrap_or(path);
        allowed.is_none_or(|allowed| allowed.contains(*path) || allowed.contains(name))
    };
    let leaves: Vec<_> = scheduler.leaves().into_iter().filter(is_allowed).collect();
    let others = format!("Choose another one (spark.yarn.queue): {}.", some(&leaves));
    let name = || said.split([':', ' ']).rfind(|word| !word.is_empty()).unwrap_or_default();
    let (what, remedy) = if said.contains(UNKNOWN_QUEUE) {
        (format!("There is no queue {}.", name()), others)
    } else if said.contains(NON_LEAF) {
        (format!("The queue {} has others in it, and takes no applications.", name()), others)
    } else if said.contains(STOPPED) {
        (format!("The queue {} is stopped, and takes no applications.", app.queue), others)
    } else if said.contains(FORBIDDEN) {
        let what = format!("{} may not submit to the queue {}.", app.user, app.queue);
        let remedy = format!(
            "{others} Or have yarn.scheduler.capacity.{}.acl_submit_applications extended.",
            app.queue
        );
        (what, remedy)
    } else {
        return None;
    };
    Some(Finding::new(what).with_remedy(remedy))
}

/// Some of the names.
fn some(names: &[&str]) -> String {
    const MAX: usize = 12;
    let mut words = names.iter().take(MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MAX {
        words += " …";
    }
    words
}

/// Without the time that it may begin with.
fn without_time(said: &str) -> &str {
    let said = said.trim();
    match said.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest.trim(),
        None => said,
    }
}

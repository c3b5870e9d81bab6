//! The queue of submissions: whether it is there, takes applications, and this user's.

use anymaster_core::{Check, Error};

use super::missing;
use crate::cluster::Cluster;
use crate::keys;
use crate::proto::{QueueInfo, QueueState, QueueUserAcls};
use crate::resource_manager::ResourceManager;

const NAME: &str = "queue";

pub(super) async fn check(cluster: &Cluster, manager: &ResourceManager) -> Check {
    let found = async {
        let queue = cluster.conf.read(&keys::QUEUE)?;
        let (info, acls) = futures::try_join!(manager.queue(&queue), manager.queue_acls())?;
        Ok::<_, Error>(judged(&queue, info, &acls, &cluster.submitter.user))
    };
    found.await.unwrap_or_else(|error| missing(NAME, &error))
}

/// How a queue is for this user, by what the ResourceManager says of it.
fn judged(queue: &str, info: Option<QueueInfo>, acls: &[QueueUserAcls], user: &str) -> Check {
    let allowed: Vec<_> =
        acls.iter().filter(|it| it.may_submit()).filter_map(|it| it.queue.as_deref()).collect();
    let key = keys::QUEUE.info.name;
    let others = match allowed.is_empty() {
        true => {
            format!("{user} may submit to no queue: have acl_submit_applications of one extended")
        }
        false => format!("set {key} to one of: {}", allowed.join(", ")),
    };
    let Some(info) = info else {
        return Check::missing(NAME, format!("there is no queue {queue}"), others);
    };
    if !info.children.is_empty() {
        let what = format!("{queue} has queues in it, and takes nothing itself");
        return Check::missing(NAME, what, others);
    }
    match info.state() {
        QueueState::Running => {}
        state => {
            let what = format!("{queue} is {}: it takes nothing", state.word());
            return Check::missing(NAME, what, others);
        }
    }
    if !allowed.iter().any(|path| is_queue(path, queue)) {
        let what = format!("{user} may not submit to {queue}");
        let remedy = format!("{others}; or have acl_submit_applications of {queue} extended");
        return Check::missing(NAME, what, remedy);
    }
    let percent = |share: Option<f32>| format!("{:.0} %", share.unwrap_or_default() * 100.0);
    let shares = format!(
        "{} of the queue that it is in, at most {}; {} of its own are used",
        percent(info.capacity),
        percent(info.maximum_capacity),
        percent(info.current_capacity)
    );
    Check::ok(NAME, format!("{queue} is RUNNING: {shares}"))
}

/// Whether a queue has this name: its path, or the last part of that.
fn is_queue(path: &str, name: &str) -> bool {
    path == name
        || path.rsplit('.').next() == Some(name)
        || name.strip_prefix("root.") == Some(path)
}

#[cfg(test)]
mod tests {
    use anymaster_core::Health;
    use prost::Message as _;

    use super::*;
    use crate::proto::{QueueAclsResponse, QueueResponse};

    // As a ResourceManager of Hadoop 3.4.1 said them, without the fields that nobody reads.
    const DEFAULT: &str = "0a1a0a0764656661756c74156666663f1d0000803f25000000002802";
    const STOPPED: &str = "0a1a0a0773746f7070656415000000001d0000803f25000000002801";
    const PRIVATE: &str = "0a1a0a077072697661746515000000001d0000803f25000000002802";
    const ROOT: &str = "0a85010a04726f6f74150000803f1d0000803f25000000002802321a0a0764656661756c74156666663f1d0000803f\
                        2500000000280232180a05736d616c6c15cdcccc3d1dcdcccc3d25000000002802321a0a0773746f70706564150000\
                        00001d0000803f25000000002801321a0a077072697661746515000000001d0000803f25000000002802";
    const NOWHERE: &str = "";
    const ACLS: &str = "0a060a04726f6f740a100a0c726f6f742e64656661756c7410010a0e0a0a726f6f742e736d616c6c10010a100a0c726f\
                        6f742e73746f7070656410010a0e0a0c726f6f742e70726976617465";

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn check(queue: &str, info: &str) -> (Health, String, String) {
        let info = QueueResponse::decode(&*bytes(info)).unwrap().queue;
        let acls = QueueAclsResponse::decode(&*bytes(ACLS)).unwrap().queues;
        let check = judged(queue, info, &acls, "bob");
        (check.health, check.detail, check.remedy.unwrap_or_default())
    }

    #[test]
    fn a_queue_is_there_runs_has_none_in_it_and_is_open_to_the_user() {
        let (health, detail, _) = check("default", DEFAULT);
        let shares = "default is RUNNING: 90 % of the queue that it is in, at most 100 %; 0 % of its own are used";
        assert_eq!((health, detail.as_str()), (Health::Ok, shares));
        assert_eq!(check("root.default", DEFAULT).0, Health::Ok);
        let one_of = "set spark.yarn.queue to one of: root.default, root.small, root.stopped";
        for (queue, info, what) in [
            ("nowhere", NOWHERE, "there is no queue nowhere"),
            ("stopped", STOPPED, "stopped is STOPPED: it takes nothing"),
            ("root", ROOT, "root has queues in it, and takes nothing itself"),
        ] {
            let wanted = (Health::Missing, what.to_owned(), one_of.to_owned());
            assert_eq!(check(queue, info), wanted);
        }
        let (health, detail, remedy) = check("private", PRIVATE);
        assert_eq!((health, detail.as_str()), (Health::Missing, "bob may not submit to private"));
        assert!(remedy.ends_with("acl_submit_applications of private extended"), "{remedy}");
        assert!(
            judged("x", None, &[], "bob").remedy.unwrap().contains("bob may submit to no queue")
        );
    }
}

//! Programs beside the real node, in its network.

use std::process::Command;

use crate::cluster::master;

/// The node's own address, by which pods reach what runs beside it.
pub(crate) const NODE: &str = "10.100.0.1";

/// A variable of the tests' clusters.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/all kube"))
}

/// In the network of the node, whose name has the port of the API server in it.
pub(crate) fn inside(command: &Command) -> Command {
    let port = master().rsplit(':').next().unwrap().to_owned();
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net=/run/netns/anymaster-{port}")).arg("--").arg(command.get_program());
    inside.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

//! Every port of a daemon × every attack.

use crate::observed::Before;
use crate::strike::ATTACKS;
use crate::target::Target;

fn bears_all_attacks(target: &Target) {
    for port in &target.ports {
        port.is_well("before");
    }
    let before = Before::of(target);
    for port in &target.ports {
        for (name, attack) in ATTACKS {
            attack(port);
            before.is_as_before(target, &format!("{name} at {}", port.name));
        }
    }
}

#[test]
#[ignore = "takes a while"]
fn a_master_bears_all_attacks() {
    bears_all_attacks(&Target::master(&[]));
}

#[test]
#[ignore = "takes a while"]
fn a_worker_bears_all_attacks() {
    bears_all_attacks(&Target::worker());
}

#[test]
#[ignore = "takes a while"]
fn a_dispatcher_bears_all_attacks() {
    bears_all_attacks(&Target::dispatcher());
}

#[test]
#[ignore = "takes a while"]
fn a_service_for_operators_bears_all_attacks() {
    bears_all_attacks(&Target::service());
}

#[test]
#[ignore = "takes a while, and needs openssl"]
fn a_master_with_tls_bears_all_attacks() {
    bears_all_attacks(&Target::master_with_tls());
}

#[test]
#[ignore = "takes a while, and needs openssl"]
fn a_worker_with_tls_bears_all_attacks() {
    bears_all_attacks(&Target::worker_with_tls());
}

#[test]
#[ignore = "takes a while, and needs openssl"]
fn a_dispatcher_with_tls_bears_all_attacks() {
    bears_all_attacks(&Target::dispatcher_with_tls());
}

#[test]
#[ignore = "takes a while, and needs openssl"]
fn a_service_for_operators_with_tls_bears_all_attacks() {
    bears_all_attacks(&Target::service_with_tls());
}

#[test]
#[ignore = "takes a while"]
fn a_staging_server_bears_all_attacks() {
    bears_all_attacks(&Target::staging());
}

#[test]
#[ignore = "takes a while, and needs openssl"]
fn a_staging_server_with_tls_bears_all_attacks() {
    bears_all_attacks(&Target::staging_with_tls());
}

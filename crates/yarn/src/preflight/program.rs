//! Our own program, which is the application master of drivers that are programs.

use std::io::Read as _;
use std::path::Path;

use anymaster_core::{Check, Result};
use anymaster_hadoop::{FileSystem, Location};

use super::missing;
use crate::cluster::Cluster;
use crate::keys;
use crate::native::LOCAL;
use crate::staging::caller;

const NAME: &str = "program";
/// How much of a program is read to see how it is linked.
const HEAD: u64 = 64 << 10;

/// Whether containers find it, and can run it.
pub(super) async fn check(cluster: &Cluster, program: Option<&Path>) -> Check {
    let key = keys::PROGRAM.info.name;
    let configured = match cluster.conf.read_optional(&keys::PROGRAM) {
        Ok(configured) => configured,
        Err(error) => return missing(NAME, &error),
    };
    match configured {
        Some(there) if there.starts_with(LOCAL) => {
            Check::ok(NAME, format!("{key}: {there}, which nodes are believed to have"))
        }
        Some(uri) => match exists(cluster, &uri).await {
            Ok(true) => Check::ok(NAME, format!("{key}: {uri}")),
            Ok(false) => Check::missing(
                NAME,
                format!("{key}: there is no {uri}"),
                format!("put anymaster there, or leave {key} unset: it is uploaded then"),
            ),
            Err(error) => missing(NAME, &error),
        },
        None => uploaded(program),
    }
}

async fn exists(cluster: &Cluster, uri: &str) -> Result<bool> {
    let at = Location::parse(uri)?.resolved(&cluster.configuration)?;
    let caller = caller(&cluster.submitter, None);
    let files = FileSystem::of(&cluster.configuration, &at, &caller)?;
    Ok(files.status(&at.path).await?.is_some_and(|found| !found.is_dir))
}

/// One of this machine, which is uploaded.
fn uploaded(program: Option<&Path>) -> Check {
    let key = keys::PROGRAM.info.name;
    let Some(program) = program else {
        return Check::optional(
            NAME,
            "it is not known which program is anymaster; only drivers that are programs need it",
            format!("set {key} to local:/its/path/on/nodes"),
        );
    };
    let shown = program.display();
    let mut head = Vec::new();
    let read = std::fs::File::open(program).and_then(|it| it.take(HEAD).read_to_end(&mut head));
    match read {
        Err(error) => Check::optional(
            NAME,
            format!("cannot read {shown}: {error}; only drivers that are programs need it"),
            format!("set {key} to local:/its/path/on/nodes"),
        ),
        Ok(_) if is_dynamic(&head) => Check::optional(
            NAME,
            format!("{shown} needs the C library of this machine, which nodes have to have, too"),
            "take the static one that deploy/build makes, if nodes have another",
        ),
        Ok(_) => Check::ok(NAME, format!("{shown} is uploaded when it is needed")),
    }
}

/// Whether a program for Linux names an interpreter, as those do that are linked when they are started.
fn is_dynamic(head: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(head.get(at..at.checked_add(length)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    // 64 bits, little-endian.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let table = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((first, size, count)) = table() else { return false };
    (0..count).any(|index| {
        let at = size.checked_mul(index).and_then(|offset| first.checked_add(offset));
        let at = at.and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| number(at, 4)) == Some(INTERPRETER.into())
    })
}

#[cfg(test)]
mod tests {
    use anymaster_core::Health;

    use super::*;

    /// A program with segments of these kinds.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = kinds.len() as u8;
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.resize(bytes.len() + 52, 0);
        }
        bytes
    }

    #[test]
    fn a_program_that_needs_a_library_is_told_from_one_that_does_not() {
        assert!(is_dynamic(&elf(&[6, 3, 1])) && !is_dynamic(&elf(&[1, 1])));
        assert!(!is_dynamic(b"#!/bin/sh\n") && !is_dynamic(&elf(&[6, 3])[..60]));
        let mut endless = elf(&[1]);
        endless[32..40].fill(0xff);
        assert!(!is_dynamic(&endless));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anymaster");
        assert_eq!(uploaded(Some(&path)).health, Health::Optional);
        std::fs::write(&path, elf(&[1])).unwrap();
        assert_eq!(uploaded(Some(&path)).health, Health::Ok);
        std::fs::write(&path, elf(&[3])).unwrap();
        assert!(uploaded(Some(&path)).detail.contains("C library"));
        assert_eq!(uploaded(None).health, Health::Optional);
    }
}

//! Users of this machine.

use std::path::Path;

/// The name of a user of this machine, by `/etc/passwd`.
pub fn user_name(uid: u32) -> Option<String> {
    named(Path::new("/etc/passwd"), uid)
}

fn named(passwd: &Path, id: u32) -> Option<String> {
    // Lines that are not UTF-8 must not hide others.
    let bytes = std::fs::read(passwd).ok()?;
    String::from_utf8_lossy(&bytes).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id.to_string()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_uid() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"root:x:0:0:::\nm\xfcller:x:9:9:::\nspark:x:185:0:::\n")
            .unwrap();
        assert_eq!(named(file.path(), 185).as_deref(), Some("spark"));
        assert_eq!(named(file.path(), 7), None);
    }
}

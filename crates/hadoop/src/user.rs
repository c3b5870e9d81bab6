//! Who calls.

use anymaster_core::user_name;

/// The user whom a cluster without Kerberos is told: `HADOOP_USER_NAME`, else the name of the process'
/// user (Hadoop 3.4, `UserGroupInformation`).
pub fn current_user() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let uid = rustix::process::geteuid().as_raw();
    variable("HADOOP_USER_NAME")
        .or_else(|| user_name(uid))
        .or_else(|| variable("USER"))
        .unwrap_or_else(|| uid.to_string())
}

//! What can be done about that which HDFS refuses.

use anymaster_core::{Error, ErrorKind};

/// What can be done about an error that HDFS tells.
pub(crate) fn with_remedy(error: Error, path: &str) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| error.message().contains(word));
    let hint = if says(&["(SafeModeException)"]) {
        "HDFS is in safe mode, in which nothing is written: it leaves it by itself when its blocks are there \
         (hdfs dfsadmin -safemode get); if somebody has switched it on, hdfs dfsadmin -safemode leave"
            .to_owned()
    } else if says(&["(DSQuotaExceededException)", "(NSQuotaExceededException)"]) {
        format!(
            "the quota of a directory above {path} is used up: hdfs dfs -count -q -h DIRECTORY shows it; remove \
             files there (anymaster leaks), or have it raised (hdfs dfsadmin -setSpaceQuota, -setQuota)"
        )
    } else if says(&["could only be written to 0 of", "could only be replicated to 0 nodes"]) {
        "no data node takes a block: they are full, or not there; hdfs dfsadmin -report says which"
            .to_owned()
    } else if says(&["(AccessControlException)"]) {
        format!(
            "have a directory made that is yours (hdfs dfs -mkdir -p, -chown), and name it as spark.yarn.stagingDir \
             if it is to be another one than that of {path}"
        )
    } else if error.kind() == ErrorKind::Protocol && error.hint().is_none() {
        "is dfs.webhdfs.enabled true on the name node?".to_owned()
    } else {
        return error;
    };
    error.with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hdfs_refuses_comes_with_what_can_be_done() {
        // As a name node of Hadoop 3.4.1 says it.
        let of = |exception: &str, message: &str| {
            let error = with_remedy(crate::rpc::refusal(exception, message), "/user/me/x");
            (error.kind(), error.hint().unwrap_or_default().to_owned())
        };
        let safe = "Cannot create directory /user/me/x. Name node is in safe mode.\nIt was turned on manually.";
        let (kind, hint) = of("SafeModeException", safe);
        assert_eq!((kind, hint.contains("-safemode leave")), (ErrorKind::Unavailable, true));
        let quota = "The DiskSpace quota of /user/me is exceeded: quota = 1 B = 1 B but diskspace consumed = 128 MB";
        let (kind, hint) = of("DSQuotaExceededException", quota);
        assert_eq!((kind, hint.contains("-setSpaceQuota")), (ErrorKind::Quota, true));
        let full = "File /user/me/x could only be written to 0 of the 1 minReplication nodes. There are 1 \
                    datanode(s) running and 1 node(s) are excluded in this operation.";
        let (kind, hint) = of("IOException", full);
        assert_eq!((kind, hint.contains("dfsadmin -report")), (ErrorKind::Unavailable, true));
        let denied =
            "Permission denied: user=me, access=WRITE, inode=\"/user\":root:supergroup:drwxr-xr-x";
        let (kind, hint) = of("AccessControlException", denied);
        assert_eq!((kind, hint.contains("spark.yarn.stagingDir")), (ErrorKind::Denied, true));
    }
}

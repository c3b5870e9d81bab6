//! Local dependencies: the driver fetches them from where they were uploaded to.

/// Whether something is a file of the submitter's machine (`KubernetesUtils.isLocalAndResolvable`).
pub(crate) fn is_local(uri: &str) -> bool {
    if matches!(uri, "spark-internal" | "spark-shell" | "pyspark-shell" | "sparkr-shell") {
        return false;
    }
    match uri.split_once(':') {
        Some((scheme, _)) if is_scheme(scheme) => scheme == "file",
        _ => true,
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

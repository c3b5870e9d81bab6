//! The tags of an application: those by which a submission is known again, and those that properties ask for.

use anymaster_core::conf::Conf;
use anymaster_core::model::{ApplicationSpec, SubmissionId};
use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use sha2::{Digest as _, Sha256};

use crate::keys;
use crate::status::{APPLICATION_TAG, ID_TAG, SUBMISSION_TAG};

/// The most tags that YARN takes, and the longest one.
const MAX_TAGS: usize = 10;
const MAX_TAG: usize = 100;
/// How many of them are ours.
const OWN_TAGS: usize = 3;

/// The tags by which a submission is known again.
#[derive(Debug)]
pub(crate) struct OwnTags {
    submission: String,
    /// The same for the same application.
    pub(crate) application: String,
    /// The id itself, if it is one that a tag can be.
    id: Option<String>,
}

impl OwnTags {
    pub(crate) fn new(id: &SubmissionId, app: &ApplicationSpec) -> Result<Self> {
        Ok(Self::of(id, &app.digest()?))
    }

    /// Those of an application with this digest.
    pub(crate) fn of(id: &SubmissionId, digest: &str) -> Self {
        let id_tag = format!("{ID_TAG}{id}");
        Self {
            submission: submission_tag(id),
            application: format!("{APPLICATION_TAG}{}", &digest[..32]),
            id: (id_tag.len() <= MAX_TAG && id_tag.is_ascii()).then_some(id_tag),
        }
    }

    /// Refuses an id that no tag can have, where it is what the application is known by.
    pub(crate) fn check_id(&self, id: &SubmissionId) -> Result<()> {
        match &self.id {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "the submission id {id} is too long: on YARN, it has at most {} characters",
                MAX_TAG - ID_TAG.len()
            ))),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = String> {
        [self.submission.clone(), self.application.clone()].into_iter().chain(self.id.clone())
    }
}

/// The tag of an id that a submitter chose.
pub(crate) fn submission_tag(id: &SubmissionId) -> String {
    let digest = Sha256::digest(id.as_str().as_bytes());
    format!("{SUBMISSION_TAG}{}", hex(&digest[..16]))
}

/// The tags that properties ask for, as YARN finds them.
pub(crate) fn tags(conf: &Conf) -> Result<Vec<String>> {
    let given = conf.read_optional(&keys::TAGS)?.unwrap_or_default();
    let mut tags: Vec<String> = Vec::new();
    for tag in given.iter().map(|tag| tag.trim().to_lowercase()) {
        if tag.len() > MAX_TAG || !tag.is_ascii() {
            return Err(Error::invalid(format!(
                "spark.yarn.tags: {tag:?} is not of at most {MAX_TAG} ASCII characters"
            )));
        }
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if tags.len() > MAX_TAGS - OWN_TAGS {
        return Err(Error::invalid(format!(
            "spark.yarn.tags: {} tags are more than {}: YARN takes {MAX_TAGS}, of which {OWN_TAGS} are ours",
            tags.len(),
            MAX_TAGS - OWN_TAGS
        )));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_in_lower_case_and_few() {
        let of = |text: &str| tags(&[("spark.yarn.tags", text)].into_iter().collect());
        assert_eq!(of(" Nightly, etl,ETL ,").unwrap(), ["nightly", "etl"]);
        assert!(of("ü").is_err() && of(&"x".repeat(101)).is_err());
        assert!(of("1,2,3,4,5,6,7,8").unwrap_err().message().contains("more than 7"));
    }
}

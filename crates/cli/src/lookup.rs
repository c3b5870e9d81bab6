//! Finds applications by what people type: an id, the beginning of one, or a pattern.

use anymaster_core::model::{AppId, DriverStatus, Filter, Status, Unreadable};
use anymaster_core::text::{clipped, printable};
use anymaster_core::{ClusterManager, Error, ErrorKind, Result};

/// How many ids an error lists.
const SHOWN: usize = 5;

/// The applications of a cluster, as a lookup sees them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The drivers of those that can be read.
    pub(crate) drivers: Vec<DriverStatus>,
    /// The others.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// The driver of the one application that is meant. Others are not looked at if this is its whole id.
///
/// # Errors
/// If there is none, if it cannot be read, or if several ids begin so.
pub(crate) async fn one(cluster: &dyn ClusterManager, text: &str) -> Result<DriverStatus> {
    match by_id(cluster, text).await? {
        Some(driver) => Ok(driver),
        None => named(cluster, [text]).await?.one(text).cloned(),
    }
}

async fn by_id(cluster: &dyn ClusterManager, text: &str) -> Result<Option<DriverStatus>> {
    // `namespace:name` is the id of a submission on Kubernetes, and of no application.
    let app = AppId::new(text).ok().filter(|app| !app.as_str().contains(':'));
    let Some(app) = app else { return Ok(None) };
    match drivers(cluster, Some(app)).await {
        Ok(known) => {
            let is_meant = |driver: &DriverStatus| ids(driver).any(|id| id == text);
            Ok(known.drivers.into_iter().find(is_meant))
        }
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::InvalidSpec => Ok(None),
            _ => Err(error),
        },
    }
}

/// Applications among which those that are named can be found: all of them, or, of a cluster that cannot
/// list them, those of these ids.
///
/// # Errors
/// As the backend's.
pub(crate) async fn named<'a>(
    cluster: &dyn ClusterManager,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Known> {
    let unlisted = match drivers(cluster, None).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => error,
        drivers => return drivers,
    };
    let mut found = Known::default();
    for text in texts {
        let Ok(app) = AppId::new(text) else { return Err(unlisted) };
        found.drivers.extend(drivers(cluster, Some(app)).await?.drivers);
    }
    Ok(found)
}

/// All applications, or one.
///
/// # Errors
/// As the backend's.
pub(crate) async fn drivers(cluster: &dyn ClusterManager, app: Option<AppId>) -> Result<Known> {
    let filter = app.as_ref().map_or_else(Filter::default, Filter::of).drivers_only();
    let mut known = Known::default();
    for status in cluster.list(&filter).await? {
        match status {
            Status::Driver(driver) => known.drivers.push(driver),
            Status::Unreadable(unreadable) => known.unreadable.push(unreadable),
            _ => {}
        }
    }
    Ok(known)
}

impl Known {
    /// The driver of the application that an id, or the beginning of one, names.
    ///
    /// # Errors
    /// As [`one`].
    pub(crate) fn one(&self, text: &str) -> Result<&DriverStatus> {
        let picked = pick(&self.drivers, text);
        match self.unreadable_by(|app| !text.is_empty() && app.starts_with(text)).next() {
            Some(error) if picked.is_err() => Err(error),
            _ => picked,
        }
    }

    /// The drivers that a pattern with `*` and `?` names, or the one that an id names.
    ///
    /// # Errors
    /// As [`one`]; if a pattern matches nothing.
    pub(crate) fn several(&self, text: &str) -> Result<Vec<&DriverStatus>> {
        if !is_pattern(text) {
            return self.one(text).map(|driver| vec![driver]);
        }
        let found: Vec<_> =
            self.drivers.iter().filter(|driver| ids(driver).any(|id| matches(text, id))).collect();
        if found.is_empty() && self.unreadable_like(text).next().is_none() {
            return Err(Error::not_found(format!("no application matches {text:?}"))
                .with_hint("anymaster ps -a lists them"));
        }
        Ok(found)
    }

    /// An error for each application that a pattern names and that cannot be read.
    pub(crate) fn unreadable_like(&self, pattern: &str) -> impl Iterator<Item = Error> {
        self.unreadable_by(move |app| is_pattern(pattern) && matches(pattern, app))
    }

    fn unreadable_by(&self, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = Error> {
        self.unreadable.iter().filter(move |it| is_meant(it.app.as_str())).map(cannot_show)
    }
}

/// What is said of an application that cannot be read.
pub(crate) fn cannot_show(unreadable: &Unreadable) -> Error {
    Error::protocol(format!("{} cannot be shown: {}", unreadable.app, unreadable.why))
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn pick<'a>(drivers: &'a [DriverStatus], text: &str) -> Result<&'a DriverStatus> {
    if let Some(driver) = drivers.iter().find(|driver| ids(driver).any(|id| id == text)) {
        return Ok(driver);
    }
    let candidates: Vec<_> = drivers
        .iter()
        .filter(|driver| !text.is_empty() && ids(driver).any(|id| id.starts_with(text)))
        .collect();
    match candidates.as_slice() {
        [driver] => Ok(driver),
        [] => Err(unknown(drivers, text)),
        several => {
            let mut lines = vec!["one of these is meant; type more of it:".to_owned()];
            lines.extend(several.iter().take(SHOWN).map(|driver| {
                let name = printable(clipped(&driver.name, 80).as_ref()).into_owned();
                format!("{}  {name}  {}", driver.submission, driver.state.word())
            }));
            if several.len() > SHOWN {
                lines.push(format!("and {} more", several.len() - SHOWN));
            }
            Err(Error::conflict(format!("{} applications begin with {text:?}", several.len()))
                .with_hint(lines.join("\n")))
        }
    }
}

fn unknown(drivers: &[DriverStatus], text: &str) -> Error {
    let by_name = drivers.iter().rev().find(|driver| &*driver.name == text);
    let by_likeness = || {
        drivers
            .iter()
            .flat_map(ids)
            .map(|id| (strsim::jaro_winkler(id, text), id))
            .filter(|(likeness, _)| *likeness > 0.93)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
    };
    let error = Error::not_found(format!("no application {text:?}"));
    match (by_name, by_likeness()) {
        (Some(driver), _) => error.with_hint(format!(
            "that is a name; the newest application with it is {}",
            driver.submission
        )),
        (None, Some((_, id))) => error.with_hint(format!("did you mean {id}?")),
        (None, None) => error.with_hint("anymaster ps -a lists them"),
    }
}

fn ids(driver: &DriverStatus) -> impl Iterator<Item = &str> {
    let submission = driver.submission.as_str();
    // On Kubernetes `namespace:pod`: the pod's name alone is enough for people.
    let pod = submission.split_once(':').map(|(_, pod)| pod);
    let chosen = driver.chosen.as_ref().map(|id| id.as_str());
    [Some(submission), Some(driver.app.as_str()), pod, chosen].into_iter().flatten()
}

/// Whether a pattern of `*` (any text), `?` (any character) and other characters fits all of `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when the last `*` has to swallow one more byte.
    let mut retry = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, seen));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after_star, swallowed)) = retry else { return false };
                retry = Some((after_star, swallowed + 1));
                (at, seen) = (after_star, swallowed + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::State;

    use super::*;
    use crate::view::samples::driver;

    fn drivers() -> Vec<DriverStatus> {
        ["app-20260101-aaaa", "app-20260101-abbb", "app-20260202-cccc"]
            .into_iter()
            .map(|id| match driver(id, "pi", State::Running, 1) {
                Status::Driver(driver) => driver,
                _ => unreachable!("a driver"),
            })
            .collect()
    }

    #[test]
    fn an_id_or_an_unambiguous_beginning_is_enough() {
        let drivers = drivers();
        for text in ["app-20260202-cccc", "app-202602"] {
            assert_eq!(pick(&drivers, text).unwrap().app.as_str(), "app-20260202-cccc");
        }
        let error = pick(&drivers, "app-20260101").unwrap_err();
        insta::assert_debug_snapshot!(error, @r#"
        conflict: 2 applications begin with "app-20260101" (one of these is meant; type more of it:
        app-20260101-aaaa  pi  Running
        app-20260101-abbb  pi  Running)
        "#);
    }

    #[test]
    fn an_unknown_id_gets_a_suggestion() {
        let drivers = drivers();
        let hint = |text| pick(&drivers, text).unwrap_err().hint().unwrap().to_owned();
        assert_eq!(hint("app-20260203-cccc"), "did you mean app-20260202-cccc?");
        assert_eq!(
            hint("pi"),
            "that is a name; the newest application with it is app-20260202-cccc"
        );
        assert_eq!(hint("x"), "anymaster ps -a lists them");
        assert_eq!(hint(""), "anymaster ps -a lists them");
    }

    #[test]
    fn patterns_name_several() {
        let drivers = drivers();
        let damaged = Unreadable::new(AppId::new("damaged").unwrap(), "no access");
        let known = Known { drivers, unreadable: vec![damaged] };
        assert_eq!(known.several("app-20260101*").unwrap().len(), 2);
        assert_eq!(known.several("*").unwrap().len(), 3);
        assert_eq!(known.several("app-20260202-cccc").unwrap().len(), 1);
        assert!(known.several("*x").is_err());
        assert_eq!(known.unreadable_like("d*").count(), 1);
        assert!(known.several("d*").unwrap().is_empty());
        for text in ["damaged", "dam"] {
            let error = known.several(text).unwrap_err();
            assert_eq!(error.message(), "damaged cannot be shown: no access");
        }
    }

    #[test]
    fn patterns_fit_the_whole_text() {
        let cases = [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab", "abcabab", true),
            ("ab", "abc", false),
            ("a**", "a", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}

use anymaster_core::model::{Cause, KilledBy};
use jiff::Timestamp;

use super::*;
use crate::timeline::{Bar, Marks};

fn timeline(executors: u64) -> Timeline {
    let bar = |id: u64| Bar {
        id: Some(id),
        host: Some(format!("node-{:03}.cluster.example.com", id % 500)),
        seen: id as f64 / 1000.0,
        started: Some(1.5 + id as f64 / 1000.0),
        ended: Some(600.123),
        cause: Some(match id % 50 {
            0 => Cause::Lost { why: "node lost </script><script>alert(1)</script>".into() },
            _ => Cause::Killed { by: KilledBy::DriverEnd },
        }),
        ..Bar::default()
    };
    Timeline {
        began: Timestamp::UNIX_EPOCH,
        length: 601.0,
        marks: Marks { submitted: Some(0.1), driver: Some(1.0), ..Marks::default() },
        driver: Bar { started: Some(1.0), ended: Some(600.0), ..Bar::default() },
        executors: (1..=executors).map(bar).collect(),
        lost: executors / 50,
        replaced: 0,
    }
}

fn of(executors: u64) -> String {
    of_application("a name", "app-1", "finished", &[], &timeline(executors))
}

#[test]
fn a_page_of_10_000_executors_is_less_than_a_mebibyte() {
    let page = of(10_000);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    assert!(page.contains("10000 in all, 200 lost"));
}

#[test]
fn a_page_has_an_end_however_many_executors_there_are() {
    let page = of(60_000);
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    assert!(page.contains("The list has 20000 of 60000 executors"));
}

#[test]
fn nothing_is_fetched_and_no_text_becomes_markup() {
    let page = of(100);
    for word in ["http://", "https://", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    // The page's own scripts: the list, and what shows it.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    let hostile = of_application("<b>&\"", "a", "x", &["<i>".to_owned()], &timeline(1));
    assert!(!hostile.contains("<b>") && !hostile.contains("<i>"));
}

//! The page of a comparison, in a real browser.

use anymaster_compare::{Bar, Marks, Timeline, page};
use anymaster_core::model::{Cause, KilledBy};
use anymaster_test_support::browser::Browser;
use anymaster_test_support::home::Home;
use jiff::Timestamp;
use serde_json::json;

/// A page as it is loaded from a file.
fn url(home: &Home, name: &str) -> String {
    format!("file://{}", home.path().join(name).display())
}

/// An application with so many executors, of which each fiftieth was lost.
fn timeline(executors: u64) -> Timeline {
    let bar = |id: u64| {
        let mut bar = Bar::default();
        bar.id = Some(id);
        bar.host = Some(format!("node-{:03}.cluster.example.com", id % 500));
        bar.started = Some(1.5 + id as f64 / 1000.0);
        bar.ended = Some(600.123);
        bar.cause = Some(match id % 50 {
            0 => Cause::Lost { why: "node lost".into() },
            _ => Cause::Killed { by: KilledBy::DriverEnd },
        });
        bar
    };
    Timeline {
        began: Timestamp::UNIX_EPOCH,
        length: 601.0,
        marks: Marks { submitted: Some(0.1), driver: Some(1.0), ..Marks::default() },
        driver: Bar::default(),
        executors: (1..=executors).map(bar).collect(),
        lost: executors / 50,
        replaced: 0,
    }
}

#[test]
#[ignore = "needs Chromium"]
fn a_report_is_read_on_any_screen_and_fetches_nothing() {
    let home = Home::new();
    let executor = "sh -c '[ $ANYMASTER_EXECUTOR_ID = 2 ] && exit 3; sleep 60'";
    let said = home.call(&[
        "compare",
        "--master",
        "local[4]",
        "--master",
        "local-cluster[2,2,1024]",
        "--runs",
        "2",
        "--report",
        "report.html",
        "--",
        "run",
        "--executors",
        "3",
        "--driver",
        "sleep 1",
        "--executor",
        executor,
    ]);
    said.expect(0, &["the report is in report.html"]);
    let browser = Browser::open(true);
    for (width, scheme) in [(1200, "light"), (1200, "dark"), (390, "light")] {
        browser.look(width, 900, scheme);
        browser.go(&url(&home, "report.html"));
        let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
        assert_eq!(browser.run(fits), true, "{width}: nothing sticks out");
        let paper = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(paper == json!("rgb(255, 255, 255)"), scheme == "light", "{scheme}: {paper}");
        assert!(browser.value("screenshot").len() > 10_000);
    }
    let text = browser.run("return document.querySelector('main').innerText");
    let text = text.as_str().unwrap();
    for word in
        ["local[4]", "local-cluster[2,2,1024]", "2 of 2", "exited with code 3", "Run 2: finished"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Of the executors, those that failed can be picked out.
    browser.run(
        "const select = document.querySelector('select'); select.value = '2'; \
         select.dispatchEvent(new Event('change'))",
    );
    let rows =
        "return [...document.querySelector('.executors tbody').rows].map((row) => row.innerText)";
    let rows = browser.run(rows);
    let [row] = rows.as_array().unwrap().as_slice() else { panic!("{rows}") };
    assert!(row.as_str().unwrap().contains("exited with code 3"), "{row}");
    let fetched = browser.run("return performance.getEntriesByType('resource').length");
    assert_eq!(fetched, 0, "nothing is fetched");
}

#[test]
#[ignore = "needs Chromium"]
fn a_report_of_10_000_executors_is_ready_within_a_second() {
    let home = Home::new();
    let page = page::of_application("large", "app-1", "finished", &[], &timeline(10_000));
    assert!(page.len() <= 1 << 20, "{} bytes", page.len());
    home.file("large.html", &page);
    let browser = Browser::open(true);
    browser.go(&url(&home, "large.html"));
    // When the scripts have run: the list is filled, and can be searched.
    let ready = browser.run("return performance.getEntriesByType('navigation')[0].domInteractive");
    let searched = browser.run(
        "const before = performance.now(); const input = document.querySelector('input'); input.value = \
         'node lost'; input.dispatchEvent(new Event('input')); return performance.now() - before",
    );
    assert!(ready.as_f64().unwrap() < 1000.0, "ready after {ready} ms");
    assert!(searched.as_f64().unwrap() < 300.0, "searched for {searched} ms");
    let place = browser.run("return document.querySelector('[role=status]').textContent");
    assert_eq!(place, "1–50 of 200");
    let text = browser.run("return document.querySelector('main').innerText");
    assert!(text.as_str().unwrap().contains("10000 in all, 200 lost"), "{text}");
}

#[test]
#[ignore = "needs Chromium"]
fn a_report_needs_no_scripts_but_for_single_executors() {
    let home = Home::new();
    let run = ["run", "--submission-id", "plain", "--master", "local[2]", "--driver", "true"];
    home.call(&run).expect(0, &[]);
    home.call(&["report", "plain", "--report", "plain.html"]).expect(0, &["plain.html"]);
    let browser = Browser::open(false);
    browser.go(&url(&home, "plain.html"));
    let source = browser.value("source");
    assert!(source.contains("driver: finished") && source.contains(">plain<"), "{source}");
}

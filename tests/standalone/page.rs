//! The page, in a real browser.

use anymaster_test_support::browser::Browser;
use anymaster_test_support::home::eventually;
use anymaster_test_support::standalone::{Cluster, curl};

#[test]
#[ignore = "needs Chromium"]
fn the_page_shows_what_there_is_as_it_changes() {
    let cluster = Cluster::new(2, &[]);
    let browser = Browser::open(true);
    browser.go(&cluster.page("/"));
    let source = browser.value("source");
    assert_eq!(source.matches("worker-20").count() / 2, 2, "{source}");
    assert!(source.contains("<title>Master at spark://127.0.0.1:"), "{source}");
    browser.run("window.sameDocument = true");

    // What happens is there without the page being loaded again.
    let started = cluster.run("shown-live", 2);
    cluster.until_running("shown-live", 2);
    eventually("the page shows the application", || {
        let text = browser.run("return document.querySelector('main').innerText");
        let text = text.as_str().unwrap();
        (text.contains("shown-live") && text.contains("2 of 2")).then_some(())
    });
    assert_eq!(browser.run("return window.sameDocument"), true);
    // It can be found by following links.
    browser.run("document.querySelector('a[href=\"/app/shown-live\"]').click()");
    eventually("the application's page", || {
        (browser.run("return location.pathname") == "/app/shown-live").then_some(())
    });
    let width = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.run(width), true, "nothing sticks out");
    let picture = browser.value("screenshot");
    assert!(picture.len() > 10_000, "a picture of {} bytes", picture.len());
    let errors = browser.run("return performance.getEntriesByType('resource').length");
    assert!(errors.as_u64().unwrap() <= 2, "nothing is fetched from elsewhere");

    cluster.call("kill", &["shown-live"]).expect(0, &[]);
    started.wait().expect(143, &[]);
    eventually("its end is shown", || {
        let text = browser.run("return document.querySelector('main').innerText");
        text.as_str().unwrap().contains("killed on request").then_some(())
    });
}

#[test]
#[ignore = "needs Chromium"]
fn the_page_needs_no_scripts() {
    let cluster = Cluster::new(1, &[]);
    let started = cluster.run("plain", 1);
    cluster.until_running("plain", 1);
    let browser = Browser::open(false);
    let dump = |path: &str| {
        browser.go(&cluster.page(path));
        browser.value("source")
    };
    assert!(dump("/").contains("href=\"/app/plain\""));
    assert!(dump("/app/plain").contains("href=\"/logs/plain/1\""));
    assert!(dump("/logs/plain/driver").contains("stdout"));
    assert!(dump("/app/nobody").contains("There is no application nobody"));
    assert!(dump("/app/%3Cscript%3E").contains("application &lt;script&gt;"));
    let missing = curl(&["-o", "/dev/null", "-w", "%{http_code}", &cluster.page("/logs/../1")]);
    assert_eq!(missing, "404");
    cluster.call("kill", &["plain"]).expect(0, &[]);
    started.wait().expect(143, &[]);
}

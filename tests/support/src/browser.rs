//! Chromium, as a test drives it.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::home::eventually;
use crate::ports::free_port;
use crate::standalone::curl;

const ARGUMENTS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Chromium, driven by its ChromeDriver.
pub struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

fn post(url: &str, body: &Value) -> Value {
    let body = body.to_string();
    let said = curl(&["-H", "Content-Type: application/json", "--data-binary", &body, url]);
    serde_json::from_str(&said).unwrap()
}

impl Browser {
    /// Whether scripts of pages run.
    pub fn open(scripts: bool) -> Self {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let base = format!("http://127.0.0.1:{port}");
        eventually("chromedriver answers", || {
            let status = Command::new("curl").args(["-s", &format!("{base}/status")]).output();
            String::from_utf8_lossy(&status.unwrap().stdout)
                .contains("\"ready\":true")
                .then_some(())
        });
        let profile = tempfile::tempdir().unwrap();
        let own = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([own.as_str()]).collect();
        let setting = "profile.managed_default_content_settings.javascript";
        let preferences = json!({setting: if scripts { 1 } else { 2 }});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments, "prefs": preferences}
        }}});
        let opened = post(&format!("{base}/session"), &wanted);
        let id = opened["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{opened}"));
        Self { driver, session: format!("{base}/session/{id}"), _profile: profile }
    }

    /// As wide and high as this, and as a person with this taste sees it: `light` or `dark`.
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        let tell = |command: &str, parameters: Value| {
            let body = json!({"cmd": command, "params": parameters});
            post(&format!("{}/goog/cdp/execute", self.session), &body);
        };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        tell("Emulation.setDeviceMetricsOverride", size);
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        tell("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    pub fn go(&self, url: &str) {
        post(&format!("{}/url", self.session), &json!({"url": url}));
    }

    pub fn value(&self, what: &str) -> String {
        let said: Value =
            serde_json::from_str(&curl(&[&format!("{}/{what}", self.session)])).unwrap();
        said["value"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    pub fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        post(&format!("{}/execute/sync", self.session), &body)["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = Command::new("curl").args(["-s", "-X", "DELETE", &self.session]).output();
        self.driver.kill().unwrap();
        self.driver.wait().unwrap();
    }
}

//! Submissions over REST.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Asks over REST, over a connection of its own; what the master said.
pub fn rest(
    port: u16,
    method: &str,
    action: &str,
    body: &str,
) -> Result<serde_json::Value, String> {
    let request = format!(
        "{method} /v1/submissions/{action} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let json = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

/// Submits a program over REST; its id, if that was acknowledged, or what the master said.
pub fn submit_program(port: u16, program: &str, arguments: &[&str]) -> Result<String, String> {
    let body = serde_json::json!({
        "action": "CreateSubmissionRequest", "appArgs": arguments, "appResource": program,
        "clientSparkVersion": "4.0.5", "environmentVariables": {}, "mainClass": "",
        "sparkProperties": {"spark.app.name": "small", "spark.driver.memory": "1m"},
    });
    let said = rest(port, "POST", "create", &body.to_string())?;
    match (said["success"].as_bool(), said["submissionId"].as_str()) {
        (Some(true), Some(id)) => Ok(id.to_owned()),
        _ => Err(said["message"].to_string()),
    }
}

/// Spark's word for where a driver is.
pub fn state(port: u16, id: &str) -> Option<String> {
    let status = rest(port, "GET", &format!("status/{id}"), "").ok()?;
    Some(status["driverState"].as_str()?.to_owned())
}

//! A browser, driven by the protocol WebDriver through chromedriver.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use grasptests::lab::{Node, eventually};
use serde_json::{Value, json};

/// How long a browser may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser in a node. Closed when dropped.
pub(crate) struct Browser {
    node: Node,
    driver: Child,
    port: u16,
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// Opens a page.
    pub(crate) fn open(node: &Node, url: &str) -> Self {
        let port = node.run(|| {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        });
        let driver = program(&["/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver"]);
        let mut command: Command = node.command(driver);
        command
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let driver = command.spawn().expect("chromedriver starts");
        let profile = std::env::temp_dir().join(format!("grasp-bubbles-{}-{port}", std::process::id()));
        std::fs::create_dir(&profile).unwrap();
        let mut browser =
            Self { node: node.clone(), driver, port, session: String::new(), profile: profile.clone() };
        eventually(PATIENCE, "chromedriver is ready", || {
            browser.try_call("GET", "/status", None).is_ok_and(|status| status["ready"] == true)
        });
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1300,900",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let chrome = json!({ "binary": program(&["/usr/bin/chromium"]), "args": arguments });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": chrome,
            "goog:loggingPrefs": { "browser": "ALL" } });
        let started =
            browser.call("POST", "/session", Some(json!({ "capabilities": { "alwaysMatch": wanted } })));
        browser.session = started["sessionId"].as_str().expect("a session").to_owned();
        browser.ask("POST", "url", Some(json!({ "url": url })));
        browser
    }

    /// Where it runs.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Runs a script in the page and returns what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.ask("POST", "execute/sync", Some(json!({ "script": script, "args": [] })))
    }

    /// Waits until a script returns true.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, script: &str) {
        eventually(PATIENCE, what, || self.run(script) == true);
    }

    /// Clicks on the first element that a selector finds, as a user does.
    pub(crate) fn click(&self, selector: &str) {
        let found = self.ask("POST", "element", Some(json!({ "using": "css selector", "value": selector })));
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let element = element.unwrap_or_else(|| panic!("{selector}: {found}"));
        self.ask("POST", &format!("element/{element}/click"), Some(json!({})));
    }

    /// From now on scripts run in a frame of the page.
    pub(crate) fn enter_frame(&self, number: usize) {
        self.ask("POST", "frame", Some(json!({ "id": number })));
    }

    /// And again in the page itself.
    pub(crate) fn leave_frame(&self) {
        self.ask("POST", "frame", Some(json!({ "id": null })));
    }

    /// What the page's console says of errors.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "se/log", Some(json!({ "type": "browser" })));
        let entries = log.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    fn ask(&self, method: &str, what: &str, body: Option<Value>) -> Value {
        self.call(method, &format!("/session/{}/{what}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.try_call(method, path, body.clone())
            .unwrap_or_else(|error| panic!("{method} {path} {body:?}: {error}"))
    }

    /// One request on a connection of its own.
    fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = self.node.run(|| TcpStream::connect(("127.0.0.1", self.port))).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        let mut chunk = [0; 8192];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.to_ascii_lowercase().lines().find_map(|line| {
                    line.strip_prefix("content-length:")
                        .and_then(|length| length.trim().parse::<usize>().ok())
                });
                if length.is_some_and(|length| body.len() >= length) {
                    let answer: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
                    let value = answer["value"].clone();
                    return if head.contains(" 200 ") { Ok(value) } else { Err(value.to_string()) };
                }
            }
            match stream.read(&mut chunk).map_err(failed)? {
                0 => return Err("the answer is cut".to_owned()),
                count => answer.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_call("DELETE", &format!("/session/{}", self.session), None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

fn program(paths: &[&str]) -> String {
    let found = paths.iter().find(|path| Path::new(path).exists());
    (*found.unwrap_or_else(|| panic!("none of {paths:?}: apt-get install chromium chromium-driver")))
        .to_owned()
}

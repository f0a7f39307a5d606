//! A real Chromium without a window, on a machine, driven through chromedriver (W3C WebDriver).

use crate::machine::Machine;
use crate::node::PATIENCE;
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Where chromedriver listens, on the machine's loopback.
const PORT: u16 = 9515;
/// How long one command may take: a browser starts in seconds.
const COMMAND: Duration = Duration::from_secs(60);
/// The property of a WebDriver answer that holds an element's name (W3C WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that write nothing, in WebDriver's code points.
pub mod keys {
    /// Enter.
    pub const ENTER: &str = "\u{e007}";
    /// Escape.
    pub const ESCAPE: &str = "\u{e00c}";
    /// Tab.
    pub const TAB: &str = "\u{e004}";
    /// Shift, which stays down until [`NULL`].
    pub const SHIFT: &str = "\u{e008}";
    /// Control.
    pub const CONTROL: &str = "\u{e009}";
    /// Down.
    pub const DOWN: &str = "\u{e015}";
    /// Lets go of all that is held.
    pub const NULL: &str = "\u{e000}";
}

/// A browser with one tab. Ends with everything it started.
pub struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    /// Starts one on a machine, in whose namespace the calling thread is from then on.
    ///
    /// # Errors
    /// When Chromium or chromedriver is not there.
    pub fn start(machine: &Machine) -> Result<Self> {
        machine.enter()?;
        let driver = machine
            .command("chromedriver")
            .arg(format!("--port={PORT}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("running chromedriver")?;
        let mut browser = Self { driver, session: String::new() };
        wait::until("chromedriver", PATIENCE, || browser.call("GET", "/status", None).map(drop))?;
        // The tests are root; what is downloaded and shown is the test's own.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,860",
            "--force-prefers-reduced-motion",
            "--hide-scrollbars",
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let made = browser.call("POST", "/session", Some(&wanted))?;
        let id = made["sessionId"].as_str().context("a session")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.command("POST", "/url", &json!({"url": url})).map(drop)
    }

    /// What a script answers (the body of a function).
    ///
    /// # Errors
    /// When it throws.
    pub fn script(&self, script: &str) -> Result<Value> {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// After [`PATIENCE`], with what the page shows.
    pub fn until(&self, what: &str, expression: &str) -> Result<()> {
        wait::until(what, PATIENCE, || {
            let holds = self.script(&format!("return Boolean({expression})"))?;
            ensure!(holds == true, "the page shows: {}", self.text("main, .login")?);
            Ok(())
        })
    }

    /// Waits until the text of an element holds something.
    ///
    /// # Errors
    /// After [`PATIENCE`], with what the page shows.
    pub fn shows(&self, selector: &str, text: &str) -> Result<()> {
        let wanted = json!([selector, text]);
        self.until(
            &format!("{selector} with {text:?}"),
            &format!(
                "[...document.querySelectorAll({0}[0])].some((one) => one.innerText.includes({0}[1]))",
                wanted
            ),
        )
    }

    /// The text of the first element of a selector; empty when there is none.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn text(&self, selector: &str) -> Result<String> {
        let text =
            self.script(&format!("return document.querySelector({})?.innerText ?? ''", json!(selector)))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    fn element(&self, selector: &str) -> Result<String> {
        let found = self.command("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        Ok(found[ELEMENT].as_str().context("an element")?.to_owned())
    }

    /// Clicks an element once it is there and nothing lies over it.
    ///
    /// # Errors
    /// After [`PATIENCE`].
    pub fn click(&self, selector: &str) -> Result<()> {
        wait::until(&format!("{selector} to click"), PATIENCE, || {
            let element = self.element(selector)?;
            self.command("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
        })
    }

    /// Writes into an element.
    ///
    /// # Errors
    /// When it is not there.
    pub fn write(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.command("POST", &format!("/element/{element}/value"), &json!({"text": text})).map(drop)
    }

    /// Presses keys, wherever the focus is. What [`keys::SHIFT`] and [`keys::CONTROL`] hold stays down until the end.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn press(&self, text: &str) -> Result<()> {
        let mut actions = Vec::new();
        let mut held = Vec::new();
        for key in text.chars().map(String::from) {
            actions.push(json!({"type": "keyDown", "value": key}));
            if key == keys::SHIFT || key == keys::CONTROL {
                held.push(key);
            } else {
                actions.push(json!({"type": "keyUp", "value": key}));
            }
        }
        actions.extend(held.iter().map(|key| json!({"type": "keyUp", "value": key})));
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command("POST", "/actions", &keyboard).map(drop)
    }

    /// Stores a picture of the page.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn picture(&self, path: &Path) -> Result<()> {
        let encoded = self.call("GET", &format!("{}/screenshot", self.session), None)?;
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(encoded.as_str().context("a picture")?)?;
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }

    /// What the page and the browser have complained about since this was asked before.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.command("POST", "/se/log", &json!({"type": "browser"}))?;
        let lines = log.as_array().into_iter().flatten();
        Ok(lines.filter_map(|line| Some(line["message"].as_str()?.to_owned())).collect())
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.call(method, &format!("{}{path}", self.session), Some(body))
    }

    /// One request of WebDriver on a connection of its own.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
        stream.set_read_timeout(Some(COMMAND))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        // chromedriver keeps connections, whatever it is asked.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(reader.read_line(&mut line)? > 0, "{method} {path}: the answer ends in its head");
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        let value = serde_json::from_slice::<Value>(&answer)?["value"].take();
        if let Some(error) = value.get("error").filter(|error| error.is_string()) {
            bail!("{method} {path}: {error}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.call("DELETE", &self.session, None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

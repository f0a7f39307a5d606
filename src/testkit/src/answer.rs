//! A response as tests look at it.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When the code is another.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        self.json()
    }

    /// `message` of a Status.
    pub fn message(&self) -> String {
        self.json().get("message").and_then(Value::as_str).unwrap_or("").to_owned()
    }

    /// All `Warning` headers.
    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all(http::header::WARNING);
        all.iter().map(|v| v.to_str().unwrap_or("").to_owned()).collect()
    }
}

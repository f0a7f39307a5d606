//! Writes a document piece by piece.

use serde_json::Value;
use std::io::{self, Write};

/// Takes a document's pieces in order: fields, and collections of entries.
pub(super) trait Sink {
    /// A whole field of the document.
    fn field(&mut self, name: &'static str, value: &Value) -> io::Result<()>;
    /// Begins a collection.
    fn open(&mut self, name: &'static str) -> io::Result<()>;
    /// An entry of the innermost collection.
    fn entry(&mut self, name: &str, value: &Value) -> io::Result<()>;
    /// Ends the innermost collection.
    fn close(&mut self) -> io::Result<()>;
}

/// Writes JSON without spaces.
pub(super) struct JsonSink<W> {
    out: W,
    /// Whether the object that is open has an entry yet.
    started: bool,
}

impl<W: Write> JsonSink<W> {
    /// Begins a document.
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"{")?;
        Ok(Self { out, started: false })
    }

    /// Ends the document.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(b"}")?;
        Ok(self.out)
    }

    fn name(&mut self, name: &str) -> io::Result<()> {
        if self.started {
            self.out.write_all(b",")?;
        }
        self.started = true;
        serde_json::to_writer(&mut self.out, name)?;
        self.out.write_all(b":")
    }
}

impl<W: Write> Sink for JsonSink<W> {
    fn field(&mut self, name: &'static str, value: &Value) -> io::Result<()> {
        self.entry(name, value)
    }

    fn open(&mut self, name: &'static str) -> io::Result<()> {
        self.name(name)?;
        self.started = false;
        self.out.write_all(b"{")
    }

    fn entry(&mut self, name: &str, value: &Value) -> io::Result<()> {
        self.name(name)?;
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }

    fn close(&mut self) -> io::Result<()> {
        self.started = true;
        self.out.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_become_one_object() {
        let mut sink = JsonSink::new(Vec::new()).unwrap();
        sink.field("a", &json!(1)).unwrap();
        sink.open("b").unwrap();
        sink.open("empty").unwrap();
        sink.close().unwrap();
        sink.entry("c \"d\"", &json!([])).unwrap();
        sink.entry("e", &json!({})).unwrap();
        sink.close().unwrap();
        sink.field("f", &json!("g")).unwrap();
        let text = String::from_utf8(sink.finish().unwrap()).unwrap();
        assert_eq!(text, r#"{"a":1,"b":{"empty":{},"c \"d\"":[],"e":{}},"f":"g"}"#);
    }
}

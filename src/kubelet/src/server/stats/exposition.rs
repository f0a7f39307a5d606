//! Metric families in the Prometheus text format, with the time of each sample.

use std::fmt::Write;

use jiff::Timestamp;

/// One metric family with its samples (labels, value, time).
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, f64, Option<Timestamp>)>,
}

/// A family that goes up only.
pub(super) fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "counter", samples: Vec::new() }
}

/// A family that goes up and down.
pub(super) fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "gauge", samples: Vec::new() }
}

impl Family {
    /// Adds what was measured, if it was. Labels are as they are written, without braces.
    pub(super) fn push(&mut self, labels: &str, value: Option<f64>, time: Timestamp) {
        if let Some(value) = value {
            self.samples.push((labels.to_owned(), value, Some(time)));
        }
    }

    /// Adds what is so now.
    pub(super) fn push_now(&mut self, labels: &str, value: f64) {
        self.samples.push((labels.to_owned(), value, None));
    }
}

/// Core seconds.
pub(super) fn seconds(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

/// A number as samples have it.
pub(super) fn number(number: Option<u64>) -> Option<f64> {
    number.map(|number| number as f64)
}

/// Writes the families that have samples; `stability` goes before their help.
pub(super) fn write<'a>(families: impl IntoIterator<Item = &'a Family>, stability: &str) -> String {
    let mut text = String::new();
    for family in families.into_iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {} {stability}{}", family.name, family.help);
        let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind);
        for (labels, value, time) in &family.samples {
            text.push_str(family.name);
            if !labels.is_empty() {
                let _ = write!(text, "{{{labels}}}");
            }
            let _ = write!(text, " {value}");
            if let Some(time) = time {
                let _ = write!(text, " {}", time.as_millisecond());
            }
            text.push('\n');
        }
    }
    text
}

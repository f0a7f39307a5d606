//! What a request for logs wants (core/v1 `PodLogOptions`).

use jiff::{SignedDuration, Timestamp};

use super::super::route::Query;
use super::format::Stream;

/// Options of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on when the end is reached, until the container ends.
    pub follow: bool,
    /// The instance before the current one.
    pub previous: bool,
    /// A time in front of every line.
    pub timestamps: bool,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// Only the last lines. 0 = none of those that are there.
    pub tail_lines: Option<u64>,
    /// No more bytes than this.
    pub limit_bytes: Option<u64>,
    /// Only one of the two streams.
    pub stream: Option<Stream>,
}

impl LogOptions {
    /// Reads a query.
    pub(in crate::server) fn parse(query: &Query, now: Timestamp) -> Result<Self, String> {
        let number = |name: &str| -> Result<Option<i64>, String> {
            query
                .get(name)
                .map(|text| text.parse().map_err(|_| format!("{name}: invalid value {text:?}")))
                .transpose()
        };
        let not_negative = |name: &str| match number(name)? {
            Some(value) => u64::try_from(value).map(Some).map_err(|_| format!("{name} must not be negative")),
            None => Ok(None),
        };
        let since = match (number("sinceSeconds")?, query.get("sinceTime")) {
            (Some(_), Some(_)) => {
                return Err("at most one of sinceTime or sinceSeconds may be specified".into());
            }
            (Some(seconds), None) if seconds < 1 => return Err("sinceSeconds must be greater than 0".into()),
            (Some(seconds), None) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
            (None, Some(text)) => {
                Some(text.parse().map_err(|_| format!("sinceTime: invalid value {text:?}"))?)
            }
            (None, None) => None,
        };
        let limit_bytes = not_negative("limitBytes")?;
        if limit_bytes == Some(0) {
            return Err("limitBytes must be greater than 0".into());
        }
        let stream = match query.get("stream") {
            None | Some("All") => None,
            Some("Stdout") => Some(Stream::Stdout),
            Some("Stderr") => Some(Stream::Stderr),
            Some(other) => return Err(format!("stream: unsupported value {other:?}")),
        };
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since,
            tail_lines: not_negative("tailLines")?,
            limit_bytes,
            stream,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_impossible_ones_refused() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let parse = |text: &str| LogOptions::parse(&Query::parse(text), now);
        let options = parse("follow=true&tailLines=0&sinceSeconds=60&timestamps=true&limitBytes=5").unwrap();
        assert_eq!(options.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!((options.tail_lines, options.limit_bytes), (Some(0), Some(5)));
        assert!(options.follow && options.timestamps && !options.previous);
        assert!(parse("sinceTime=2026-01-01T00:00:00%2B01:00").unwrap().since.is_some());
        for wrong in [
            "tailLines=-1",
            "tailLines=x",
            "limitBytes=0",
            "sinceSeconds=0",
            "stream=x",
            "sinceTime=yesterday",
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

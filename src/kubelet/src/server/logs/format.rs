//! Lines of the CRI log format: `TIME STREAM TAGS CONTENT`, where the tag `P` marks a piece of a line that
//! goes on in the next one of its stream, and `F` its end.

use jiff::Timestamp;

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A parsed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds, as the runtime wrote it.
    pub time: &'a str,
    /// Where it was written to.
    pub stream: Stream,
    /// The application's line goes on.
    pub partial: bool,
    /// What the application wrote, without the line feed that `F` stands for.
    pub content: &'a [u8],
}

impl<'a> Line<'a> {
    /// Parses a line (without its line feed); None if it is not in the format, as after a torn write.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = split(line)?;
        let (stream, rest) = split(rest)?;
        // The last field may be empty, even without its separator.
        let (tags, content) = split(rest).unwrap_or((rest, b""));
        let stream = match stream {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let partial = match tags.split(|byte| *byte == b':').next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        let time = std::str::from_utf8(time).ok().filter(|time| time.len() >= 20)?;
        Some(Self { time, stream, partial, content })
    }

    /// Its time.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b' ')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-21T05:00:00.123456789Z";

    #[test]
    fn full_partial_and_empty_lines_are_understood() {
        let parse = |text: &str| {
            Line::parse(text.as_bytes()).map(|line| (line.stream, line.partial, line.content.to_vec()))
        };
        assert_eq!(
            parse(&format!("{TIME} stdout F hello  world")),
            Some((Stream::Stdout, false, b"hello  world".to_vec()))
        );
        assert_eq!(parse(&format!("{TIME} stderr P:x hel")), Some((Stream::Stderr, true, b"hel".to_vec())));
        assert_eq!(parse(&format!("{TIME} stdout F ")), Some((Stream::Stdout, false, Vec::new())));
        assert_eq!(parse(&format!("{TIME} stdout F")), Some((Stream::Stdout, false, Vec::new())));
    }

    #[test]
    fn torn_and_foreign_lines_are_not() {
        for text in [
            "",
            "x",
            "2026 stdout F x",
            "out F x",
            &format!("{TIME} stdin F x"),
            &format!("{TIME} stdout X x"),
            "{\"log\":\"docker\"}",
        ] {
            assert_eq!(Line::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_with_offsets_are_times() {
        let line = Line::parse(b"2026-11-21T05:00:00.5+01:00 stdout F x").unwrap();
        assert_eq!(line.timestamp(), Some("2026-11-21T04:00:00.5Z".parse().unwrap()));
    }
}

//! A scanner over the JSON of stored objects: values are read where they stand, nothing is built.

use super::{MAX_DEPTH, ProtobufError};
use std::borrow::Cow;

pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn error(&self) -> ProtobufError {
        ProtobufError::Json(self.at)
    }

    /// The first byte of what comes next; zero at the end, which begins nothing.
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Takes a byte if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == byte;
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ProtobufError> {
        if self.take(byte) { Ok(()) } else { Err(self.error()) }
    }

    /// Takes a word: `null`, `true`, `false`.
    pub(super) fn word(&mut self, word: &'static str) -> bool {
        self.peek();
        let there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if there {
            self.at += word.len();
        }
        there
    }

    /// Whether an object or list has another entry; `first` is true before the first and false from then on.
    pub(super) fn another(&mut self, end: u8, first: &mut bool) -> Result<bool, ProtobufError> {
        if self.take(end) {
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// The key of an entry, up to its value.
    pub(super) fn key(&mut self) -> Result<Cow<'a, [u8]>, ProtobufError> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, ProtobufError> {
        self.expect(b'"')?;
        let from = self.at;
        self.skip_plain()?;
        let plain = self.text.get(from..self.at).unwrap_or_default();
        if self.take_here(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut out = plain.to_vec();
        loop {
            if self.take_here(b'"') {
                return Ok(Cow::Owned(out));
            }
            self.at += 1;
            self.unescape(&mut out)?;
            let from = self.at;
            self.skip_plain()?;
            out.extend_from_slice(self.text.get(from..self.at).unwrap_or_default());
        }
    }

    fn skip_plain(&mut self) -> Result<(), ProtobufError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += memchr::memchr2(b'"', b'\\', rest).ok_or_else(|| self.error())?;
        Ok(())
    }

    fn take_here(&mut self, byte: u8) -> bool {
        let there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    /// What follows a backslash.
    fn unescape(&mut self, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
        let byte = *self.text.get(self.at).ok_or_else(|| self.error())?;
        self.at += 1;
        out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let c = self.code_point()?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.error()),
        });
        Ok(())
    }

    /// `XXXX` or `XXXX\uXXXX`; what is half a pair is the replacement character, as in Go.
    fn code_point(&mut self) -> Result<char, ProtobufError> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.text.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, ProtobufError> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|d| std::str::from_utf8(d).ok());
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| self.error())?;
        self.at += 4;
        Ok(code)
    }

    /// The text of a number.
    pub(super) fn number(&mut self) -> Result<&'a str, ProtobufError> {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let number = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if number.is_empty() {
            return Err(self.error());
        }
        self.at += number.len();
        std::str::from_utf8(number).map_err(|_| self.error())
    }

    pub(super) fn bool(&mut self) -> Result<bool, ProtobufError> {
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.error())
        }
    }

    /// Any value, as it stands.
    pub(super) fn any(&mut self) -> Result<&'a [u8], ProtobufError> {
        self.peek();
        let from = self.at;
        let mut depth = 0;
        loop {
            match self.peek() {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(ProtobufError::Depth);
                    }
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b't' | b'f' => _ = self.bool()?,
                b'n' => {
                    if !self.word("null") {
                        return Err(self.error());
                    }
                }
                _ => _ = self.number()?,
            }
            if depth == 0 {
                return Ok(self.text.get(from..self.at).unwrap_or_default());
            }
        }
    }

    fn skip_string(&mut self) -> Result<(), ProtobufError> {
        self.at += 1;
        loop {
            self.skip_plain()?;
            if self.take_here(b'"') {
                return Ok(());
            }
            self.at += 2;
        }
    }

    /// Nothing may follow the value.
    pub(super) fn end(&mut self) -> Result<(), ProtobufError> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unescaped() {
        let read = |text: &'static str| Scanner::new(text.as_bytes()).string().map(|s| s.into_owned());
        assert_eq!(read(r#""plain""#).unwrap(), b"plain");
        assert_eq!(
            read(r#""a\"b\\\/\n\u00e9\ud83d\ude00\ud800x""#).unwrap(),
            "a\"b\\/\né😀\u{fffd}x".as_bytes()
        );
        for damaged in ["", "\"", "\"\\", "\"\\u12", "\"\\x\"", "\"\\ud800\\u1\""] {
            assert!(read(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn any_value_is_taken_whole() {
        for text in [r#"{"a":[1,{"b":"}\"]"}],"c":null}"#, "[]", "-1.5e3", "true", r#""x""#] {
            let with_more = format!(" {text},1");
            let mut scanner = Scanner::new(with_more.as_bytes());
            assert_eq!(scanner.any().unwrap(), text.as_bytes());
            assert!(scanner.take(b','));
        }
        assert!(Scanner::new("[".repeat(1000).as_bytes()).any().is_err());
        assert!(Scanner::new(b"{\"a\":").any().is_err());
    }
}

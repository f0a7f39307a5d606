//! `semver('1.2.3')`: semantic versions (semver.org 2.0.0).

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::value::{Opaque, Value};

/// A semantic version. Build metadata is checked and does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre_release: Vec<Identifier>,
}

/// Part of a pre-release: numbers come before names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Name(String),
}

pub(super) const ROWS: &[Row] = &[
    ("semver", "string_to_semver", "(string) -> kubernetes.Semver", |args, _| make(args)),
    ("semver", "string_bool_to_semver", "(string, bool) -> kubernetes.Semver", |args, _| make(args)),
    ("isSemver", "is_semver_string", "(string) -> bool", |args, _| is(args)),
    ("isSemver", "is_semver_string_bool", "(string, bool) -> bool", |args, _| is(args)),
    (
        "isGreaterThan",
        "semver_is_greater_than",
        "kubernetes.Semver.(kubernetes.Semver) -> bool",
        |args, _| compare(args, |order| Value::Bool(order.is_gt())),
    ),
    ("isLessThan", "semver_is_less_than", "kubernetes.Semver.(kubernetes.Semver) -> bool", |args, _| {
        compare(args, |order| Value::Bool(order.is_lt()))
    }),
    ("compareTo", "semver_compare_to", "kubernetes.Semver.(kubernetes.Semver) -> int", |args, _| {
        compare(args, |order| Value::Int(order as i64))
    }),
    ("major", "semver_major", "kubernetes.Semver.() -> int", |args, _| number(args, |[major, _, _]| major)),
    ("minor", "semver_minor", "kubernetes.Semver.() -> int", |args, _| number(args, |[_, minor, _]| minor)),
    ("patch", "semver_patch", "kubernetes.Semver.() -> int", |args, _| number(args, |[_, _, patch]| patch)),
];

fn parse(args: &[Value<'_>]) -> Option<Result<Version, String>> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Some(Version::parse(text)),
        [Value::String(text), Value::Bool(true)] => {
            Some(normalized(text).and_then(|text| Version::parse(&text)))
        }
        _ => None,
    }
}

fn make<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match parse(args) {
        Some(Ok(version)) => Ok(Value::Opaque(Opaque::Semver(Arc::new(version)))),
        Some(Err(error)) => Err(EvaluationError::new(error)),
        None => no_overload(),
    }
}

fn is<'a>(args: &[Value<'a>]) -> Answer<'a> {
    parse(args).map_or_else(no_overload, |parsed| Ok(Value::Bool(parsed.is_ok())))
}

fn compare<'a>(args: &[Value<'a>], of: fn(Ordering) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Semver(a)), Value::Opaque(Opaque::Semver(b))] => Ok(of(a.order(b))),
        _ => no_overload(),
    }
}

fn number<'a>(args: &[Value<'a>], of: fn([u64; 3]) -> u64) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Semver(version))] => Ok(Value::Int(of(version.numbers) as i64)),
        _ => no_overload(),
    }
}

impl Version {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        let (numbers, pre_release) = match text.split_once('-') {
            Some((numbers, pre_release)) => (numbers, Some(pre_release)),
            None => (text, None),
        };
        let parts: Vec<&str> = numbers.split('.').collect();
        let [major, minor, patch] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let number = |name: &str, part: &str| {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("Invalid character(s) found in {name} number {part:?}"));
            }
            if part.len() > 1 && part.starts_with('0') {
                return Err(format!("{name} number must not contain leading zeroes {part:?}"));
            }
            part.parse().map_err(|_| format!("{name} number out of range {part:?}"))
        };
        let numbers = [number("major", major)?, number("minor", minor)?, number("patch", patch)?];
        for part in build.iter().flat_map(|build| build.split('.')) {
            valid("Build meta data", part)?;
        }
        let pre_release: Result<_, String> = pre_release
            .iter()
            .flat_map(|text| text.split('.'))
            .map(|part| {
                valid("Prerelease", part)?;
                if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Ok(Identifier::Name(part.to_owned()));
                }
                number("Numeric PreRelease version", part).map(Identifier::Number)
            })
            .collect();
        Ok(Self { numbers, pre_release: pre_release? })
    }

    /// A release comes after its pre-releases.
    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.pre_release.cmp(&other.pre_release),
            }
        })
    }
}

fn valid(what: &str, part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(format!("Invalid character(s) found in {what} {part:?}"))
}

/// Without a leading `v` and leading zeros, with minor and patch.
fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
    }
    Ok(parts.join("."))
}

fn without_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let stripped = part.trim_start_matches('0');
    if stripped.starts_with(|c: char| c.is_ascii_digit()) {
        stripped.to_owned()
    } else {
        format!("0{stripped}")
    }
}

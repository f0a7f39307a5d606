//! Strings extension (cel-go's `ext.Strings`, version 2) and Kubernetes' `find` and `findAll`.

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[
    ("charAt", "string_char_at_int", "string.(int) -> string", char_at),
    ("indexOf", "string_index_of_string", "string.(string) -> int", index_of),
    ("indexOf", "string_index_of_string_int", "string.(string, int) -> int", index_of),
    ("lastIndexOf", "string_last_index_of_string", "string.(string) -> int", last_index_of),
    ("lastIndexOf", "string_last_index_of_string_int", "string.(string, int) -> int", last_index_of),
    ("join", "list_join", "list(string).() -> string", join),
    ("join", "list_join_string", "list(string).(string) -> string", join),
    ("lowerAscii", "string_lower_ascii", "string.() -> string", |args, context| {
        change(args, context, str::to_ascii_lowercase)
    }),
    ("upperAscii", "string_upper_ascii", "string.() -> string", |args, context| {
        change(args, context, str::to_ascii_uppercase)
    }),
    ("trim", "string_trim", "string.() -> string", |args, context| {
        change(args, context, |text| text.trim().to_owned())
    }),
    ("strings.quote", "strings_quote", "(string) -> string", |args, context| change(args, context, quote)),
    ("replace", "string_replace_string_string", "string.(string, string) -> string", replace),
    ("replace", "string_replace_string_string_int", "string.(string, string, int) -> string", replace),
    ("split", "string_split_string", "string.(string) -> list(string)", split),
    ("split", "string_split_string_int", "string.(string, int) -> list(string)", split),
    ("substring", "string_substring_int", "string.(int) -> string", substring),
    ("substring", "string_substring_int_int", "string.(int, int) -> string", substring),
    ("find", "string_find_string", "string.(string) -> string", find),
    ("findAll", "string_find_all_string", "string.(string) -> list(string)", find_all),
    ("findAll", "string_find_all_string_int", "string.(string, int) -> list(string)", find_all),
];

/// A computed string of the result's making.
fn text<'a>(text: impl Into<String>) -> Answer<'a> {
    Ok(Value::String(Text::from(text.into())))
}

fn change<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>, how: fn(&str) -> String) -> Answer<'a> {
    let [Value::String(from)] = args else { return no_overload() };
    context.allocate(from.len() * 2)?;
    text(how(from))
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn out_of_range(index: i64) -> EvaluationError {
    EvaluationError::new(format!("index out of range: {index}"))
}

/// The byte at which a character begins; the end is a place too.
fn byte_at(text: &str, index: i64) -> Result<usize, EvaluationError> {
    let wanted = usize::try_from(index).map_err(|_| out_of_range(index))?;
    text.char_indices()
        .map(|(byte, _)| byte)
        .chain([text.len()])
        .nth(wanted)
        .ok_or_else(|| out_of_range(index))
}

/// The number of characters before a byte.
fn characters(text: &str, byte: usize) -> i64 {
    text.get(..byte).map_or(0, |before| before.chars().count() as i64)
}

fn char_at<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::String(from), Value::Int(index)] = args else { return no_overload() };
    let byte = byte_at(from, *index)?;
    text(from.get(byte..).and_then(|rest| rest.chars().next()).map(String::from).unwrap_or_default())
}

fn index_of<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let (from, part, start) = match args {
        [Value::String(from), Value::String(part)] => (from, part, 0),
        [Value::String(from), Value::String(part), Value::Int(start)] => (from, part, *start),
        _ => return no_overload(),
    };
    let start = byte_at(from, start)?;
    let found = from.get(start..).and_then(|rest| rest.find(&**part));
    Ok(Value::Int(found.map_or(-1, |at| characters(from, start + at))))
}

fn last_index_of<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let (from, part, last) = match args {
        [Value::String(from), Value::String(part)] => (from, part, from.len()),
        [Value::String(from), Value::String(part), Value::Int(last)] => (from, part, byte_at(from, *last)?),
        _ => return no_overload(),
    };
    // The match may go on beyond the last place where it may begin.
    let mut end = last.saturating_add(part.len()).min(from.len());
    while !from.is_char_boundary(end) {
        end -= 1;
    }
    let found = from.get(..end).and_then(|before| before.rfind(&**part));
    Ok(Value::Int(found.map_or(-1, |at| characters(from, at))))
}

fn join<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return no_overload(),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::String(item) = item? else { return no_overload() };
        context.allocate(item.len() + separator.len())?;
        context.meter.work(1)?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&item);
    }
    text(joined)
}

fn replace<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let (from, old, new, limit) = match args {
        [Value::String(from), Value::String(old), Value::String(new)] => (from, old, new, usize::MAX),
        [Value::String(from), Value::String(old), Value::String(new), Value::Int(limit)] => {
            // A negative limit is none.
            (from, old, new, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    let times = from.matches(&**old).take(limit).count();
    context.allocate(from.len().saturating_add(times.saturating_mul(new.len())))?;
    text(from.replacen(&**old, new, limit))
}

fn split<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let (from, separator, limit) = match args {
        [Value::String(from), Value::String(separator)] => (from, separator, -1),
        [Value::String(from), Value::String(separator), Value::Int(limit)] => (from, separator, *limit),
        _ => return no_overload(),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    context.allocate(from.len())?;
    let parts: Vec<String> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        letters(from, limit)
    } else {
        from.splitn(limit, &**separator).map(str::to_owned).collect()
    };
    context.copy(parts.len())?;
    Ok(Value::list(parts.into_iter().map(|part| Value::String(Text::from(part))).collect()))
}

/// The characters one by one; the last part has what the limit leaves.
fn letters(text: &str, limit: usize) -> Vec<String> {
    let mut parts = Vec::new();
    for (byte, c) in text.char_indices() {
        if parts.len() + 1 == limit {
            parts.extend(text.get(byte..).map(str::to_owned));
            break;
        }
        parts.push(c.to_string());
    }
    parts
}

fn substring<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let (from, start, end) = match args {
        [Value::String(from), Value::Int(start)] => (from, *start, None),
        [Value::String(from), Value::Int(start), Value::Int(end)] => (from, *start, Some(*end)),
        _ => return no_overload(),
    };
    if let Some(end) = end.filter(|end| start > *end) {
        let message = format!("invalid substring range. start: {start}, end: {end}");
        return Err(EvaluationError::new(message));
    }
    let from_byte = byte_at(from, start)?;
    let to_byte = end.map_or(Ok(from.len()), |end| byte_at(from, end))?;
    context.allocate(to_byte - from_byte)?;
    text(from.get(from_byte..to_byte).unwrap_or(""))
}

fn pattern(source: &str) -> Result<regex::Regex, EvaluationError> {
    crate::pattern::compile(source).map_err(|error| EvaluationError::new(format!("Illegal regex: {error}")))
}

fn find<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::String(from), Value::String(source)] = args else { return no_overload() };
    let pattern = pattern(source)?;
    context.allocate(from.len())?;
    text(pattern.find(from).map_or("", |found| found.as_str()))
}

fn find_all<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let (from, source, limit) = match args {
        [Value::String(from), Value::String(source)] => (from, source, -1),
        [Value::String(from), Value::String(source), Value::Int(limit)] => (from, source, *limit),
        _ => return no_overload(),
    };
    let pattern = pattern(source)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for part in pattern.find_iter(from).take(limit) {
        context.copy(1)?;
        context.allocate(part.len())?;
        found.push(Value::String(Text::from(part.as_str().to_owned())));
    }
    Ok(Value::list(found))
}

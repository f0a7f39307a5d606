//! Named formats: `format.dns1123Label().validate(name)`.

use apimachinery::validation::{
    dns1035_label, dns1123_label, dns1123_subdomain, label_value, qualified_name,
};

use super::url::Url;
use super::{Row, no_overload};
use crate::error::Answer;
use crate::time::Timestamp;
use crate::value::{Opaque, Text, Value};

/// A format with a name.
#[derive(Debug)]
pub struct NamedFormat {
    /// As `format.named` knows it.
    pub name: &'static str,
    validate: fn(&str) -> Vec<String>,
    /// Characters of the regular expression that validates it, for the cost.
    pub(crate) expression: u64,
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat { name: "dns1123Label", validate: dns1123_label, expression: 30 },
    NamedFormat { name: "dns1123Subdomain", validate: dns1123_subdomain, expression: 60 },
    NamedFormat { name: "dns1035Label", validate: dns1035_label, expression: 30 },
    NamedFormat { name: "qualifiedName", validate: qualified_name, expression: 60 },
    NamedFormat { name: "dns1123LabelPrefix", validate: |text| dns1123_label(&prefix(text)), expression: 30 },
    NamedFormat {
        name: "dns1123SubdomainPrefix",
        validate: |text| dns1123_subdomain(&prefix(text)),
        expression: 60,
    },
    NamedFormat { name: "dns1035LabelPrefix", validate: |text| dns1035_label(&prefix(text)), expression: 30 },
    NamedFormat { name: "labelValue", validate: label_value, expression: 40 },
    NamedFormat {
        name: "uri",
        validate: |text| {
            Url::parse(text).err().map(|error| format!("parse {text:?}: {error}")).into_iter().collect()
        },
        expression: 1_000,
    },
    NamedFormat {
        name: "uuid",
        validate: |text| unless(uuid(text), "does not match the UUID format"),
        expression: 70,
    },
    NamedFormat { name: "byte", validate: |text| unless(base64(text), "invalid base64"), expression: 75 },
    NamedFormat { name: "date", validate: |text| unless(date(text), "invalid date"), expression: 80 },
    NamedFormat {
        name: "datetime",
        validate: |text| unless(Timestamp::parse(text).is_some(), "invalid datetime"),
        expression: 80,
    },
];

/// Rows for the formats by name.
macro_rules! rows {
    ([$($row:expr,)*] $($name:literal)*) => {
        &[
            $($row,)*
            $((
                concat!("format.", $name),
                concat!("format.", $name),
                "() -> kubernetes.NamedFormat",
                |_, _| Ok(named($name).map_or(Value::Null, |format| Value::Opaque(Opaque::Format(format)))),
            ),)*
        ]
    };
}

pub(super) const ROWS: &[Row] = rows! {
    [
        ("format.named", "format-named", "(string) -> optional(kubernetes.NamedFormat)", |args, _| match args {
            [Value::String(name)] => Ok(named(name)
                .map_or(Value::Optional(None), |format| Value::some(Value::Opaque(Opaque::Format(format))))),
            _ => no_overload(),
        }),
        ("validate", "format-validate", "kubernetes.NamedFormat.(string) -> optional(list(string))", |args, _| {
            validate(args)
        }),
    ]
    "dns1123Label" "dns1123Subdomain" "dns1035Label" "qualifiedName" "dns1123LabelPrefix" "dns1123SubdomainPrefix"
    "dns1035LabelPrefix" "labelValue" "uri" "uuid" "byte" "date" "datetime"
};

fn named(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|format| format.name == name)
}

fn validate<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::Opaque(Opaque::Format(format)), Value::String(text)] = args else { return no_overload() };
    let errors = (format.validate)(text);
    if errors.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(errors.into_iter().map(|error| Value::String(Text::from(error))).collect())))
}

fn unless(valid: bool, error: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![error.to_owned()] }
}

/// A prefix may end with a dash: something will follow.
fn prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn uuid(text: &str) -> bool {
    // The dashes may be left out.
    let digits: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = digits.iter().map(|part| part.len()).collect();
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    hexadecimal && (lengths == [8, 4, 4, 4, 12] || lengths == [32])
}

fn base64(text: &str) -> bool {
    use base64::Engine;
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn date(text: &str) -> bool {
    text.len() == 10 && Timestamp::parse(&format!("{text}T00:00:00Z")).is_some()
}

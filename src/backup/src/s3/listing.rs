//! Answers of S3: the few elements that are needed of them.

/// A page of a list of objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Names and sizes in bytes.
    pub(super) objects: Vec<(String, u64)>,
    /// How to ask for the next page.
    pub(super) next: Option<String>,
}

impl Page {
    pub(super) fn parse(xml: &str) -> Self {
        let objects = elements(xml, "Contents").filter_map(|object| {
            let size = elements(object, "Size").next()?.trim().parse().ok()?;
            Some((unescape(elements(object, "Key").next()?), size))
        });
        let truncated = elements(xml, "IsTruncated").next().is_some_and(|text| text.trim() == "true");
        let token = elements(xml, "NextContinuationToken").next().map(unescape);
        Self { objects: objects.collect(), next: token.filter(|_| truncated) }
    }
}

/// What an answer that is no success says: its code and message, or its beginning.
pub(super) fn error(xml: &str) -> String {
    let of = |name| elements(xml, name).next().map(unescape);
    match (of("Code"), of("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => xml.chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}

/// The contents of all elements of a name, in order. Elements of the same name within one another do not occur.
fn elements<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (content, after) = after.split_once(&close)?;
        rest = after;
        Some(content)
    })
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = after.split_once(';').unwrap_or((after, ""));
        let number = name.strip_prefix('#').and_then(|number| match number.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        });
        match (name, number.and_then(char::from_u32)) {
            ("amp", _) => out.push('&'),
            ("lt", _) => out.push('<'),
            ("gt", _) => out.push('>'),
            ("quot", _) => out.push('"'),
            ("apos", _) => out.push('\''),
            (_, Some(character)) => out.push(character),
            _ => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_errors_are_read() {
        let xml = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name><IsTruncated>true</IsTruncated>\
                   <NextContinuationToken>a&amp;b</NextContinuationToken><Contents><Key>f/a&#x26;b</Key><Size>7</Size>\
                   </Contents><Contents><Key>c</Key><Size>x</Size></Contents></ListBucketResult>";
        let page = Page::parse(xml);
        assert_eq!(page, Page { objects: vec![("f/a&b".into(), 7)], next: Some("a&b".into()) });
        assert_eq!(Page::parse("<Contents><Key>"), Page::default());
        let told = error("<Error><Code>NoSuchBucket</Code><Message>it isn&apos;t there</Message></Error>");
        assert_eq!(told, "NoSuchBucket: it isn't there");
        assert_eq!(error("gone\n"), "gone");
    }
}

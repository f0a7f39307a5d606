//! The formats of texts that Kubernetes checks (`k8s.io/kube-openapi/pkg/validation/strfmt`). Others are ignored.

mod numbers;
mod text;
mod time;

use std::net::IpAddr;

use apimachinery::quantity::Quantity;
use apimachinery::validation::{dns1123_label, dns1123_subdomain};

pub use time::parse_duration;

/// A format, as a check.
#[derive(Clone, Copy, Debug)]
pub struct Format(fn(&str) -> bool);

impl Format {
    /// The format of that name, dashes aside; None if it is not checked.
    pub fn of(name: &str) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let plain: String;
        let name = if name.contains('-') {
            plain = name.replace('-', "");
            &plain
        } else {
            name
        };
        let check: fn(&str) -> bool = match name {
            "bsonobjectid" => |text| text.len() == 24 && is_hex(text),
            "uri" => text::is_request_uri,
            "email" => text::is_email,
            "hostname" => text::is_hostname,
            "ipv4" => |text| text.contains('.') && text.parse::<IpAddr>().is_ok(),
            "ipv6" => |text| text.contains(':') && text.parse::<IpAddr>().is_ok(),
            "cidr" => is_cidr,
            "mac" => is_mac,
            "uuid" => |text| is_uuid(text, None, false),
            "uuid3" => |text| is_uuid(text, Some('3'), false),
            "uuid4" => |text| is_uuid(text, Some('4'), true),
            "uuid5" => |text| is_uuid(text, Some('5'), true),
            "isbn" => |text| numbers::is_isbn10(text) || numbers::is_isbn13(text),
            "isbn10" => numbers::is_isbn10,
            "isbn13" => numbers::is_isbn13,
            "creditcard" => numbers::is_credit_card,
            "ssn" => numbers::is_ssn,
            "hexcolor" => |text| {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && is_hex(digits)
            },
            "rgbcolor" => numbers::is_rgb_color,
            "byte" => text::is_base64,
            "password" => |_| true,
            "date" => time::is_date,
            "datetime" => time::is_date_time,
            "duration" => |text| parse_duration(text).is_some(),
            "quantity" => |text| text.parse::<Quantity>().is_ok(),
            "k8sshortname" => |text| dns1123_label(text).is_empty(),
            "k8slongname" => |text| dns1123_subdomain(text).is_empty(),
            _ => return None,
        };
        Some(Self(check))
    }

    /// Whether a text has the format.
    pub fn matches(self, text: &str) -> bool {
        (self.0)(text)
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let max = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    digits && bits.parse::<u32>().is_ok_and(|bits| bits <= max)
}

/// 6, 8 or 20 bytes (IEEE 802 MAC-48, EUI-64, 20-octet IP over InfiniBand), as pairs of digits or in fours.
fn is_mac(text: &str) -> bool {
    let (separator, digits) = match text.find([':', '-', '.']).and_then(|at| text.as_bytes().get(at)) {
        Some(b':') => (':', 2),
        Some(b'-') => ('-', 2),
        Some(b'.') => ('.', 4),
        _ => return false,
    };
    let groups: Vec<&str> = text.split(separator).collect();
    groups.iter().all(|group| group.len() == digits && is_hex(group))
        && matches!(groups.len() * digits / 2, 6 | 8 | 20)
}

/// 8-4-4-4-12 hexadecimal digits, every dash optional; with a version, and with the variant of RFC 4122.
fn is_uuid(text: &str, version: Option<char>, variant: bool) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(length) else { return false };
        let first = group.chars().next().unwrap_or_default().to_ascii_lowercase();
        let right = match index {
            2 => version.is_none_or(|version| first == version),
            3 => !variant || matches!(first, '8' | '9' | 'a' | 'b'),
            _ => true,
        };
        if !(right && is_hex(group)) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_right_from_wrong() {
        for (format, right, wrong) in [
            ("bsonobjectid", &["507f1f77bcf86cd799439011"][..], &["507f1f77bcf86cd79943901", "xyz"][..]),
            (
                "uri",
                &["http://a.b/c?d", "/path", "mailto:a", "http://[::1]:80/", "a:b"],
                &["", "a/b", "http://a b/", "http://a:x/", "/%zz", "http://[::1"],
            ),
            (
                "email",
                &["a@b.c", "A B <a@b.c>", "\"x y\"@b.c", "a+b@c"],
                &["a", "a@", "@b", "a@b@c", "a b@c", "<a@b.c"],
            ),
            (
                "hostname",
                &["localhost", "x-y", "a.b.com", "888.com", "xn--bcher-kva.example.com", "ôlà.ôlà"],
                &["", "-a", "a..b", "a_b.com", "a.b-", "a.c"],
            ),
            ("ipv4", &["1.2.3.4"], &["1.2.3", "::1", "1.2.3.256", "01.2.3.4"]),
            ("ipv6", &["::1", "2001:db8::ffff"], &["1.2.3.4", ":::"]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8"]),
            (
                "mac",
                &["01:23:45:67:89:ab", "01-23-45-67-89-AB", "0123.4567.89ab"],
                &["01:23:45:67:89", "01:23-45:67:89:ab"],
            ),
            (
                "uuid",
                &["A987FBC9-4BED-3078-CF07-9141BA07C9F3", "a987fbc94bed3078cf079141ba07c9f3"],
                &["a987fbc9", ""],
            ),
            ("uuid3", &["a987fbc9-4bed-3078-cf07-9141ba07c9f3"], &["a987fbc9-4bed-4078-cf07-9141ba07c9f3"]),
            ("uuid4", &["57b73598-8764-4ad0-a76a-679bb6640eb1"], &["57b73598-8764-4ad0-c76a-679bb6640eb1"]),
            ("uuid5", &["987fbc97-4bed-5078-af07-9141ba07c9f3"], &["987fbc97-4bed-4078-af07-9141ba07c9f3"]),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751042", "x"]),
            ("isbn10", &["0-321-75104-3", "048665088X"], &["978-0321751041"]),
            ("isbn13", &["978-0321751041"], &["978-0321751042", "0321751043"]),
            (
                "creditcard",
                &["4111-1111-1111-1111", "5555 5555 5555 4444", "378282246310005"],
                &["4111111111111112", "1234567890123456"],
            ),
            ("ssn", &["111-11-1111", "111 11 1111"], &["111111111", "1111-11-111"]),
            ("hexcolor", &["#FFFFFF", "fff"], &["#ffff", "ggg"]),
            (
                "rgbcolor",
                &["rgb(100,100,100)", "rgb( 0, 1 ,255)"],
                &["rgb(256,1,1)", "rgb(01,1,1)", "rgb(1,1)"],
            ),
            ("byte", &["Zm9v", "Zg=="], &["Zg", "Z m9v", ""]),
            ("password", &["", "anything"], &[]),
            ("date", &["2006-01-02", "2024-02-29"], &["2006-1-2", "2023-02-29", "today"]),
            (
                "date-time",
                &["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+02:00"],
                &["2014-12-15", "2014-12-15T24:00:00Z", "2014-12-15T19:30:20", "2014-13-15T19:30:20Z"],
            ),
            ("datetime", &["2014-12-15T19:30:20Z"], &["x"]),
            ("duration", &["1h30m", "-1.5s", "0", "22 ns", "3 days", "1 hour"], &["", "1", "1x", "h"]),
            ("quantity", &["10Gi", "0.5"], &["ten"]),
            ("k8s-short-name", &["my-name"], &["My", "a.b", ""]),
            ("k8s-long-name", &["a.b-c"], &["a..b", "A"]),
        ] {
            let check = Format::of(format).unwrap();
            for text in right {
                assert!(check.matches(text), "{format} {text}");
            }
            for text in wrong {
                assert!(!check.matches(text), "{format} {text}");
            }
        }
        assert!(Format::of("int32").is_none() && Format::of("").is_none());
    }
}

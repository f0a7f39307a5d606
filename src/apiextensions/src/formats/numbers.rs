//! Numbers with a form or a check digit.

/// A text without white space and dashes.
fn without_separators(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect()
}

fn digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(10)
}

/// ISO 2108:1992: nine digits and a check digit modulo 11.
pub(super) fn is_isbn10(text: &str) -> bool {
    let text = without_separators(text);
    let values: Option<Vec<u32>> = text
        .bytes()
        .enumerate()
        .map(|(at, byte)| if at == 9 && byte == b'X' { Some(10) } else { digit(byte) })
        .collect();
    values.is_some_and(|values| {
        values.len() == 10
            && values.iter().zip(1..).map(|(value, weight)| value * weight).sum::<u32>().is_multiple_of(11)
    })
}

/// ISO 2108:2005: twelve digits and a check digit modulo 10.
pub(super) fn is_isbn13(text: &str) -> bool {
    let values: Option<Vec<u32>> = without_separators(text).bytes().map(digit).collect();
    values.is_some_and(|values| {
        let weighted =
            values.iter().enumerate().map(|(at, value)| if at % 2 == 0 { *value } else { 3 * value });
        values.len() == 13 && weighted.sum::<u32>().is_multiple_of(10)
    })
}

/// A number that a known network issues, with a right check digit (ISO/IEC 7812), whatever stands between the digits.
pub(super) fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let prefix = |count: usize| digits.iter().take(count).fold(0, |number, digit| number * 10 + digit);
    let issued = match digits.len() {
        13 => prefix(1) == 4,
        14 => matches!(prefix(3), 300..=305) || matches!(prefix(2), 36 | 38 | 60..=69 if prefix(1) == 3),
        15 => matches!(prefix(2), 34 | 37) || matches!(prefix(4), 2131 | 1800),
        16 => {
            prefix(1) == 4
                || matches!(prefix(2), 51..=55 | 35 | 62 | 65 | 67)
                || matches!(prefix(4), 2221..=2720 | 6011)
        }
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match digit * 2 {
            _ if at % 2 == 0 => *digit,
            double if double > 9 => double - 9,
            double => double,
        })
        .sum();
    issued && sum.is_multiple_of(10)
}

/// `123-45-6789`, with dashes or spaces.
pub(super) fn is_ssn(text: &str) -> bool {
    text.len() == 11
        && text.bytes().enumerate().all(|(at, byte)| match at {
            3 | 6 => matches!(byte, b'-' | b' '),
            _ => byte.is_ascii_digit(),
        })
}

/// `rgb(0, 128, 255)`.
pub(super) fn is_rgb_color(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    parts.len() == 3
        && parts.iter().all(|part| {
            let leading_zero = part.len() > 1 && part.starts_with('0');
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            digits && !leading_zero && part.parse::<u8>().is_ok()
        })
}

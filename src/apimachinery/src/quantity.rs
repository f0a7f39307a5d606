//! Fixed-point quantities: `100m`, `1.5Gi`, `12e6` (`k8s.io/apimachinery/pkg/api/resource`).

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

/// Nano-units in one unit: the finest that the API keeps.
const NANO: i128 = 1_000_000_000;

/// The largest magnitude that the API keeps: 2^63-1 units.
const MAX: i128 = (i64::MAX as i128) * NANO;

/// The family of suffixes that a quantity was written with, kept when it is written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `m`, none, `k`, `M`, ...
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `e3`, `e6`, ...
    DecimalExponent,
}

/// A number with a suffix. Compares by value, prints in canonical form.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// The text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

const BINARY: [(&str, i128); 6] =
    [("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// Decimal suffixes with their power of ten.
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];

impl Quantity {
    /// A whole number of units.
    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nano: i128::from(units) * NANO, format }
    }

    /// A number of thousandths, as CPU is counted.
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * 1_000_000, format: Format::DecimalSi }
    }

    /// The value in whole units, rounded up (away from zero), as `Quantity.Value()` does.
    pub fn value(&self) -> i64 {
        clamp(round_up(self.nano, NANO))
    }

    /// The value in thousandths, rounded up, as `Quantity.MilliValue()` does.
    pub fn milli_value(&self) -> i64 {
        clamp(round_up(self.nano, 1_000_000))
    }

    /// The value as a double, as `Quantity.AsApproximateFloat64()` does.
    pub fn as_approximate_float(&self) -> f64 {
        // The whole part apart, so that fractions of large numbers are not lost to the scale.
        let (whole, rest) = (self.nano / NANO, self.nano % NANO);
        whole as f64 + rest as f64 / NANO as f64
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nano.signum() as i32
    }

    /// The family of suffixes.
    pub fn format(&self) -> Format {
        self.format
    }
}

fn clamp(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

fn round_up(n: i128, unit: i128) -> i128 {
    let (whole, rest) = (n / unit, n % unit);
    whole + rest.signum()
}

fn pow10(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or("")),
            Some(b'+') => (false, text.get(1..).unwrap_or("")),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (format, multiplier, exponent) = suffix_of(suffix)?;
        let nano = scale(whole, fraction, multiplier, exponent).unwrap_or(MAX).min(MAX);
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }
}

/// The format, binary multiplier and power of ten of a suffix.
fn suffix_of(suffix: &str) -> Result<(Format, i128, i32), QuantityError> {
    if let Some((_, multiplier)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::BinarySi, *multiplier, 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::DecimalSi, 1, *exponent));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
    let exponent: i32 = digits.parse().map_err(|_| QuantityError)?;
    Ok((Format::DecimalExponent, 1, exponent))
}

/// The value in nano-units, rounded up; `None` when it is too large to say.
fn scale(whole: &str, fraction: &str, multiplier: i128, exponent: i32) -> Option<i128> {
    let fraction = fraction.trim_end_matches('0');
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // 38 digits is what 128 bits hold; a longer fraction is far below a nano-unit for any suffix.
    let shift = exponent.saturating_add(9).saturating_sub(i32::try_from(fraction.len()).ok()?);
    if digits.len() > 36 && shift < 0 {
        let cut = usize::try_from(-shift).ok()?.min(digits.len());
        let kept = digits.get(..digits.len() - cut)?;
        let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
        return kept.checked_add(1)?.checked_mul(multiplier);
    }
    let mantissa: i128 = digits.parse().ok()?;
    let mantissa = mantissa.checked_mul(multiplier)?;
    if shift >= 0 {
        mantissa.checked_mul(pow10(u32::try_from(shift).ok()?)?)
    } else {
        match pow10(u32::try_from(-shift).ok()?) {
            Some(divisor) => Some(round_up(mantissa, divisor)),
            None => Some(1),
        }
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.nano % NANO == 0 && self.nano.abs() >= 1024 * NANO {
            let units = self.nano / NANO;
            for (suffix, multiplier) in BINARY {
                if units % multiplier == 0 {
                    return write!(f, "{}{suffix}", units / multiplier);
                }
            }
            return write!(f, "{units}");
        }
        for (suffix, exponent) in DECIMAL {
            let Some(unit) = u32::try_from(exponent + 9).ok().and_then(pow10) else { continue };
            if self.nano % unit == 0 {
                let number = self.nano / unit;
                return match self.format {
                    Format::DecimalExponent if exponent != 0 => write!(f, "{number}e{exponent}"),
                    _ => write!(f, "{number}{suffix}"),
                };
            }
        }
        write!(f, "{}n", self.nano)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// The sum; the format is that of the left side unless it is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano).clamp(-MAX, MAX), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_sub(other.nano).clamp(-MAX, MAX), format }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().unwrap().to_string()
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (written, expected) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("1.5", "1500m"),
            ("0.1", "100m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000", "1k"),
            ("1000k", "1M"),
            ("512Mi", "512Mi"),
            ("12e6", "12e6"),
            ("1E", "1E"),
            ("1e0", "1"),
            ("-5", "-5"),
            ("+5", "5"),
            (".5", "500m"),
            ("5.", "5"),
            ("1u", "1u"),
            ("0.5Ki", "512"),
            ("1025", "1025"),
        ] {
            assert_eq!(canonical(written), expected, "{written}");
        }
    }

    #[test]
    fn too_fine_is_rounded_up_and_too_large_is_capped() {
        assert_eq!("0.1n".parse::<Quantity>().unwrap(), "1n".parse().unwrap());
        assert_eq!("1e-40".parse::<Quantity>().unwrap(), "1n".parse().unwrap());
        assert_eq!("99999999E".parse::<Quantity>().unwrap().value(), i64::MAX);
        assert_eq!("1e99999".parse::<Quantity>().unwrap().value(), i64::MAX);
        let long = format!("0.{}1", "0".repeat(60));
        assert_eq!(long.parse::<Quantity>().unwrap(), "1n".parse().unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a", "1.2.3", "1 Gi", "1gi", "e3", "1e", "1e1.5", "--1", ".", "-"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_round_up_as_upstream_does() {
        let q: Quantity = "1500m".parse().unwrap();
        assert_eq!((q.value(), q.milli_value()), (2, 1500));
        let q: Quantity = "-1500m".parse().unwrap();
        assert_eq!(q.value(), -2);
        assert!("1Gi".parse::<Quantity>().unwrap() > "1G".parse().unwrap());
        assert_eq!(("1Gi".parse::<Quantity>().unwrap() + "1Gi".parse().unwrap()).to_string(), "2Gi");
    }
}

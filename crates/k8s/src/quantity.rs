//! Quantities as Kubernetes writes them (`resource.Quantity`): `500m`, `1.5Gi`, `1e3`.

use anymaster_core::{Error, Result};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffixes of powers of 1024.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Suffixes of powers of ten.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// `mantissa` × 10^`scale` × 1024^`power`.
struct Parsed {
    mantissa: u128,
    scale: i32,
    power: u32,
    has_exponent: bool,
}

fn parse(text: &str) -> Option<Parsed> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa = format!("{whole}{fraction}").parse().ok()?;
    let scale = -i32::try_from(fraction.len()).ok()?;
    let mut parsed = Parsed { mantissa, scale, power: 0, has_exponent: false };
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        parsed.power = u32::try_from(power).ok()? + 1;
    } else if let Some((_, more)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        parsed.scale += more;
    } else {
        let exponent: i8 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        parsed.scale += i32::from(exponent);
        parsed.has_exponent = true;
    }
    Some(parsed)
}

/// A quantity in thousandths, rounded up.
pub(crate) fn thousandths(quantity: &Quantity) -> Option<i128> {
    let Parsed { mantissa, scale, power, .. } = parse(&quantity.0)?;
    let units = mantissa.checked_mul(1024_u128.checked_pow(power)?)?.checked_mul(1000)?;
    let ten = 10_u128.checked_pow(scale.unsigned_abs())?;
    let units = if scale < 0 { units.div_ceil(ten) } else { units.checked_mul(ten)? };
    units.try_into().ok()
}

/// Parses the quantity of a property.
///
/// # Errors
/// If it is not a quantity, or not above 0.
pub(crate) fn of_property(property: &str, text: &str) -> Result<Quantity> {
    let quantity = Quantity(text.trim().to_owned());
    if thousandths(&quantity).is_some_and(|amount| amount > 0) {
        return Ok(quantity);
    }
    Err(Error::invalid(format!("{property}: {text:?} is not a quantity above 0"))
        .with_hint("write for example 2, 0.5 or 500m"))
}

/// As [`of_property`], for CPUs: 0 is allowed.
///
/// # Errors
/// If it is not a quantity, or below 0.
pub(crate) fn of_cores(property: &str, text: &str) -> Result<Quantity> {
    let quantity = Quantity(text.trim().to_owned());
    match thousandths(&quantity) {
        Some(0) => Ok(quantity),
        _ => of_property(property, text),
    }
}

/// As [`of_property`], for a size.
///
/// # Errors
/// If it is not a quantity, or not above 0.
pub(crate) fn of_size(property: &str, text: &str) -> Result<Quantity> {
    of_property(property, text)
        .map_err(|error| error.with_hint("write for example 5Gi (of 1024) or 5G (of 1000)"))
}

/// Converts a quantity to the API server's canonical form. An invalid one is left for the API
/// server to refuse.
pub(crate) fn shorten(quantity: &mut Quantity) {
    if let Some(short) = canonical(&quantity.0) {
        quantity.0 = short;
    }
}

fn canonical(text: &str) -> Option<String> {
    let Parsed { mantissa, scale, power, has_exponent } = parse(text)?;
    if has_exponent {
        return None;
    }
    if power == 0 {
        return decimal(mantissa, scale);
    }
    let divisor = 10_u128.checked_pow(scale.unsigned_abs())?;
    let bytes = mantissa.checked_mul(1024_u128.pow(power))?;
    bytes.is_multiple_of(divisor).then(|| binary(bytes / divisor))
}

fn binary(mut bytes: u128) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut suffix = "";
    for next in BINARY {
        if !bytes.is_multiple_of(1024) {
            break;
        }
        bytes /= 1024;
        suffix = next;
    }
    format!("{bytes}{suffix}")
}

fn decimal(mut mantissa: u128, mut scale: i32) -> Option<String> {
    if mantissa == 0 {
        return Some("0".to_owned());
    }
    // Exponents are multiples of three.
    while scale.rem_euclid(3) != 0 {
        mantissa = mantissa.checked_mul(10)?;
        scale -= 1;
    }
    while mantissa.is_multiple_of(1000) && scale < 18 {
        mantissa /= 1000;
        scale += 3;
    }
    let (suffix, _) = DECIMAL.iter().find(|(_, known)| *known == scale)?;
    Some(format!("{mantissa}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_the_api_server() {
        for (text, want) in [
            ("1408Mi", "1408Mi"),
            ("11264Mi", "11Gi"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("2", "2"),
            ("2.0", "2"),
            ("1000", "1k"),
            ("100G", "100G"),
            ("0.25", "250m"),
            ("0", "0"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(want), "{text}");
        }
        for odd in ["", "x", "1e3", "1.2.3", "-1", "Gi"] {
            assert_eq!(canonical(odd), None, "{odd}");
        }
    }

    #[test]
    fn amounts_are_exact() {
        for (text, want) in [
            ("1", 1000),
            ("500m", 500),
            ("1n", 1),
            ("1e3", 1_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
        ] {
            assert_eq!(thousandths(&Quantity(text.to_owned())), Some(want), "{text}");
        }
    }

    #[test]
    fn properties_name_amounts_above_nothing() {
        assert_eq!(of_property("p", " 400m ").unwrap().0, "400m");
        assert_eq!(of_cores("p", "0").unwrap().0, "0");
        assert!(of_cores("p", "-1").is_err() && of_property("p", "0").is_err());
        for bad in ["", "0", "-1", "two", "1Zi"] {
            let error = of_property("p", bad).unwrap_err();
            assert!(error.message().starts_with("p: "), "{error}");
        }
    }
}

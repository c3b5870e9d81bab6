//! Brings objects into the form in which the API server keeps them, so that what a dry run shows is
//! what lands there: quantities in their shortest form, requests where only limits are given.

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Objects;

pub(super) fn apply(objects: &mut Objects) {
    for spec in objects.pods.iter_mut().filter_map(|pod| pod.spec.as_mut()) {
        spec.containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
            .for_each(container);
        if spec.priority_class_name.as_deref() == Some("") {
            spec.priority_class_name = None;
        }
        for volume in spec.volumes.iter_mut().flatten() {
            if let Some(limit) =
                volume.empty_dir.as_mut().and_then(|empty| empty.size_limit.as_mut())
            {
                shorten(limit);
            }
        }
    }
    for claim in &mut objects.persistentvolumeclaims {
        let requests =
            claim.spec.as_mut().and_then(|spec| spec.resources.as_mut()?.requests.as_mut());
        requests.into_iter().flat_map(|requests| requests.values_mut()).for_each(shorten);
    }
}

fn container(container: &mut Container) {
    if let Some(ResourceRequirements { limits, requests, .. }) = &mut container.resources {
        limits.iter_mut().flat_map(|limits| limits.values_mut()).for_each(shorten);
        requests.iter_mut().flat_map(|requests| requests.values_mut()).for_each(shorten);
        for (name, limit) in limits.iter().flatten() {
            requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    for variable in container.env.iter_mut().flatten() {
        if variable.value.as_deref() == Some("") {
            variable.value = None;
        }
    }
}

/// Leaves alone what it cannot read: the API server will say what is wrong with it.
fn shorten(quantity: &mut Quantity) {
    if let Some(short) = canonical(&quantity.0) {
        quantity.0 = short;
    }
}

/// As `resource.Quantity` of Kubernetes writes it.
fn canonical(text: &str) -> Option<String> {
    let digits_end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    // 10^-fraction times the mantissa.
    let mut scale = -i32::try_from(fraction.len()).ok()?;
    if let Some(power) =
        ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|known| *known == suffix)
    {
        let times = 1024_u128.pow(u32::try_from(power).ok()? + 1);
        let divisor = 10_u128.checked_pow(scale.unsigned_abs())?;
        let bytes = mantissa.checked_mul(times)?;
        if !bytes.is_multiple_of(divisor) {
            return None;
        }
        return Some(binary(bytes / divisor));
    }
    scale += match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => return None,
    };
    decimal(mantissa, scale)
}

fn binary(mut bytes: u128) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut suffix = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
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
    let suffix = match scale {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => return None,
    };
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
}

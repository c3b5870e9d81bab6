//! Sums over resources, and pieces of them.

use crate::model::{Range, Ranges, Resource, Scalar};

/// Below this, nothing is left: masters count in thousandths.
const EPSILON: f64 = 0.000_5;

/// How much of a resource there is in all, whoever it is set aside for.
pub fn sum(resources: &[Resource], name: &str) -> f64 {
    let scalars = resources.iter().filter(|resource| resource.name == name);
    scalars.filter_map(|resource| resource.scalar).map(|scalar| scalar.value).sum()
}

/// Takes so much of a resource: of what is set aside for a role first, so that what is anybody's is left.
/// `None`, and nothing is taken, if there is not as much.
pub fn take(resources: &mut Vec<Resource>, name: &str, amount: f64) -> Option<Vec<Resource>> {
    if sum(resources, name) + EPSILON < amount {
        return None;
    }
    let mut taken = Vec::new();
    let mut missing = amount;
    for is_anybodys in [false, true] {
        for resource in resources.iter_mut() {
            let is_next = resource.name == name && (resource.reserved_for() == "*") == is_anybodys;
            let Some(scalar) = resource.scalar.filter(|_| is_next) else { continue };
            if missing < EPSILON {
                break;
            }
            let piece = scalar.value.min(missing);
            if piece < EPSILON {
                continue;
            }
            taken.push(Resource { scalar: Some(Scalar { value: piece }), ..resource.clone() });
            resource.scalar = Some(Scalar { value: scalar.value - piece });
            missing -= piece;
        }
    }
    resources.retain(|resource| resource.scalar.is_none_or(|scalar| scalar.value > EPSILON));
    Some(taken)
}

/// Takes a port. `None` if it is not among those that are offered.
pub fn take_port(resources: &mut [Resource], port: u16) -> Option<Resource> {
    let port = u64::from(port);
    let has = |range: &Range| (range.begin..=range.end).contains(&port);
    let resource = resources.iter_mut().find(|resource| {
        resource.name == "ports"
            && resource.ranges.as_ref().is_some_and(|ranges| ranges.range.iter().any(has))
    })?;
    let ranges = resource.ranges.take().unwrap_or_default();
    let rest = ranges.range.into_iter().flat_map(|range| {
        if !has(&range) {
            return vec![range];
        }
        let pieces = [
            (range.begin < port).then(|| Range { begin: range.begin, end: port - 1 }),
            (port < range.end).then(|| Range { begin: port + 1, end: range.end }),
        ];
        pieces.into_iter().flatten().collect()
    });
    resource.ranges = Some(Ranges { range: rest.collect() });
    let one = Ranges { range: [Range { begin: port, end: port }].into() };
    Some(Resource { ranges: Some(one), ..resource.clone() })
}

/// Takes so many ports, whichever they are: their numbers, and what they are taken of. `None`, and nothing
/// is taken, if there are not as many.
pub fn take_ports(resources: &mut [Resource], many: usize) -> Option<(Vec<u16>, Vec<Resource>)> {
    let ranges = |resource: &Resource| resource.ranges.clone().unwrap_or_default().range;
    let offered = resources.iter().filter(|resource| resource.name == "ports").flat_map(ranges);
    let numbers: Vec<u16> = offered
        .flat_map(|range| range.begin..=range.end)
        .filter_map(|port| u16::try_from(port).ok())
        .take(many)
        .collect();
    if numbers.len() < many {
        return None;
    }
    let taken = numbers.iter().filter_map(|port| take_port(resources, *port)).collect();
    Some((numbers, taken))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources() -> Vec<Resource> {
        serde_json::from_value(json!([
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 3.0}},
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "reservations": [{"type": "STATIC", "role": "dev"}]},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 512.0}},
            {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31002}]}},
        ]))
        .unwrap()
    }

    #[test]
    fn what_is_set_aside_goes_first() {
        let mut left = resources();
        assert_eq!(sum(&left, "cpus"), 5.0);
        let taken = take(&mut left, "cpus", 2.5).unwrap();
        let pieces: Vec<_> = taken
            .iter()
            .map(|piece| (piece.reserved_for(), piece.scalar.map(|scalar| scalar.value)))
            .collect();
        assert_eq!(pieces, [("dev", Some(2.0)), ("*", Some(0.5))]);
        assert_eq!(sum(&left, "cpus"), 2.5);
        assert_eq!(left.iter().filter(|resource| resource.name == "cpus").count(), 1);
        assert!(take(&mut left, "cpus", 2.6).is_none());
        assert_eq!(sum(&left, "cpus"), 2.5, "nothing is taken");
        assert!(take(&mut left, "gpus", 1.0).is_none());
    }

    #[test]
    fn ports_come_out_of_their_ranges() {
        let mut left = resources();
        let port = take_port(&mut left, 31001).unwrap();
        assert_eq!(*port.ranges.unwrap().range, [Range { begin: 31001, end: 31001 }]);
        assert!(take_port(&mut left, 31001).is_none());
        assert!(take_port(&mut left, 31000).is_some());
        assert!(take_port(&mut left, 31002).is_some());
        assert!(take_port(&mut left, 31003).is_none());
        let mut whole = resources();
        assert!(take_ports(&mut whole, 4).is_none());
        let (numbers, taken) = take_ports(&mut whole, 2).unwrap();
        assert_eq!((numbers, taken.len()), (vec![31000, 31001], 2));
        assert!(take_ports(&mut whole, 2).is_none());
        let ports = left.iter().find(|resource| resource.name == "ports").unwrap();
        assert!(ports.ranges.as_ref().unwrap().range.is_empty());
    }
}

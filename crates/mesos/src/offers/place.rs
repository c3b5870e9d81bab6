//! Who gets what of which offer (Spark 3.5, `MesosCoarseGrainedSchedulerBackend.buildMesosTasks`): round
//! after round over the offers as they came, one for each offer in a round, until no more fits.

use std::borrow::Borrow;
use std::collections::VecDeque;

use crate::model::{Offer, Resource};
use crate::offers::resources::{sum, take, take_port};

/// What a process takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Need {
    /// Of `cpus`.
    pub cpus: f64,
    /// Of `mem`, in MiB.
    pub mem: f64,
    /// Of `gpus`.
    pub gpus: f64,
    /// Of `ports`: these.
    pub ports: Vec<u16>,
}

/// What is missing in an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lack {
    /// Too little of `cpus`.
    Cpus,
    /// Too little of `mem`.
    Mem,
    /// Too few `gpus`.
    Gpus,
    /// A port that is taken, or not offered.
    Ports,
}

/// Something that fits on an offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed<T> {
    /// Which of the offers.
    pub offer: usize,
    /// Which of those that wait.
    pub what: T,
    /// What it takes.
    pub resources: Vec<Resource>,
}

/// What an offer has left.
struct Left {
    cpus: f64,
    mem: f64,
    gpus: f64,
    /// Taken apart only when something fits.
    resources: Option<Vec<Resource>>,
}

impl Left {
    fn lacks(&self, need: &Need) -> Option<Lack> {
        const LITTLE: f64 = 0.000_5;
        [
            (self.cpus, need.cpus, Lack::Cpus),
            (self.mem, need.mem, Lack::Mem),
            (self.gpus, need.gpus, Lack::Gpus),
        ]
        .into_iter()
        .find(|(has, needs, _)| has + LITTLE < *needs)
        .map(|(_, _, lack)| lack)
    }
}

/// Places those that wait, the first of them first. What is left of `waiting` fits nowhere.
pub fn place<T>(
    offers: &[impl Borrow<Offer>],
    waiting: &mut VecDeque<(T, Need)>,
) -> Vec<Placed<T>> {
    let mut left: Vec<Left> = offers
        .iter()
        .map(Borrow::borrow)
        .map(|offer: &Offer| Left {
            cpus: sum(&offer.resources, "cpus"),
            mem: sum(&offer.resources, "mem"),
            gpus: sum(&offer.resources, "gpus"),
            resources: None,
        })
        .collect();
    let mut open: Vec<usize> = (0..offers.len()).collect();
    let mut placed = Vec::new();
    while !open.is_empty() && !waiting.is_empty() {
        open.retain(|at| {
            let found = waiting.iter().enumerate().find_map(|(place, (_, need))| {
                let resources = fit(&mut left[*at], offers[*at].borrow(), need).ok()?;
                Some((place, resources))
            });
            let Some((place, resources)) = found else { return false };
            if let Some((what, _)) = waiting.remove(place) {
                placed.push(Placed { offer: *at, what, resources });
            }
            true
        });
    }
    placed
}

/// What an offer lacks for something to fit on it, were nothing else there.
pub fn lack(offer: &Offer, need: &Need) -> Option<Lack> {
    let mut left = Left {
        cpus: sum(&offer.resources, "cpus"),
        mem: sum(&offer.resources, "mem"),
        gpus: sum(&offer.resources, "gpus"),
        resources: None,
    };
    fit(&mut left, offer, need).err()
}

fn fit(left: &mut Left, offer: &Offer, need: &Need) -> Result<Vec<Resource>, Lack> {
    if let Some(lack) = left.lacks(need) {
        return Err(lack);
    }
    let mut rest = left.resources.take().unwrap_or_else(|| offer.resources.clone());
    let before = (!need.ports.is_empty()).then(|| rest.clone());
    let mut taken = Vec::new();
    for (name, amount, lack) in [
        ("cpus", need.cpus, Lack::Cpus),
        ("mem", need.mem, Lack::Mem),
        ("gpus", need.gpus, Lack::Gpus),
    ] {
        if amount > 0.0 {
            taken.extend(take(&mut rest, name, amount).ok_or(lack)?);
        }
    }
    for port in &need.ports {
        let Some(port) = take_port(&mut rest, *port) else {
            left.resources = before;
            return Err(Lack::Ports);
        };
        taken.push(port);
    }
    (left.cpus, left.mem, left.gpus) =
        (left.cpus - need.cpus, left.mem - need.mem, left.gpus - need.gpus);
    left.resources = Some(rest);
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offer(id: &str, cpus: f64, mem: f64) -> Offer {
        serde_json::from_value(json!({
            "id": {"value": id}, "agent_id": {"value": format!("agent-{id}")}, "hostname": id,
            "resources": [
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
                {"name": "mem", "type": "SCALAR", "scalar": {"value": mem}},
                {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31001}]}},
            ],
        }))
        .unwrap()
    }

    fn need(cpus: f64, mem: f64) -> Need {
        Need { cpus, mem, ..Need::default() }
    }

    fn placed(offers: &[Offer], needs: &[Need]) -> (Vec<(usize, usize)>, usize) {
        let mut waiting = needs.iter().cloned().enumerate().collect();
        let placed = place(offers, &mut waiting);
        (placed.iter().map(|one| (one.offer, one.what)).collect(), waiting.len())
    }

    #[test]
    fn offers_are_served_in_turns() {
        let offers = [offer("a", 2.0, 1000.0), offer("b", 4.0, 1000.0)];
        let needs = vec![need(1.0, 100.0); 8];
        let (placed, left) = placed(&offers, &needs);
        assert_eq!(placed, [(0, 0), (1, 1), (0, 2), (1, 3), (1, 4), (1, 5)]);
        assert_eq!(left, 2);
    }

    #[test]
    fn what_is_too_large_does_not_stand_in_the_way() {
        let offers = [offer("a", 2.0, 100.0)];
        let (placed, left) =
            placed(&offers, &[need(1.0, 200.0), need(1.0, 50.0), need(0.01, 50.0)]);
        assert_eq!(placed, [(0, 1), (0, 2)]);
        assert_eq!(left, 1);
    }

    #[test]
    fn a_port_is_given_once_on_each_agent() {
        let offers = [offer("a", 9.0, 900.0), offer("b", 9.0, 900.0)];
        let needs = vec![Need { ports: vec![31001], ..need(1.0, 10.0) }; 3];
        let (placed, left) = placed(&offers, &needs);
        assert_eq!((placed, left), (vec![(0, 0), (1, 1)], 1));
        // What could not be had with it is not lost.
        let mut waiting = VecDeque::from([
            ((), Need { ports: vec![31001, 40000], ..need(9.0, 900.0) }),
            ((), need(9.0, 900.0)),
        ]);
        assert_eq!(place(&offers[..1], &mut waiting).len(), 1);
    }

    #[test]
    fn what_is_lacking_is_named() {
        let offer = offer("a", 2.0, 100.0);
        assert_eq!(lack(&offer, &need(2.0, 100.0)), None);
        assert_eq!(lack(&offer, &need(3.0, 1000.0)), Some(Lack::Cpus));
        assert_eq!(lack(&offer, &need(1.0, 1000.0)), Some(Lack::Mem));
        assert_eq!(lack(&offer, &Need { gpus: 1.0, ..Need::default() }), Some(Lack::Gpus));
        let port = Need { ports: vec![1], ..Need::default() };
        assert_eq!(lack(&offer, &port), Some(Lack::Ports));
    }
}

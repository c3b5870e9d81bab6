use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const DEFAULT: ProfileId = ProfileId(0);

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn policy(min: u32, initial: u32, max: u32) -> DynamicAllocationPolicy {
    DynamicAllocationPolicy { min, initial, max, ..DynamicAllocationPolicy::default() }
}

/// As a cluster that starts each executor at once.
struct Rig {
    allocation: DynamicAllocation,
    last_id: u64,
    alive: BTreeSet<ExecutorId>,
}

impl Rig {
    fn new(policy: DynamicAllocationPolicy) -> Self {
        Self { allocation: DynamicAllocation::new(policy), last_id: 0, alive: BTreeSet::new() }
    }

    fn work(&mut self, pending: u64, running: u64, now: f64) {
        self.allocation.set_workload(DEFAULT, Workload::new(pending, running), at(now));
    }

    /// Decides, and starts and stops accordingly; how many are wanted, and which are removed.
    fn decide(&mut self, now: f64) -> (u32, Vec<u64>) {
        let decision = self.allocation.decide(at(now));
        for id in &decision.remove {
            self.alive.remove(id);
            self.allocation.executor_removed(*id);
        }
        let wanted = decision.executors[&DEFAULT];
        while self.alive.len() < wanted as usize {
            self.last_id += 1;
            let id = ExecutorId(self.last_id);
            self.alive.insert(id);
            self.allocation.executor_added(id, DEFAULT, at(now));
        }
        (wanted, decision.remove.iter().map(|id| id.0).collect())
    }

    fn wanted(&mut self, now: f64) -> u32 {
        self.decide(now).0
    }

    fn all_are(&mut self, activity: Activity, now: f64) {
        for id in &self.alive {
            self.allocation.set_activity(*id, activity, at(now));
        }
    }
}

#[test]
fn executors_are_added_one_two_four_up_to_what_the_work_needs() {
    let mut rig = Rig::new(policy(0, 0, 100));
    rig.work(20, 0, 0.0);
    assert_eq!(rig.wanted(0.9), 0, "the work has not waited for long enough");
    let mut wanted = Vec::new();
    for second in 1..=7 {
        wanted.push(rig.wanted(f64::from(second)));
    }
    assert_eq!(wanted, [1, 3, 7, 15, 20, 20, 20]);
}

#[test]
fn the_steps_begin_anew_when_nothing_waits() {
    let mut rig = Rig::new(policy(0, 0, 100));
    rig.work(50, 0, 0.0);
    assert_eq!([rig.wanted(1.0), rig.wanted(2.0)], [1, 3]);
    rig.work(0, 3, 2.5);
    assert_eq!(rig.wanted(3.0), 3);
    rig.work(50, 3, 4.0);
    assert_eq!(rig.wanted(4.9), 3);
    assert_eq!([rig.wanted(5.0), rig.wanted(6.0)], [4, 6]);
}

#[test]
fn the_first_backlog_and_later_ones_have_times_of_their_own() {
    let mut quick = policy(0, 0, 100);
    (quick.backlog_timeout, quick.sustained_backlog_timeout) = (at(10.0), at(2.0));
    let mut rig = Rig::new(quick);
    rig.work(9, 0, 0.0);
    assert_eq!([rig.wanted(9.0), rig.wanted(10.0)], [0, 1]);
    assert_eq!([rig.wanted(11.0), rig.wanted(12.0)], [1, 3]);
}

#[test]
fn targets_stay_within_their_bounds() {
    let mut rig = Rig::new(policy(2, 3, 5));
    assert_eq!(rig.wanted(0.0), 3, "before there is anything to do");
    rig.work(100, 0, 0.0);
    assert_eq!([rig.wanted(1.0), rig.wanted(2.0), rig.wanted(3.0)], [4, 5, 5]);
    rig.work(0, 0, 10.0);
    assert_eq!(rig.decide(59.0), (5, vec![]));
    assert_eq!(rig.decide(60.0), (2, vec![1, 2, 3]));
    assert_eq!(rig.decide(1000.0), (2, vec![]));
}

#[test]
fn fewer_are_needed_with_several_tasks_each_and_with_a_ratio() {
    let needed = |workload: Workload, ratio: f64| {
        let mut profile = Profile::new(0);
        profile.workload = workload;
        profile.needed(ratio)
    };
    assert_eq!(needed(Workload::new(7, 2).with_tasks_per_executor(4), 1.0), 3);
    assert_eq!(needed(Workload::new(100, 0), 0.5), 50);
    assert_eq!(needed(Workload::new(1, 0), 0.01), 1);
    let mut copies = Workload::new(0, 1).with_tasks_per_executor(4);
    assert_eq!(needed(copies, 1.0), 1);
    copies.pending_speculative = 1;
    assert_eq!(needed(copies, 1.0), 2, "the copy needs another executor");
}

#[test]
fn a_target_is_lowered_at_once_and_stops_no_executor() {
    let mut rig = Rig::new(policy(0, 8, 8));
    assert_eq!(rig.wanted(0.0), 8);
    rig.all_are(Activity::Busy, 0.0);
    rig.work(0, 8, 1.0);
    rig.work(0, 2, 2.0);
    assert_eq!(rig.decide(500.0), (8, vec![]), "those that are busy stay");
    for id in 1..=6 {
        rig.allocation.set_activity(ExecutorId(id), Activity::IDLE, at(500.0));
    }
    assert_eq!(rig.decide(559.0), (8, vec![]));
    assert_eq!(rig.decide(560.0), (2, vec![1, 2, 3, 4, 5, 6]));
}

#[test]
fn executors_that_hold_data_are_kept_for_longer_or_for_ever() {
    let mut keeps = policy(0, 3, 3);
    keeps.shuffle_timeout = Some(at(300.0));
    let mut rig = Rig::new(keeps);
    rig.decide(0.0);
    let data = [(false, false), (true, false), (false, true)];
    for (id, (cached, shuffle)) in (1..).zip(data) {
        rig.allocation.set_activity(ExecutorId(id), Activity::Idle { cached, shuffle }, at(0.0));
    }
    rig.work(0, 0, 0.0);
    // Nothing was ever to be done: the first one that was idle for too long ends the beginning.
    assert_eq!(rig.decide(60.0).1, [1]);
    assert_eq!(rig.decide(299.0).1, Vec::<u64>::new());
    assert_eq!(rig.decide(300.0).1, [3]);
    assert_eq!(rig.decide(1e6), (1, vec![]));
}

#[test]
fn executors_are_removed_in_the_order_of_their_ids_as_texts() {
    let mut rig = Rig::new(policy(9, 12, 12));
    rig.decide(0.0);
    rig.work(0, 0, 0.0);
    assert_eq!(rig.decide(60.0).1, [1, 10, 11]);
}

#[test]
fn it_says_when_to_ask_again() {
    let mut rig = Rig::new(policy(0, 0, 100));
    let again = |rig: &mut Rig, now: f64| rig.allocation.decide(at(now)).again_at;
    assert_eq!(again(&mut rig, 0.0), None);
    rig.work(1, 0, 0.5);
    assert_eq!(again(&mut rig, 0.5), Some(at(1.5)));
    rig.decide(1.5);
    rig.work(0, 0, 3.0);
    assert_eq!(again(&mut rig, 3.0), Some(at(61.5)));
}

#[derive(Debug, Clone)]
enum Step {
    Work { pending: u64, running: u64 },
    Activity { of: u64, activity: Activity },
    End { of: u64 },
    Wait { millis: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let activity = prop_oneof![
        Just(Activity::Busy),
        any::<(bool, bool)>().prop_map(|(cached, shuffle)| Activity::Idle { cached, shuffle }),
    ];
    let step = prop_oneof![
        (0..40_u64, 0..40_u64).prop_map(|(pending, running)| Step::Work { pending, running }),
        (1..60_u64, activity).prop_map(|(of, activity)| Step::Activity { of, activity }),
        (1..60_u64).prop_map(|of| Step::End { of }),
        (1..70_000_u64).prop_map(|millis| Step::Wait { millis }),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn whatever_happens_bounds_hold_and_busy_executors_stay(
        (min, more, steps) in (0..5_u32, 1..30_u32, steps())
    ) {
        let max = min + more;
        let mut rig = Rig::new(policy(min, min, max));
        let (mut now, mut busy) = (0.0, BTreeSet::new());
        for step in steps {
            match step {
                Step::Work { pending, running } => rig.work(pending, running, now),
                Step::Activity { of, activity } => {
                    rig.allocation.set_activity(ExecutorId(of), activity, at(now));
                    if !rig.alive.contains(&ExecutorId(of)) {
                        continue;
                    }
                    if activity == Activity::Busy {
                        busy.insert(of);
                    } else {
                        busy.remove(&of);
                    }
                }
                Step::End { of } => {
                    rig.alive.remove(&ExecutorId(of));
                    rig.allocation.executor_removed(ExecutorId(of));
                    busy.remove(&of);
                }
                Step::Wait { millis } => now += millis as f64 / 1000.0,
            }
            let (wanted, removed) = rig.decide(now);
            prop_assert!((min..=max).contains(&wanted), "{wanted} is not in {min}..={max}");
            prop_assert!(removed.iter().all(|id| !busy.contains(id)));
            prop_assert_eq!(rig.alive.len(), wanted as usize);
            // Nothing has happened: nothing changes.
            let again = rig.allocation.decide(at(now));
            prop_assert_eq!(again.executors[&DEFAULT], wanted);
            prop_assert!(again.remove.is_empty());
        }
        // All work is done, and nobody holds anything.
        rig.work(0, 0, now);
        rig.all_are(Activity::Busy, now);
        rig.all_are(Activity::IDLE, now);
        prop_assert_eq!(rig.wanted(now + 60.0), min);
        // There is work for all, for long enough.
        rig.work(1000, 0, now + 61.0);
        for second in 0..40 {
            rig.decide(now + 62.0 + f64::from(second));
        }
        prop_assert_eq!(rig.wanted(now + 102.0), max);
    }
}

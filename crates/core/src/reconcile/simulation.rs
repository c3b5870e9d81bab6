//! The planner against a cluster that misbehaves in every way it is allowed to: whatever happens, the
//! target is reached in the end, or given up with a reason, and nothing is started twice or leaked.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{AllocationPolicy, AllocatorState, Refusal};
use crate::model::{
    AllocationPhase, AppId, Cause, CommandLine, Cursor, End, Event, ExecutorId, ExecutorStatus,
    ExecutorTarget, ExecutorTemplate, ProfileId, ResourceProfile, State, Status,
};

#[derive(Debug, Clone)]
enum Step {
    /// The application declares a target for a profile.
    Target(u32, u32),
    /// Time passes and the planner acts; the cluster accepts, refuses or loses starts by these bits.
    Plan { millis: u64, refuse: u8, lose: u8 },
    /// Some executors' next events arrive, out of order between executors.
    Deliver(u8),
    /// The n-th living executor of the cluster ends.
    Die(u8, bool),
    /// A terminal event arrives once more.
    Repeat(u8),
    /// A start that seemed lost takes effect after all.
    Appear(u8),
    /// The watch breaks and begins anew with a snapshot.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u32, 0..20_u32).prop_map(|(profile, count)| Step::Target(profile, count)),
        (0..400_u64, any::<u8>(), any::<u8>()).prop_map(|(millis, refuse, lose)| Step::Plan {
            millis,
            refuse: refuse & refuse.rotate_left(3),
            lose: lose & lose.rotate_left(1) & lose.rotate_left(5),
        }),
        any::<u8>().prop_map(Step::Deliver),
        (any::<u8>(), any::<bool>()).prop_map(|(which, own)| Step::Die(which, own)),
        any::<u8>().prop_map(Step::Repeat),
        any::<u8>().prop_map(Step::Appear),
        Just(Step::Restart),
    ]
}

/// What really runs, and what the watch has yet to tell.
#[derive(Debug, Default)]
struct Cluster {
    alive: BTreeMap<ExecutorId, (ProfileId, State)>,
    untold: BTreeMap<ExecutorId, VecDeque<Status>>,
    ended: Vec<Status>,
    started: HashSet<ExecutorId>,
    lost: Vec<(ExecutorId, ProfileId)>,
}

fn status(id: ExecutorId, profile: ProfileId, state: State) -> Status {
    Status::Executor(ExecutorStatus {
        app: AppId::new("app").unwrap(),
        id,
        profile,
        state,
        since: Timestamp::UNIX_EPOCH,
        host: None,
    })
}

impl Cluster {
    fn start(&mut self, id: ExecutorId, profile: ProfileId) {
        // Repeated after a refusal that the cluster had taken for a yes: no second executor.
        if self.started.insert(id) {
            self.enter(id, profile, State::Pending { why: None });
            self.enter(id, profile, State::Running);
        }
    }

    fn enter(&mut self, id: ExecutorId, profile: ProfileId, state: State) {
        self.alive.insert(id, (profile, state.clone()));
        self.untold.entry(id).or_default().push_back(status(id, profile, state));
    }

    fn end(&mut self, id: ExecutorId, cause: Cause) {
        if let Some((profile, _)) = self.alive.remove(&id) {
            let end = End { cause, at: Timestamp::UNIX_EPOCH, last_lines: None };
            let ended = status(id, profile, State::Ended(Box::new(end)));
            self.untold.entry(id).or_default().push_back(ended.clone());
            self.ended.push(ended);
        }
    }

    fn snapshot(&mut self) -> Vec<Event> {
        self.untold.clear();
        let lines = self
            .alive
            .iter()
            .map(|(id, (profile, state))| Event::Changed(status(*id, *profile, state.clone())));
        std::iter::once(Event::Restarted).chain(lines).chain([synced()]).collect()
    }
}

fn synced() -> Event {
    Event::Synced(Cursor(String::new()))
}

struct World {
    state: AllocatorState,
    cluster: Cluster,
    target: ExecutorTarget,
    policy: AllocationPolicy,
    now: Duration,
    asked: BTreeSet<ExecutorId>,
}

impl World {
    fn plan(&mut self, refuse: u8, lose: u8) {
        let plan = self.state.plan(&self.target, &self.policy, self.now);
        for (at, (id, profile)) in plan.start.into_iter().enumerate() {
            self.asked.insert(id);
            let bit = 1_u8 << (at % 8);
            if refuse & bit != 0 {
                let refusal = Refusal {
                    message: "busy".into(),
                    retryable: true,
                    is_denial: false,
                    retry_after: None,
                };
                // Every other refusal took effect all the same: a time-out after the fact.
                if id.0 % 2 == 0 {
                    self.cluster.start(id, profile);
                }
                self.state.refused(id, &refusal, 0.5, self.now);
            } else {
                if lose & bit == 0 {
                    self.cluster.start(id, profile);
                } else {
                    self.cluster.lost.push((id, profile));
                }
                self.state.accepted(id, &self.policy, self.now);
            }
        }
        for id in plan.stop {
            let by = crate::model::KilledBy::ScaleDown;
            self.cluster.end(id, Cause::Killed { by });
        }
    }

    fn deliver(&mut self, which: u8) {
        let ids: Vec<_> = self.cluster.untold.keys().copied().collect();
        for (at, id) in ids.into_iter().enumerate() {
            if which & (1 << (at % 8)) != 0
                && let Some(queue) = self.cluster.untold.get_mut(&id)
                && let Some(status) = queue.pop_front()
            {
                if queue.is_empty() {
                    self.cluster.untold.remove(&id);
                }
                self.state.apply(Event::Changed(status), self.now);
            }
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Target(profile, executors) => {
                self.target = self.target.clone().with_profile(
                    ProfileId(profile),
                    ResourceProfile::default(),
                    executors,
                );
                self.state.declared();
            }
            Step::Plan { millis, refuse, lose } => {
                self.now += Duration::from_millis(millis);
                self.plan(refuse, lose);
            }
            Step::Deliver(which) => self.deliver(which),
            Step::Die(which, own) => {
                let nth = usize::from(which) % self.cluster.alive.len().max(1);
                if let Some(id) = self.cluster.alive.keys().nth(nth).copied() {
                    let lost = Cause::Lost { why: "node".into() };
                    self.cluster.end(id, if own { Cause::Exited { code: 1 } } else { lost });
                }
            }
            Step::Repeat(which) => {
                let nth = usize::from(which) % self.cluster.ended.len().max(1);
                // Only what was told before can be told again.
                if let Some(Status::Executor(ended)) = self.cluster.ended.get(nth).cloned()
                    && !self.cluster.untold.contains_key(&ended.id)
                {
                    self.state.apply(Event::Changed(Status::Executor(ended)), self.now);
                }
            }
            Step::Appear(which) => {
                let nth = usize::from(which) % self.cluster.lost.len().max(1);
                if nth < self.cluster.lost.len() {
                    let (id, profile) = self.cluster.lost.swap_remove(nth);
                    self.cluster.start(id, profile);
                }
            }
            Step::Restart => {
                for event in self.cluster.snapshot() {
                    self.state.apply(event, self.now);
                }
            }
        }
    }

    /// Lets everything happen that is under way, without new trouble.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.now += self.policy.start_timeout / 4;
            self.plan(0, 0);
            while !self.cluster.untold.is_empty() {
                self.deliver(0xff);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_at_the_target_or_is_given_up(
        steps in prop::collection::vec(step(), 1..120),
        limit in prop_oneof![Just(None), (1..10_u32).prop_map(Some)],
        batch_size in 1..12_u32,
        max_pending in prop_oneof![Just(u32::MAX), 1..6_u32],
    ) {
        let template = ExecutorTemplate::new(CommandLine::new("worker"));
        let mut world = World {
            state: AllocatorState::new(),
            cluster: Cluster::default(),
            target: ExecutorTarget::new(template, ResourceProfile::default(), 3),
            policy: AllocationPolicy {
                batch_size,
                max_pending,
                max_failures: limit,
                batch_delay: Duration::from_millis(20),
                ..AllocationPolicy::default()
            },
            now: Duration::ZERO,
            asked: BTreeSet::new(),
        };
        world.plan(0, 0);
        prop_assert!(world.asked.is_empty(), "nothing may be started before the first snapshot");
        world.apply(Step::Restart);
        for step in steps {
            world.apply(step);
        }
        world.settle();

        let phase = world.state.phase(&world.target);
        prop_assert_eq!(world.state.executors().len(), world.cluster.alive.len());
        match phase {
            AllocationPhase::GivenUp { why } => {
                let known = why.contains("spark.executor.maxNumFailures");
                prop_assert!(known && why.contains("exited with code 1"), "{}", why);
            }
            AllocationPhase::Reached => {
                for (id, wanted) in &world.target.profiles {
                    let alive =
                        world.cluster.alive.values().filter(|(profile, _)| profile == id).count();
                    prop_assert_eq!(alive, wanted.executors as usize);
                }
            }
            other => prop_assert!(false, "{:?} after everything settled", other),
        }
        // No failure is counted twice, and none that is not the application's own.
        let own = |status: &&Status| {
            status.state().and_then(State::end).is_some_and(|end| end.cause.is_failure())
        };
        let failed = world.cluster.ended.iter().filter(own).count() as u64;
        prop_assert!(world.state.failed() <= failed);
        // Ids go up by one: none is used for two executors, and none is left out.
        let ids: Vec<_> = world.asked.iter().map(|id| id.0).collect();
        prop_assert_eq!(ids, (1..=world.asked.len() as u64).collect::<Vec<_>>());
    }
}

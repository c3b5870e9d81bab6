//! Decides what to start and what to stop: a function of the target, of what is known, and of the
//! time. No clock, no I/O.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use backon::BackoffBuilder as _;

use super::executor_store::{Ended, ExecutorStore};
use super::failures::Failures;
use super::{AllocationPolicy, Refusal};
use crate::backoff::exponential;
use crate::model::{AllocationPhase, Event, ExecutorId, ExecutorTarget, ProfileId};

/// First wait after starts that were refused; doubles while none is accepted.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest wait between two tries.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How many starts are tried after such a wait, old ones and new ones each, while none is accepted.
const PROBES: usize = 10;
/// How often in a row whoever asks may be denied a start where that went before: tokens and rules
/// change, and what is remembered of them is of the last minute. Pauses grow to more than that.
const MAX_DENIALS: u32 = 11;
/// The same, where no start was accepted so far.
const FIRST_DENIALS: u32 = 4;

/// Everything the planner knows of one application. Times are since the loop began.
#[derive(Debug, Default)]
pub struct AllocatorState {
    executors: ExecutorStore,
    failures: Failures,
    asked: Asked,
    /// When the last batch of new executors was asked for.
    last_batch: Option<Duration>,
    /// When the cluster may next be told to stop some, after it could not be told.
    next_stop: Option<Duration>,
    failed_stops: u32,
    /// The most executors wanted at once since the failures are counted: lowering a target must not
    /// make too many of failures that were tolerated.
    peak: u64,
    given_up: Option<String>,
}

/// What was asked for and is not yet seen in the watch.
#[derive(Debug)]
struct Asked {
    entries: HashMap<ExecutorId, Ask>,
    /// When each of the accepted ones is looked at again.
    due: BTreeSet<(Duration, ExecutorId)>,
    /// When each of the refused ones was refused: the first of them is the next to be tried.
    refused: BTreeSet<(Duration, ExecutorId)>,
    /// Nothing is tried before; for all at once, as what refuses one refuses the others.
    pause: Option<Duration>,
    /// How many pauses there were since a start was accepted.
    pauses: u32,
    /// How many of them were for a denial, and how many there may be.
    denials: u32,
    most_denials: u32,
    /// Starts that the cluster was asked for and has not answered yet.
    in_flight: usize,
    /// What the cluster said when it last refused a start; gone once one is accepted.
    refusal: Option<String>,
}

/// How far a start is, with the time by which it is found in `due` or in `refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    UnderWay,
    Accepted(Duration),
    Refused(Duration),
}

/// What to do now, and when to look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be started: new ones, and those that were refused and are due again.
    pub start: Vec<(ExecutorId, ProfileId)>,
    /// To be stopped because the target was lowered.
    pub stop: Vec<ExecutorId>,
    /// When to plan again if nothing happens before.
    pub again_at: Option<Duration>,
}

impl AllocatorState {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that gives no id up to `last`.
    pub fn after(last: ExecutorId) -> Self {
        Self { executors: ExecutorStore::after(last), ..Self::default() }
    }

    /// Takes in one event of the watch.
    pub fn apply(&mut self, event: Event, now: Duration) {
        if let Event::Changed(crate::model::Status::Executor(status)) = &event {
            self.asked.settle(status.id);
        }
        for ended in self.executors.apply(event) {
            self.ended(&ended, now);
        }
    }

    fn ended(&mut self, ended: &Ended, now: Duration) {
        self.asked.settle(ended.id);
        self.failures.count(ended, now);
    }

    /// The application declared a target: what was given up is taken up again.
    pub fn declared(&mut self) {
        if self.given_up.take().is_some() {
            self.failures.reset();
            self.peak = 0;
        }
        self.asked.refusal = None;
    }

    /// The cluster accepted a start; it has `policy.start_timeout` to show the executor.
    pub fn accepted(&mut self, id: ExecutorId, policy: &AllocationPolicy, now: Duration) {
        (self.asked.refusal, self.asked.pauses, self.asked.denials) = (None, 0, 0);
        self.asked.most_denials = MAX_DENIALS;
        self.asked.in_flight = self.asked.in_flight.saturating_sub(1);
        if self.executors.was_shown(id) == Some(false) {
            self.asked.put(id, Ask::Accepted(now + policy.start_timeout));
        }
    }

    /// The cluster refused a start. `spread`, between 0 and 1, is the jitter.
    pub fn refused(&mut self, id: ExecutorId, refusal: &Refusal, spread: f64, now: Duration) {
        self.asked.refusal = Some(refusal.message.clone());
        self.asked.in_flight = self.asked.in_flight.saturating_sub(1);
        if !refusal.retryable && !self.asked.doubts(refusal) {
            self.asked.settle(id);
            self.executors.forget(id);
            self.given_up = Some(refusal.message.clone());
            return;
        }
        if self.executors.was_shown(id) == Some(false) {
            self.asked.put(id, Ask::Refused(now));
        }
        self.asked.pause_for(refusal.retry_after, spread.clamp(0.0, 1.0), now);
    }

    /// The cluster was told to stop some.
    pub fn stopped(&mut self) {
        self.failed_stops = 0;
    }

    /// The cluster could not be told to stop these; it is tried again later.
    pub fn not_stopped(&mut self, ids: &[ExecutorId], now: Duration) {
        for id in ids {
            self.executors.not_ending(*id);
        }
        self.next_stop = Some(now + pause_after(self.failed_stops));
        self.failed_stops += 1;
    }

    /// What is known of the executors.
    pub fn executors(&self) -> &ExecutorStore {
        &self.executors
    }

    /// How many executors failed so far.
    pub fn failed(&self) -> u64 {
        self.failures.total()
    }

    /// Decides. What it returns counts as asked for: the caller does it, and says how it went by
    /// [`accepted`](Self::accepted), [`refused`](Self::refused), [`stopped`](Self::stopped) and
    /// [`not_stopped`](Self::not_stopped).
    pub fn plan(
        &mut self,
        target: &ExecutorTarget,
        policy: &AllocationPolicy,
        now: Duration,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.executors.is_synced() {
            return plan;
        }
        self.peak = self.peak.max(target.total());
        let limit = policy.failure_limit(self.peak);
        self.failures.trim(policy, limit, now);
        if self.given_up.is_none() {
            self.given_up = self.failures.verdict(policy, limit);
        }
        self.forget_lost(now);
        self.stop_excess(target, policy, now, &mut plan);
        self.asked.pause = self.asked.pause.filter(|pause| now < *pause);
        if self.given_up.is_none() && self.asked.pause.is_none() {
            self.start_refused(policy, &mut plan);
            self.start_missing(target, policy, now, &mut plan);
            self.asked.in_flight += plan.start.len();
            for (id, _) in &plan.start {
                self.asked.put(*id, Ask::UnderWay);
            }
        }
        let next = self.asked.due.first().map(|(due, _)| *due);
        plan.again_at = [plan.again_at, next, self.asked.pause].into_iter().flatten().min();
        plan
    }

    /// What was accepted and never shown is lost, and its place is free; so is what was refused, once
    /// nothing is started any more.
    fn forget_lost(&mut self, now: Duration) {
        let lost = self.asked.due.iter().take_while(|(due, _)| *due <= now);
        let refused = self.asked.refused.iter().filter(|_| self.given_up.is_some());
        for (_, id) in lost.chain(refused).copied().collect::<Vec<_>>() {
            self.asked.settle(id);
            self.executors.forget(id);
        }
    }

    /// Those that were refused come back for another try, the first ones first.
    fn start_refused(&mut self, policy: &AllocationPolicy, plan: &mut Plan) {
        let room = self.asked.room(policy, PROBES, plan);
        let again = self.asked.refused.iter().take(room);
        let again = again.filter_map(|(_, id)| Some((*id, self.executors.profile_of(*id)?)));
        plan.start.extend(again);
    }

    /// Those that wait go before those that run, the newest first.
    fn stop_excess(
        &mut self,
        target: &ExecutorTarget,
        policy: &AllocationPolicy,
        now: Duration,
        plan: &mut Plan,
    ) {
        if let Some(at) = self.next_stop.filter(|at| now < *at) {
            plan.again_at = Some(at);
            return;
        }
        self.next_stop = None;
        plan.stop.extend(self.executors.take_undelivered_stops());
        let unwanted: Vec<_> =
            target.unwanted.iter().copied().filter(|id| self.executors.is_wanted(*id)).collect();
        for id in unwanted {
            // One whose start is under way is not known to the cluster yet: its turn comes.
            if self.asked.entries.get(&id) != Some(&Ask::UnderWay) {
                self.executors.ending(id);
                plan.stop.push(id);
            }
        }
        for (id, executors) in self.executors.profiles() {
            let wanted = target.profiles.get(id).map_or(0, |profile| profile.executors as usize);
            let excess = (executors.waiting.len() + executors.running.len()).saturating_sub(wanted);
            if excess == 0 {
                continue;
            }
            // One whose start is under way is not known to the cluster yet: its turn comes, and no
            // running one goes in its stead.
            let (known, under_way): (Vec<ExecutorId>, Vec<ExecutorId>) = executors
                .waiting
                .iter()
                .rev()
                .copied()
                .partition(|id| self.asked.entries.get(id) != Some(&Ask::UnderWay));
            let waiting = excess.min(known.len());
            let running = (excess - waiting).saturating_sub(under_way.len());
            plan.stop.extend(known.into_iter().take(waiting));
            plan.stop.extend(executors.running.iter().rev().copied().take(running));
        }
        for id in &plan.stop {
            self.executors.ending(*id);
            // Never shown so far: if it is not by then, there is nothing to wait for.
            if self.executors.was_shown(*id) == Some(false) {
                self.asked.put(*id, Ask::Accepted(now + policy.start_timeout));
            }
        }
    }

    fn start_missing(
        &mut self,
        target: &ExecutorTarget,
        policy: &AllocationPolicy,
        now: Duration,
        plan: &mut Plan,
    ) {
        let missing: Vec<(ProfileId, usize)> = target
            .profiles
            .iter()
            .map(|(id, profile)| {
                let alive = self.executors.profiles().get(id);
                let alive =
                    alive.map_or(0, |executors| executors.waiting.len() + executors.running.len());
                (*id, (profile.executors as usize).saturating_sub(alive))
            })
            .filter(|(_, missing)| *missing > 0)
            .collect();
        if missing.is_empty() {
            return;
        }
        if let Some(last) = self.last_batch
            && now < last + policy.batch_delay
        {
            plan.again_at =
                [plan.again_at, Some(last + policy.batch_delay)].into_iter().flatten().min();
            return;
        }
        let pending = self.executors.waiting();
        let free = u64::from(policy.max_pending).saturating_sub(pending);
        let window = self.asked.room(policy, 2 * PROBES, plan);
        let mut room = window.min(usize::try_from(free).unwrap_or(usize::MAX));
        let before = plan.start.len();
        for (profile, missing) in share(&missing, &mut room) {
            for _ in 0..missing {
                plan.start.push((self.executors.ask(profile), profile));
            }
        }
        if plan.start.len() > before {
            self.last_batch = Some(now);
            // Without a delay the next batch follows when the cluster has answered this one.
            if !policy.batch_delay.is_zero() {
                let next = Some(now + policy.batch_delay);
                plan.again_at = [plan.again_at, next].into_iter().flatten().min();
            }
        }
    }

    /// What is going on, in words.
    pub fn phase(&self, target: &ExecutorTarget) -> AllocationPhase {
        if let Some(why) = &self.given_up {
            return AllocationPhase::GivenUp { why: why.as_str().into() };
        }
        let reached = |(id, wanted): (&ProfileId, usize)| {
            let executors = self.executors.profiles().get(id);
            executors.map_or(0, |executors| executors.running.len()) == wanted
                && executors.is_none_or(|executors| executors.waiting.is_empty())
        };
        let wanted = target.profiles.iter().map(|(id, profile)| (id, profile.executors as usize));
        let unwanted =
            self.executors.profiles().keys().filter(|id| !target.profiles.contains_key(id));
        if self.executors.is_synced() && wanted.chain(unwanted.map(|id| (id, 0))).all(reached) {
            return AllocationPhase::Reached;
        }
        if let Some(why) = &self.asked.refusal {
            return AllocationPhase::Blocked { why: why.as_str().into() };
        }
        match self.executors.profiles().values().find_map(|executors| executors.why.clone()) {
            Some(why) => AllocationPhase::Blocked { why },
            None => AllocationPhase::Moving,
        }
    }
}

/// How long to wait after so many failures before, without jitter: a plan is the same each time.
fn pause_after(failures: u32) -> Duration {
    let mut pauses = exponential(FIRST_RETRY, LAST_RETRY).build();
    pauses.nth(failures.min(16) as usize).unwrap_or(LAST_RETRY)
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
            refused: BTreeSet::new(),
            pause: None,
            pauses: 0,
            denials: 0,
            most_denials: FIRST_DENIALS,
            in_flight: 0,
            refusal: None,
        }
    }
}

impl Asked {
    fn put(&mut self, id: ExecutorId, ask: Ask) {
        self.settle(id);
        match ask {
            Ask::UnderWay => true,
            Ask::Accepted(due) => self.due.insert((due, id)),
            Ask::Refused(at) => self.refused.insert((at, id)),
        };
        self.entries.insert(id, ask);
    }

    /// The watch shows it, or it ended: nothing more to wait for.
    fn settle(&mut self, id: ExecutorId) {
        match self.entries.remove(&id) {
            None | Some(Ask::UnderWay) => false,
            Some(Ask::Accepted(due)) => self.due.remove(&(due, id)),
            Some(Ask::Refused(at)) => self.refused.remove(&(at, id)),
        };
    }

    /// Whether a denial is not believed yet.
    fn doubts(&mut self, refusal: &Refusal) -> bool {
        self.denials += u32::from(refusal.is_denial && self.pause.is_none());
        refusal.is_denial && self.denials < self.most_denials
    }

    /// A start was refused: all wait, for a random time, or for at least as long as the cluster asks.
    /// Refusals of starts that were under way together make one pause.
    fn pause_for(&mut self, asked: Option<Duration>, spread: f64, now: Duration) {
        if self.pause.is_none() {
            self.pause = Some(now + pause_after(self.pauses).mul_f64(0.5 + spread / 2.0));
            self.pauses += 1;
        }
        let asked = asked.map(|asked| now + asked.mul_f64(1.0 + spread / 2.0));
        self.pause = self.pause.max(asked);
    }

    /// How many starts may be added to a plan: a batch, or `probes` while none is accepted.
    fn room(&self, policy: &AllocationPolicy, probes: usize, plan: &Plan) -> usize {
        let batch = policy.batch_size as usize;
        let window = if self.pauses > 1 { batch.min(probes) } else { batch };
        window.saturating_sub(self.in_flight + plan.start.len())
    }
}

/// Shares `room` evenly among the profiles that miss executors, the remainder to the first ones.
fn share(missing: &[(ProfileId, usize)], room: &mut usize) -> Vec<(ProfileId, usize)> {
    let mut shares: Vec<_> = missing.iter().map(|(id, _)| (*id, 0)).collect();
    let mut open: Vec<usize> = (0..missing.len()).collect();
    while *room > 0 && !open.is_empty() {
        let each = (*room / open.len()).max(1);
        open.retain(|&index| {
            let lack = missing[index].1 - shares[index].1;
            let share = each.min(lack).min(*room);
            shares[index].1 += share;
            *room -= share;
            share < lack && *room > 0
        });
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AppId, Cause, CommandLine, Cursor, End, ExecutorStatus, ExecutorTemplate, ResourceProfile,
        State, Status,
    };

    #[test]
    fn room_is_shared_evenly_and_none_is_wasted() {
        let id = ProfileId;
        for (missing, room, want) in [
            (vec![10, 10], 5, vec![3, 2]),
            (vec![1, 10], 6, vec![1, 5]),
            (vec![2, 2], 100, vec![2, 2]),
            (vec![3, 3, 3], 1, vec![1, 0, 0]),
        ] {
            let missing: Vec<_> = (0..).map(id).zip(missing).collect();
            let mut left = room;
            let shares: Vec<_> = share(&missing, &mut left).into_iter().map(|(_, n)| n).collect();
            // Halves are rounded down first, then the rest goes to the first ones.
            assert_eq!(shares.iter().sum::<usize>() + left, room);
            assert_eq!(shares.iter().sum::<usize>(), want.iter().sum::<usize>(), "{want:?}");
        }
    }

    fn changed(id: u64, state: State) -> Event {
        Event::Changed(Status::Executor(ExecutorStatus {
            app: AppId::new("app").unwrap(),
            id: ExecutorId(id),
            profile: ProfileId(0),
            state,
            since: jiff::Timestamp::UNIX_EPOCH,
            host: None,
        }))
    }

    fn failed() -> State {
        let at = jiff::Timestamp::UNIX_EPOCH;
        State::Ended(Box::new(End { cause: Cause::Exited { code: 1 }, at, last_lines: None }))
    }

    fn target(executors: u32) -> ExecutorTarget {
        let template = ExecutorTemplate::new(CommandLine::new("worker"));
        ExecutorTarget::new(template, ResourceProfile::default(), executors)
    }

    fn synced() -> AllocatorState {
        let mut state = AllocatorState::new();
        state.apply(Event::Restarted, Duration::ZERO);
        state.apply(Event::Synced(Cursor(String::new())), Duration::ZERO);
        state
    }

    const NOW: Duration = Duration::from_secs(1);

    fn refusal(retryable: bool) -> Refusal {
        let message = "no".to_owned();
        Refusal { message, retryable, is_denial: !retryable, retry_after: None }
    }

    #[test]
    fn executors_that_are_given_up_end_and_no_others() {
        let (mut state, policy) = (synced(), AllocationPolicy::default());
        for (id, _) in state.plan(&target(4), &policy, NOW).start {
            state.accepted(id, &policy, NOW);
            state.apply(changed(id.0, State::Running), NOW);
        }
        // The newest one would go if nothing were said.
        let mut target = target(3);
        target.unwanted = BTreeSet::from([ExecutorId(2), ExecutorId(99)]);
        let plan = state.plan(&target, &policy, NOW);
        assert_eq!((plan.stop, plan.start), (vec![ExecutorId(2)], vec![]));
        assert_eq!(
            state.plan(&target, &policy, NOW),
            Plan { again_at: plan.again_at, ..Plan::default() }
        );
        // It was asked to: its end is no failure, and nobody takes its place.
        state.apply(changed(2, failed()), NOW);
        assert_eq!((state.plan(&target, &policy, NOW).start, state.failed()), (vec![], 0));
        // One given up while the target stands is replaced.
        target.unwanted = BTreeSet::from([ExecutorId(2), ExecutorId(1)]);
        let plan = state.plan(&target, &policy, NOW);
        assert_eq!(plan.stop, [ExecutorId(1)]);
        assert_eq!(plan.start, [(ExecutorId(5), ProfileId(0))]);
    }

    /// Answers all that a plan starts; returns how many those were, and how long nothing is tried.
    fn answer(
        state: &mut AllocatorState,
        wanted: u32,
        now: Duration,
        answer: &Result<(), Refusal>,
    ) -> (usize, Option<Duration>) {
        let policy = AllocationPolicy::default();
        let start = state.plan(&target(wanted), &policy, now).start;
        for (id, _) in &start {
            match answer {
                Ok(()) => state.accepted(*id, &policy, now),
                Err(refusal) => state.refused(*id, refusal, 0.0, now),
            }
        }
        (start.len(), state.asked.pause)
    }

    #[test]
    fn what_refuses_all_is_asked_little_until_it_gives_way() {
        let mut state = synced();
        let refused = Err(refusal(true));
        let mut now = NOW;
        let mut asked = Vec::new();
        for _ in 0..12 {
            let (many, pause) = answer(&mut state, 5_000, now, &refused);
            asked.push(many);
            // One pause for all of them, and nothing meanwhile.
            assert_eq!(answer(&mut state, 5_000, now, &refused), (0, pause));
            now = pause.unwrap();
        }
        assert_eq!(asked[..3], [1_000, 1_000, 2 * PROBES]);
        assert!(asked[2..].iter().all(|many| *many == 2 * PROBES), "{asked:?}");
        assert!(now > NOW + Duration::from_secs(60), "{now:?}");
        // Each has its turn.
        let policy = AllocationPolicy::default();
        let next = state.plan(&target(5_000), &policy, now).start;
        assert!(next.iter().all(|(id, _)| id.0 > 100), "{next:?}");
        next.iter().for_each(|(id, _)| state.accepted(*id, &policy, now));
        let mut all = next.len();
        while let (many @ 1.., _) = answer(&mut state, 5_000, now, &Ok(())) {
            all += many;
        }
        assert_eq!(all, 5_000);
    }

    #[test]
    fn pauses_are_as_long_as_the_cluster_asks_at_least() {
        let mut state = synced();
        let retry_after = Some(Duration::from_secs(7));
        let refused = Err(Refusal { retry_after, ..refusal(true) });
        let (_, pause) = answer(&mut state, 1, NOW, &refused);
        assert_eq!(pause, Some(NOW + Duration::from_secs(7)));
    }

    #[test]
    fn denials_are_believed_when_they_go_on() {
        let mut state = synced();
        let denied = Err(refusal(false));
        let gives_up = |state: &mut AllocatorState, mut now: Duration| {
            for many in 1.. {
                let pause = answer(state, 5, now, &denied).1;
                if matches!(state.phase(&target(5)), AllocationPhase::GivenUp { .. }) {
                    return (many, now);
                }
                now = pause.unwrap();
            }
            unreachable!()
        };
        // Of five denials at once, one counts.
        let (many, at) = gives_up(&mut state, NOW);
        assert_eq!(many, FIRST_DENIALS);
        assert!(at < NOW + Duration::from_secs(1), "{at:?}");
        state.declared();
        answer(&mut state, 1, NOW * 2, &Ok(()));
        let (many, at) = gives_up(&mut state, NOW * 2);
        assert_eq!(many, MAX_DENIALS);
        assert!(at > NOW * 40, "{at:?}");
        // What cannot be is believed at once.
        state.declared();
        answer(&mut state, 5, at, &Err(Refusal { is_denial: false, ..refusal(false) }));
        assert!(matches!(state.phase(&target(5)), AllocationPhase::GivenUp { .. }));
    }

    #[test]
    fn what_is_refused_after_it_was_shown_counts_as_well() {
        let (mut state, policy) = (synced(), AllocationPolicy::default());
        state.plan(&target(1), &policy, NOW);
        state.apply(changed(1, State::Pending { why: None }), NOW);
        state.refused(ExecutorId(1), &refusal(true), 0.0, NOW);
        let at = jiff::Timestamp::UNIX_EPOCH;
        let cause = Cause::Killed { by: crate::model::KilledBy::Request };
        let end = Box::new(End { cause, at, last_lines: None });
        state.apply(changed(1, State::Ended(end)), NOW);
        let plan = state.plan(&target(1), &policy, NOW);
        assert_eq!((plan.start, plan.again_at), (vec![], Some(NOW + FIRST_RETRY / 2)));
    }

    #[test]
    fn a_start_under_way_makes_room_before_anything_that_runs() {
        let (mut state, policy) = (synced(), AllocationPolicy::default());
        state.plan(&target(2), &policy, NOW);
        for id in [1, 2] {
            state.accepted(ExecutorId(id), &policy, NOW);
            state.apply(changed(id, State::Running), NOW);
        }
        // 3 and 4 are asked for; before the cluster answers, only three are wanted.
        assert_eq!(state.plan(&target(4), &policy, NOW).start.len(), 2);
        assert_eq!(state.plan(&target(3), &policy, NOW).stop, []);
        state.accepted(ExecutorId(3), &policy, NOW);
        state.accepted(ExecutorId(4), &policy, NOW);
        assert_eq!(state.plan(&target(3), &policy, NOW).stop, [ExecutorId(4)]);
    }

    #[test]
    fn what_was_stopped_before_it_was_shown_is_stopped_again_and_nothing_else() {
        let (mut state, policy) = (synced(), AllocationPolicy::default());
        state.plan(&target(3), &policy, NOW);
        for id in [1, 2, 3] {
            state.accepted(ExecutorId(id), &policy, NOW);
        }
        state.apply(changed(1, State::Running), NOW);
        state.apply(changed(3, State::Running), NOW);
        assert_eq!(state.plan(&target(2), &policy, NOW).stop, [ExecutorId(2)]);
        // The cluster may have started it before it heard of the stop, or never have heard of that.
        state.apply(changed(2, State::Running), NOW);
        assert_eq!(state.plan(&target(2), &policy, NOW).stop, [ExecutorId(2)]);
        let Plan { start, stop, .. } = state.plan(&target(2), &policy, NOW);
        assert_eq!((start, stop), (vec![], vec![]));
    }

    #[test]
    fn a_lower_target_does_not_make_old_failures_too_many() {
        let (mut state, policy) = (synced(), AllocationPolicy::default());
        state.plan(&target(10), &policy, NOW);
        for id in 1..=10 {
            state.accepted(ExecutorId(id), &policy, NOW);
            state.apply(changed(id, failed()), NOW);
        }
        state.plan(&target(1), &policy, NOW);
        assert_eq!(state.phase(&target(1)), AllocationPhase::Moving);
    }

    #[test]
    fn what_the_cluster_shows_late_is_not_leaked() {
        let (mut state, policy) = (synced(), AllocationPolicy::default());
        state.plan(&target(1), &policy, NOW);
        state.accepted(ExecutorId(1), &policy, NOW);
        let later = NOW + policy.start_timeout;
        assert_eq!(state.plan(&target(1), &policy, later).start, [(ExecutorId(2), ProfileId(0))]);
        state.accepted(ExecutorId(2), &policy, later);
        state.apply(changed(2, State::Running), later);
        state.apply(changed(1, State::Running), later);
        assert_eq!(state.plan(&target(1), &policy, later).stop, [ExecutorId(2)]);
        assert_eq!(state.executors().running(), 1);
    }
}

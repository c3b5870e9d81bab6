//! The executors of an application, from the moment they are wanted to their end, and who is told of them. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anymaster_core::model::{
    AllocationStatus, AppId, ExecutorId, ExecutorStatus, KilledBy, Outcome, State, Status,
};
use anymaster_core::reconcile::ExecutorLaunch;
use tokio::sync::broadcast;

use super::asks::Slot;
use super::messages::{ContainerId, NodeId};
use crate::control::{Kept, Told};
use crate::proto::Resource;

/// How many executors that have ended are remembered.
const MAX_ENDED: usize = 10_000;
/// Of a grace that is longer than a clock can count.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far behind one who watches may be, in events.
const BACKLOG: usize = 4096;

/// One executor.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) status: ExecutorStatus,
    pub(super) launch: ExecutorLaunch,
    pub(super) slot: Slot,
    pub(super) place: Option<Place>,
    pub(super) asked: Option<Asked>,
}

/// An executor was asked to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Why, at first.
    pub(super) by: KilledBy,
    /// When it is ended, if it has not by itself.
    until: Instant,
}

/// Where an executor's container is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) container: ContainerId,
    pub(super) node: NodeId,
    /// `node:8042`.
    pub(super) http: Arc<str>,
    pub(super) since: Instant,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Roster {
    app: AppId,
    executors: BTreeMap<ExecutorId, Executor>,
    by_container: HashMap<ContainerId, ExecutorId>,
    /// Those without a container, by their shapes, oldest first.
    waiting: BTreeMap<Slot, VecDeque<ExecutorId>>,
    shapes: Vec<Resource>,
    ended: VecDeque<ExecutorId>,
    allocation: Option<AllocationStatus>,
    events: broadcast::Sender<Told>,
    /// The driver has ended: nothing is started any more.
    pub(super) is_over: bool,
}

impl Roster {
    pub(super) fn new(app: AppId) -> Self {
        let (events, _) = broadcast::channel(BACKLOG);
        Self {
            app,
            executors: BTreeMap::new(),
            by_container: HashMap::new(),
            waiting: BTreeMap::new(),
            shapes: Vec::new(),
            ended: VecDeque::new(),
            allocation: None,
            events,
            is_over: false,
        }
    }

    /// Enters an executor that waits for a container. One that is known stays as it is.
    pub(super) fn add(&mut self, launch: ExecutorLaunch, shape: Resource) {
        let id = launch.id;
        if self.executors.contains_key(&id) || self.is_over {
            return;
        }
        let slot = self.shapes.iter().position(|known| *known == shape).unwrap_or_else(|| {
            self.shapes.push(shape);
            self.shapes.len() - 1
        });
        let state = State::Pending { why: Some("it waits for a container".into()) };
        let status = ExecutorStatus::new(self.app.clone(), id, launch.profile_id, state);
        self.tell(Status::Executor(status.clone()));
        self.waiting.entry(slot).or_default().push_back(id);
        let executor = Executor { status, launch, slot, place: None, asked: None };
        self.executors.insert(id, executor);
    }

    /// The shape of a slot.
    pub(super) fn shape(&self, slot: Slot) -> Option<&Resource> {
        self.shapes.get(slot)
    }

    /// How many containers of each shape are missing.
    pub(super) fn missing(&self) -> BTreeMap<Slot, u32> {
        let waiting = self.waiting.iter().filter(|(_, ids)| !ids.is_empty());
        waiting.map(|(slot, ids)| (*slot, u32::try_from(ids.len()).unwrap_or(u32::MAX))).collect()
    }

    /// Gives a container to the executor that has waited longest for one of its shape.
    pub(super) fn place(&mut self, slot: Slot, place: Place) -> Option<&Executor> {
        let id = self.waiting.get_mut(&slot)?.pop_front()?;
        let executor = self.executors.get_mut(&id)?;
        self.by_container.insert(place.container, id);
        executor.status.host = Some(place.node.name().into());
        executor.place = Some(place);
        let why = "its container is being started".into();
        self.change(id, State::Pending { why: Some(why) });
        self.executors.get(&id)
    }

    pub(super) fn get(&self, id: ExecutorId) -> Option<&Executor> {
        self.executors.get(&id)
    }

    pub(super) fn of_container(&self, container: &ContainerId) -> Option<&Executor> {
        self.executors.get(self.by_container.get(container)?)
    }

    /// Takes in where an executor is. States go forward only, and nothing follows an end.
    pub(super) fn change(&mut self, id: ExecutorId, state: State) {
        let Some(executor) = self.executors.get_mut(&id) else { return };
        let status = &mut executor.status;
        if status.state.is_ended() || status.state.rank() > state.rank() || status.state == state {
            return;
        }
        status.state = state.bounded();
        status.since = jiff::Timestamp::now();
        let status = status.clone();
        if status.state.is_ended() {
            if executor.place.is_none()
                && let Some(waiting) = self.waiting.get_mut(&executor.slot)
            {
                waiting.retain(|other| *other != id);
            }
            self.ended.push_back(id);
            if self.ended.len() > MAX_ENDED
                && let Some(oldest) = self.ended.pop_front()
                && let Some(gone) = self.executors.remove(&oldest)
                && let Some(place) = gone.place
            {
                self.by_container.remove(&place.container);
            }
        }
        self.tell(Status::Executor(status));
    }

    /// An executor ended like this.
    pub(super) fn end(&mut self, id: ExecutorId, outcome: Outcome) {
        self.change(id, outcome.into_state());
    }

    /// Notes that an executor is to end, why, and how long it has. Returns its container, if it has one and was not
    /// asked before, or now has less time; one without has ended.
    pub(super) fn ask(&mut self, id: ExecutorId, by: KilledBy, grace: Duration) -> Option<Place> {
        let executor = self.executors.get_mut(&id)?;
        if executor.status.state.is_ended() {
            return None;
        }
        let now = Instant::now();
        let until = now.checked_add(grace).unwrap_or_else(|| now + LONGEST_GRACE);
        let is_news = executor.asked.is_none_or(|asked| until < asked.until);
        if is_news {
            let by = executor.asked.map_or(by, |asked| asked.by);
            executor.asked = Some(Asked { by, until });
        }
        let place = executor.place.clone();
        match place {
            Some(place) => {
                if executor.status.state == State::Running {
                    self.change(id, State::Ending);
                }
                is_news.then_some(place)
            }
            None => {
                self.end(id, anymaster_core::model::Cause::Killed { by }.into());
                None
            }
        }
    }

    /// Those that live, with their containers.
    pub(super) fn living(&self) -> impl Iterator<Item = &Executor> {
        self.executors.values().filter(|executor| !executor.status.state.is_ended())
    }

    pub(super) fn set_allocation(&mut self, allocation: AllocationStatus) {
        self.allocation = Some(allocation.clone());
        self.tell(Status::Allocation(allocation));
    }

    fn tell(&self, status: Status) {
        // Nobody may be watching.
        let _ = self.events.send(Told::Changed(status));
    }

    /// All that is known now, and what happens from now on.
    pub(super) fn watch(&self) -> (Vec<Told>, broadcast::Receiver<Told>) {
        let mut known = vec![Told::Restarted];
        let executors = self.executors.values().map(|executor| executor.status.clone());
        known.extend(executors.map(|status| Told::Changed(Status::Executor(status))));
        let allocation = self.allocation.clone().map(|it| Told::Changed(Status::Allocation(it)));
        known.extend(allocation);
        known.push(Told::Synced);
        (known, self.events.subscribe())
    }

    /// The last executors, for those who ask when the application has ended.
    pub(super) fn kept(&self, max: usize) -> Vec<Kept> {
        let last = self.executors.values().rev().take(max).map(|executor| Kept {
            status: executor.status.clone(),
            container: executor.place.as_ref().map(|place| place.container.to_string()),
        });
        let mut kept: Vec<_> = last.collect();
        kept.reverse();
        kept
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{Cause, CommandLine, ExecutorTemplate, ProfileId, ResourceProfile};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn launch(id: u64) -> ExecutorLaunch {
        ExecutorLaunch {
            id: ExecutorId(id),
            profile_id: ProfileId(0),
            profile: ResourceProfile::default(),
            template: Arc::new(ExecutorTemplate::new(CommandLine::new("x"))),
        }
    }

    fn roster(executors: u64) -> Roster {
        let mut roster = Roster::new(AppId::new("a").unwrap());
        (1..=executors).for_each(|id| roster.add(launch(id), Resource::default()));
        roster
    }

    fn place(number: i64) -> Place {
        Place {
            container: ContainerId { attempt: None, id: Some(number) },
            node: NodeId { host: Some("n".to_owned()), port: Some(1) },
            http: "n:2".into(),
            since: Instant::now(),
        }
    }

    #[test]
    fn containers_go_to_those_who_wait_longest_and_states_go_forward() {
        let mut roster = roster(2);
        roster.add(launch(1), Resource::default());
        assert_eq!(roster.missing(), BTreeMap::from([(0, 2)]));
        assert_eq!(roster.place(0, place(1)).map(|it| it.status.id), Some(ExecutorId(1)));
        roster.change(ExecutorId(1), State::Running);
        roster.change(ExecutorId(1), State::Pending { why: None });
        assert_eq!(roster.get(ExecutorId(1)).unwrap().status.state, State::Running);
        roster.end(ExecutorId(1), Cause::Finished.into());
        roster.end(ExecutorId(1), Cause::Exited { code: 1 }.into());
        let end = roster.of_container(&place(1).container).unwrap().status.state.end();
        assert_eq!(end.map(|end| &end.cause), Some(&Cause::Finished));
        // Nobody waits for more than one.
        assert!(roster.place(0, place(2)).is_some() && roster.place(0, place(3)).is_none());
    }

    #[test]
    fn one_without_a_container_ends_when_it_is_asked_to() {
        let mut roster = roster(2);
        roster.place(0, place(1));
        assert!(roster.ask(ExecutorId(2), KilledBy::ScaleDown, MINUTE).is_none());
        assert_eq!(roster.missing(), BTreeMap::new());
        let end = roster.get(ExecutorId(2)).unwrap().status.state.end().unwrap();
        assert_eq!(end.cause, Cause::Killed { by: KilledBy::ScaleDown });
        assert!(roster.ask(ExecutorId(1), KilledBy::Request, MINUTE).is_some());
        let again = roster.ask(ExecutorId(1), KilledBy::ScaleDown, 2 * MINUTE);
        assert!(again.is_none(), "it was asked, and does not have more time now");
        let sooner = roster.ask(ExecutorId(1), KilledBy::ScaleDown, Duration::ZERO);
        assert!(sooner.is_some(), "it has less time than before");
        let asked = roster.get(ExecutorId(1)).unwrap().asked;
        assert_eq!(asked.map(|it| it.by), Some(KilledBy::Request), "the first reason holds");
        assert_eq!(roster.living().count(), 1);
    }

    #[test]
    fn who_watches_is_told_all_that_is_known_and_then_what_happens() {
        let mut roster = roster(1);
        let (known, mut events) = roster.watch();
        assert_eq!(known.len(), 3);
        roster.end(ExecutorId(1), Cause::Finished.into());
        let Told::Changed(Status::Executor(status)) = events.try_recv().unwrap() else {
            panic!("it is not told")
        };
        assert!(status.state.is_ended());
        assert_eq!(roster.kept(10).len(), 1);
    }
}

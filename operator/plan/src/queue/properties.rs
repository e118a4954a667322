//! For anything that may happen: never above the limit but by what started late, no place unused, nobody overtaken for ever, each run
//! once and in order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{member, wanted};
use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What happens to a policy, by its place among the names.
#[derive(Clone, Debug)]
enum Step {
    /// So many more runs are due.
    Due(usize, u32),
    /// It makes the Jobs that it may, and the watch shows them or is late.
    Make(usize, bool),
    /// Its oldest Job ends; the watch shows it, or the next pass finds out.
    End(usize, bool),
    /// Its oldest Job has not started for so long that others do not wait for it.
    Stall(usize),
    /// One of these starts after all; the watch shows it, or the next pass finds out.
    StartLate(usize, bool),
    /// A pass over it fails before a Job is made; the next asks again.
    Fail(usize),
    /// The operator starts anew, and passes begin with this policy.
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..NAMES.len();
    let step = prop_oneof![
        3 => (who(), 1_u32..4).prop_map(|(who, more)| Step::Due(who, more)),
        1 => who().prop_map(|who| Step::Due(who, 12)),
        4 => (who(), any::<bool>()).prop_map(|(who, shown)| Step::Make(who, shown)),
        6 => (who(), any::<bool>()).prop_map(|(who, shown)| Step::End(who, shown)),
        2 => who().prop_map(Step::Stall),
        1 => (who(), any::<bool>()).prop_map(|(who, shown)| Step::StartLate(who, shown)),
        1 => who().prop_map(Step::Fail),
        1 => who().prop_map(Step::Restart),
    ];
    vec(step, 1..80)
}

/// The cluster, and what is known of the order in which runs were let in.
struct Model {
    queue: Queue,
    limit: usize,
    minute: u32,
    wanted: BTreeMap<Member, BTreeSet<Wanted>>,
    live: BTreeMap<Member, BTreeSet<String>>,
    /// Jobs that are there and have no place.
    late: BTreeMap<Member, BTreeSet<String>>,
    /// Those among the live ones that were late.
    started_late: BTreeSet<String>,
    made: Vec<String>,
    /// Of each policy that waits: who was let in meanwhile.
    overtaken: BTreeMap<Member, BTreeMap<Member, u32>>,
}

impl Model {
    fn new(limit: usize) -> Self {
        let mut queue = Queue::new(limit);
        queue.keep(NAMES.map(member));
        queue.open();
        let (wanted, live, late, started_late, overtaken) = Default::default();
        Self { queue, limit, minute: 0, wanted, live, late, started_late, made: vec![], overtaken }
    }

    fn report(&mut self, member: &Member) {
        let wanted = self.wanted.get(member).cloned().unwrap_or_default();
        let live = self.live.get(member).cloned().unwrap_or_default();
        let let_in = self.queue.report(member, Report { version: 0, live, wanted });
        self.note(&let_in);
    }

    fn note(&mut self, let_in: &[Member]) {
        for member in let_in {
            self.overtaken.remove(member);
            for others in self.overtaken.values_mut() {
                *others.entry(member.clone()).or_default() += 1;
            }
        }
    }

    fn make(&mut self, member: &Member, shown: bool) {
        for job in self.queue.places(member) {
            let wanted = self.wanted.entry(member.clone()).or_default();
            let Some(run) = wanted.iter().find(|wanted| wanted.job == job).cloned() else { continue };
            wanted.remove(&run);
            self.made.push(job.clone());
            if shown {
                self.queue.seen(member, &job);
            }
            self.live.entry(member.clone()).or_default().insert(job);
        }
    }

    fn end(&mut self, member: &Member, shown: bool) {
        let Some(job) = self.live.get_mut(member).and_then(BTreeSet::pop_first) else { return };
        self.started_late.remove(&job);
        if shown {
            self.queue.seen(member, &job);
            let let_in = self.queue.gone(member, &job);
            self.note(&let_in);
        }
        self.report(member);
    }

    fn stall(&mut self, member: &Member) {
        let Some(job) = self.live.get_mut(member).and_then(BTreeSet::pop_first) else { return };
        self.started_late.remove(&job);
        self.late.entry(member.clone()).or_default().insert(job);
        self.report(member);
    }

    fn start_late(&mut self, member: &Member, shown: bool) {
        let Some(job) = self.late.get_mut(member).and_then(BTreeSet::pop_first) else { return };
        if shown {
            self.queue.seen(member, &job);
        }
        self.started_late.insert(job.clone());
        self.live.entry(member.clone()).or_default().insert(job);
        self.report(member);
    }

    fn restart(&mut self, first: usize) {
        self.queue = Queue::new(self.limit);
        self.overtaken.clear();
        let live =
            self.live.iter().flat_map(|(member, jobs)| jobs.iter().map(|job| (member.clone(), job.clone())));
        self.queue.listed("n", &live.collect());
        self.queue.keep(NAMES.map(member));
        self.queue.open();
        for at in 0..NAMES.len() {
            self.report(&member(NAMES[(first + at) % NAMES.len()]));
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Due(who, more) => {
                let member = member(NAMES[who]);
                for _ in 0..more {
                    self.minute += 1;
                    let run = wanted(&member, self.minute);
                    self.wanted.entry(member.clone()).or_default().insert(run);
                }
                self.report(&member);
            }
            Step::Make(who, shown) => self.make(&member(NAMES[who]), shown),
            Step::End(who, shown) => self.end(&member(NAMES[who]), shown),
            Step::Stall(who) => self.stall(&member(NAMES[who])),
            Step::StartLate(who, shown) => self.start_late(&member(NAMES[who]), shown),
            Step::Fail(who) => {
                let let_in = self.queue.failed(&member(NAMES[who]));
                self.note(&let_in);
                // What it loses by that it waits for anew.
                self.report(&member(NAMES[who]));
            }
            Step::Restart(first) => self.restart(first),
        }
    }

    fn check(&mut self) {
        let live: usize = self.live.values().map(BTreeSet::len).sum();
        let most = self.limit + self.started_late.len();
        assert!(live <= most && self.queue.taken() <= most, "{live} of {most}");
        assert!(self.queue.waiting() == 0 || self.queue.taken() >= self.limit, "a place is not used");
        for (member, wanted) in &self.wanted {
            let places = self.queue.places(member);
            let waits: Vec<_> = wanted.iter().map(|wanted| !places.contains(&wanted.job)).collect();
            assert!(waits.is_sorted(), "{member:?} is not served in order: {waits:?}");
            if waits.contains(&true) {
                self.overtaken.entry(member.clone()).or_default();
            } else {
                self.overtaken.remove(member);
            }
        }
        let often = self.overtaken.values().flat_map(BTreeMap::values).max();
        assert!(often.is_none_or(|often| *often <= 1), "{:?}", self.overtaken);
    }
}

proptest! {
    #[test]
    fn no_more_than_the_limit_and_no_one_waits_for_ever(limit in 1_usize..5, steps in steps()) {
        let mut model = Model::new(limit);
        for step in &steps {
            model.take(step);
            model.check();
        }
        // With nothing new, all that was due comes to its end.
        for _ in 0..=model.minute {
            for name in NAMES {
                model.start_late(&member(name), true);
                model.make(&member(name), true);
                model.end(&member(name), true);
                model.check();
            }
        }
        prop_assert_eq!((model.queue.waiting(), model.queue.taken()), (0, 0));
        let made: BTreeSet<_> = model.made.iter().collect();
        prop_assert_eq!((made.len(), model.made.len()), (model.minute as usize, model.minute as usize));
    }
}

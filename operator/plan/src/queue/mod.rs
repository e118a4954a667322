//! Decides which run may begin next where no more than so many may go on at once: policies take turns. Pure.
//!
//! A run has a place from the moment that its Job may be made until that Job has ended or is gone, or has not started for so long that
//! others need not wait for it; if it starts after that it has one again, be there one or not. What waits is not lost with this queue: it
//! stands in the status of its policy, which asks again.

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::names::BackupId;

/// A policy whose runs take places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: one that was made again is another.
    pub uid: String,
}

/// A run whose Job would be made now if it had a place. Those of a policy begin in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Id of the run, and so its slot.
    pub id: BackupId,
    /// Name of the Job.
    pub job: String,
}

/// What a pass over a policy has found out about its runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// resourceVersion of the policy; what is older than the report before says nothing. 0 where it is no number.
    pub version: u64,
    /// Names of the Jobs of its runs that go on.
    pub live: BTreeSet<String>,
    /// What it would make.
    pub wanted: BTreeSet<Wanted>,
}

/// How sure it is that the Job of a place exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It may be made.
    LetIn,
    /// The pass that was to make it failed, and perhaps made it all the same.
    Failed,
    /// It was seen.
    Seen,
}

/// The runs of one policy.
#[derive(Debug, Default)]
struct Lane {
    version: u64,
    /// The turn in which a run of this policy was last let in; 0 if none was.
    last: u64,
    /// By name of the Job.
    places: BTreeMap<String, Place>,
    waiting: BTreeSet<Wanted>,
}

/// All runs of all policies.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    /// Whether all that goes on is known.
    open: bool,
    /// Whether it is known which policies there are.
    known: bool,
    /// How many runs were let in.
    turn: u64,
    /// One for each policy that there is: what names another one takes no place. Until they are known, one for each that is named.
    lanes: BTreeMap<Member, Lane>,
}

/// Each change returns the policies that a run was let in of, so that somebody makes its Job.
impl Queue {
    /// A queue that lets nothing in until it is opened and its policies are known: what goes on already must be known first.
    pub fn new(limit: usize) -> Self {
        Self { limit, open: false, known: false, turn: 0, lanes: BTreeMap::new() }
    }

    /// All Jobs that go on are known.
    pub fn open(&mut self) -> Vec<Member> {
        self.open = true;
        self.let_in()
    }

    /// Takes in what a pass over a policy has found out.
    pub fn report(&mut self, member: &Member, report: Report) -> Vec<Member> {
        let others_wait = self.lanes.iter().any(|(other, lane)| other != member && !lane.waiting.is_empty());
        // One that was deleted while the pass went on would keep what it takes now.
        let Some(lane) = self.lane(member) else { return vec![] };
        if report.version < lane.version {
            return vec![];
        }
        lane.version = report.version;
        let Report { live, wanted, .. } = report;
        let is_wanted = |job: &String| wanted.iter().any(|wanted| wanted.job == *job);
        // A run whose Job cannot be made must not keep others waiting.
        let may_stay = |place: Place| place != Place::Failed || !others_wait;
        lane.places.retain(|job, place| live.contains(job) || is_wanted(job) && may_stay(*place));
        for place in lane.places.values_mut().filter(|place| **place == Place::Failed) {
            *place = Place::LetIn;
        }
        lane.places.extend(live.into_iter().map(|job| (job, Place::Seen)));
        lane.waiting = wanted.into_iter().filter(|wanted| !lane.places.contains_key(&wanted.job)).collect();
        self.let_in()
    }

    /// A Job goes on.
    pub fn seen(&mut self, member: &Member, job: &str) {
        let Some(lane) = self.lane(member) else { return };
        lane.waiting.retain(|waiting| waiting.job != job);
        lane.places.insert(job.to_owned(), Place::Seen);
    }

    /// A Job has ended, or is gone.
    pub fn gone(&mut self, member: &Member, job: &str) -> Vec<Member> {
        if let Some(lane) = self.lanes.get_mut(member) {
            // A namesake that is yet to be made is another one.
            lane.places.retain(|name, place| name != job || *place != Place::Seen);
        }
        self.let_in()
    }

    /// All Jobs of a namespace that go on.
    pub fn listed(&mut self, namespace: &str, live: &BTreeSet<(Member, String)>) -> Vec<Member> {
        for (member, lane) in self.lanes.iter_mut().filter(|(member, _)| member.namespace == namespace) {
            let is_live = |job: &String| live.contains(&(member.clone(), job.clone()));
            lane.places.retain(|job, place| *place != Place::Seen || is_live(job));
        }
        for (member, job) in live {
            self.seen(member, job);
        }
        self.let_in()
    }

    /// A pass over a policy failed: what it was let in for may have no Job. The next report says so; where the next pass fails, too,
    /// it has none, or nobody can tell. Meanwhile it waits for nothing: whatever makes it fail must not take one place after the other.
    pub fn failed(&mut self, member: &Member) -> Vec<Member> {
        if let Some(lane) = self.lanes.get_mut(member) {
            lane.waiting.clear();
            lane.places.retain(|_, place| *place != Place::Failed);
            for place in lane.places.values_mut().filter(|place| **place == Place::LetIn) {
                *place = Place::Failed;
            }
        }
        self.let_in()
    }

    /// A policy that no run can begin of now; what runs goes on.
    pub fn rest(&mut self, member: &Member) -> Vec<Member> {
        if let Some(lane) = self.lanes.get_mut(member) {
            lane.waiting.clear();
            lane.places.retain(|_, place| *place == Place::Seen);
        }
        self.let_in()
    }

    /// A policy is there.
    pub fn add(&mut self, member: Member) {
        self.lanes.entry(member).or_default();
    }

    /// All policies that there are. Others are forgotten, with what still runs of them. Their resourceVersions may begin anew.
    pub fn keep(&mut self, there: impl IntoIterator<Item = Member>) -> Vec<Member> {
        let mut before = std::mem::take(&mut self.lanes);
        for member in there {
            let lane = before.remove(&member).unwrap_or_default();
            self.lanes.insert(member, Lane { version: 0, ..lane });
        }
        self.known = true;
        self.let_in()
    }

    /// A policy is gone.
    pub fn forget(&mut self, member: &Member) -> Vec<Member> {
        self.lanes.remove(member);
        self.let_in()
    }

    /// Jobs of a policy that have a place.
    pub fn places(&self, member: &Member) -> BTreeSet<String> {
        self.lanes.get(member).into_iter().flat_map(|lane| lane.places.keys().cloned()).collect()
    }

    /// How many runs may go on at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.lanes.values().map(|lane| lane.places.len()).sum()
    }

    /// How many runs wait.
    pub fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// The lane of a policy that is there, or may be.
    fn lane(&mut self, member: &Member) -> Option<&mut Lane> {
        if self.known {
            self.lanes.get_mut(member)
        } else {
            Some(self.lanes.entry(member.clone()).or_default())
        }
    }

    /// Gives free places away.
    fn let_in(&mut self) -> Vec<Member> {
        let mut let_in = Vec::new();
        let free = if self.open && self.known { self.limit.saturating_sub(self.taken()) } else { 0 };
        while let_in.len() < free {
            let turn = self.turn + 1;
            let Some((member, lane)) = self.next() else { break };
            let Some(wanted) = lane.waiting.pop_first() else { break };
            lane.places.insert(wanted.job, Place::LetIn);
            lane.last = turn;
            let_in.push(member.clone());
            self.turn = turn;
        }
        let_in
    }

    /// Whose turn it is: of the policies that wait the one that was let in longest ago, so that each other one is let in once, at most,
    /// before one that waits. Those that never were, as all after a restart, go by how few of their runs go on, and then by their slots.
    fn next(&mut self) -> Option<(&Member, &mut Lane)> {
        let waiting = self.lanes.iter_mut().filter(|(_, lane)| !lane.waiting.is_empty());
        waiting.min_by(|(_, a), (_, b)| a.rank().cmp(&b.rank()))
    }
}

impl Lane {
    fn rank(&self) -> (u64, usize, Option<&Wanted>) {
        (self.last, self.places.len(), self.waiting.first())
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

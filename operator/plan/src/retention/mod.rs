//! Decides which backups of one path are kept and which are deleted, each with its reason. Pure.
//!
//! What is never deleted, whatever the days say: the newest good backups of each schedule (`keepAtLeast`) and the newest of
//! all; anything of a schedule whose newest run failed; what is pinned or needed; more than half of a schedule's backups at once.
//!
//! What was made under another name is of a backup that this one has taken the path of, or of this one before it was renamed; nobody can tell.
//! So each name counts for itself, and the days that a backup was made with are not shortened by a spec that may be about something else.
//!
//! Time is not taken from one clock. A backup's age is counted up to the earliest of this node's clock, the clock of the bucket's
//! server, and the newest backup: where no new backups are made none grows old, and a clock that was set forward deletes nothing.

mod clock;
mod half;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::manifest::Keeper;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::retention::{Retention, ScheduleRetention};
use jiff::{SignedDuration, Timestamp};

pub use clock::Clocks;
pub use half::keep_to;
pub use verdict::{EXPIRED, Keep, Verdict};

/// Hours of a day, as `keepDays` counts: days of 24 hours, without daylight saving.
const DAY_HOURS: i64 = 24;

/// What is to be known of one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: BackupId,
    /// Time that it stands for, as its id says.
    pub slot: Timestamp,
    /// End of the attempt that made it, by the clock of its node.
    pub end_time: Timestamp,
    /// When its manifest was written, by the clock of the bucket's server.
    pub stored_time: Timestamp,
    /// Schedules that it serves, with how long each was to keep it when it was made.
    pub schedules: Vec<Keeper>,
    /// Whether every object that it names is there in its length. One that is not does not count as good.
    pub whole: bool,
    /// Whether an object beside its manifest pins it.
    pub pinned: bool,
    /// What it was made as, if not by the backup that is pruned.
    pub former: Option<Former>,
}

/// A backup that was made under another name than the one that has its path now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// That name.
    pub backup: String,
    /// Days that it was to be kept when it was made.
    pub keep_days: u32,
}

impl Candidate {
    /// The other name that it was made under.
    fn former_name(&self) -> Option<&str> {
        self.former.as_ref().map(|former| former.backup.as_str())
    }

    /// The time from which its days count.
    fn made(&self) -> Timestamp {
        self.slot.max(self.end_time)
    }
}

/// The schedules by which a backup is kept, of those that its manifest names: each that is known, once, and of the others the one that keeps
/// it longest, for which it then counts. Whoever may write to the bucket can put manifests there that name many.
pub fn counted(named: Vec<Keeper>, is_known: impl Fn(&str) -> bool) -> Vec<Keeper> {
    let mut counted: Vec<Keeper> = Vec::new();
    let mut gone: Option<Keeper> = None;
    for keeper in named {
        if !is_known(&keeper.name) {
            gone = gone.filter(|gone| gone.keep_days >= keeper.keep_days).or(Some(keeper));
        } else if counted.iter().all(|known| known.name != keeper.name) {
            counted.push(keeper);
        }
    }
    counted.extend(gone);
    counted.shrink_to_fit();
    counted
}

/// Decides for every candidate, in their order. All backups of the path that could be read must be among them.
pub fn decide(candidates: &[Candidate], retention: &Retention, clocks: Clocks) -> Vec<Verdict> {
    let reference = clocks.reference(candidates);
    let protected = protected(candidates, retention, clocks);
    let pins: BTreeSet<&BackupId> = retention.pins.iter().collect();
    let former_pins: BTreeSet<&BackupId> = retention.former_pins.iter().collect();
    let is_pinned = |candidate: &Candidate| {
        let by_former = candidate.former.is_some() && former_pins.contains(&candidate.id);
        candidate.pinned || pins.contains(&candidate.id) || by_former
    };
    let needed: BTreeMap<&BackupId, &str> =
        retention.needed.iter().map(|needed| (&needed.id, needed.by.as_str())).collect();
    let mut verdicts: Vec<Verdict> = candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| {
            let kept = kept_for_age(candidate, retention, clocks, reference)
                .or_else(|| protected.get(&at).cloned())
                .or_else(|| failed(candidate, retention))
                .or_else(|| is_pinned(candidate).then_some(Keep::Pinned))
                .or_else(|| needed.get(&candidate.id).map(|by| Keep::Needed { by: (*by).to_owned() }))
                .or_else(|| retention.hold.clone().map(|why| Keep::Held { why }));
            kept.map_or_else(|| expired(candidate, retention), Verdict::Keep)
        })
        .collect();
    half::limit(candidates, &mut verdicts);
    verdicts
}

/// Reasons that need no other backup.
fn kept_for_age(
    candidate: &Candidate,
    retention: &Retention,
    clocks: Clocks,
    reference: Timestamp,
) -> Option<Keep> {
    if clocks.is_future(candidate) {
        return Some(Keep::Future);
    }
    let until = expires(candidate, retention);
    (reference < until).then_some(Keep::Young { until })
}

/// When its days are over.
fn expires(candidate: &Candidate, retention: &Retention) -> Timestamp {
    later(candidate.made(), keep_days(candidate, retention))
}

fn later(time: Timestamp, days: u32) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(DAY_HOURS * i64::from(days))).unwrap_or(Timestamp::MAX)
}

/// The longest of its schedules: as the spec says now, or as the manifest says where the spec no longer has the schedule. What was made
/// under another name is kept as long as either says.
fn keep_days(candidate: &Candidate, retention: &Retention) -> u32 {
    let of = |keeper: &Keeper| rule(retention, &keeper.name).map_or(keeper.keep_days, |rule| rule.keep_days);
    let now = candidate.schedules.iter().map(of).max().unwrap_or(retention.manual_keep_days);
    candidate.former.as_ref().map_or(now, |former| former.keep_days.max(now))
}

fn rule<'a>(retention: &'a Retention, name: &str) -> Option<&'a ScheduleRetention> {
    retention.schedules.iter().find(|rule| rule.name == name)
}

fn serves(candidate: &Candidate, schedule: &str) -> bool {
    candidate.schedules.iter().any(|keeper| keeper.name == schedule)
}

/// The newest good backups under each name: so many of each schedule, and the newest of all.
fn protected(candidates: &[Candidate], retention: &Retention, clocks: Clocks) -> BTreeMap<usize, Keep> {
    // One from the future would take the place of a real one.
    let mut newest: Vec<(usize, &Candidate)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.whole && !clocks.is_future(candidate))
        .collect();
    newest.sort_by_key(|(_, candidate)| std::cmp::Reverse((candidate.slot, candidate.end_time)));
    let mut by_name: BTreeMap<Option<&str>, Vec<(usize, &Candidate)>> = BTreeMap::new();
    for (at, candidate) in newest {
        by_name.entry(candidate.former_name()).or_default().push((at, candidate));
    }
    let mut protected = BTreeMap::new();
    for newest in by_name.values() {
        for rule in &retention.schedules {
            let of_schedule = newest.iter().filter(|(_, candidate)| serves(candidate, &rule.name));
            let count = usize::try_from(rule.keep_at_least.max(1)).unwrap_or(usize::MAX);
            for (at, _) in of_schedule.take(count) {
                protected.entry(*at).or_insert_with(|| Keep::AtLeast { schedule: rule.name.clone() });
            }
        }
        if let Some((at, _)) = newest.first() {
            protected.entry(*at).or_insert(Keep::Newest);
        }
    }
    protected
}

/// While backups fail, the old ones may be all that will ever be there. What no schedule of the spec has made waits for all.
fn failed(candidate: &Candidate, retention: &Retention) -> Option<Keep> {
    let is_known = |keeper: &Keeper| rule(retention, &keeper.name).is_some();
    let known = candidate.former.is_none() && candidate.schedules.iter().any(is_known);
    let failing = retention
        .schedules
        .iter()
        .find(|rule| rule.newest_failed && (!known || serves(candidate, &rule.name)));
    match failing {
        Some(rule) => Some(Keep::NewestRunFailed { schedule: Some(rule.name.clone()) }),
        None if !known && retention.manual_failed => Some(Keep::NewestRunFailed { schedule: None }),
        None => None,
    }
}

fn expired(candidate: &Candidate, retention: &Retention) -> Verdict {
    Verdict::Delete { days: keep_days(candidate, retention), expired: expires(candidate, retention) }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

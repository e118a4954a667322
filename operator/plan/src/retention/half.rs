//! Decides how much may go at once: not more than half of a schedule's backups, unless it has four or fewer. Pure.
//!
//! A slip in a number of days then costs half at most, and the next run is as good a time to delete the rest.

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::names::BackupId;

use super::{Candidate, Keep, Verdict};

/// So few backups of a schedule may all go but for those that are kept anyway.
const FEW: usize = 4;

/// Stands for the schedule of backups that no schedule asked for; no schedule can have this name.
const MANUAL: &str = "";

/// The other name under which backups were made, and their schedule.
type Group<'a> = (Option<&'a str>, &'a str);

/// Turns deletions into keeps where there are too many. The oldest go first.
pub(super) fn limit(candidates: &[Candidate], verdicts: &mut [Verdict]) {
    let mut left: BTreeMap<Group<'_>, usize> = BTreeMap::new();
    for candidate in candidates {
        for group in groups(candidate) {
            *left.entry(group).or_default() += 1;
        }
    }
    for count in left.values_mut() {
        *count = if *count <= FEW { *count } else { *count / 2 };
    }
    let mut doomed: Vec<usize> =
        (0..candidates.len()).filter(|at| matches!(verdicts[*at], Verdict::Delete { .. })).collect();
    doomed.sort_by_key(|at| (candidates[*at].slot, candidates[*at].end_time));
    for at in doomed {
        let spent = groups(&candidates[at]).find(|group| left.get(group).is_none_or(|count| *count == 0));
        if let Some(group) = spent {
            verdicts[at] = Verdict::Keep(Keep::Half { schedule: group.1.to_owned() });
            continue;
        }
        for group in groups(&candidates[at]) {
            left.entry(group).and_modify(|count| *count -= 1);
        }
    }
}

/// Turns deletions into keeps that an earlier try did not mean, which may have deleted its half already.
pub fn keep_to(plan: &BTreeSet<BackupId>, candidates: &[Candidate], verdicts: &mut [Verdict]) {
    for (candidate, verdict) in candidates.iter().zip(verdicts) {
        if matches!(verdict, Verdict::Delete { .. }) && !plan.contains(&candidate.id) {
            let schedule = groups(candidate).next().map_or(MANUAL, |(_, name)| name).to_owned();
            *verdict = Verdict::Keep(Keep::Half { schedule });
        }
    }
}

/// The schedules that a backup counts for, each once.
pub(super) fn groups(candidate: &Candidate) -> impl Iterator<Item = Group<'_>> {
    let manual = candidate.schedules.is_empty().then_some(MANUAL);
    let keepers = candidate.schedules.iter().enumerate().filter(|(at, keeper)| {
        candidate.schedules.iter().position(|first| first.name == keeper.name) == Some(*at)
    });
    let names = keepers.map(|(_, keeper)| keeper.name.as_str()).chain(manual);
    names.map(|name| (candidate.former_name(), name))
}

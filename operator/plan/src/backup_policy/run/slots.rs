//! Decides which slots of a backup's schedules are due, which are missed, and which comes next. Pure.

use greenlang_backup_api::names::{BackupId, number_below};
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{BackupStatus, RunHistory, ScheduleStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::decide::Pass;
use super::super::validate::{ValidatedBackup, ValidatedPolicy, ValidatedSchedule};
use crate::pause::seconds_later;

/// Most slots of one gap that are counted: an hourly schedule has so many in six weeks.
const MOST_COUNTED: usize = 1_000;

/// What a schedule asks for at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// The slot to make a run for.
    pub slot: Option<Timestamp>,
    /// Until when that run may start.
    pub deadline: Option<Timestamp>,
    /// Slots that passed and are not made up for: once `slot` starts, or at once where there is none.
    pub missed: Option<Gap>,
}

/// Slots without a run. They are counted once, when they are noted: until the run before it is over, a slot that is due asks in
/// each pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// All slots after this time,
    after: Timestamp,
    /// up to and with the newest.
    newest: Timestamp,
}

/// One entry for each schedule of the spec. An expression that is new or changed counts from `since` on.
pub(super) fn entries(
    pass: &Pass<'_>,
    backup: &ValidatedBackup,
    status: &BackupStatus,
    since: Timestamp,
) -> Vec<ScheduleStatus> {
    let now = pass.now();
    let entry = |schedule: &ValidatedSchedule| {
        let known = status.schedules.iter().find(|entry| entry.name == schedule.name);
        let accepted = schedule.cadence.as_text().to_owned();
        match known {
            Some(known) if known.accepted == accepted => {
                let mut entry =
                    ScheduleStatus { accepted_time: Time(known.accepted_time.0.min(now)), ..known.clone() };
                forget_the_future(pass, backup, schedule, &mut entry);
                // Only a suspended schedule has no next slot.
                if known.next_schedule_time.is_none() && !is_suspended(pass.policy, schedule) {
                    entry.resumed_time = Some(Time(now));
                }
                entry
            }
            Some(known) => ScheduleStatus { accepted, accepted_time: Time(since), ..known.clone() },
            None => ScheduleStatus::new(&schedule.name, &accepted, Time(since)),
        }
    };
    backup.schedules.iter().map(entry).collect()
}

/// Slots that were written under a clock far ahead. The newest slot of the true time is made again at most, and not if it is
/// known to have been made.
fn forget_the_future(
    pass: &Pass<'_>,
    backup: &ValidatedBackup,
    schedule: &ValidatedSchedule,
    entry: &mut ScheduleStatus,
) {
    let latest = pass.latest_slot();
    entry.last_missed_time = entry.last_missed_time.take().filter(|missed| missed.0 <= latest);
    if entry.last_schedule_time.as_ref().is_none_or(|last| last.0 <= latest) {
        return;
    }
    let newest = schedule.cadence.newest_at(pass.now());
    let made = newest.filter(|slot| {
        let id = BackupId::from_slot(*slot);
        is_available(pass, backup, &id) || ended_as(&entry.history, &id)
    });
    entry.last_schedule_time = made
        .or_else(|| schedule.cadence.newest_before(newest?))
        .filter(|slot| *slot > entry.accepted_time.0)
        .map(Time);
}

pub(super) fn is_available(pass: &Pass<'_>, backup: &ValidatedBackup, id: &BackupId) -> bool {
    pass.decision.status.available.iter().any(|made| made.backup == backup.name && made.id == *id)
}

/// Whether the newest success or failure has this id.
pub(super) fn ended_as(history: &RunHistory, id: &BackupId) -> bool {
    history.last_success.as_ref().is_some_and(|run| run.id == *id)
        || history.last_failure.as_ref().is_some_and(|run| run.id == *id)
}

fn is_suspended(policy: &ValidatedPolicy, schedule: &ValidatedSchedule) -> bool {
    policy.suspend || schedule.suspend
}

/// What a schedule asks for now.
pub(super) fn due(
    policy: &ValidatedPolicy,
    backup: &ValidatedBackup,
    schedule: &ValidatedSchedule,
    entry: &ScheduleStatus,
    now: Timestamp,
) -> Due {
    let since = decided_until(entry);
    let newest = newest_due(policy, backup, schedule, now).filter(|slot| *slot > since);
    let Some(slot) = newest.filter(|_| !is_suspended(policy, schedule)) else {
        return Due::default();
    };
    let deadline = schedule.starting_deadline_seconds.map(|seconds| {
        seconds_later(slot, delay_seconds(policy, backup, schedule, slot).saturating_add(i64::from(seconds)))
    });
    let meant = entry.resumed_time.as_ref().map(|resumed| resumed.0);
    if deadline.is_some_and(|deadline| now > deadline) {
        let end = seconds_later(slot, 1);
        return Due { missed: gap(schedule, since, meant, end), ..Due::default() };
    }
    Due { slot: Some(slot), deadline, missed: gap(schedule, since, meant, slot) }
}

/// Slots up to this time have had their run, or are missed, or do not count.
fn decided_until(entry: &ScheduleStatus) -> Timestamp {
    let decided = [&entry.last_schedule_time, &entry.last_missed_time].into_iter().flatten();
    decided.map(|time| time.0).max().map_or(entry.accepted_time.0, |last| last.max(entry.accepted_time.0))
}

/// The newest slot whose delay is over too. A delay is shorter than the time to the next slot, so the one before is over.
fn newest_due(
    policy: &ValidatedPolicy,
    backup: &ValidatedBackup,
    schedule: &ValidatedSchedule,
    now: Timestamp,
) -> Option<Timestamp> {
    let slot = schedule.cadence.newest_at(now)?;
    if seconds_later(slot, delay_seconds(policy, backup, schedule, slot)) <= now {
        return Some(slot);
    }
    schedule.cadence.newest_before(slot)
}

/// The slots after `since` and before `end`, without those before `meant`.
fn gap(
    schedule: &ValidatedSchedule,
    since: Timestamp,
    meant: Option<Timestamp>,
    end: Timestamp,
) -> Option<Gap> {
    let just_before = |time: Timestamp| time.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(time);
    let after = meant.map_or(since, |meant| since.max(just_before(meant)));
    let newest = schedule.cadence.newest_before(end).filter(|slot| *slot > after)?;
    Some(Gap { after, newest })
}

/// How many slots lie in a gap, as far as they are counted.
fn count(schedule: &ValidatedSchedule, gap: Gap) -> u64 {
    let next = |at: &Timestamp| schedule.cadence.next_after(*at).filter(|slot| *slot <= gap.newest);
    let slots = std::iter::successors(next(&gap.after), next);
    slots.take(MOST_COUNTED).fold(0, |count, _| count + 1)
}

/// Seconds by which the run of a slot starts after it: the least jitter among the schedules that it serves.
fn delay_seconds(
    policy: &ValidatedPolicy,
    backup: &ValidatedBackup,
    schedule: &ValidatedSchedule,
    slot: Timestamp,
) -> i64 {
    if schedule.jitter_seconds == 0 {
        return 0;
    }
    let own = |schedule: &ValidatedSchedule| {
        let gap = schedule
            .cadence
            .next_after(slot)
            .and_then(|next| next.duration_since(slot).as_secs().try_into().ok());
        let most = (u64::from(schedule.jitter_seconds) + 1).min(gap.unwrap_or(u64::MAX));
        let parts = [policy.identity.uid.as_str(), &backup.name, &schedule.name, &slot.to_string()];
        i64::try_from(number_below(&parts, most)).unwrap_or(0)
    };
    let sharing =
        backup.schedules.iter().filter(|other| !is_suspended(policy, other) && other.cadence.has(slot));
    sharing.map(own).min().unwrap_or_else(|| own(schedule))
}

/// Notes missed slots in status and tells them.
pub(super) fn note_missed(
    pass: &mut Pass<'_>,
    backup: &str,
    schedule: &ValidatedSchedule,
    entry: &mut ScheduleStatus,
    missed: Gap,
) {
    let (count, newest) = (count(schedule, missed), missed.newest);
    entry.missed = entry.missed.saturating_add(count);
    entry.last_missed_time = Some(Time(newest));
    let slots = if count == 1 { "1 slot".to_owned() } else { format!("{count} slots") };
    let message = format!(
        "{slots} of {backup}/{} passed without a run, the newest at {newest}: the operator did not work then, or another run took until after it; it is not made up for",
        entry.name
    );
    pass.event(true, reasons::BACKUP_MISSED, message);
}

/// Writes when each schedule is due next, and wakes then.
pub(super) fn note_next(pass: &mut Pass<'_>, backup: &ValidatedBackup, status: &mut BackupStatus) {
    let (policy, now) = (pass.policy, pass.now());
    for (schedule, entry) in backup.schedules.iter().zip(&mut status.schedules) {
        let start = |slot| seconds_later(slot, delay_seconds(policy, backup, schedule, slot));
        let next = || {
            let delayed =
                schedule.cadence.newest_at(now).filter(|slot| *slot > decided_until(entry)).map(start);
            delayed.filter(|start| *start > now).or_else(|| schedule.cadence.next_after(now).map(start))
        };
        let next = if is_suspended(policy, schedule) { None } else { next() };
        entry.next_schedule_time = next.map(Time);
        if let Some(next) = next {
            pass.wake_at(next);
        }
    }
}

#[cfg(test)]
mod tests;

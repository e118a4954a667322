//! Decides what starts: the run that is due first, if the runs that go on let it. Pure.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{
    ActiveRun, BackupStatus, ConcurrencyPolicy, FirstRun, MAX_ALONGSIDE, MAX_WAITING, Run, ScheduleStatus,
    Stopping, Trigger,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::clean_up;
use super::super::decide::Pass;
use super::super::validate::ValidatedBackup;
use super::slots::{self, Due};
use super::stop_all;
use crate::pause::seconds_later;

/// A run that is due.
struct Candidate {
    run: Run,
    rule: ConcurrencyPolicy,
    /// Places of the schedules that it serves, with what each asks for.
    served: Vec<(usize, Due)>,
}

/// Starts the run that is due first, or makes room for it, or lets it wait.
pub(super) fn start_if_due(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &mut BackupStatus,
    accepted_before: bool,
) {
    note_token(pass, backup, status);
    let asked = ask(pass, backup, status);
    let Some(candidate) = due_first(pass, backup, status, asked, accepted_before) else { return };
    if may_start(pass, status, &candidate) {
        start(pass, backup, status, candidate);
        // More may be due.
        pass.wake_now();
    } else {
        // What ends meanwhile wakes us; so does the time at which it has waited too long.
        let deadlines = candidate.served.iter().filter_map(|(_, due)| due.deadline);
        for deadline in deadlines {
            pass.wake_at(seconds_later(deadline, 1));
        }
    }
}

/// A new token is noted as a run that waits, with its id, whatever goes on: a newer token does not displace it.
fn note_token(pass: &mut Pass<'_>, backup: &ValidatedBackup, status: &mut BackupStatus) {
    let token = pass.policy.run_tokens.get(&backup.name).filter(|token| !token.is_empty());
    let Some(token) = token.filter(|token| status.manual_token.as_ref() != Some(token)) else { return };
    if status.waiting.len() >= MAX_WAITING {
        return;
    }
    // Not like the run before it, nor like a slot: that one has a backup of its own to make.
    let last =
        status.last_id.as_ref().and_then(|id| id.slot().ok()).filter(|slot| *slot <= pass.latest_slot());
    let after_last = last.map(|slot| seconds_later(slot, 1));
    let time = after_last.map_or(pass.now(), |after| after.max(pass.now()));
    let is_slot = |time| backup.schedules.iter().any(|schedule| schedule.cadence.has(time));
    let time = if is_slot(time) { seconds_later(time, 1) } else { time };
    let id = free_id(pass, backup, status, &[], time);
    status.manual_token = Some(token.clone());
    status.waiting.push(Run { id, trigger: Trigger::Manual, schedules: vec![] });
}

/// What each schedule asks for. What is missed for good is noted at once.
fn ask(pass: &mut Pass<'_>, backup: &ValidatedBackup, status: &mut BackupStatus) -> Vec<Due> {
    let (policy, now) = (pass.policy, pass.now());
    let mut asked = Vec::with_capacity(backup.schedules.len());
    for (schedule, entry) in backup.schedules.iter().zip(&mut status.schedules) {
        let due = slots::due(policy, backup, schedule, entry, now);
        if let Due { slot: None, missed: Some(missed), .. } = due {
            slots::note_missed(pass, &backup.name, schedule, entry, missed);
        }
        asked.push(due);
    }
    asked
}

/// The run that is due: asked for by annotation, the first of a new policy, or that of the oldest due slot with every
/// schedule that has it.
fn due_first(
    pass: &Pass<'_>,
    backup: &ValidatedBackup,
    status: &BackupStatus,
    asked: Vec<Due>,
    accepted_before: bool,
) -> Option<Candidate> {
    // Without a slot of its own it is as careful as the most careful schedule.
    let rules = || backup.schedules.iter().map(|schedule| schedule.concurrency);
    let unscheduled = |run| Candidate { run, rule: rules().min().unwrap_or_default(), served: vec![] };
    if let Some(run) = status.waiting.first() {
        return Some(unscheduled(run.clone()));
    }
    if !accepted_before && pass.policy.first_run == FirstRun::Immediately {
        let id = BackupId::from_slot(pass.policy.created);
        return Some(unscheduled(Run { id, trigger: Trigger::FirstRun, schedules: vec![] }));
    }
    let slot = asked.iter().filter_map(|due| due.slot).min()?;
    let served: Vec<_> = asked.into_iter().enumerate().filter(|(_, due)| due.slot == Some(slot)).collect();
    let schedules = || served.iter().filter_map(|(at, _)| backup.schedules.get(*at));
    let names: Vec<_> = schedules().map(|schedule| schedule.name.clone()).collect();
    let rule = schedules().map(|schedule| schedule.concurrency).min().unwrap_or_default();
    let id = free_id(pass, backup, status, &names, slot);
    Some(Candidate { run: Run { id, trigger: Trigger::Schedule, schedules: names }, rule, served })
}

/// The id of a time; a second later, and so on, where it stands for another backup already: a schedule that was suspended
/// makes up for a slot that another one has used, or a clock was ahead. That backup is kept as long as others say. One that
/// another schedule may have used, and of which nothing is known any more, counts as used: its attempts have the same names.
fn free_id(
    pass: &Pass<'_>,
    backup: &ValidatedBackup,
    status: &BackupStatus,
    served: &[String],
    mut time: Timestamp,
) -> BackupId {
    let others = || status.schedules.iter().filter(|entry| !served.contains(&entry.name));
    let slot = time;
    let passed =
        |entry: &ScheduleStatus| entry.last_schedule_time.as_ref().is_some_and(|last| last.0 >= slot);
    let shares = |entry: &ScheduleStatus| {
        let mut schedules = backup.schedules.iter();
        schedules.any(|schedule| schedule.name == entry.name && schedule.cadence.has(slot))
    };
    let used = !served.is_empty() && others().any(|entry| passed(entry) && shares(entry));
    let taken = |id: &BackupId| {
        slots::is_available(pass, backup, id)
            || status.runs().any(|active| active.run.id == *id)
            || status.waiting.iter().any(|run| run.id == *id)
            || slots::ended_as(&status.manual, id)
            || others().any(|entry| slots::ended_as(&entry.history, id))
            || used && *id == BackupId::from_slot(slot)
    };
    let mut id = BackupId::from_slot(time);
    while taken(&id) && time < Timestamp::MAX {
        time = seconds_later(time, 1);
        id = BackupId::from_slot(time);
    }
    id
}

/// Whether it may start now, by the rule for runs that go on.
fn may_start(pass: &mut Pass<'_>, status: &mut BackupStatus, candidate: &Candidate) -> bool {
    // The end of that clean-up wakes us, and the run is still due then.
    if clean_up::is_active(status, &candidate.run.id) {
        return false;
    }
    let going_on = status.runs().count();
    match candidate.rule {
        _ if going_on == 0 => true,
        ConcurrencyPolicy::Forbid => false,
        ConcurrencyPolicy::Allow => going_on <= MAX_ALONGSIDE,
        ConcurrencyPolicy::Replace => {
            stop_all(pass, status, Stopping::Replaced);
            false
        }
    }
}

fn start(pass: &mut Pass<'_>, backup: &ValidatedBackup, status: &mut BackupStatus, candidate: Candidate) {
    let Candidate { run, served, .. } = candidate;
    for (at, due) in served {
        let (Some(entry), Some(schedule)) = (status.schedules.get_mut(at), backup.schedules.get(at)) else {
            continue;
        };
        if let Some(missed) = due.missed {
            slots::note_missed(pass, &backup.name, schedule, entry, missed);
        }
        entry.last_schedule_time = due.slot.map(Time);
    }
    status.waiting.retain(|waiting| waiting.id != run.id);
    let schedules =
        if run.schedules.is_empty() { String::new() } else { format!(" for {}", run.schedules.join(", ")) };
    pass.event(
        false,
        reasons::BACKUP_STARTED,
        format!("backup {} {} started{schedules}", backup.name, run.id),
    );
    status.last_id = Some(run.id.clone());
    status.push_run(ActiveRun {
        run,
        start_time: Time(pass.now()),
        attempt: 1,
        job_uid: None,
        not_before: None,
        last_error: None,
        progress: None,
        path: Some(backup.path.clone()),
        stopping: None,
    });
}

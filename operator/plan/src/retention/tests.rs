//! Tables: what is decided, and the reason that is given.

use greenlang_backup_api::retention::NeededBackup;

use super::*;

const NOW: &str = "2026-01-31T02:00:10Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn days_ago(days: i64) -> Timestamp {
    at("2026-01-31T02:00:00Z").checked_sub(SignedDuration::from_hours(24 * days)).unwrap()
}

fn keeper((name, keep_days): &(&str, u32)) -> Keeper {
    Keeper { name: (*name).to_owned(), keep_days: *keep_days }
}

pub(super) fn candidate(slot: Timestamp, schedules: &[(&str, u32)]) -> Candidate {
    let end = slot.checked_add(SignedDuration::from_secs(5)).unwrap();
    Candidate {
        id: BackupId::from_slot(slot),
        slot,
        end_time: end,
        stored_time: end,
        schedules: schedules.iter().map(keeper).collect(),
        whole: true,
        pinned: false,
        former: None,
    }
}

/// One that was made under another name.
fn former(backup: &str, keep_days: u32, days: i64, schedules: &[(&str, u32)]) -> Candidate {
    let former = Some(Former { backup: backup.to_owned(), keep_days });
    Candidate { former, ..candidate(days_ago(days), schedules) }
}

fn daily(days: i64) -> Candidate {
    candidate(days_ago(days), &[("daily", 30)])
}

pub(super) fn rule(name: &str, keep_days: u32) -> ScheduleRetention {
    ScheduleRetention { name: name.to_owned(), keep_days, keep_at_least: 1, newest_failed: false }
}

fn retention() -> Retention {
    Retention { schedules: vec![rule("daily", 30)], manual_keep_days: 30, ..Retention::default() }
}

fn now() -> Clocks {
    Clocks { local: at(NOW), server: Some(at(NOW)) }
}

fn reasons(candidates: &[Candidate], retention: &Retention, clocks: Clocks) -> Vec<&'static str> {
    decide(candidates, retention, clocks).iter().map(Verdict::reason).collect()
}

#[test]
fn days_count_from_the_end_of_a_backup_to_the_newest_one() {
    let candidates = [daily(0), daily(1), daily(29), daily(30), daily(31), daily(32)];
    let expected = ["WithinKeepDays", "WithinKeepDays", "WithinKeepDays", "Expired", "Expired", "Expired"];
    assert_eq!(reasons(&candidates, &retention(), now()), expected);
    // Without the newest, the rest is a day younger.
    assert_eq!(reasons(&candidates[1..], &retention(), now())[2], "WithinKeepDays");
    let deleted = decide(&candidates, &retention(), now())[3].to_string();
    assert_eq!(deleted, "its 30 days were over at 2026-01-31T02:00:05Z");
}

#[test]
fn the_longest_schedule_counts_and_one_that_is_gone_counts_as_the_manifest_says() {
    let rules = Retention { schedules: vec![rule("daily", 30), rule("weekly", 90)], ..retention() };
    let mut candidates = vec![daily(0)];
    for (schedules, age, expected) in [
        (&[("daily", 30), ("weekly", 90)][..], 60, "WithinKeepDays"),
        (&[("daily", 30), ("weekly", 90)], 95, "Expired"),
        // What the spec says now goes before what it said then, longer or shorter.
        (&[("daily", 365)], 31, "Expired"),
        (&[("daily", 7)], 20, "WithinKeepDays"),
        (&[("hourly", 7)], 8, "Expired"),
        (&[("hourly", 100)], 99, "WithinKeepDays"),
        (&[], 29, "WithinKeepDays"),
        (&[], 31, "Expired"),
    ] {
        candidates.truncate(1);
        candidates.push(candidate(days_ago(age), schedules));
        candidates.push(candidate(days_ago(1), &[("weekly", 90)]));
        assert_eq!(reasons(&candidates, &rules, now())[1], expected, "{schedules:?} after {age} days");
    }
}

#[test]
fn the_newest_good_ones_stay_however_old_they_are() {
    let mut rules = Retention { schedules: vec![rule("daily", 30), rule("yearly", 10)], ..retention() };
    rules.schedules[1].keep_at_least = 2;
    let yearly = |days| candidate(days_ago(days), &[("yearly", 10)]);
    let mut broken = yearly(100);
    broken.whole = false;
    let candidates = [daily(0), yearly(400), yearly(700), yearly(1000), broken];
    let expected = ["WithinKeepDays", "KeepAtLeast", "KeepAtLeast", "Expired", "Expired"];
    assert_eq!(reasons(&candidates, &rules, now()), expected);
    // None of a schedule of the spec: the newest of all stays.
    let orphans = [candidate(days_ago(0), &[]), candidate(days_ago(50), &[("gone", 1)])];
    let old = Clocks { local: at("2030-01-01T00:00:00Z"), server: None };
    assert_eq!(reasons(&orphans, &Retention::default(), old), ["Newest", "Expired"]);
    // A zero that slipped through counts as one.
    rules.schedules[1].keep_at_least = 0;
    assert_eq!(reasons(&candidates, &rules, now())[1], "KeepAtLeast");
}

/// Whether it is the same backup that was renamed or another one: nothing goes earlier than by what it was made with, nor than by the spec.
#[test]
fn what_was_made_under_another_name_is_kept_by_its_own_days_or_longer() {
    let rules = Retention { schedules: vec![rule("daily", 30)], ..retention() };
    let newest = |name: &str| former(name, 1, 1, &[("daily", 1), ("gone", 1)]);
    for (days, schedules, age, expected) in [
        (365, &[("daily", 365)][..], 364, "WithinKeepDays"),
        (365, &[("daily", 365)], 366, "Expired"),
        (7, &[("daily", 7)], 29, "WithinKeepDays"),
        (7, &[("daily", 7)], 31, "Expired"),
        // What of its schedules does not count any more has a part in its days.
        (90, &[("gone", 7)], 89, "WithinKeepDays"),
        (90, &[], 89, "WithinKeepDays"),
        (7, &[], 29, "WithinKeepDays"),
        (7, &[], 31, "Expired"),
    ] {
        let candidates = [daily(0), newest("orders"), former("orders", days, age, schedules)];
        assert_eq!(reasons(&candidates, &rules, now())[2], expected, "{schedules:?} after {age} days");
    }
}

#[test]
fn under_each_name_the_newest_good_ones_stay_and_no_more_than_half_goes() {
    let mut rules = Retention { schedules: vec![rule("daily", 30), rule("weekly", 30)], ..retention() };
    rules.schedules[0].keep_at_least = 2;
    let orders = |days| former("orders", 7, days, &[("daily", 7)]);
    let mut broken = former("orders", 7, 39, &[("daily", 7)]);
    broken.whole = false;
    let weekly = former("orders", 7, 60, &[("weekly", 7)]);
    let stock = former("stock", 7, 50, &[("gone", 7)]);
    let (first, last) = ([daily(0), daily(35), daily(36)], [broken, weekly, stock]);
    let candidates = [&first[..], &[orders(40), orders(41), orders(42)], &last].concat();
    let newest = "KeepAtLeast";
    let own = ["WithinKeepDays", newest, "Expired"];
    let others = [newest, newest, "Expired", "Expired", newest, "Newest"];
    assert_eq!(reasons(&candidates, &rules, now()), [&own[..], &others].concat());
    // Ten of one name among many of the other.
    let mut candidates: Vec<_> = (0..100).map(daily).collect();
    candidates.extend((0..10).map(|days| orders(200 + days)));
    let verdicts = reasons(&candidates, &rules, now());
    assert_eq!(
        (&verdicts[100..105], &verdicts[105..]),
        (&["KeepAtLeast", "KeepAtLeast", "HalfAtMost", "HalfAtMost", "HalfAtMost"][..], &["Expired"; 5][..])
    );
}

#[test]
fn what_was_made_under_another_name_waits_for_all_runs_and_has_the_pins_of_other_names() {
    let mut rules = Retention { schedules: vec![rule("daily", 30), rule("weekly", 30)], ..retention() };
    let orders = |days| former("orders", 7, days, &[("daily", 7)]);
    let candidates = [daily(0), daily(40), orders(1), orders(41), orders(42)];
    rules.former_pins = [1, 3].map(|at: usize| candidates[at].id.clone()).into();
    let expected = ["WithinKeepDays", "Expired", "WithinKeepDays", "Pinned", "Expired"];
    assert_eq!(reasons(&candidates, &rules, now()), expected);
    rules.schedules[1].newest_failed = true;
    let failed = "NewestRunFailed";
    assert_eq!(reasons(&candidates, &rules, now())[1..], ["Expired", "WithinKeepDays", failed, failed]);
    rules.schedules[1].newest_failed = false;
    rules.manual_failed = true;
    assert_eq!(reasons(&candidates, &rules, now())[1..], ["Expired", "WithinKeepDays", failed, failed]);
}

#[test]
fn nothing_goes_of_a_schedule_whose_newest_run_failed() {
    let mut rules = Retention { schedules: vec![rule("daily", 30), rule("weekly", 30)], ..retention() };
    rules.schedules[1].newest_failed = true;
    let of = |days, schedules: &[(&str, u32)]| candidate(days_ago(days), schedules);
    let candidates = [
        daily(0),
        of(31, &[("daily", 30)]),
        of(32, &[("weekly", 30)]),
        of(1, &[("weekly", 30)]),
        of(33, &[("daily", 30), ("weekly", 30)]),
        of(34, &[]),
        of(35, &[("gone", 1)]),
    ];
    let failed = "NewestRunFailed";
    let expected = ["WithinKeepDays", "Expired", failed, "WithinKeepDays", failed, failed, failed];
    assert_eq!(reasons(&candidates, &rules, now()), expected);
    // A failed run by hand holds back what no schedule keeps, and nothing else.
    rules.schedules[1].newest_failed = false;
    rules.manual_failed = true;
    let expected = ["WithinKeepDays", "Expired", "Expired", "WithinKeepDays", "Expired", failed, failed];
    assert_eq!(reasons(&candidates, &rules, now()), expected);
}

#[test]
fn pinned_needed_and_held_ones_stay() {
    let mut candidates = [daily(0), daily(40), daily(41), daily(42), daily(43)];
    candidates[1].pinned = true;
    let mut rules = retention();
    rules.pins = vec![candidates[2].id.clone()];
    rules.needed = vec![NeededBackup { id: candidates[3].id.clone(), by: "restore n/undo-me".to_owned() }];
    let expected = ["WithinKeepDays", "Pinned", "Pinned", "Needed", "Expired"];
    assert_eq!(reasons(&candidates, &rules, now()), expected);
    assert_eq!(decide(&candidates, &rules, now())[3].to_string(), "restore n/undo-me needs it");
    rules.hold = Some("an annotation cannot be read".to_owned());
    assert_eq!(decide(&candidates, &rules, now())[4].to_string(), "an annotation cannot be read");
}

#[test]
fn no_more_than_half_goes_at_once_unless_there_are_few() {
    for (young, old, deleted) in [(1, 3, 3), (1, 4, 2), (2, 4, 3), (1, 9, 5), (6, 3, 3), (1, 99, 50)] {
        let mut candidates: Vec<_> = (0..young).map(daily).collect();
        candidates.extend((0..old).map(|day| daily(31 + day)));
        let verdicts = decide(&candidates, &retention(), now());
        let gone: Vec<_> = candidates
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Delete { .. }))
            .map(|(candidate, _)| candidate.slot)
            .collect();
        assert_eq!(gone.len(), deleted, "{young} young, {old} old");
        let kept = candidates.iter().map(|candidate| candidate.slot).filter(|slot| !gone.contains(slot));
        assert!(kept.min() > gone.iter().copied().max(), "the oldest go");
    }
    // Of each of its schedules: three weekly ones may all go, five daily ones may not.
    let rules = Retention { schedules: vec![rule("daily", 30), rule("weekly", 30)], ..retention() };
    let both = |days| candidate(days_ago(days), &[("daily", 30), ("weekly", 30)]);
    let candidates =
        [daily(0), candidate(days_ago(1), &[("weekly", 30)]), both(40), both(41), both(42), daily(43)];
    let expected = ["WithinKeepDays", "WithinKeepDays", "HalfAtMost", "HalfAtMost", "Expired", "Expired"];
    assert_eq!(reasons(&candidates, &rules, now()), expected);
}

#[test]
fn clocks_that_are_wrong_delete_nothing_too_early() {
    let candidates = [daily(0), daily(29), daily(29), daily(29)];
    let right = at(NOW);
    let forward = at("2026-02-02T02:00:10Z");
    let back = at("2025-02-02T02:00:10Z");
    for (local, server) in
        [(forward, Some(right)), (right, Some(forward)), (forward, Some(forward)), (forward, None)]
    {
        let verdicts = reasons(&candidates, &retention(), Clocks { local, server });
        assert_eq!(verdicts, ["WithinKeepDays"; 4], "{local} {server:?}");
    }
    for (local, server) in [(back, Some(right)), (right, Some(back)), (back, None)] {
        let clocks = Clocks { local, server };
        let old = [daily(0), daily(31), daily(800), daily(810)];
        assert_eq!(reasons(&old, &retention(), clocks)[..2], ["FromTheFuture"; 2], "{local} {server:?}");
    }
}

#[test]
fn a_backup_from_the_future_stays_and_takes_nobodys_place() {
    // Made under a clock that was a day ahead, or by hand.
    for future in [daily(-1), candidate(at("2099-01-01T00:00:00Z"), &[("daily", 30)])] {
        let candidates = [future, daily(31), daily(62)];
        let clocks = Clocks { local: at(NOW), server: Some(at(NOW)) };
        assert_eq!(
            reasons(&candidates, &retention(), clocks),
            ["FromTheFuture", "WithinKeepDays", "Expired"]
        );
    }
    let mut late = daily(0);
    late.end_time = at("2026-02-01T02:00:00Z");
    assert_eq!(reasons(&[late, daily(1)], &retention(), now())[0], "FromTheFuture");
    // Made under a clock that is ahead now, too: when its manifest was stored tells.
    let ahead = Clocks { local: at("2026-02-02T02:00:10Z"), server: None };
    let mut newest = candidate(at("2026-02-02T02:00:00Z"), &[("daily", 30)]);
    newest.stored_time = days_ago(0);
    assert_eq!(reasons(&[newest, daily(29), daily(29)], &retention(), ahead), ["WithinKeepDays"; 3]);
}

#[test]
fn nothing_is_decided_of_nothing() {
    assert_eq!(decide(&[], &retention(), now()), []);
    let mut broken = daily(50);
    broken.whole = false;
    assert_eq!(reasons(&[broken.clone(), broken], &retention(), now()), ["WithinKeepDays"; 2]);
}

#[test]
fn what_an_earlier_try_did_not_mean_stays() {
    let mut candidates: Vec<_> = (0..3).map(daily).collect();
    candidates.extend((0..9).map(|day| daily(31 + day)));
    let mut verdicts = decide(&candidates, &retention(), now());
    let plan = [candidates[0].id.clone(), candidates[11].id.clone()].into();
    keep_to(&plan, &candidates, &mut verdicts);
    let reasons: Vec<_> = verdicts.iter().map(Verdict::reason).collect();
    assert_eq!(reasons[..3], ["WithinKeepDays"; 3]);
    assert_eq!((&reasons[3..11], reasons[11]), (&["HalfAtMost"; 8][..], "Expired"));
}

/// Whoever can write to the bucket decides what a manifest names, and must not decide how much memory we take.
#[test]
fn known_schedules_count_once_and_of_all_others_the_longest() {
    let known = ["daily", "weekly"];
    let names = |named: &[(&str, u32)]| -> Vec<(String, u32)> {
        let counted = counted(named.iter().map(keeper).collect(), |name| known.contains(&name));
        counted.into_iter().map(|keeper| (keeper.name, keeper.keep_days)).collect()
    };
    let own = |expected: &[(&str, u32)]| -> Vec<(String, u32)> {
        expected.iter().map(|(name, days)| ((*name).to_owned(), *days)).collect()
    };
    for (named, expected) in [
        (&[][..], &[][..]),
        (&[("weekly", 9), ("daily", 1)], &[("weekly", 9), ("daily", 1)]),
        (&[("daily", 1), ("daily", 7)], &[("daily", 1)]),
        (&[("hourly", 2)], &[("hourly", 2)]),
        (&[("a", 2), ("b", 5), ("daily", 1), ("c", 5), ("d", 3)], &[("daily", 1), ("b", 5)]),
    ] {
        assert_eq!(names(named), own(expected), "{named:?}");
    }
}

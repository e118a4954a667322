//! What is never deleted, for anything that may lie in a bucket, any spec and any clocks.

use greenlang_backup_api::retention::NeededBackup;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::rule as rule_of;
use super::tests::{candidate, days_ago, rule};
use super::*;

const SCHEDULES: [&str; 4] = ["hourly", "daily", "weekly", "gone"];

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let schedules = subsequence(SCHEDULES.to_vec(), 0..=3);
    let one =
        (0_i64..60, schedules, 1_u32..40, prop::bool::weighted(0.9), prop::bool::weighted(0.05), -2_i64..3);
    let former = prop::option::weighted(0.3, (prop::sample::select(vec!["a", "b"]), 1_u32..40));
    vec((one, former), 0..40).prop_map(|all| {
        let mut made: Vec<Candidate> = Vec::new();
        for ((age, schedules, days, whole, pinned, off), former) in all {
            let served: Vec<_> = schedules.into_iter().map(|name| (name, days)).collect();
            let mut one = candidate(days_ago(age), &served);
            one.end_time = later_hours(one.end_time, off * 20);
            (one.whole, one.pinned) = (whole, pinned);
            one.former = former.map(|(name, keep_days)| Former { backup: name.to_owned(), keep_days });
            if made.iter().all(|other| other.id != one.id) {
                made.push(one);
            }
        }
        made
    })
}

fn later_hours(time: Timestamp, hours: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_hours(hours)).unwrap()
}

fn retentions() -> impl Strategy<Value = Retention> {
    let rules = vec((1_u32..40, 0_u32..4, prop::bool::weighted(0.2)), 3);
    let manual = (1_u32..40, prop::bool::weighted(0.2));
    (rules, manual, vec(0_i64..60, 0..3), vec(0_i64..60, 0..3)).prop_map(|(rules, manual, pins, needed)| {
        let schedules = SCHEDULES.iter().zip(rules).map(|(name, (days, keep_at_least, newest_failed))| {
            ScheduleRetention { keep_at_least, newest_failed, ..rule(name, days) }
        });
        let id = |days| BackupId::from_slot(days_ago(days));
        Retention {
            schedules: schedules.collect(),
            manual_keep_days: manual.0,
            manual_failed: manual.1,
            former_pins: pins.iter().map(|days| id(days + 1)).collect(),
            pins: pins.into_iter().map(id).collect(),
            needed: needed.into_iter().map(|days| NeededBackup { id: id(days), by: "x".into() }).collect(),
            hold: None,
        }
    })
}

fn clocks() -> impl Strategy<Value = Clocks> {
    let clock = || (-800_i64..800).prop_map(|hours| later_hours(days_ago(0), hours));
    let right = || Just(days_ago(0));
    (prop_oneof![right(), clock()], prop::option::of(prop_oneof![right(), clock()]))
        .prop_map(|(local, server)| Clocks { local, server })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never(candidates in candidates(), retention in retentions(), clocks in clocks()) {
        let verdicts = decide(&candidates, &retention, clocks);
        prop_assert_eq!(verdicts.len(), candidates.len());
        let gone: Vec<&Candidate> = candidates
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Delete { .. }))
            .map(|(candidate, _)| candidate)
            .collect();
        let is_gone = |candidate: &Candidate| gone.iter().any(|other| other.id == candidate.id);
        for candidate in &gone {
            // Pinned or needed ones.
            prop_assert!(!candidate.pinned && !retention.pins.contains(&candidate.id));
            prop_assert!(candidate.former.is_none() || !retention.former_pins.contains(&candidate.id));
            prop_assert!(retention.needed.iter().all(|needed| needed.id != candidate.id));
            // Those whose days are not over by every clock there is.
            let age = |now: Timestamp| now.duration_since(candidate.slot).as_hours();
            let days = candidate
                .schedules
                .iter()
                .map(|keeper| {
                    let known = retention.schedules.iter().find(|rule| rule.name == keeper.name);
                    known.map_or(keeper.keep_days, |rule| rule.keep_days)
                })
                .max()
                .unwrap_or(retention.manual_keep_days);
            let days = candidate.former.as_ref().map_or(days, |former| days.max(former.keep_days));
            for now in [Some(clocks.local), clocks.server].into_iter().flatten() {
                prop_assert!(age(now) >= i64::from(days) * 24);
            }
            prop_assert!(candidates.iter().any(|newer| newer.whole && age(newer.stored_time) >= i64::from(days) * 24));
            // Anything while the newest run failed.
            for rule in retention.schedules.iter().filter(|rule| rule.newest_failed) {
                prop_assert!(candidate.former.is_none());
                prop_assert!(candidate.schedules.iter().all(|keeper| keeper.name != rule.name));
            }
            // A newer good one of its name is there, and stays.
            let of_name = || candidates.iter().filter(|other| other.former_name() == candidate.former_name());
            prop_assert!(of_name().any(|other| other.whole && other.slot > candidate.slot && !is_gone(other))
                || !candidate.whole);
        }
        for (name, made_as) in SCHEDULES.into_iter().flat_map(|name| [None, Some("a"), Some("b")].map(|made_as| (name, made_as))) {
            let mut of: Vec<&Candidate> = candidates
                .iter()
                .filter(|candidate| candidate.former_name() == made_as)
                .filter(|candidate| candidate.schedules.iter().any(|keeper| keeper.name == name))
                .collect();
            // More than half of five or more.
            let deleted = of.iter().filter(|candidate| is_gone(candidate)).count();
            prop_assert!(of.len() <= 4 || deleted <= of.len() / 2);
            // The newest good ones of a schedule of the spec, those from the future left aside.
            let Some(rule) = retention.schedules.iter().find(|rule| rule.name == name) else { continue };
            let now = clocks.server.map_or(clocks.local, |server| server.min(clocks.local));
            let now = now.checked_add(SignedDuration::from_mins(15)).unwrap();
            of.retain(|candidate| candidate.whole && candidate.slot <= now && candidate.end_time <= now);
            of.sort_by_key(|candidate| std::cmp::Reverse(candidate.slot));
            let newest = of.iter().take(usize::try_from(rule.keep_at_least.max(1)).unwrap());
            prop_assert!(newest.clone().all(|candidate| !is_gone(candidate)));
        }
    }

    /// How long it is kept does not change by what is left out of its schedules.
    #[test]
    fn what_does_not_count_says_nothing(
        named in vec((prop::sample::select(vec!["daily", "weekly", "a", "b", "c"]), 1_u32..40), 0..9),
        retention in retentions(),
    ) {
        let all = candidate(days_ago(0), &named);
        let is_known = |name: &str| rule_of(&retention, name).is_some();
        let few = Candidate { schedules: counted(all.schedules.clone(), is_known), ..all.clone() };
        prop_assert_eq!(keep_days(&all, &retention), keep_days(&few, &retention));
        prop_assert_eq!(failed(&all, &retention), failed(&few, &retention));
        prop_assert!(retention.schedules.iter().all(|rule| serves(&all, &rule.name) == serves(&few, &rule.name)));
        prop_assert!(few.schedules.len() <= retention.schedules.len() + 1);
    }

    #[test]
    fn a_hold_holds_everything(candidates in candidates(), retention in retentions(), clocks in clocks()) {
        let held = Retention { hold: Some("because".into()), ..retention };
        let verdicts = decide(&candidates, &held, clocks);
        prop_assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Keep(_))));
    }

    /// A clock that is wrong deletes nothing that right clocks would not.
    #[test]
    fn a_wrong_clock_only_keeps_more(candidates in candidates(), mut retention in retentions(), clocks in clocks()) {
        // But for which half goes, which is about numbers and not about time.
        let candidates = &candidates[..candidates.len().min(4)];
        retention.schedules.iter_mut().for_each(|rule| rule.keep_at_least = 1);
        let right = Clocks { local: days_ago(0), server: Some(days_ago(0)) };
        let wrong = Clocks { local: clocks.local.max(days_ago(0)), server: Some(days_ago(0)) };
        prop_assert_eq!(decide(candidates, &retention, wrong), decide(candidates, &retention, right));
    }

    #[test]
    fn what_it_decided_it_decides_again(candidates in candidates(), retention in retentions(), clocks in clocks()) {
        // After a kill in the middle: what was to go is a part of what goes then.
        let verdicts = decide(&candidates, &retention, clocks);
        let kept: Vec<Candidate> = candidates
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| !matches!(verdict, Verdict::Delete { .. }))
            .map(|(candidate, _)| candidate.clone())
            .collect();
        let again = decide(&kept, &retention, clocks);
        for (candidate, verdict) in kept.iter().zip(&again) {
            let before = verdicts[candidates.iter().position(|other| other.id == candidate.id).unwrap()].clone();
            prop_assert!(
                matches!(verdict, Verdict::Keep(_)) || matches!(before, Verdict::Keep(Keep::Half { .. })),
                "{:?} {:?}", before, verdict
            );
        }
    }
}

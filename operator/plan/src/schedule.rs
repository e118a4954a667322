//! Reads cron expressions: which slot passed last, and which comes next. Pure.

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronPattern};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Most times of a day that are looked for one by one: every hour, however it is written.
const MOST_TIMES: usize = 24;

/// A cron expression read in a time zone.
///
/// Daylight saving: a local time that the gap skips is due at the first instant after the gap; one that the fold repeats
/// is due once. An expression with a wildcard hour, or with more than 24 times a day, goes by the clock on the wall instead: what the gap
/// skips is left out, and what the fold repeats is due both times.
#[derive(Clone, Debug)]
pub struct Cadence {
    /// The expression; taken apart into its times of day where these are few.
    crons: Vec<Cron>,
    zone: TimeZone,
    text: String,
}

/// An expression or a zone that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CadenceError {
    /// Not a cron expression of five fields.
    #[error(
        "{expression:?} is no cron expression of five fields (minute, hour, day of month, month, day of week), such as \"0 2 * * *\": {problem}"
    )]
    Expression {
        /// What was given.
        expression: String,
        /// What the parser says of it.
        problem: String,
    },
    /// A date that never comes.
    #[error("{0:?} names a date that never comes: correct its day or month")]
    Never(String),
    /// Not in the IANA database.
    #[error("{0:?} is no time zone of the IANA database: use a name such as Etc/UTC or Europe/Berlin")]
    Zone(String),
}

/// Reads a time zone by its IANA name. The database is compiled in, so the answer does not depend on the image.
pub fn time_zone(name: &str) -> Result<TimeZone, CadenceError> {
    TimeZone::get(name).map_err(|_| CadenceError::Zone(name.to_owned()))
}

impl Cadence {
    /// Reads an expression of five fields; seconds and years are refused, as a `CronJob` of Kubernetes does.
    pub fn parse(expression: &str, zone: &TimeZone) -> Result<Self, CadenceError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(expression).and_then(|cron| times_of_day(parser, cron, expression));
        let crons = parsed.map_err(|error| CadenceError::Expression {
            expression: expression.to_owned(),
            problem: error.to_string(),
        })?;
        let name = zone.iana_name().unwrap_or("UTC");
        let cadence = Self { crons, zone: zone.clone(), text: format!("{expression} {name}") };
        // Any fixed time will do: what has no slot after it has none at all.
        match cadence.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(cadence),
            None => Err(CadenceError::Never(expression.to_owned())),
        }
    }

    /// Expression and zone in one text, to notice that either changed.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// The newest slot that is not after a time.
    pub fn newest_at(&self, time: Timestamp) -> Option<Timestamp> {
        self.previous(time, true)
    }

    /// The newest slot before a time.
    pub fn newest_before(&self, time: Timestamp) -> Option<Timestamp> {
        self.previous(time, false)
    }

    /// Whether a time is a slot.
    pub fn has(&self, time: Timestamp) -> bool {
        self.newest_at(time) == Some(time)
    }

    fn previous(&self, time: Timestamp, inclusive: bool) -> Option<Timestamp> {
        #[cfg(test)]
        Self::count_evaluation();
        let time = time.to_zoned(self.zone.clone());
        let found = self.crons.iter().filter_map(|cron| cron.find_previous_occurrence(&time, inclusive).ok());
        found.map(|slot| slot.timestamp()).max()
    }

    /// The first slot after a time.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        #[cfg(test)]
        Self::count_evaluation();
        let time = time.to_zoned(self.zone.clone());
        let found = self.crons.iter().filter_map(|cron| cron.find_next_occurrence(&time, false).ok());
        found.map(|slot| slot.timestamp()).min()
    }
}

/// One expression for each time of day. The parser knows a fixed time only where an expression has a single one; of several it would
/// pass over those that a gap skips, and a backup with them.
fn times_of_day(parser: CronParser, cron: Cron, expression: &str) -> Result<Vec<Cron>, CronError> {
    let CronPattern { minutes, hours, .. } = &cron.pattern;
    let times = minutes.values().len() * hours.values().len();
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [_, _, day, month, weekday] = fields[..] else { return Ok(vec![cron]) };
    if hours.from_wildcard || times > MOST_TIMES {
        return Ok(vec![cron]);
    }
    let (minutes, hours) = (minutes.values(), hours.values());
    let times = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (minute, hour)));
    times.map(|(minute, hour)| parser.parse(&format!("{minute} {hour} {day} {month} {weekday}"))).collect()
}

#[cfg(test)]
thread_local! {
    static EVALUATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
impl Cadence {
    fn count_evaluation() {
        EVALUATIONS.with(|count| count.set(count.get() + 1));
    }

    /// How often this test has looked for a slot.
    pub(crate) fn evaluations() -> usize {
        EVALUATIONS.with(std::cell::Cell::get)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cadence(expression: &str, zone: &str) -> Cadence {
        Cadence::parse(expression, &time_zone(zone).unwrap()).unwrap()
    }

    #[test]
    fn what_is_refused() {
        for (expression, part) in [
            ("0 0 2 * * *", "five fields"),
            ("0 2 * *", "five fields"),
            ("61 2 * * *", "five fields"),
            ("", "five fields"),
            ("@every 1h", "five fields"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let error = Cadence::parse(expression, &TimeZone::UTC).unwrap_err().to_string();
            assert!(error.contains(part), "{expression}: {error}");
        }
        assert!(time_zone("Mars/Olympus").unwrap_err().to_string().contains("Mars/Olympus"));
    }

    #[test]
    fn slots() {
        for (expression, zone, after, next) in [
            ("0 2 * * *", "Etc/UTC", "2025-11-07T02:00:00Z", "2025-11-08T02:00:00Z"),
            ("0 4 * * SUN#1", "Etc/UTC", "2025-11-02T04:00:00Z", "2025-12-07T04:00:00Z"),
            ("@daily", "Etc/UTC", "2025-11-07T02:00:00Z", "2025-11-08T00:00:00Z"),
            // Gap: 02:30 does not exist on 2025-03-30 in Berlin; the first instant after it is 03:00 (01:00 UTC).
            ("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", "2025-03-30T01:00:00Z"),
            // Fold: 02:30 comes twice on 2025-10-26; the first one counts, the next slot is a day later.
            ("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", "2025-10-26T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"),
            ("0 0 29 2 *", "Etc/UTC", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // The same with several fixed times: none is lost in the gap, none comes twice in the fold.
            ("30 2,14 * * *", "Europe/Berlin", "2025-03-29T13:30:00Z", "2025-03-30T01:00:00Z"),
            ("30 2,14 * * *", "Europe/Berlin", "2025-03-30T01:00:00Z", "2025-03-30T12:30:00Z"),
            ("*/30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", "2025-03-30T01:00:00Z"),
            ("*/30 2 * * *", "Europe/Berlin", "2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"),
            ("0,30 2-3 * * *", "Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T02:00:00Z"),
            ("0 0-23 * * *", "Europe/Berlin", "2025-10-26T00:00:00Z", "2025-10-26T02:00:00Z"),
            // By the clock on the wall: skipped times are left out, repeated ones are due twice.
            ("30 * * * *", "Europe/Berlin", "2025-03-30T00:30:00Z", "2025-03-30T01:30:00Z"),
            ("30 */2 * * *", "Europe/Berlin", "2025-03-29T23:30:00Z", "2025-03-30T02:30:00Z"),
            ("30 * * * *", "Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z"),
            ("*/20 1-23 * * *", "Europe/Berlin", "2025-10-26T00:40:00Z", "2025-10-26T01:00:00Z"),
        ] {
            assert_eq!(
                cadence(expression, zone).next_after(at(after)),
                Some(at(next)),
                "{expression} after {after}"
            );
        }
    }

    /// What has passed is read backwards; it must be the same slots that were announced, also where a local time is left out
    /// or comes twice.
    #[test]
    fn slots_read_backwards_are_those_read_forwards() {
        for (expression, zone, from) in [
            ("30 2 * * *", "Europe/Berlin", "2025-03-28T12:00:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2025-10-24T12:00:00Z"),
            ("0 * * * *", "Europe/Berlin", "2025-03-29T20:00:00Z"),
            ("0 * * * *", "Europe/Berlin", "2025-10-25T20:00:00Z"),
            ("*/30 * * * *", "Europe/Berlin", "2025-10-25T22:00:00Z"),
            ("*/30 2 * * *", "Europe/Berlin", "2025-03-29T20:00:00Z"),
            ("30 2,14 * * *", "Europe/Berlin", "2025-03-29T20:00:00Z"),
            ("0,30 2-3 * * *", "Europe/Berlin", "2025-10-25T20:00:00Z"),
            ("30 */2 * * *", "Europe/Berlin", "2025-03-29T20:00:00Z"),
            ("15,45 1 * * *", "America/New_York", "2025-11-01T12:00:00Z"),
            ("0 2 * * *", "America/New_York", "2025-03-08T12:00:00Z"),
            ("45 1 * * *", "Australia/Lord_Howe", "2025-04-04T12:00:00Z"),
            ("15 2 * * *", "Australia/Lord_Howe", "2025-10-04T00:00:00Z"),
        ] {
            let cadence = cadence(expression, zone);
            let mut slot = at(from);
            for _ in 0..12 {
                let next = cadence.next_after(slot).unwrap();
                let before = next.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap();
                assert!(cadence.has(next), "{expression} {zone}: {next} is announced");
                assert_eq!(cadence.newest_before(next), cadence.newest_at(before), "{expression} {zone}");
                if slot != at(from) {
                    assert_eq!(cadence.newest_before(next), Some(slot), "{expression} {zone} before {next}");
                }
                slot = next;
            }
        }
    }

    proptest! {
        #[test]
        fn a_slot_is_due_from_its_second_on_and_never_before(
            seconds in 1_600_000_000_i64..1_900_000_000,
            expression in prop::sample::select(vec!["0 2 * * *", "*/7 * * * *", "0 4 * * SUN#1", "30 2 * * *"]),
            zone in prop::sample::select(vec!["Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        ) {
            let cadence = cadence(expression, zone);
            let since = Timestamp::from_second(seconds).unwrap();
            let slot = cadence.next_after(since).unwrap();
            let before = Timestamp::from_second(slot.as_second() - 1).unwrap();
            prop_assert!(slot > since);
            prop_assert!(cadence.newest_at(before).unwrap() <= since);
            prop_assert_eq!(cadence.newest_at(slot), Some(slot));
            prop_assert!(cadence.newest_before(slot).unwrap() <= since);
        }
    }
}

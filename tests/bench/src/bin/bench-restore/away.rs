//! How long applications are away, by what is seen of their Pods. Pure: the time is that of whoever sees.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const OVERLAP: &str =
    "a new Pod was ready while an old one was still there: the applications were not away together";

/// The Pods that were there at the start, by UID, and what became of them and those after them.
pub struct Away {
    old: BTreeSet<String>,
    /// Those of the old ones that are still there.
    left: BTreeSet<String>,
    last_end: Option<Instant>,
    first_ready: Option<Instant>,
}

impl Away {
    /// With the Pods that are there.
    pub fn new(old: BTreeSet<String>) -> Self {
        Self { left: old.clone(), old, last_end: None, first_ready: None }
    }

    /// How many there were at the start.
    pub fn started_with(&self) -> usize {
        self.old.len()
    }

    /// A Pod is gone.
    pub fn note_end(&mut self, uid: &str, now: Instant) {
        if self.left.remove(uid) {
            self.last_end = Some(now);
        }
    }

    /// A Pod is ready.
    pub fn note_ready(&mut self, uid: &str, now: Instant) {
        if !self.old.contains(uid) {
            self.first_ready.get_or_insert(now);
        }
    }

    /// When the last old Pod was gone; none as long as one is there.
    pub fn stopped(&self) -> Option<Instant> {
        self.last_end.filter(|_| self.left.is_empty())
    }

    /// From the end of the last old Pod to the readiness of the first new one; none as long as one of them is to come.
    pub fn took(&self) -> Result<Option<Duration>> {
        match (self.stopped(), self.first_ready) {
            (Some(end), Some(ready)) => ready.checked_duration_since(end).context(OVERLAP).map(Some),
            (None, Some(_)) => bail!(OVERLAP),
            (_, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two old Pods, `a` and `b`, and what is seen in which second.
    fn seen(events: &[(&str, &str, u64)]) -> Away {
        let start = Instant::now();
        let mut away = Away::new(["a", "b"].map(str::to_owned).into());
        for (what, uid, second) in events {
            let now = start + Duration::from_secs(*second);
            match *what {
                "end" => away.note_end(uid, now),
                "ready" => away.note_ready(uid, now),
                other => panic!("{other} is no event"),
            }
        }
        away
    }

    #[test]
    fn from_the_last_end_to_the_first_readiness() {
        let events =
            [("end", "b", 10), ("end", "a", 12), ("ready", "d", 17), ("ready", "c", 19), ("ready", "d", 20)];
        assert_eq!(seen(&events).took().unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(seen(&events).started_with(), 2);
    }

    #[test]
    fn old_pods_that_become_ready_and_new_ones_that_end_do_not_count() {
        let events = [
            ("ready", "a", 1),
            ("end", "a", 10),
            ("end", "b", 11),
            ("end", "c", 14),
            ("end", "a", 15),
            ("ready", "d", 18),
        ];
        assert_eq!(seen(&events).took().unwrap(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn nothing_is_told_before_all_old_ones_are_gone_and_a_new_one_is_ready() {
        assert!(seen(&[]).stopped().is_none());
        let one = seen(&[("end", "a", 1)]);
        assert!(one.stopped().is_none() && one.took().unwrap().is_none());
        let both = seen(&[("end", "a", 1), ("end", "b", 2)]);
        assert!(both.stopped().is_some() && both.took().unwrap().is_none());
    }

    #[test]
    fn a_new_pod_that_is_ready_beside_an_old_one_is_an_error() {
        for events in [
            &[("end", "a", 1), ("ready", "c", 2)][..],
            &[("end", "a", 1), ("ready", "c", 2), ("end", "b", 3)],
        ] {
            assert!(seen(events).took().unwrap_err().to_string().contains("not away together"));
        }
    }
}

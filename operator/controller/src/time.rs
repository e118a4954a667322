//! The clock of passes, and how long until the next one. Reads the clock, and nothing else does for decisions.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object is looked at about this often even when nothing seems to change.
const SAFETY_NET: Duration = Duration::from_hours(1);

/// The time of a pass, in whole seconds as the API writes them.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How long to wait for a time, which is to the point: 200 slots of one second have no second to lose.
pub fn pause(wake: Option<Timestamp>, object: &ObjectMeta) -> Duration {
    let safety_net = spread(SAFETY_NET, object.uid.as_deref().unwrap_or_default());
    let Some(wake) = wake else { return safety_net };
    // A time that has passed is no duration.
    Duration::try_from(wake.duration_since(Timestamp::now())).unwrap_or_default().min(safety_net)
}

/// A duration and up to a quarter of it, the same for the same key: what began together at a start does not come back together.
fn spread(duration: Duration, key: &str) -> Duration {
    let mut hash = DefaultHasher::new();
    key.hash(&mut hash);
    let quarter = duration.as_secs() / 4;
    duration + Duration::from_secs(hash.finish() % quarter.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_begins_together_does_not_come_back_together() {
        let times: BTreeSet<Duration> =
            (0..1000).map(|number| spread(SAFETY_NET, &format!("uid-{number}"))).collect();
        assert!(times.len() > 500, "{} different times", times.len());
        assert!(times.iter().all(|time| (SAFETY_NET..SAFETY_NET * 5 / 4).contains(time)));
        assert_eq!(spread(SAFETY_NET, "a"), spread(SAFETY_NET, "a"));
    }

    #[test]
    fn a_time_is_waited_for_to_the_point_and_one_that_has_passed_not_at_all() {
        let policy = ObjectMeta { uid: Some("uid-of-main".into()), ..ObjectMeta::default() };
        let soon = Timestamp::now() + Duration::from_millis(700);
        let waited = pause(Some(soon), &policy);
        assert!(waited <= Duration::from_millis(700) && waited > Duration::from_millis(300), "{waited:?}");
        assert_eq!(pause(Some(Timestamp::UNIX_EPOCH), &policy), Duration::ZERO);
        assert!(pause(Some(Timestamp::MAX), &policy) >= SAFETY_NET);
        assert!(pause(None, &policy) < SAFETY_NET * 5 / 4);
    }
}

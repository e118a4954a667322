//! What passes have done that the watches do not show yet: a pass that began before would want to do it again. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::Effect;
use kube::ResourceExt as _;

use super::carry_out::Done;

/// How long news are waited for. A pass that begins before asks the API server more than it need, and no more happens.
const LIMIT: Duration = Duration::from_secs(1);

/// What the last pass over each policy has done, by the policy's UID.
#[derive(Default)]
pub struct Expected(Mutex<HashMap<String, (Instant, Done)>>);

impl Expected {
    /// Remembers what a pass has done; what another one did longer ago than news are waited for is forgotten.
    pub fn note(&self, policy: &BackupPolicy, done: Done) {
        if done.version.is_none() && done.effects.is_empty() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (since, _)| since.elapsed() < LIMIT);
        all.insert(policy.uid().unwrap_or_default(), (Instant::now(), done));
    }

    /// How much longer a pass over this policy is to wait for news, whose arrival starts it; none where they are there. `show`
    /// tells whether the watches show what was done to Jobs.
    pub fn left(&self, policy: &BackupPolicy, show: impl FnOnce(&[Effect]) -> bool) -> Option<Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = policy.uid().unwrap_or_default();
        let (since, done) = all.get(&uid)?;
        let left = LIMIT.checked_sub(since.elapsed());
        if left.is_some() && (is_older(policy, done) || !show(&done.effects)) {
            return left;
        }
        all.remove(&uid);
        None
    }
}

/// Whether a policy is from before what was written. resourceVersions are numbers that rise; what is none is not waited for.
fn is_older(policy: &BackupPolicy, done: &Done) -> bool {
    let number = |version: Option<&String>| version.and_then(|version| version.parse::<u64>().ok());
    let (seen, written) = (policy.metadata.resource_version.as_ref(), done.version.as_ref());
    matches!((number(seen), number(written)), (Some(seen), Some(written)) if seen < written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn with(version: &str) -> BackupPolicy {
        let mut policy = fixture::policy("greenlang", "main");
        policy.metadata.resource_version = Some(version.into());
        policy
    }

    fn wrote(version: &str) -> Done {
        Done { version: Some(version.into()), ..Done::default() }
    }

    #[test]
    fn a_pass_waits_for_the_status_that_the_last_one_wrote_and_not_for_ever() {
        let expected = Expected::default();
        let left = |version| expected.left(&with(version), |_| true);
        assert_eq!(left("9"), None);
        expected.note(&with("9"), wrote("10"));
        assert!(left("9").is_some_and(|left| left <= LIMIT && !left.is_zero()));
        assert_eq!(left("10"), None);
        assert_eq!(left("9"), None, "once seen it is forgotten");

        expected.note(&with("9"), Done::default());
        assert_eq!(left("9"), None, "nothing was done");
        expected.note(&with("9"), wrote("opaque"));
        assert_eq!(left("9"), None, "not to be compared");

        expected.note(&with("9"), wrote("10"));
        expected.0.lock().unwrap().values_mut().for_each(|(since, _)| *since -= LIMIT);
        assert_eq!(left("9"), None, "news that do not come");
    }

    #[test]
    fn a_pass_waits_until_the_watch_shows_what_became_of_jobs() {
        let expected = Expected::default();
        let deleted = Effect::DeleteJob { name: "job".into(), uid: "uid".into() };
        expected.note(&with("9"), Done { effects: vec![deleted.clone()], ..wrote("10") });
        assert!(expected.left(&with("10"), |effects| effects != [deleted.clone()]).is_some());
        assert_eq!(expected.left(&with("10"), |effects| effects == [deleted.clone()]), None);
    }
}

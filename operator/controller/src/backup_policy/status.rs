//! Step 5, status: writes what was decided, only if it differs, and tells people. I/O, no decisions.

use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, BackupStatus};
use greenlang_backup_plan::backup_policy::{Decision, Event};
use kube::Resource as _;

use crate::context::Context;
use crate::errors::Error;
use crate::{crash, writes};

/// Writes the status if it differs from what the policy has, and returns the policy as it is then.
pub async fn write(
    policy: &BackupPolicy,
    decision: &Decision,
    context: &Context,
) -> Result<Option<BackupPolicy>, Error> {
    if policy.status.as_ref() == Some(&decision.status) {
        return Ok(None);
    }
    if ended_attempts(&decision.status) > policy.status.as_ref().map_or(0, ended_attempts) {
        crash::point(crash::RUN_ENDED);
    }
    writes::replace_status(policy, decision.status.clone(), &context.client).await
}

fn ended_attempts(status: &BackupPolicyStatus) -> u64 {
    status.backups.iter().flat_map(BackupStatus::histories).map(|history| history.attempts).sum()
}

/// Tells people what a status that was written says.
pub fn tell(policy: &BackupPolicy, events: &[Event], context: &Context) {
    let about = policy.object_ref(&());
    for event in events {
        context.events.tell(&about, event);
    }
}

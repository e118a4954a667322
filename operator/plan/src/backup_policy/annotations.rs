//! Reads the annotations of a policy that are about what is kept and who owns it. Pure.

use std::collections::BTreeMap;

use greenlang_backup_api::labels::{ADOPT, PIN_PREFIX, PRUNE_DRY_RUN};
use greenlang_backup_api::manifest::PolicyIdentity;
use greenlang_backup_api::names::{BackupId, number_below};
use greenlang_backup_api::text::cut;
use greenlang_backup_api::v1alpha1::BackupPolicy;

use super::validate::ValidatedPolicy;

/// Most bytes of a token in status, as JSON has it.
const MAX_TOKEN: usize = 128;

/// What they say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub pins: BTreeMap<String, Vec<BackupId>>,
    /// Somebody meant to keep something: until it is known what, everything is kept.
    pub unreadable_pin: Option<String>,
    pub prune_token: Option<String>,
    pub adopt: Option<String>,
}

impl Annotations {
    pub fn of(policy: &BackupPolicy) -> Self {
        let mut read = Self::default();
        for (key, value) in policy.metadata.annotations.iter().flatten() {
            let value = Some(value.clone()).filter(|value| !value.is_empty());
            if let Some(pin) = key.strip_prefix(PIN_PREFIX) {
                match pinned(policy, pin) {
                    Some((backup, id)) => read.pins.entry(backup).or_default().push(id),
                    None => read.unreadable_pin = Some(key.clone()),
                }
            } else if key == PRUNE_DRY_RUN {
                read.prune_token = value.map(short);
            } else if key == ADOPT {
                read.adopt = value.map(short);
            }
        }
        read
    }
}

impl ValidatedPolicy {
    /// What is wrong with an annotation that is to pin something, and how to mend it; nothing goes before it is.
    pub(super) fn pin_problem(&self) -> Option<String> {
        let pin = self.unreadable_pin.as_ref()?;
        let PolicyIdentity { namespace, name, .. } = &self.identity;
        Some(format!(
            "annotation {pin} pins nothing that can be understood, so no backup is deleted: write {PIN_PREFIX}<backup>.<id> with a backup of this policy and an id such as 20251107-020000, or take it away (kubectl annotate backuppolicy -n {namespace} {name} {pin}-)"
        ))
    }
}

/// A token as status has it, once for each backup: an annotation may have 256 KiB, which status could not take so often.
pub(super) fn short(token: String) -> String {
    if cut(&token, MAX_TOKEN).len() == token.len() {
        return token;
    }
    let number = number_below(&[&token], u64::MAX);
    format!("{}{number:016x}", cut(&token, MAX_TOKEN - 16))
}

/// Backup and id of `<backup>.<id>`; a backup that the policy does not have pins nothing either.
fn pinned(policy: &BackupPolicy, text: &str) -> Option<(String, BackupId)> {
    let (backup, id) = text.split_once('.')?;
    policy.spec.backups.iter().find(|entry| entry.name == backup)?;
    Some((backup.to_owned(), id.parse().ok()?))
}

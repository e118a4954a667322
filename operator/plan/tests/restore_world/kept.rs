//! The ConfigMap of the model that remembers what was replaced.

use greenlang_backup_plan::restore_request::{Kept, without_previous};

use super::World;

impl World {
    pub(super) fn observe_kept(&self) -> Kept {
        if self.kept_is_unreadable {
            return Kept::Unreadable;
        }
        self.kept.as_ref().map_or(Kept::Absent, |kept| Kept::Until(kept.drop_after))
    }

    /// What was replaced is dropped: the request is told, and the ConfigMap goes.
    pub fn drop_kept(&mut self) {
        let kept = self.kept.take().unwrap();
        self.databases.remove(&kept.previous.oid).unwrap();
        let status = without_previous(&self.request, &kept, self.now);
        self.request.status = Some(status.unwrap());
    }
}

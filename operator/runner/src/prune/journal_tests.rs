//! Whether what a report can say is what `docs/operations.md` explains.

use std::collections::BTreeSet;

use greenlang_backup_plan::retention::Keep;

use super::*;
use crate::survey::{NOT_OURS, TOO_MUCH};

/// One of each kind.
fn keeps() -> Vec<Keep> {
    let (text, until) = (String::new, Timestamp::UNIX_EPOCH);
    let keeps = vec![
        Keep::Young { until },
        Keep::Future,
        Keep::AtLeast { schedule: text() },
        Keep::Newest,
        Keep::NewestRunFailed { schedule: None },
        Keep::Pinned,
        Keep::Needed { by: text() },
        Keep::Held { why: text() },
        Keep::Half { schedule: text() },
    ];
    for keep in &keeps {
        // A kind that is new does not compile here: it goes into the list above, too.
        match keep {
            Keep::Young { .. }
            | Keep::Future
            | Keep::AtLeast { .. }
            | Keep::Newest
            | Keep::NewestRunFailed { .. }
            | Keep::Pinned
            | Keep::Needed { .. }
            | Keep::Held { .. }
            | Keep::Half { .. } => {}
        }
    }
    keeps
}

/// Every verdict that a line can have, with each of its reasons.
fn given() -> BTreeSet<(String, String)> {
    let id: BackupId = "20251107-020000".parse().unwrap();
    let expired = Verdict::Delete { days: 1, expired: Timestamp::UNIX_EPOCH };
    let mut lines: Vec<Line> =
        [NOT_OURS, TOO_MUCH].map(|reason| Line::skipped(&id, reason, String::new())).into();
    for reason in [expired.reason(), GARBAGE] {
        for removal in
            [Removal::Gone { bytes: 1 }, Removal::Locked { until: Timestamp::MAX }, Removal::Changed]
        {
            lines.push(Line::removed(&id, reason, String::new(), removal));
        }
    }
    let kept = keeps().into_iter().map(|keep| ("Keep".to_owned(), keep.reason().to_owned()));
    lines.iter().map(|line| (line.verdict.to_owned(), line.reason.to_owned())).chain(kept).collect()
}

/// Of the sentence in `docs/operations.md`: each verdict is followed by its reasons in parentheses.
fn explained() -> BTreeSet<(String, String)> {
    let text = include_str!("../../../../docs/operations.md");
    let list = text.split("Verdicts and their\nreasons: ").nth(1).unwrap().split(". ").next().unwrap();
    let of_verdict = |part: &str| -> Vec<(String, String)> {
        let mut words = part.split('`').skip(1).step_by(2).map(str::to_owned);
        let verdict = words.next().unwrap();
        words.map(|reason| (verdict.clone(), reason)).collect()
    };
    list.split(';').flat_map(of_verdict).collect()
}

#[test]
fn operations_md_explains_every_verdict_and_no_other() {
    assert_eq!(explained(), given());
}

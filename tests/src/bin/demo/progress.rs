//! Follows a run by the policy's status: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Result, bail};
use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, RunProgress, SucceededRun};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::{policy, wait};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::{BACKUP, BACKUP_LIMIT, Clock, NAMESPACE};

/// Waits for the end of the run of a token, or of the first run, and shows how far it is.
pub async fn follow(
    clock: &Clock,
    cluster: &Cluster,
    name: &str,
    token: Option<&str>,
) -> Result<SucceededRun> {
    let mut screen = Screen::new();
    let end = wait::until_in(cluster, NAMESPACE, "the backup is made", BACKUP_LIMIT, async || {
        let status = policy::status(cluster, NAMESPACE, name).await?;
        screen.show(clock, &in_words(&status), active(&status));
        Ok(ended(&status, token))
    })
    .await?;
    screen.bar.finish_and_clear();
    match end {
        Ok(run) => Ok(run),
        Err(why) => bail!("the backup failed: {why}\n{}", wait::diagnosis(cluster, NAMESPACE).await),
    }
}

/// How the run ended; none while it goes on or has not begun.
fn ended(status: &BackupPolicyStatus, token: Option<&str>) -> Option<Result<SucceededRun, String>> {
    let backup = status.backup(BACKUP)?;
    if backup.active.is_some() || backup.manual_token.as_deref() != token {
        return None;
    }
    let newest = backup.last_id.as_ref()?;
    let history = &backup.manual;
    let succeeded = history.last_success.clone().filter(|run| run.id == *newest).map(Ok);
    let failed = history.last_failure.clone().filter(|run| run.id == *newest);
    succeeded.or_else(|| failed.map(|run| Err(format!("{}: {}", run.reason, run.message))))
}

fn active(status: &BackupPolicyStatus) -> Option<&RunProgress> {
    status.backup(BACKUP)?.active.as_ref()?.progress.as_ref()
}

fn in_words(status: &BackupPolicyStatus) -> String {
    let Some(run) = status.backup(BACKUP).and_then(|backup| backup.active.as_ref()) else {
        let ready = conditions::find(&status.conditions, conditions::READY);
        return ready.map_or_else(
            || "waiting for the operator".to_owned(),
            |ready| {
                format!("waiting for the run; Ready={}, {}: {}", ready.status, ready.reason, ready.message)
            },
        );
    };
    let attempt = if run.attempt > 1 { format!(", attempt {}", run.attempt) } else { String::new() };
    let Some(RunProgress { progress, percent, seconds_left, .. }) = &run.progress else {
        let step = status.progress.as_deref().and_then(|words| Some(words.split_once(": ")?.1));
        return format!("{}{attempt}: {}", run.run.id, step.unwrap_or("starting"));
    };
    let percent = percent.map(|percent| format!(", {percent}%")).unwrap_or_default();
    let left = seconds_left.map(|seconds| format!(", {seconds}s left")).unwrap_or_default();
    format!(
        "{}{attempt}: {}{percent}, {}, {}/s{left}",
        run.run.id,
        progress.step,
        HumanBytes(progress.bytes_done),
        HumanBytes(progress.bytes_per_second)
    )
}

/// Where progress is shown.
struct Screen {
    bar: ProgressBar,
    is_terminal: bool,
    last: String,
}

impl Screen {
    fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let bar = if is_terminal { ProgressBar::new(100) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:30}] {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, is_terminal, last: String::new() }
    }

    fn show(&mut self, clock: &Clock, words: &str, progress: Option<&RunProgress>) {
        if self.is_terminal {
            self.bar.set_position(progress.and_then(|progress| progress.percent).unwrap_or_default().into());
            self.bar.set_message(words.to_owned());
        } else if self.last != words {
            clock.say(words);
        }
        words.clone_into(&mut self.last);
    }
}

//! Progress of a run as JSON lines in the Pod's log: written by the runner, read by the operator. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::cut;

/// Longest step that is read, in bytes; those of ours are shorter.
const MAX_STEP: usize = 96;

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being done, for example `Dumping greenlang`.
    pub step: String,
    /// Bytes read from the source so far.
    #[serde(default)]
    pub bytes_done: u64,
    /// Bytes expected from the source, an estimate; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_expected: Option<u64>,
    /// Bytes per second since the last line.
    #[serde(default)]
    pub bytes_per_second: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    progress: Progress,
}

impl Progress {
    /// One line of the log, without the line break.
    pub fn to_line(&self) -> String {
        serde_json::to_string(&Line { progress: self.clone() }).unwrap_or_default()
    }

    /// The newest progress among log lines; lines of other kinds, cut or foreign, are passed over.
    pub fn newest(log: &str) -> Option<Self> {
        let newest = log.lines().rev().find_map(|line| serde_json::from_str::<Line>(line).ok());
        newest.map(|Line { progress }| Self { step: cut(&progress.step, MAX_STEP).to_owned(), ..progress })
    }

    /// Whole percent done, at most 99 as long as the run goes on: the expectation is an estimate.
    pub fn percent(&self) -> Option<u8> {
        let expected = self.bytes_expected.filter(|bytes| *bytes > 0)?;
        u8::try_from((self.bytes_done.saturating_mul(100) / expected).min(99)).ok()
    }

    /// Seconds left at the present rate.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.bytes_expected?.checked_sub(self.bytes_done)?;
        left.checked_div(self.bytes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_line_wins_and_foreign_lines_are_passed_over() {
        let first = Progress { step: "Dumping a".into(), bytes_done: 1, ..Progress::default() };
        let second =
            Progress { bytes_done: 50, bytes_expected: Some(200), bytes_per_second: 10, ..first.clone() };
        let log = format!(
            "{}\n{{\"level\":\"INFO\"}}\n{}\nplain\n{{\"progress\":{{\"step\":",
            first.to_line(),
            second.to_line()
        );
        let newest = Progress::newest(&log).unwrap();
        assert_eq!(newest, second);
        assert_eq!((newest.percent(), newest.seconds_left()), (Some(25), Some(15)));
        assert_eq!(Progress::newest("nothing here"), None);
        let endless = Progress { step: "s".repeat(5_000), ..first }.to_line();
        assert_eq!(Progress::newest(&endless).unwrap().step.len(), MAX_STEP);
    }

    #[test]
    fn an_exceeded_estimate_stays_below_100_and_gives_no_time() {
        let over = Progress {
            bytes_done: 300,
            bytes_expected: Some(200),
            bytes_per_second: 1,
            ..Progress::default()
        };
        assert_eq!((over.percent(), over.seconds_left()), (Some(99), None));
        assert_eq!(Progress { bytes_expected: Some(0), ..Progress::default() }.percent(), None);
        assert_eq!(Progress { bytes_expected: Some(9), ..Progress::default() }.seconds_left(), None);
    }
}

//! From measurements to figures, each with its limit. Pure.

use std::time::Duration;

use greenlang_backup_api::sizing::DEFAULT_PART_SIZE;
use greenlang_backup_bench::figure::{Figure, median};
use greenlang_backup_bench::usage::Usage;

use crate::restores::{RestoreRound, Restores};
use crate::rounds::Round;

const MIB: f64 = 1_048_576.0;

/// All figures, in the order of the page.
pub fn figures(rounds: &[Round], memory: &[Usage; 2]) -> Vec<Figure> {
    let wall = |name, limit, aim, part: fn(&Round) -> Usage, whole: fn(&Round) -> Usage| {
        ratio(name, limit, aim, rounds, |round| Some((part(round).wall, whole(round).wall)))
    };
    let backup: fn(&Round) -> Usage = |round| round.backup;
    let bare: fn(&Round) -> Usage = |round| round.bare;
    vec![
        wall("backup / bare pg_dump", 1.7, Some(1.4), backup, bare),
        wall("backup / passes of BACKUP-001", 0.22, None, backup, |round| round.passes),
        ratio("processor time of the runner / zstd -1 and age", 1.3, None, rounds, |round| {
            Some((round.backup.own_cpu, round.zstd_age.cpu()))
        }),
        ratio("backup in two streams / bare pg_dump", 1.4, Some(1.2), rounds, |round| {
            Some((round.two_streams?.wall, round.bare.wall))
        }),
        ratio("reading back / backup without", 0.35, None, rounds, |round| {
            Some((round.read_back?.wall.saturating_sub(round.backup.wall), round.backup.wall))
        }),
        wall("backup / source at 150 MB/s", 1.05, None, |round| round.throttled, |round| round.source),
        peak(memory),
        growth(memory),
        written(rounds, memory),
    ]
}

/// The figures of restores.
pub fn restore_figures(restores: &Restores) -> Vec<Figure> {
    let wall = |name, limit, rounds: &[RestoreRound]| {
        ratio(name, limit, None, rounds, |round| Some((round.restored.loading, round.local.wall)))
    };
    let most =
        |of: fn(&Usage) -> u64| mib(restores.usages().map(|usage| of(&usage)).max().unwrap_or_default());
    let figure = |name, value, limit| Figure {
        name,
        measured: "most of all restores".to_owned(),
        value,
        unit: " MiB",
        limit,
        aim: None,
        timed: false,
    };
    let memory = most(|usage| usage.peak_together);
    vec![
        wall("restore / pg_restore from memory", 1.2, &restores.one),
        wall("restore in two streams / pg_restore -j2 from memory", 1.3, &restores.two),
        // No memory at all was not measured.
        figure(
            "most memory of runner and programs in a restore",
            if memory > 0.0 { memory } else { f64::NAN },
            256.0,
        ),
        figure("what they wrote to disk", most(|usage| usage.written), 64.0),
    ]
}

fn ratio<R>(
    name: &'static str,
    limit: f64,
    aim: Option<f64>,
    rounds: &[R],
    pair: impl Fn(&R) -> Option<(Duration, Duration)>,
) -> Figure {
    // A round without it leaves no figure at all: others would stand for what the runner did not always do.
    let pairs: Option<Vec<(f64, f64)>> = rounds
        .iter()
        .map(|round| pair(round).map(|(part, whole)| (part.as_secs_f64(), whole.as_secs_f64())))
        .collect();
    let pairs = pairs.unwrap_or_default();
    // Of the ratios, not of the times: a round that was disturbed was so for both.
    let value = median(pairs.iter().map(|(part, whole)| part / whole));
    let part = median(pairs.iter().map(|pair| pair.0));
    let whole = median(pairs.iter().map(|pair| pair.1));
    let measured = if value.is_nan() { "not done".to_owned() } else { format!("{part:.2} s / {whole:.2} s") };
    Figure { name, measured, value, unit: "", limit, aim, timed: true }
}

fn peak(memory: &[Usage; 2]) -> Figure {
    let [small, large] = memory.map(|usage| mib(usage.peak_memory));
    Figure {
        name: "most memory of the runner",
        measured: format!("{small:.0} and {large:.0} MiB"),
        // No memory at all was not measured.
        value: if small > 0.0 { large.max(small) } else { f64::NAN },
        unit: " MiB",
        limit: 128.0,
        aim: None,
        timed: false,
    }
}

/// Which of its few buffers a runner has filled is chance, so one of them more is no growth.
fn growth(memory: &[Usage; 2]) -> Figure {
    let [small, large] = memory.map(|usage| mib(usage.peak_memory));
    Figure {
        name: "memory for the long dump beyond that for the short one",
        measured: format!("{large:.0} MiB - {small:.0} MiB"),
        // No memory at all was not measured.
        value: if small > 0.0 { (large - small).max(0.0) } else { f64::NAN },
        unit: " MiB",
        limit: mib(DEFAULT_PART_SIZE),
        aim: None,
        timed: false,
    }
}

fn written(rounds: &[Round], memory: &[Usage; 2]) -> Figure {
    let backups = rounds.iter().flat_map(Round::backups).chain(*memory);
    let most = backups.map(|usage| usage.written).max().unwrap_or_default();
    Figure {
        name: "bytes that runner and pg_dump wrote to disk",
        measured: "most of all backups".to_owned(),
        #[expect(clippy::cast_precision_loss, reason = "it is to be 0")]
        value: most as f64,
        unit: " B",
        limit: 0.0,
        aim: None,
        timed: false,
    }
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^53 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

#[cfg(test)]
mod tests {
    use greenlang_backup_bench::world::Restored;

    use super::*;

    fn seconds(wall: f64) -> Usage {
        Usage { wall: Duration::from_secs_f64(wall), ..Usage::default() }
    }

    fn round(bare: f64, backup: f64) -> Round {
        Round {
            bare: seconds(bare),
            backup: seconds(backup),
            passes: seconds(60.0),
            zstd_age: Usage { children_cpu: Duration::from_secs(5), ..Usage::default() },
            two_streams: Some(seconds(8.0)),
            read_back: Some(seconds(backup + 2.0)),
            source: seconds(10.0),
            throttled: seconds(10.4),
        }
    }

    fn value(figures: &[Figure], name: &str) -> f64 {
        figures.iter().find(|figure| figure.name == name).unwrap().value
    }

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn ratios_are_those_of_a_round_and_a_round_that_was_disturbed_does_not_count() {
        let mut rounds = vec![round(8.0, 12.0), round(16.0, 24.0), round(8.0, 80.0)];
        rounds[1].backup.written = 4096;
        let memory = [60.0, 76.1].map(|mib| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a test's own number"
            )]
            Usage { peak_memory: (mib * MIB) as u64, ..Usage::default() }
        });
        let figures = figures(&rounds, &memory);
        assert_near(value(&figures, "backup / bare pg_dump"), 1.5);
        assert_near(value(&figures, "backup / passes of BACKUP-001"), 0.4);
        assert_near(value(&figures, "reading back / backup without"), 1.0 / 12.0);
        assert_near(value(&figures, "backup / source at 150 MB/s"), 1.04);
        let missed: Vec<&str> =
            figures.iter().filter(|figure| !figure.is_kept()).map(|figure| figure.name).collect();
        assert_eq!(
            missed,
            [
                "backup / passes of BACKUP-001",
                "memory for the long dump beyond that for the short one",
                "bytes that runner and pg_dump wrote to disk"
            ]
        );
    }

    #[test]
    fn what_the_runner_left_out_even_once_has_no_figure() {
        let mut rounds = vec![round(8.0, 12.0), round(8.0, 12.0)];
        rounds[1].read_back = None;
        rounds[0].two_streams = None;
        let figures = figures(&rounds, &[Usage { peak_memory: 1 << 20, ..Usage::default() }; 2]);
        let missing: Vec<&str> =
            figures.iter().filter(|figure| !figure.is_measured()).map(|figure| figure.name).collect();
        assert_eq!(missing, ["backup in two streams / bare pg_dump", "reading back / backup without"]);
    }

    #[test]
    fn a_restore_is_measured_until_it_has_loaded() {
        let round = |local, loading| RestoreRound {
            local: seconds(local),
            restored: Restored { usage: seconds(60.0), loading: Duration::from_secs_f64(loading) },
        };
        let used = Usage { peak_together: 100 << 20, written: 65 << 20, ..Usage::default() };
        let restores = Restores { one: vec![round(10.0, 11.0)], two: Vec::new(), verified: used };
        let figures = restore_figures(&restores);
        assert_near(value(&figures, "restore / pg_restore from memory"), 1.1);
        let missed: Vec<&str> =
            figures.iter().filter(|figure| !figure.is_kept()).map(|figure| figure.name).collect();
        assert_eq!(
            missed,
            ["restore in two streams / pg_restore -j2 from memory", "what they wrote to disk"]
        );
    }

    #[test]
    fn what_was_not_measured_keeps_no_limit() {
        let kept = figures(&[], &[Usage::default(); 2]).into_iter().filter(Figure::is_kept);
        let names: Vec<&str> = kept.map(|figure| figure.name).collect();
        assert_eq!(names, ["bytes that runner and pg_dump wrote to disk"]);
    }
}

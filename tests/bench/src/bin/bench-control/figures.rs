//! From measurements to figures, each with its limit. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use greenlang_backup_bench::figure::Figure;

use crate::Options;
use crate::prune::{Prune, Prunes};

const MIB: f64 = 1_048_576.0;

/// What was measured.
pub struct Measured {
    /// Resident bytes once all policies were checked.
    pub at_rest: u64,
    /// Most resident bytes.
    pub most: u64,
    /// Requests of the minute at rest.
    pub idle: Vec<String>,
    /// Requests of the first slot's runs, from the slot to the end of all.
    pub of_runs: usize,
    /// From slot to Job, of some policies.
    pub due: Vec<Duration>,
    /// The same, of all policies.
    pub all: Vec<Duration>,
}

/// All figures, in the order of the page.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub fn figures(measured: &Measured, options: &Options) -> Vec<Figure> {
    let [rest, most] = [measured.at_rest, measured.most].map(|bytes| bytes as f64 / MIB);
    let mut verbs: BTreeMap<&str, usize> = BTreeMap::new();
    for request in &measured.idle {
        *verbs.entry(request.trim_end()).or_default() += 1;
    }
    let idle: Vec<String> = verbs.iter().map(|(request, count)| format!("{count} {request}")).collect();
    vec![
        Figure {
            name: "memory of the operator",
            measured: format!("{rest:.0} MiB at rest"),
            // No memory at all was not measured.
            value: if measured.most > 0 { most } else { f64::NAN },
            unit: " MiB",
            limit: 96.0,
            aim: Some(64.0),
            timed: false,
        },
        Figure {
            name: "requests in a minute at rest",
            measured: idle.join(", "),
            // Without any, not even of the Lease, there was no operator.
            value: if measured.idle.is_empty() { f64::NAN } else { measured.idle.len() as f64 },
            unit: "",
            limit: 20.0,
            aim: None,
            timed: false,
        },
        delay("99th percentile from slot to Job, some policies due", &measured.due, options.due, 5.0),
        delay("99th percentile from slot to Job, all due", &measured.all, options.policies, f64::INFINITY),
        Figure {
            name: "requests of a run",
            measured: format!("{} of {} runs", measured.of_runs, measured.due.len()),
            value: measured.of_runs as f64 / measured.due.len() as f64,
            unit: "",
            limit: f64::INFINITY,
            aim: None,
            timed: false,
        },
    ]
}

/// What prunes took. The start of the program is in every time, so four times as many backups take no more than four times as long
/// and somewhat more where each costs the same.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub fn of_prunes(prunes: &Prunes) -> Vec<Figure> {
    let Prunes { backups: [quarter, _, all], unreadable: [few, many] } = prunes;
    let times = |prunes: &[Prune]| {
        let one = |prune: &Prune| {
            let Prune { directories, usage } = prune;
            let memory = usage.peak_memory as f64 / MIB;
            format!("{directories} in {:.1} s with {memory:.0} MiB", usage.wall.as_secs_f64())
        };
        prunes.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let memory = |name, measured, prune: &Prune| Figure {
        name,
        measured,
        value: prune.usage.peak_memory as f64 / MIB,
        unit: " MiB",
        limit: 128.0,
        aim: None,
        timed: false,
    };
    let ratio = |name, measured, value, limit, timed| Figure {
        name,
        measured,
        value,
        unit: "",
        limit,
        aim: None,
        timed,
    };
    let growth = all.usage.wall.as_secs_f64() / quarter.usage.wall.as_secs_f64();
    let flat = many.usage.peak_memory as f64 / few.usage.peak_memory as f64;
    vec![
        memory("memory of a prune", format!("{} backups, half of them deleted", all.directories), all),
        ratio("time of a prune, all backups to a quarter of them", times(&prunes.backups), growth, 5.5, true),
        memory(
            "memory of a prune, unreadable manifests",
            format!("{} manifests, all skipped", many.directories),
            many,
        ),
        ratio(
            "memory of a prune, all unreadable manifests to a tenth of them",
            times(&prunes.unreadable),
            flat,
            1.5,
            false,
        ),
    ]
}

fn delay(name: &'static str, delays: &[Duration], slots: u16, limit: f64) -> Figure {
    let mut seconds: Vec<f64> = delays.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let rank = (seconds.len() * percent).div_ceil(100);
        seconds.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    Figure {
        name,
        measured: format!("{slots} slots: half within {:.2} s, all within {:.2} s", at(50), at(100)),
        // A slot without Job leaves no figure: the others are not all.
        value: if seconds.len() == usize::from(slots) { at(99) } else { f64::NAN },
        unit: " s",
        limit,
        aim: None,
        timed: true,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn four_times_the_backups_may_take_five_and_a_half_times_as_long() {
        use greenlang_backup_bench::usage::Usage;
        let prune = |directories, millis, mib: u64| {
            let usage =
                Usage { wall: Duration::from_millis(millis), peak_memory: mib << 20, ..Usage::default() };
            Prune { directories, usage }
        };
        let prunes = |slowest, most| Prunes {
            backups: [prune(250, 1_000, 30), prune(500, 2_000, 30), prune(1_000, slowest, 40)],
            unreadable: [prune(1_000, 1_000, 30), prune(10_000, 9_000, most)],
        };
        let kept = |prunes: &Prunes| of_prunes(prunes).iter().map(Figure::is_kept).collect::<Vec<_>>();
        assert_eq!(kept(&prunes(5_500, 45)), [true; 4]);
        assert_eq!(kept(&prunes(5_501, 46)), [true, false, true, false]);
        assert_eq!(kept(&prunes(1_000, 129)), [true, true, false, false]);
    }

    /// With 1,000 policies; of the delay 200 slots that are due in the same second.
    #[test]
    fn limits_of_the_operator_are_64_to_96_mib_20_requests_and_5_seconds() {
        let options = Options::parse_from(["bench-control"]);
        assert_eq!((options.policies, options.due), (1_000, 200));
        let of = |most, requests, millis| {
            let measured = Measured {
                at_rest: most,
                most,
                idle: vec!["GET".to_owned(); requests],
                of_runs: 1_800,
                due: vec![Duration::from_millis(millis); 200],
                all: vec![Duration::from_mins(1); 1_000],
            };
            figures(&measured, &options)
        };
        let kept = |figures: &[Figure]| figures.iter().map(Figure::is_kept).collect::<Vec<_>>();
        let at_most = of(96 << 20, 20, 5_000);
        assert_eq!(kept(&at_most), [true; 5]);
        let limits: Vec<_> = at_most.iter().map(|figure| (figure.limit.to_string(), figure.aim)).collect();
        let told = || ("inf".to_owned(), None);
        let limit = |limit: &str, aim| (limit.to_owned(), aim);
        assert_eq!(limits, [limit("96", Some(64.0)), limit("20", None), limit("5", None), told(), told()]);
        assert_eq!(kept(&of((96 << 20) + 1, 21, 5_001)), [false, false, false, true, true]);
        assert_eq!(kept(&of(0, 0, 0))[..2], [false, false], "nothing was measured");
    }

    #[test]
    fn the_99th_percentile_is_that_of_all_slots_or_none() {
        let delays: Vec<Duration> = (1..=200).map(|number| Duration::from_millis(number * 10)).collect();
        let figure = delay("d", &delays, 200, 5.0);
        assert!((figure.value - 1.98).abs() < 1e-9, "{}", figure.value);
        assert!(figure.is_kept());
        assert!(!delay("d", &delays, 201, 5.0).is_measured());
        assert!(!delay("d", &[], 200, 5.0).is_kept());
    }
}

//! From measurements to figures, each with its limit. Pure.

use std::time::Duration;

use greenlang_backup_bench::figure::{Figure, median};

use crate::rounds::Round;

/// All figures, in the order of the page.
pub fn figures(rounds: &[Round]) -> Vec<Figure> {
    // Of the differences, not of the times: a round that was disturbed was so for both.
    let beyond = median_of(rounds, |round| round.restored.as_secs_f64() - round.bare.as_secs_f64());
    let seconds = |part: fn(&Round) -> Duration| median_of(rounds, |round| part(round).as_secs_f64());
    let most = rounds.iter().map(|round| round.planned).max().unwrap_or_default();
    vec![
        timed(
            "time without the applications beyond that of the same rollout without a restore",
            format!("{:.2} s - {:.2} s", seconds(|round| round.restored), seconds(|round| round.bare)),
            beyond,
            5.0,
        ),
        timed(
            "from apply to plan on an idle node",
            format!("all within {:.2} s", most.as_secs_f64()),
            seconds(|round| round.planned),
            15.0,
        ),
    ]
}

fn median_of(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(value))
}

fn timed(name: &'static str, measured: String, value: f64, limit: f64) -> Figure {
    Figure { name, measured, value, unit: " s", limit, aim: None, timed: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(planned: u64, bare: u64, restored: u64) -> Round {
        let [planned, bare, restored] = [planned, bare, restored].map(Duration::from_millis);
        Round { planned, bare, restored, dump_bytes: 1 }
    }

    fn kept(rounds: &[Round]) -> Vec<bool> {
        figures(rounds).iter().map(Figure::is_kept).collect()
    }

    #[test]
    fn limits_are_five_seconds_beyond_the_rollout_and_fifteen_for_a_plan() {
        assert_eq!(kept(&[round(15_000, 3_000, 8_000)]), [true, true]);
        assert_eq!(kept(&[round(15_001, 3_000, 8_001)]), [false, false]);
        assert_eq!(kept(&[]), [false, false], "nothing was measured");
    }

    #[test]
    fn a_difference_is_that_of_a_round_and_one_that_was_disturbed_does_not_count() {
        let rounds = [round(4_000, 3_000, 7_000), round(5_000, 9_000, 12_500), round(60_000, 3_000, 30_000)];
        let figures = figures(&rounds);
        let values: Vec<String> = figures.iter().map(|figure| format!("{:.3}", figure.value)).collect();
        assert_eq!(values, ["4.000", "5.000"]);
        let measured: Vec<&str> = figures.iter().map(|figure| figure.measured.as_str()).collect();
        assert_eq!(measured, ["12.50 s - 3.00 s", "all within 60.00 s"]);
    }

    #[test]
    fn a_restore_that_is_faster_than_its_rollout_is_below_nothing() {
        let figures = figures(&[round(1_000, 3_000, 2_500)]);
        assert!((figures[0].value + 0.5).abs() < 1e-9, "{}", figures[0].value);
    }
}

//! A figure beside its limit, the table of several, and which of them miss theirs. Pure.

use std::fmt::Write as _;

/// A figure, beside its limit.
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// What it was made from, for people.
    pub measured: String,
    /// The figure.
    pub value: f64,
    /// What it is counted in; empty for a ratio.
    pub unit: &'static str,
    /// What it must not exceed; infinite where it is only told.
    pub limit: f64,
    /// What it should not exceed.
    pub aim: Option<f64>,
    /// Whether it depends on time, so that it needs a quiet machine and some length.
    pub timed: bool,
}

impl Figure {
    /// Whether there is a figure at all.
    pub fn is_measured(&self) -> bool {
        !self.value.is_nan()
    }

    /// Whether the limit is kept. What is no number keeps none.
    pub fn is_kept(&self) -> bool {
        self.value <= self.limit
    }
}

/// The table of figures, in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut table =
        "| figure | measured | is | limit | aim | kept |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for figure in figures {
        let aim = figure.aim.map_or_else(String::new, |aim| aim.to_string());
        let limit = match figure.limit {
            limit if limit.is_infinite() => String::new(),
            limit => format!("{limit}{}", figure.unit),
        };
        let kept = match figure.is_kept() {
            true if limit.is_empty() => "",
            true => "yes",
            false => "**no**",
        };
        let (value, unit) = (number(figure.value), figure.unit);
        // Writing to a text cannot fail.
        let _ = writeln!(
            table,
            "| {} | {} | {value}{unit} | {limit} | {aim} | {kept} |",
            figure.name, figure.measured
        );
    }
    table
}

/// Names of the figures that miss their limits. A short run judges nothing that depends on time, but each figure must be there.
pub fn missed(figures: &[Figure], smoke: bool) -> Vec<&'static str> {
    let judged = figures.iter().filter(|figure| !(smoke && figure.timed && figure.is_measured()));
    judged.filter(|figure| !figure.is_kept()).map(|figure| figure.name).collect()
}

/// The middle of what was measured, or between the two in the middle; no number where nothing was.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// As many digits as mean something.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "none".to_owned();
    }
    if value.fract() == 0.0 || value >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, limit: f64) -> Figure {
        Figure { name: "f", measured: "m".into(), value, unit: " s", limit, aim: None, timed: true }
    }

    #[test]
    fn the_middle() {
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{value}");
        near(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        near(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn a_short_run_judges_no_time_and_wants_every_figure() {
        let size = |value| Figure { name: "size", timed: false, ..figure(value, 2.0) };
        let named = |name, value| Figure { name, ..figure(value, 2.0) };
        let all = [named("slow", 3.0), named("none", f64::NAN), named("fast", 1.0), size(3.0)];
        assert_eq!(missed(&all, false), ["slow", "none", "size"]);
        assert_eq!(missed(&all, true), ["none", "size"]);
    }

    #[test]
    fn what_is_only_told_keeps_no_limit_and_misses_none() {
        let table = table(&[
            figure(1.5, 2.0),
            figure(3.0, 2.0),
            figure(3.0, f64::INFINITY),
            figure(f64::NAN, f64::INFINITY),
        ]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| f | m | 1.50 s | 2 s |  | yes |",
                "| f | m | 3 s | 2 s |  | **no** |",
                "| f | m | 3 s |  |  |  |",
                "| f | m | none s |  |  | **no** |"
            ]
        );
    }
}

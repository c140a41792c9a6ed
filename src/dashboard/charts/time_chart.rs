//! Numbers over time, as areas on top of each other or as lines.

use maud::{Markup, html};

use super::{WIDTH, coordinate, nice_maximum};

/// Height of a plot in its own units.
const HEIGHT: f64 = 100.0;
/// Place of the plot in its chart, in pixels. The style sheet has the height of the chart.
const PLOT_TOP: f64 = 8.0;
const PLOT_HEIGHT: f64 = 184.0;
/// Parts into which the lines of the grid divide the plot.
const PARTS: u8 = 4;

/// How the numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) enum Form {
    /// Each line adds to those before it.
    Stacked,
    /// Each line for itself.
    Lines,
}

/// One of the numbers over time.
#[derive(Debug)]
pub(in crate::dashboard) struct Line {
    /// Its name in the legend.
    pub(in crate::dashboard) name: &'static str,
    /// Its class.
    pub(in crate::dashboard) class: &'static str,
    /// The numbers, the oldest first; none where there is no number.
    pub(in crate::dashboard) numbers: Vec<Option<f64>>,
}

/// A chart of numbers over time.
pub(in crate::dashboard) struct TimeChart<'a> {
    /// Its description, for screen readers.
    pub(in crate::dashboard) label: String,
    pub(in crate::dashboard) form: Form,
    pub(in crate::dashboard) lines: &'a [Line],
    /// The times of the numbers.
    pub(in crate::dashboard) times: &'a [String],
    /// Events at some of the times: the index, and the text.
    pub(in crate::dashboard) events: &'a [(usize, String)],
    /// Writes a number with its unit.
    pub(in crate::dashboard) unit: fn(f64) -> String,
}

/// Draws a chart, with its legend. Each time shows its numbers when it is pointed at.
pub(in crate::dashboard) fn time_chart(chart: &TimeChart<'_>) -> Markup {
    let steps = chart.times.len();
    let tops = tops(chart, steps);
    let largest = tops.iter().flatten().flatten().copied().fold(0.0, f64::max);
    let maximum = nice_maximum(largest);
    let unit = chart.unit;
    html! {
        svg.chart role="img" aria-label=(chart.label) {
            g aria-hidden="true" {
                @for part in 0..=PARTS {
                    @let share = f64::from(part) / f64::from(PARTS);
                    @let y = coordinate(PLOT_TOP + PLOT_HEIGHT * (1.0 - share) + 4.0);
                    text.tick.y x="-8" y=(y) { (unit(maximum * share)) }
                }
                svg.plot y="8" width="100%" height="184" viewBox="0 0 1000 100"
                    preserveAspectRatio="none" {
                    @for (index, line) in chart.lines.iter().enumerate() {
                        @let below = index.checked_sub(1).map(|below| &tops[below]);
                        @match chart.form {
                            Form::Stacked => {
                                @let d = area(&tops[index], below, maximum);
                                path class={ "area " (line.class) } d=(d) {}
                            }
                            Form::Lines => {
                                @let d = polyline(&tops[index], maximum);
                                path class={ "line " (line.class) } d=(d) {}
                            }
                        }
                    }
                    @for part in 0..=PARTS {
                        @let y = coordinate(HEIGHT - HEIGHT * f64::from(part) / f64::from(PARTS));
                        line.grid x1="0" x2="1000" y1=(y) y2=(y) {}
                    }
                    @for (index, _) in chart.events {
                        @let x = coordinate(position(*index, steps));
                        line.mark x1=(x) x2=(x) y1="0" y2="100" {}
                    }
                    @for (index, time) in chart.times.iter().enumerate() {
                        @let width = WIDTH / steps as f64;
                        @let x = coordinate(width * index as f64);
                        rect.slice x=(x) y="0" width=(coordinate(width)) height="100" {
                            title { (slice(chart, index, time)) }
                        }
                    }
                }
                svg.plot.over y="8" width="100%" height="184" {
                    @for (index, text) in chart.events {
                        @let x = position(*index, steps) / WIDTH * 100.0;
                        @let class = if x > 60.0 { "tick event before" } else { "tick event" };
                        text class=(class) x={ (coordinate(x)) "%" } y="10" { (text) }
                    }
                }
            }
        }
        div.times aria-hidden="true" {
            @for index in time_labels(steps) { span { (chart.times[index]) } }
        }
        ul.legend {
            @for line in chart.lines {
                li { svg.swatch aria-hidden="true" { rect class=(line.class) {} } (line.name) }
            }
        }
        (values(chart))
    }
}

/// All numbers as a table, the newest first, for those that cannot point at a time.
fn values(chart: &TimeChart<'_>) -> Markup {
    html! {
        details.values {
            summary { "Values" }
            div tabindex="0" role="group" aria-label="Values" {
                table.dense {
                    thead { tr {
                        th scope="col" { "Time" }
                        @for line in chart.lines { th.n scope="col" { (line.name) } }
                    } }
                    tbody {
                        @for (index, time) in chart.times.iter().enumerate().rev() {
                            tr data-key=(time) {
                                th scope="row" { (time) }
                                @for line in chart.lines {
                                    td.n { (shown(chart, line, index)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The number of a line at a time.
fn shown(chart: &TimeChart<'_>, line: &Line, step: usize) -> String {
    line.numbers.get(step).copied().flatten().map_or("-".to_owned(), chart.unit)
}

/// The upper ends of the lines.
fn tops(chart: &TimeChart<'_>, steps: usize) -> Vec<Vec<Option<f64>>> {
    let mut tops: Vec<Vec<Option<f64>>> = Vec::with_capacity(chart.lines.len());
    for line in chart.lines {
        let number = |step: usize| line.numbers.get(step).copied().flatten();
        let below = tops.last();
        let top = (0..steps).map(|step| match (chart.form, below) {
            (Form::Stacked, Some(below)) => {
                Some(below[step].unwrap_or(0.0) + number(step).unwrap_or(0.0))
            }
            (Form::Stacked, None) => Some(number(step).unwrap_or(0.0)),
            (Form::Lines, _) => number(step),
        });
        let top = top.collect();
        tops.push(top);
    }
    tops
}

/// The middle of a step.
fn position(step: usize, steps: usize) -> f64 {
    WIDTH * (step as f64 + 0.5) / steps.max(1) as f64
}

fn point(step: usize, steps: usize, share: f64) -> String {
    // The first and the last step reach the edges.
    let x = match step {
        0 => 0.0,
        step if step + 1 == steps => WIDTH,
        step => position(step, steps),
    };
    format!("{} {}", coordinate(x), coordinate(HEIGHT - HEIGHT * share))
}

fn area(top: &[Option<f64>], below: Option<&Vec<Option<f64>>>, maximum: f64) -> String {
    let steps = top.len();
    let share = |number: Option<f64>| number.unwrap_or(0.0) / maximum;
    let upper = top.iter().enumerate().map(|(step, number)| point(step, steps, share(*number)));
    let lower = (0..steps).rev().map(|step| {
        point(step, steps, share(below.and_then(|below| below.get(step).copied().flatten())))
    });
    let points: Vec<String> = upper.chain(lower).collect();
    if points.is_empty() { String::new() } else { format!("M{}Z", points.join("L")) }
}

/// A line with gaps where there is no number.
fn polyline(numbers: &[Option<f64>], maximum: f64) -> String {
    let steps = numbers.len();
    let (mut line, mut is_drawing) = (String::new(), false);
    for (step, number) in numbers.iter().enumerate() {
        let Some(number) = number else {
            is_drawing = false;
            continue;
        };
        let point = point(step, steps, number / maximum);
        line.push(if is_drawing { 'L' } else { 'M' });
        line.push_str(&point);
        if !is_drawing {
            // A single number is a dot: the ends of lines are round.
            line.push_str("h0");
        }
        is_drawing = true;
    }
    line
}

/// The numbers at one time.
fn slice(chart: &TimeChart<'_>, step: usize, time: &str) -> String {
    let numbers =
        chart.lines.iter().map(|line| format!("\n{}: {}", line.name, shown(chart, line, step)));
    format!("{time} UTC{}", numbers.collect::<String>())
}

/// Five times, evenly spread.
fn time_labels(steps: usize) -> Vec<usize> {
    let last = steps.saturating_sub(1);
    let mut labels: Vec<usize> = (0..=4).map(|part| last * part / 4).collect();
    labels.dedup();
    if steps == 0 { Vec::new() } else { labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_gaps_and_areas_do_not() {
        assert_eq!(polyline(&[Some(1.0), None, Some(2.0)], 2.0), "M0 50h0M1000 0h0");
        let top = [Some(1.0), Some(2.0)];
        assert_eq!(area(&top, None, 2.0), "M0 50L1000 0L1000 100L0 100Z");
        assert_eq!(area(&[], None, 2.0), "");
    }

    #[test]
    fn stacked_lines_add_up() {
        let line = |numbers: &[f64]| Line {
            name: "n",
            class: "c",
            numbers: numbers.iter().copied().map(Some).collect(),
        };
        let times = ["22:04".to_owned(), "22:05".to_owned()];
        let chart = TimeChart {
            label: String::new(),
            form: Form::Stacked,
            lines: &[line(&[1.0, 2.0]), line(&[3.0])],
            times: &times,
            events: &[],
            unit: |number| number.to_string(),
        };
        assert_eq!(tops(&chart, 2)[1], [Some(4.0), Some(2.0)]);
        assert_eq!(slice(&chart, 1, "22:05"), "22:05 UTC\nn: 2\nn: -");
        let drawn = time_chart(&chart).into_string();
        assert!(drawn.contains("aria-label") && !drawn.contains("style="), "{drawn}");
        let row = "<th scope=\"row\">22:05</th><td class=\"n\">2</td><td class=\"n\">-</td>";
        assert!(drawn.contains(row), "{drawn}");
    }

    #[test]
    fn five_times_are_named() {
        assert_eq!(time_labels(60), [0, 14, 29, 44, 59]);
        assert_eq!(time_labels(2), [0, 1]);
        assert!(time_labels(0).is_empty());
    }
}

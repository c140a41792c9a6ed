//! A small trend without labels.

use maud::{Markup, html};

use super::{WIDTH, coordinate};

const HEIGHT: f64 = 100.0;

/// The course of some numbers, from zero to the largest.
pub(in crate::dashboard) fn spark(numbers: &[f64]) -> Markup {
    let largest = numbers.iter().copied().fold(0.0, f64::max);
    let last = numbers.len().saturating_sub(1).max(1) as f64;
    let mut line = String::new();
    for (index, number) in numbers.iter().enumerate() {
        let x = WIDTH * index as f64 / last;
        let height = if largest > 0.0 { number / largest } else { 0.0 };
        let y = HEIGHT - height * (HEIGHT - 8.0) - 4.0;
        let command = if index == 0 { 'M' } else { 'L' };
        line.push_str(&format!("{command}{} {}", coordinate(x), coordinate(y)));
    }
    html! {
        svg.spark aria-hidden="true" viewBox="0 0 1000 100" preserveAspectRatio="none" {
            @if !line.is_empty() {
                path.fill d={ (line) "V100H0Z" } {}
                path.line d=(line) {}
            }
        }
    }
}

//! Where the marks of a plot are, in a box of 320 by 120.

use serde::Serialize;

use super::timeline::duration;

const LEFT: f64 = 34.0;
const RIGHT: f64 = 316.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 98.0;

/// Counts that stand on each other.
pub(super) struct Stack {
    pub(super) label: String,
    pub(super) title: String,
    /// The tone of each, and how many.
    pub(super) parts: Vec<(&'static str, usize)>,
}

/// Bars beside each other.
#[derive(Debug, Serialize)]
pub(super) struct Bars {
    bars: Vec<Bar>,
    labels: Vec<Label>,
    top: usize,
}

#[derive(Debug, Serialize)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    tone: &'static str,
    title: String,
}

#[derive(Debug, Serialize)]
struct Label {
    x: f64,
    text: String,
}

impl Bars {
    pub(super) fn of(stacks: &[Stack]) -> Self {
        let sum = |stack: &Stack| stack.parts.iter().map(|(_, much)| much).sum::<usize>();
        let top = stacks.iter().map(sum).max().unwrap_or(0).max(1);
        let slot = (RIGHT - LEFT) / stacks.len().max(1) as f64;
        let mut bars = Vec::new();
        let mut labels = Vec::new();
        for (index, stack) in stacks.iter().enumerate() {
            let x = LEFT + slot * index as f64;
            let mut floor = BOTTOM;
            for (tone, much) in stack.parts.iter().filter(|(_, much)| *much > 0) {
                let height = (BOTTOM - TOP) * *much as f64 / top as f64;
                floor -= height;
                let (x, y, width) = (round(x + slot * 0.15), round(floor), round(slot * 0.7));
                bars.push(Bar { x, y, width, height: round(height), tone, title: stack.title.clone() });
            }
            if (stacks.len() - 1 - index).is_multiple_of(4) {
                labels.push(Label { x: round(x + slot / 2.0), text: stack.label.clone() });
            }
        }
        Self { bars, labels, top }
    }
}

/// Values one after the other.
#[derive(Debug, Serialize)]
pub(super) struct Dots {
    dots: Vec<Dot>,
    /// The line through them, as SVG wants it.
    line: String,
    top: String,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: f64,
    y: f64,
    title: String,
}

impl Dots {
    pub(super) fn of(values: &[(String, u64)]) -> Self {
        let top = values.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
        let last = values.len().saturating_sub(1).max(1) as f64;
        let dots: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(index, (title, value))| Dot {
                x: round(LEFT + 6.0 + (RIGHT - LEFT - 12.0) * index as f64 / last),
                y: round(BOTTOM - (BOTTOM - TOP) * *value as f64 / top as f64),
                title: title.clone(),
            })
            .collect();
        let line = dots.iter().map(|dot| format!("{},{}", dot.x, dot.y)).collect::<Vec<_>>().join(" ");
        Self { dots, line, top: if values.is_empty() { String::new() } else { duration(top) } }
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

//! Who worked when, and who waited for whom, laid out in shares of the whole run.

use jiff::Timestamp;
use serde::Serialize;

use super::facts::{Facts, Span, SpanKind, TargetSpans, millis};

/// A pause shorter than this is nobody's waiting.
const PAUSE: u64 = 15;

/// The timeline: a row a target.
#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    rows: Vec<Row>,
    ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
struct Row {
    target: String,
    bars: Vec<Bar>,
    /// For whom it waited, in words.
    waits: Vec<String>,
}

/// Something on the line; places are per cent of the whole.
#[derive(Debug, Serialize)]
struct Bar {
    left: f64,
    width: f64,
    class: String,
    title: String,
}

#[derive(Debug, Serialize)]
struct Tick {
    left: f64,
    label: String,
}

/// The whole of the run, from its first step to the end of its last.
struct Scale {
    from: Timestamp,
    whole: u64,
}

impl Scale {
    fn of(targets: &[TargetSpans]) -> Option<Self> {
        let all = || targets.iter().flat_map(|target| &target.spans);
        let (from, to) = (all().map(|span| span.from).min()?, all().map(|span| span.to).max()?);
        Some(Self { from, whole: millis(from, to).max(1) })
    }

    fn bar(&self, from: Timestamp, to: Timestamp, class: String, title: String) -> Bar {
        let share = |much: u64| (much as f64 / self.whole as f64 * 10_000.0).round() / 100.0;
        Bar { left: share(millis(self.from, from)), width: share(millis(from, to)), class, title }
    }

    /// Four to eight round places.
    fn ticks(&self) -> Vec<Tick> {
        let steps =
            [1, 2, 5].into_iter().flat_map(|digit| (0..9).map(move |power| digit * 10_u64.pow(power)));
        let step = steps.filter(|step| self.whole / step <= 6).min().unwrap_or(self.whole);
        (0..=self.whole / step)
            .map(|number| Tick {
                left: (number * step) as f64 / self.whole as f64 * 100.0,
                label: duration(number * step),
            })
            .collect()
    }
}

impl Timeline {
    pub(super) fn of(facts: &Facts) -> Self {
        let Some(scale) = Scale::of(&facts.spans) else {
            return Self { rows: Vec::new(), ticks: Vec::new() };
        };
        let rows = facts.spans.iter().filter(|target| !target.spans.is_empty());
        Self { rows: rows.map(|target| row(target, &facts.spans, &scale)).collect(), ticks: scale.ticks() }
    }
}

fn row(target: &TargetSpans, all: &[TargetSpans], scale: &Scale) -> Row {
    let mut bars = Vec::new();
    let mut waits = Vec::new();
    for (index, span) in target.spans.iter().enumerate() {
        if let Some(before) = index.checked_sub(1).map(|before| &target.spans[before])
            && millis(before.to, span.from) >= PAUSE
            && let Some((name, other)) = blocker(target, all, before.to, span.from)
        {
            let much = duration(millis(before.to, span.from));
            let words = format!("waited {much} for {name} ({})", other.title);
            bars.push(scale.bar(before.to, span.from, "wait".to_owned(), words.clone()));
            waits.push(format!("{} {words}", target.target));
        }
        let class = match span.kind {
            SpanKind::Step(phase) => format!("phase-{}", phase.name()),
            SpanKind::Failed(_) => "failed".to_owned(),
            SpanKind::Undo => "undo".to_owned(),
        };
        let title = format!("{}: {}", span.title, duration(millis(span.from, span.to)));
        bars.push(scale.bar(span.from, span.to, class, title));
    }
    Row { target: target.target.clone(), bars, waits }
}

/// The last thing of another target that ended while this one waited: with it, it could go on.
fn blocker<'a>(
    target: &TargetSpans,
    all: &'a [TargetSpans],
    from: Timestamp,
    to: Timestamp,
) -> Option<(&'a str, &'a Span)> {
    let others = all.iter().filter(|other| other.target != target.target);
    others
        .flat_map(|other| other.spans.iter().map(|span| (other.target.as_str(), span)))
        .filter(|(_, span)| span.to > from && span.to <= to)
        .max_by_key(|(_, span)| span.to)
}

/// `320 ms`, `4.2 s`, `3 min`, `2 h`, `5 d`.
pub(super) fn duration(millis: u64) -> String {
    match millis {
        0 => "0".to_owned(),
        1..=999 => format!("{millis} ms"),
        1_000..=99_999 => format!("{} s", (millis as f64 / 100.0).round() / 10.0),
        100_000..=5_999_999 => format!("{} min", millis / 60_000),
        6_000_000..=172_799_999 => format!("{} h", millis / 3_600_000),
        _ => format!("{} d", millis / 86_400_000),
    }
}

//! Tables for people: columns as wide as they need, cut to the terminal.

use std::io::IsTerminal as _;

use rustix::termios::tcgetwinsize;

/// What stands where something was cut.
pub(super) const CUT: &str = "…";

/// Lays rows out in columns; the first row is the head. Lines are cut to a terminal's width, and whole elsewhere.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0)).collect();
    let limit = terminal_width();
    rows.iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide.saturating_sub(width(cell)))));
            let line = cells.collect::<Vec<_>>().join("  ");
            cut(line.trim_end(), limit)
        })
        .collect()
}

/// The width of the terminal that standard output is; none where it is something else.
pub(super) fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| tcgetwinsize(&out).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The text, cut to that many columns, with a mark where it was cut.
pub(super) fn cut(text: &str, limit: Option<usize>) -> String {
    match limit {
        Some(limit) if width(text) > limit => console::truncate_str(text, limit, CUT).into_owned(),
        _ => text.to_owned(),
    }
}

fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// A time of history or a journal, to the second.
pub(super) fn moment(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

//! A deploy.json's text with another `history` in it, laid out as the file is.

use std::{io, ops::Range};

use serde::Serialize;
use serde_json::{
    Value,
    ser::{Formatter, PrettyFormatter, Serializer},
};

use crate::config::text;

/// `old` with the records `kept` of `all` as its history, the first `new` of which aren't in the file yet; the others
/// keep their bytes.
pub(super) fn with_history(
    old: &str,
    all: &[Value],
    new: usize,
    kept: &[usize],
) -> Result<String, serde_json::Error> {
    let top = text::whole(old);
    let members = text::members(old, &top);
    let history = members.iter().rfind(|member| member.key == "history").map(|member| member.value.clone());
    let past = history.as_ref().map(|span| text::elements(old, span)).unwrap_or_default();
    let layout = Layout::of(old, &top, members.first().map(|member| member.key_span.start), &past);
    let items = kept
        .iter()
        .map(|index| match index.checked_sub(new).and_then(|index| past.get(index)) {
            Some(span) => Ok(old[span.clone()].to_owned()),
            None => layout.record(&all[*index]),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let list = layout.list(&items);
    Ok(match (history, members.last()) {
        (Some(span), _) => format!("{}{list}{}", &old[..span.start], &old[span.end..]),
        (None, Some(last)) => {
            let (before, after) = old.split_at(last.value.end);
            format!("{before},{}\"history\": {list}{after}", layout.before_key())
        }
        (None, None) => {
            let after = &old[top.end..];
            format!(
                "{}{{{}\"history\": {list}{}}}{after}",
                &old[..top.start],
                layout.before_key(),
                layout.newline
            )
        }
    })
}

/// How the file is laid out.
struct Layout {
    /// The line end; empty where everything is on one line.
    newline: &'static str,
    /// What stands before the top's keys.
    key: String,
    /// What stands before a record.
    item: String,
    /// Whether a record goes over several lines.
    tall: bool,
}

impl Layout {
    fn of(old: &str, top: &Range<usize>, first_key: Option<usize>, past: &[Range<usize>]) -> Self {
        let before_key = first_key.map_or("\n  ", |key| &old[top.start + 1..key]);
        let newline = match before_key {
            space if space.contains("\r\n") => "\r\n",
            space if space.contains('\n') => "\n",
            _ => "",
        };
        let key = last_line(before_key).unwrap_or_default().to_owned();
        let before_item = past.first().and_then(|first| {
            let space = old[..first.start].trim_end_matches([' ', '\t', '\r', '\n']).len();
            last_line(&old[space..first.start])
        });
        let item = match before_item {
            Some(indent) => indent.to_owned(),
            None if key.is_empty() => "  ".to_owned(),
            None => key.repeat(2),
        };
        let tall = past.first().is_some_and(|first| old[first.clone()].contains('\n'));
        Self { newline, key, item, tall }
    }

    fn before_key(&self) -> String {
        if self.newline.is_empty() { " ".to_owned() } else { format!("{}{}", self.newline, self.key) }
    }

    fn list(&self, items: &[String]) -> String {
        if self.newline.is_empty() {
            return format!("[{}]", items.join(", "));
        }
        let (newline, item) = (self.newline, &self.item);
        let items = items.join(&format!(",{newline}{item}"));
        format!("[{newline}{item}{items}{newline}{}]", self.key)
    }

    fn record(&self, record: &Value) -> Result<String, serde_json::Error> {
        if !self.tall || self.newline.is_empty() {
            return written(record, OneLine);
        }
        let unit = self.item.strip_prefix(&self.key).filter(|unit| !unit.is_empty()).unwrap_or("  ");
        let lines = written(record, PrettyFormatter::with_indent(unit.as_bytes()))?;
        // Within strings JSON escapes line ends, so each of these is the formatter's.
        Ok(lines.replace('\n', &format!("{}{}", self.newline, self.item)))
    }
}

/// What follows the last line end in white space, where there is one.
fn last_line(space: &str) -> Option<&str> {
    space.rfind('\n').map(|newline| &space[newline + 1..])
}

fn written(value: &Value, formatter: impl Formatter) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `{ "a": 1, "b": [2, 3] }`, as people write it.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" }")
    }
}

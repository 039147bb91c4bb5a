//! A deploy.json's text with another `history` in it, laid out as the file is.

use std::{io, ops::Range};

use serde::Serialize;
use serde_json::{
    Value,
    ser::{Formatter, PrettyFormatter, Serializer},
};

use crate::config::{
    Environment,
    environment::{HISTORIES, HISTORY},
    text,
};

/// `old` with the records `kept` of `all` as the environment's history, the first `new` of which aren't in the file
/// yet; the others keep their bytes.
pub(super) fn with_history(
    old: &str,
    environment: &Environment,
    all: &[Value],
    new: usize,
    kept: &[usize],
) -> Result<String, serde_json::Error> {
    let home = Home::of(old, environment);
    let past = home.history.as_ref().map(|span| text::elements(old, span)).unwrap_or_default();
    let layout = home.layout(old, &past);
    let items = kept
        .iter()
        .map(|index| match index.checked_sub(new).and_then(|index| past.get(index)) {
            Some(span) => Ok(old[span.clone()].to_owned()),
            None => layout.record(&all[*index]),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let list = layout.list(&items);
    let (place, text) = home.put(old, &layout, &list);
    Ok(format!("{}{text}{}", &old[..place.start], &old[place.end..]))
}

/// Where in the file a history lies, or would lie.
struct Home<'t> {
    /// The object that holds it: the whole, or `histories`.
    object: Range<usize>,
    /// The history, where there is one.
    history: Option<Range<usize>>,
    /// Its key.
    key: &'t str,
    /// Around an object that is still to be made: the key it gets in the whole.
    outer: Option<&'t str>,
}

impl<'t> Home<'t> {
    fn of(old: &str, environment: &'t Environment) -> Self {
        let top = text::whole(old);
        let (object, key, outer) = if environment.is_production() {
            (top, HISTORY, None)
        } else {
            let histories = text::members(old, &top).into_iter().rfind(|member| member.key == HISTORIES);
            match histories.map(|member| member.value).filter(|span| old[span.clone()].starts_with('{')) {
                Some(histories) => (histories, environment.name(), None),
                None => (top, environment.name(), Some(HISTORIES)),
            }
        };
        let member =
            text::members(old, &object).into_iter().rfind(|member| member.key == outer.unwrap_or(key));
        Self { object, history: member.map(|member| member.value), key, outer }
    }

    fn layout(&self, old: &str, past: &[Range<usize>]) -> Layout {
        let first_key = |span| text::members(old, span).first().map(|member| member.key_span.start);
        let whole = text::whole(old);
        let top = Layout::of(old, &whole, first_key(&whole), past);
        if self.outer.is_none() && self.object == whole {
            return top;
        }
        let unit = top.key.clone();
        let inner = match first_key(&self.object).filter(|_| self.outer.is_none()) {
            Some(first) => Layout::of(old, &self.object, Some(first), past),
            None => Layout { key: unit.repeat(2), ..top },
        };
        let item = if past.is_empty() { format!("{}{unit}", inner.key) } else { inner.item };
        Layout { closing: unit, item, ..inner }
    }

    /// What to put where, so that the history is `list`.
    fn put(&self, old: &str, layout: &Layout, list: &str) -> (Range<usize>, String) {
        let named = |key: &str, value: &str| format!("{}: {value}", Value::from(key));
        let (member, value, before) = match self.outer {
            Some(outer) => {
                let value = layout.object(&named(self.key, list));
                (named(outer, &value), value, layout.before_closing())
            }
            None => (named(self.key, list), list.to_owned(), layout.before_key()),
        };
        match (&self.history, text::members(old, &self.object).last()) {
            (Some(span), _) => (span.clone(), value),
            (None, Some(last)) => (last.value.end..last.value.end, format!(",{before}{member}")),
            (None, None) => (self.object.clone(), layout.object(&member)),
        }
    }
}

/// How the file is laid out.
struct Layout {
    /// The line end; empty where everything is on one line.
    newline: &'static str,
    /// What stands before the keys of the history's object.
    key: String,
    /// What stands before the end of that object.
    closing: String,
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
        Self { newline, key, closing: String::new(), item, tall }
    }

    fn before_key(&self) -> String {
        if self.newline.is_empty() { " ".to_owned() } else { format!("{}{}", self.newline, self.key) }
    }

    fn before_closing(&self) -> String {
        if self.newline.is_empty() { " ".to_owned() } else { format!("{}{}", self.newline, self.closing) }
    }

    fn object(&self, member: &str) -> String {
        let end = if self.newline.is_empty() { String::new() } else { self.before_closing() };
        format!("{{{}{member}{end}}}", self.before_key())
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

//! Where things stand in a JSON text, so that errors can point and a rewrite can leave every other byte alone.
//!
//! Everything here takes text that serde_json has accepted already, and counts in bytes.

use std::ops::Range;

use super::Position;

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Member {
    /// The key, unescaped.
    pub(crate) key: String,
    /// Where its quotes are.
    pub(crate) key_span: Range<usize>,
    /// Where the value is.
    pub(crate) value: Range<usize>,
}

/// The span of the text's one value, without the white space around it.
pub(crate) fn whole(text: &str) -> Range<usize> {
    let start = skip_space(text, 0);
    start..skip_value(text, start)
}

/// The members of the object at `span`, in order; empty for anything else.
pub(crate) fn members(text: &str, span: &Range<usize>) -> Vec<Member> {
    let mut members = Vec::new();
    if !text[span.clone()].starts_with('{') {
        return members;
    }
    let mut at = skip_space(text, span.start + 1);
    while text[at..].starts_with('"') {
        let key_end = skip_value(text, at);
        let colon = skip_space(text, key_end);
        let start = skip_space(text, colon + 1);
        let end = skip_value(text, start);
        let key = serde_json::from_str(&text[at..key_end]).unwrap_or_default();
        members.push(Member { key, key_span: at..key_end, value: start..end });
        at = after_comma(text, end);
    }
    members
}

/// The spans of the elements of the array at `span`, in order; empty for anything else.
pub(crate) fn elements(text: &str, span: &Range<usize>) -> Vec<Range<usize>> {
    let mut elements = Vec::new();
    if !text[span.clone()].starts_with('[') {
        return elements;
    }
    let mut at = skip_space(text, span.start + 1);
    while at + 1 < span.end {
        let end = skip_value(text, at);
        elements.push(at..end);
        at = after_comma(text, end);
    }
    elements
}

/// The span of the key at `path` (keys and indexes), or of the value where the last one is an index. Of a key that
/// stands twice the last one, as serde_json takes it.
pub(crate) fn find(text: &str, path: &[String]) -> Option<Range<usize>> {
    let mut shown = whole(text);
    let mut value = shown.clone();
    for key in path {
        if let Some(member) = members(text, &value).into_iter().rfind(|member| member.key == *key) {
            (shown, value) = (member.key_span, member.value);
        } else {
            value = elements(text, &value).into_iter().nth(key.parse().ok()?)?;
            shown = value.clone();
        }
    }
    Some(shown)
}

/// Line and column of a byte.
pub(crate) fn position(text: &str, offset: usize) -> Position {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

fn skip_space(text: &str, from: usize) -> usize {
    text[from..].find(|c: char| !c.is_ascii_whitespace()).map_or(text.len(), |space| from + space)
}

fn after_comma(text: &str, from: usize) -> usize {
    let at = skip_space(text, from);
    if text[at..].starts_with(',') { skip_space(text, at + 1) } else { at }
}

/// The end of the value that starts at `from`.
fn skip_value(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 0 {
                    return (at + 1).min(bytes.len());
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 0 { at } else { at + 1 },
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

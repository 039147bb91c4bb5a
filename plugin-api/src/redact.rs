//! Blots known secrets out of text, in the forms they usually take.
//!
//! Each value is looked for as it is and as base64 (standard and URL alphabet), percent-encoded and JSON-escaped.
//! Base64 of a text that merely *contains* a secret is found at each of the three alignments.
//! Values under four bytes are not blotted out: they would take half the text with them.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands where a secret stood.
pub const BLOT: &str = "***";

/// Shorter values aren't looked for.
const SHORTEST: usize = 4;

/// A set of secrets that grows while a run goes on. Clones share the set.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    longest: usize,
    finder: Option<AhoCorasick>,
}

impl Redactor {
    /// Adds a value and its usual encodings.
    pub fn learn(&self, secret: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let lines = secret.lines().filter(|line| line.len() >= 8);
        for value in std::iter::once(secret.trim_end_matches(['\r', '\n'])).chain(lines) {
            if value.len() >= SHORTEST {
                known.forms.extend(forms(value));
            }
        }
        known.longest = known.forms.iter().map(String::len).max().unwrap_or(0);
        known.finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&known.forms).ok();
    }

    /// The text with every known secret replaced by [`BLOT`]. JSON stays JSON: `***` needs no escape, and the
    /// JSON-escaped forms are among those looked for.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match &known.finder {
            Some(finder) if finder.is_match(text) => {
                let blots = vec![BLOT; known.forms.len()];
                Cow::Owned(finder.replace_all(text, &blots))
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// A redactor for text that comes in pieces: what might be the start of a secret is held back until it is known.
    pub fn stream(&self) -> RedactStream {
        RedactStream { redactor: self.clone(), held: String::new() }
    }
}

/// Redacts a stream piece by piece; a secret across a border between two pieces is found too.
pub struct RedactStream {
    redactor: Redactor,
    held: String,
}

impl RedactStream {
    /// Takes a piece and returns what is safe to show so far.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let clean = self.redactor.redact(&self.held).into_owned();
        let longest = self.redactor.known.read().unwrap_or_else(PoisonError::into_inner).longest;
        let mut cut = clean.len().saturating_sub(longest.saturating_sub(1));
        while !clean.is_char_boundary(cut) {
            cut -= 1;
        }
        self.held = clean[cut..].to_owned();
        clean[..cut].to_owned()
    }

    /// Returns what was held back; the stream is at its end.
    pub fn finish(&mut self) -> String {
        self.redactor.redact(&std::mem::take(&mut self.held)).into_owned()
    }
}

fn forms(value: &str) -> impl Iterator<Item = String> {
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let mut percent = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            percent.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            write!(percent, "%{byte:02X}").unwrap_or_default();
        }
    }
    let lower = percent.to_ascii_lowercase();
    let lower = if lower.eq_ignore_ascii_case(value) { percent.clone() } else { lower };
    let base64 = (0..3).flat_map(|offset| {
        let standard = base64_inside(value.as_bytes(), offset);
        let url = standard.replace('+', "-").replace('/', "_");
        [standard, url]
    });
    [value.to_owned(), json, percent, lower].into_iter().chain(base64).filter(|form| form.len() >= SHORTEST)
}

/// The base64 characters that depend on `bytes` alone when they stand `offset` bytes into a text.
fn base64_inside(bytes: &[u8], offset: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(bytes.iter().copied()).collect();
    let first = (offset * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    (first..whole)
        .map(|index| {
            let bit = index * 6;
            let pair = u16::from_be_bytes([padded[bit / 8], padded.get(bit / 8 + 1).copied().unwrap_or(0)]);
            char::from(ALPHABET[usize::from(pair >> (10 - bit % 8) & 0x3f)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(secret: &str) -> Redactor {
        let redactor = Redactor::default();
        redactor.learn(secret);
        redactor
    }

    #[test]
    fn a_secret_is_found_in_each_of_its_usual_forms() {
        let redactor = knowing("p@ss \"wörd\"/1");
        for text in [
            "a p@ss \"wörd\"/1 b",
            "a p@ss \\\"wörd\\\"/1 b",
            "a p%40ss%20%22w%C3%B6rd%22%2F1 b",
            "a p%40ss%20%22w%c3%b6rd%22%2f1 b",
        ] {
            assert_eq!(redactor.redact(text), "a *** b", "{text}");
        }
        // `printf 'x:p@ss "wörd"/1' | base64`, at another alignment than the secret's own.
        let encoded = "eDpwQHNzICJ3w7ZyZCIvMQ==";
        assert!(redactor.redact(encoded).contains(BLOT), "{}", redactor.redact(encoded));
    }

    #[test]
    fn a_secret_across_two_pieces_is_found() {
        let redactor = knowing("hunter22");
        for border in 0.."say hunter22 now".len() {
            let (left, right) = "say hunter22 now".split_at(border);
            let mut stream = redactor.stream();
            let shown = stream.push(left) + &stream.push(right) + &stream.finish();
            assert_eq!(shown, "say *** now", "border at {border}");
        }
    }
}

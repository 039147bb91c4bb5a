//! What the far end says to a request.

/// What came of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) lines: Vec<String>,
}

impl Answer {
    /// The first line that begins with `word` and a space, without them.
    pub(crate) fn value(&self, word: &str) -> Option<&str> {
        self.values(word).next()
    }

    /// All lines that begin with `word` and a space, without them.
    pub(crate) fn values<'a>(&'a self, word: &str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    /// Whether `line` was said.
    pub(crate) fn says(&self, line: &str) -> bool {
        self.lines.iter().any(|said| said == line)
    }
}

//! How numbers and lists stand in messages.

/// A number as people read it: `1,204`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many of what is called by a word whose plural takes an `s`: `1 file`, `1,204 files`.
pub fn counted(number: usize, word: &str) -> String {
    so_many(number as u64, word)
}

/// So many bytes: `1 byte`, `1,204 bytes`.
pub fn bytes(number: u64) -> String {
    so_many(number, "byte")
}

fn so_many(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", grouped(number))
}

/// The first few of `all`, and how many more there are.
pub fn some(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut words = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN {
        words.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    words
}

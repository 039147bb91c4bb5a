//! Which of the known words a misspelt one may mean.

/// The candidate that `word` is a likely slip of, if there is one.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    // Two slips in a long word, one in a short one: `dev` is no slip of `docs`.
    let allowed = if word.chars().count() > 5 { 2 } else { 1 };
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

//! Words for a shell that isn't ours.

/// `word` as any POSIX shell reads it back, on one line: a line end stands as the variable `nl`, which the far end
/// of a connection has.
pub(crate) fn on_a_line(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''").replace('\n', r#"'"$nl"'"#))
}

/// `word` as people would write it, who have no variable `nl`.
pub(crate) fn shown(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a command, as people would write them.
pub(crate) fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| shown(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a shell makes of a line that ends in quoted words: each word, with a NUL behind it.
    fn read_back(shell: &[&str], line: &str) -> Option<Vec<u8>> {
        let script = format!("nl='\n'\nset -- {line}\nfor word; do printf '%s\\000' \"$word\"; done");
        let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &script]).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(output.stdout)
    }

    fn words() -> impl Strategy<Value = Vec<String>> {
        let nasty = prop::sample::select(vec![
            "", " ", "-rf", "--", "'", "\"", "$(id)", "`id`", "${nl}", "$nl", "\n", "a\nb", "\n\n", "*", "~",
            "!!", "\\", "\\'", "'\"'\"'", "#", ";", "&", "|", ">x", "é", "\t", "\r", "\u{7f}",
        ]);
        let any = "[^\\x00]{0,12}";
        let word = prop_oneof![nasty.prop_map(str::to_owned), any.prop_map(|word| word)];
        prop::collection::vec(word, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_shell_reads_the_same_words_back(words in words()) {
            let wanted: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
            let joined = |quote: fn(&str) -> String| words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            prop_assert!(!joined(on_a_line).contains('\n'));
            for shell in [&["sh"][..], &["busybox", "ash"], &["bash"]] {
                for quote in [on_a_line, shown] {
                    if let Some(read) = read_back(shell, &joined(quote)) {
                        prop_assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&wanted));
                    }
                }
            }
        }
    }
}

//! Words for a shell that isn't ours.

use pop_deploy_plugin_api::protocol::Command;

/// `word` as any POSIX shell reads it back, on one line: a line end stands as the variable `nl`, which the far end
/// of a connection has.
pub(crate) fn on_a_line(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''").replace('\n', r#"'"$nl"'"#))
}

/// `word` as people would write it, who have no variable `nl`.
pub(crate) fn shown(word: &str) -> String {
    line([word])
}

/// The words of a command, as people would write them.
pub(crate) fn line(words: impl IntoIterator<Item = impl Into<String>>) -> String {
    Command::new(words).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::Write as _, process::Command};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        connection::FAR_END,
        tests::{far_end, skipped::skipped},
    };

    /// Has a shell that is asked for words write each of them, with a NUL behind it.
    const TELL: &str = r#"tell() { for word; do printf '%s\000' "$word"; done; }"#;

    /// What a shell makes of words that somebody typed.
    fn typed(shell: &[&str], words: &str) -> String {
        let script = format!("{TELL}\ntell {words}");
        let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the far end of a connection makes of the words of a request.
    fn requested(shell: &[&str], words: &str) -> String {
        let mut shell_there = Command::new(shell[0]);
        let mut far_end = far_end(shell_there.args(&shell[1..]).args(["-c", FAR_END]), "mark");
        let lines = format!("{TELL}\nfg 1 tell {words}\nbye 2\n");
        far_end.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
        let said = String::from_utf8(far_end.wait_with_output().unwrap().stdout).unwrap();
        let told = said.strip_prefix("\nmark\n").and_then(|said| said.strip_suffix("= 1 0\n= 2 0\n"));
        told.unwrap_or_else(|| panic!("{said}")).to_owned()
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

    fn shell_reads_the_same_words_back(shell: &[&str]) {
        if Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output().is_err() {
            return skipped(&format!("no {}", shell[0]));
        }
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(words in words())| {
            let wanted: String = words.iter().flat_map(|word| [word, "\0"]).collect();
            let on_a_line = words.iter().map(|word| on_a_line(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(requested(shell, &on_a_line), wanted.clone());
            prop_assert_eq!(typed(shell, &line(&words)), wanted);
        });
    }

    #[test]
    fn sh_reads_the_same_words_back() {
        shell_reads_the_same_words_back(&["sh"]);
    }

    #[test]
    fn bash_reads_the_same_words_back() {
        shell_reads_the_same_words_back(&["bash"]);
    }

    #[test]
    fn busybox_ash_reads_the_same_words_back() {
        shell_reads_the_same_words_back(&["busybox", "ash"]);
    }
}

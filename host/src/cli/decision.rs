//! A decision: what a person is asked at a terminal, and a program is told to ask and to call again with.

use serde_json::{Value, json};

/// A question with a closed set of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// Its stable name: `deploy_mode`.
    pub(super) id: &'static str,
    /// A word or two to head it with.
    pub(super) header: &'static str,
    /// The question.
    pub(super) question: String,
    /// The answers; never empty.
    pub(super) options: Vec<Choice>,
    /// The index of the safe one, which an empty answer means.
    pub(super) default: usize,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Its stable name.
    pub(super) value: String,
    /// What people read.
    pub(super) label: String,
    /// What it means.
    pub(super) description: String,
    /// What to call the program with next; nothing where this answer ends it.
    pub(super) arguments: Option<Vec<String>>,
}

impl Choice {
    pub(super) fn new(value: &str, label: &str, description: impl Into<String>) -> Self {
        Self {
            value: value.to_owned(),
            label: label.to_owned(),
            description: description.into(),
            arguments: None,
        }
    }

    pub(super) fn calling(self, arguments: Vec<String>) -> Self {
        Self { arguments: Some(arguments), ..self }
    }
}

impl Decision {
    /// As programs get it.
    pub(super) fn to_value(&self) -> Value {
        let options = self.options.iter().map(|option| {
            json!({
                "value": option.value, "label": option.label, "description": option.description,
                "arguments": option.arguments,
            })
        });
        json!({
            "id": self.id, "header": self.header, "question": self.question,
            "default": self.options[self.default].value, "options": options.collect::<Vec<_>>(),
        })
    }

    /// As people read it, up to where they type.
    pub(super) fn text(&self) -> String {
        let width = self.options.iter().map(|option| option.label.chars().count()).max().unwrap_or_default();
        let mut text = format!("\n{}\n", self.question);
        for (index, option) in self.options.iter().enumerate() {
            let default = if index == self.default { " (default)" } else { "" };
            let line = format!("  {}. {:width$}  {}{default}", index + 1, option.label, option.description);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text + &format!("Choose [{}]: ", self.default + 1)
    }

    /// The option that a line means: its number, value or label; nothing typed is the default. A number that is another
    /// option's name too, as a version may be, means neither. Between two, `y` is the one that isn't the default where that
    /// calls for more.
    pub(super) fn answer(&self, line: &str) -> Option<usize> {
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            return Some(self.default);
        }
        let by_number = line.parse().ok().filter(|number| (1..=self.options.len()).contains(number));
        let by_name = || {
            let is_meant =
                |option: &Choice| option.value.to_lowercase() == line || option.label.to_lowercase() == line;
            self.options.iter().position(is_meant)
        };
        match (by_number.map(|number: usize| number - 1), by_name()) {
            (Some(number), Some(name)) if number != name => None,
            (number, name) => number.or(name).or_else(|| self.yes_or_no(&line)),
        }
    }

    fn yes_or_no(&self, line: &str) -> Option<usize> {
        let goes_on = match line {
            "y" | "yes" => true,
            "n" | "no" => false,
            _ => return None,
        };
        let fits = |option: &Choice| option.arguments.is_some() == goes_on;
        (self.options.len() == 2).then(|| self.options.iter().position(fits)).flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use insta::assert_snapshot;

    use super::*;

    fn confirmation() -> Decision {
        Decision {
            id: "confirm_deploy",
            header: "Confirm",
            question: "Deploy?".to_owned(),
            options: vec![
                Choice::new("cancel", "Cancel", "change nothing"),
                Choice::new("deploy", "Deploy now", "make it live").calling(vec!["--yes".to_owned()]),
            ],
            default: 0,
        }
    }

    #[test]
    fn people_answer_by_number_name_or_yes_and_no() {
        let decision = confirmation();
        assert_snapshot!(decision.text(), @r"

        Deploy?
          1. Cancel      change nothing (default)
          2. Deploy now  make it live
        Choose [1]: 
        ");
        let answers =
            ["", "1", " 2 ", "deploy", "Deploy now", "y", "NO"].map(|line| decision.answer(line).unwrap());
        assert_eq!(answers, [0, 0, 1, 1, 1, 1, 0]);
        assert_eq!(["0", "3", "what", "-1"].map(|line| decision.answer(line)), [None; 4]);
    }

    #[test]
    fn a_number_that_is_the_name_of_another_option_is_asked_again() {
        let mut decision = confirmation();
        decision.options.push(Choice::new("2", "2", ""));
        assert_eq!(["2", "3", "1"].map(|line| decision.answer(line)), [None, Some(2), Some(0)]);
    }

    #[test]
    fn yes_is_no_answer_between_more_than_two() {
        let mut decision = confirmation();
        decision.options.push(Choice::new("later", "Later", ""));
        assert_eq!(decision.answer("y"), None);
    }
}

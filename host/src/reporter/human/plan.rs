//! A plan, as people read it before they say yes.

use pop_deploy_plugin_api::protocol::{CheckStatus, Plan};

use super::super::{CAREFUL, check_sign, effect_sign};

/// More changes than this are counted, not listed.
const LISTED: usize = 40;
/// More commands of a step than this, such as one a host, are counted too.
const COMMANDS: usize = 8;

/// What of a plan is worth a word to those who don't read it whole.
pub(super) fn plan_warnings(plan: &Plan) -> impl Iterator<Item = String> {
    let doubts = plan.checked.iter().filter(|check| check.status == CheckStatus::Warn);
    doubts.map(|check| {
        let hint = check.hint.as_ref().map_or(String::new(), |hint| format!("\n  hint: {hint}"));
        format!("{CAREFUL}warning:{CAREFUL:#} {}{hint}", check.message)
    })
}

/// The three lists of a dry run: checked, would change, could not check; then the steps.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::from("Checked\n");
    for check in &plan.checked {
        let sign = check_sign(check.status);
        text.push_str(&format!("  {sign} {}: {}\n", check.name, check.message));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("       hint: {hint}\n"));
        }
    }
    let summary = if plan.summary.is_empty() { "nothing" } else { &plan.summary };
    text.push_str(&format!("Would change: {summary}\n"));
    for change in plan.changes.iter().take(LISTED) {
        let detail = if change.detail.is_empty() { String::new() } else { format!(" ({})", change.detail) };
        text.push_str(&format!("  {} {}{detail}\n", effect_sign(change.effect), change.what));
    }
    text.extend(more(plan.changes.len(), LISTED).map(|more| format!("  {more}\n")));
    if !plan.unchecked.is_empty() {
        text.push_str("Could not check\n");
        for note in &plan.unchecked {
            text.push_str(&format!("  {}: {}\n", note.what, note.why));
        }
    }
    text.push_str("Steps\n");
    for (index, step) in plan.steps.iter().enumerate() {
        let reason = if step.reason.is_empty() { String::new() } else { format!(": {}", step.reason) };
        let irreversible = if step.irreversible { " (can't be taken back)" } else { "" };
        text.push_str(&format!("  {}. {}{reason}{irreversible}\n", index + 1, step.title));
        for command in step.commands.iter().take(COMMANDS) {
            text.push_str(&format!("     $ {command}\n"));
        }
        let more = more(step.commands.len(), COMMANDS);
        text.extend(more.map(|more| format!("     {more}\n")));
    }
    text
}

/// What a list that is cut off ends with.
fn more(all: usize, shown: usize) -> Option<String> {
    let left = all.checked_sub(shown).filter(|left| *left > 0)?;
    Some(format!("… and {} more; `--json` lists them all", indicatif::HumanCount(left as u64)))
}

#[cfg(test)]
mod tests {
    use pop_deploy_plugin_api::protocol::{Command, Effect, Phase, Step};

    use super::*;

    #[test]
    fn a_fleets_commands_are_listed_up_to_a_number_and_then_counted() {
        let plan = |hosts: usize| {
            let mut step = Step::new("switch", Phase::Switch, Effect::Update, "Switching");
            step.commands = (0..hosts).map(|host| Command::new(["ssh", &format!("web{host}")])).collect();
            plan_text(&Plan { steps: vec![step], ..Plan::default() })
        };
        assert!(plan(8).ends_with("     $ ssh web7\n"), "{}", plan(8));
        assert!(
            plan(50).ends_with("     $ ssh web7\n     … and 42 more; `--json` lists them all\n"),
            "{}",
            plan(50)
        );
    }
}

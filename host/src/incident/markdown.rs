//! An incident as Markdown: six sections, whatever is known in each.

use super::{Incident, Moment};

/// The text.
pub fn markdown(incident: &Incident) -> String {
    let unknown = || "unknown".to_owned();
    let version = incident.failed_version.clone().unwrap_or_else(unknown);
    let mut text = format!("# Incident: {} {}\n", inline(&incident.target), inline(&version));
    section(&mut text, "Summary", &summary(incident));
    section(&mut text, "Timeline", &moments(&incident.timeline, "Nothing was kept of it."));
    section(&mut text, "Failure Details", &failure(incident));
    section(&mut text, "Root Cause", &root_cause(incident));
    section(&mut text, "Impact", &impact(incident));
    section(&mut text, "Action Items", &actions(incident));
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    text.push_str(&format!("\n## {title}\n\n{}\n", body.trim_end()));
}

fn summary(incident: &Incident) -> String {
    let or_none = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), inline);
    let duration =
        incident.rollback_duration_ms.map_or("none".to_owned(), |ms| format!("{:.1}s", ms as f64 / 1000.0));
    let runs: Vec<_> = incident.deployments.iter().map(|run| inline(run)).collect();
    format!(
        "- **Date**: {}\n- **Target**: {}\n- **Failed version**: {}\n- **Rolled back to**: {}\n\
         - **Rollback duration**: {duration}\n- **Severity**: {}\n- **Deployments**: {}\n",
        incident.date.as_deref().map_or("unknown".to_owned(), plain),
        inline(&incident.target),
        or_none(&incident.failed_version),
        or_none(&incident.rolled_back_to),
        incident.severity.name(),
        if runs.is_empty() { "none".to_owned() } else { runs.join(", ") },
    )
}

fn failure(incident: &Incident) -> String {
    let failure = &incident.failure;
    let mut text = String::new();
    if let Some(step) = &failure.step {
        let title = failure.title.as_ref().map_or(String::new(), |title| format!(": {}", plain(title)));
        text.push_str(&format!("Failed at {}{title}\n\n", inline(step)));
    }
    match &failure.error {
        Some(error) => text.push_str(&fenced(&[vec![error.clone()], failure.causes.clone()].concat())),
        None => text.push_str("No step failed; somebody went back, or the run was interrupted.\n"),
    }
    if let Some(code) = failure.exit_code {
        text.push_str(&format!("\nExit code of its last command: {code}\n"));
    }
    if !failure.output.is_empty() {
        text.push_str(&format!("\nThe end of its output:\n\n{}", fenced(&failure.output)));
    }
    if !failure.health.is_empty() {
        text.push_str(&format!("\nHealth checks:\n\n{}", moments(&failure.health, "")));
    }
    text
}

fn root_cause(incident: &Incident) -> String {
    let known = match (&incident.failure.error, incident.failure.causes.last()) {
        (_, Some(cause)) => format!("What is known: {}\n", plain(cause)),
        (Some(error), None) => format!("What is known: {}\n", plain(error)),
        (None, None) => "Nothing is known from the runs themselves.\n".to_owned(),
    };
    let hint =
        incident.failure.hint.as_ref().map_or(String::new(), |hint| format!("\nTo try: {}\n", plain(hint)));
    format!("{known}{hint}\n_To be completed by whoever looks into it._\n")
}

fn impact(incident: &Incident) -> String {
    let mut text = format!("{}\n", plain(&incident.impact));
    if let Some(back) = &incident.rollback {
        let how = if back.success { "succeeded" } else { "failed" };
        text.push_str(&format!("\nIts automatic rollback {how}:\n\n"));
        for step in &back.steps {
            text.push_str(&format!("- {}\n", plain(step)));
        }
        if let Some(error) = &back.error {
            text.push_str(&fenced(std::slice::from_ref(error)));
        }
    }
    text.push_str(&format!("\nState read at {}:\n\n", incident.state.read_at));
    if let Some(error) = &incident.state.error {
        return text + &fenced(std::slice::from_ref(error));
    }
    for check in &incident.state.checks {
        let status = serde_json::to_value(check.status).unwrap_or_default();
        let status = status.as_str().unwrap_or_default().to_owned();
        text.push_str(&format!("- {status} {}: {}\n", inline(&check.name), plain(&check.message)));
    }
    text
}

fn actions(incident: &Incident) -> String {
    let mut text: String =
        incident.next.iter().map(|next| format!("- [ ] {}: {}\n", next.why, inline(&next.command))).collect();
    text.push_str("- [ ] complete the root cause above\n- [ ] say what keeps it from happening again\n");
    text
}

fn moments(moments: &[Moment], none: &str) -> String {
    if moments.is_empty() {
        return format!("{none}\n");
    }
    moments.iter().map(|moment| format!("- {} {}\n", moment.time, plain(&moment.what))).collect()
}

/// As code, whatever backticks it has.
fn inline(text: &str) -> String {
    let text = one_line(text);
    let fence = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A block of code that no line of it can end.
fn fenced(lines: &[String]) -> String {
    let fence = "`".repeat(lines.iter().map(|line| longest_run(line)).max().unwrap_or_default().max(2) + 1);
    let lines: String = lines.iter().map(|line| format!("{}\n", printable(line))).collect();
    format!("{fence}\n{lines}{fence}\n")
}

/// Prose in one line, in which nothing but code is markup.
fn plain(text: &str) -> String {
    let text = one_line(text);
    // A backtick without its counterpart begins no code: what follows it would be markup.
    let is_paired = longest_run(&text) < 2 && text.matches('`').count().is_multiple_of(2);
    let mut escaped = String::new();
    let mut in_code = false;
    for c in text.chars() {
        in_code ^= is_paired && c == '`';
        let is_markup = matches!(c, '<' | '>' | '[' | ']' | '*' | '_' | '\\' | '#' | '|');
        if !in_code && (is_markup || (c == '`' && !is_paired)) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paired_backticks_keep_their_code_from_being_escaped() {
        assert_eq!(plain("`a<b>` is <c>"), r"`a<b>` is \<c\>");
        assert_eq!(plain("token ` <img src=x>"), r"token \` \<img src=x\>");
        assert_eq!(plain("``a` <img src=x>"), r"\`\`a\` \<img src=x\>");
    }
}

//! `validate`: look whether a deployment would be wise.

use pop_deploy_plugin_api::protocol::CheckStatus;
use serde_json::{Value, json};

use super::{
    args::{Talk, Validate},
    conversation::Conversation,
    print_line, selection,
};
use crate::{
    config::{DeployConfig, Environment, TargetConfig},
    exit::Exit,
    failure::Failure,
    plugins::SearchPath,
    project::Project,
    reporter::{BAD, CAREFUL, GOOD, check_sign, printable},
    select,
    validate::{self, Finding, Readiness, Recommendation},
    version,
};

pub(super) fn validate(wanted: &Validate, plugins: &SearchPath) -> Result<Exit, Failure> {
    Conversation::hold(&Talk::reading(wanted.json), |conversation| look_at(wanted, plugins, conversation))
}

fn look_at(wanted: &Validate, plugins: &SearchPath, conversation: &Conversation) -> Result<Exit, Failure> {
    let project = Project::for_people(&wanted.site.place.dir)?
        .in_environment(Environment::named(&wanted.site.environment));
    let config = match DeployConfig::read(&project) {
        Ok(config) => config,
        Err(error) => {
            let findings = [validate::config_valid(Err(&error)), validate::git_status(&project)];
            tell(wanted, conversation, None, &[], &findings);
            return Ok(Exit::Usage);
        }
    };
    let targets = select::select(&config, &selection(&wanted.targets))?;
    let actor = version::actor();
    let views: Vec<_> = targets
        .iter()
        .map(|target| conversation.view((&project, &config), target, plugins, &actor))
        .collect();
    let version = version::of_project(&project.dir, None);
    let findings = validate::validate(wanted.scope.into(), &project, &config, &views, version.as_deref());
    Ok(tell(wanted, conversation, Some((&project, &config)), &targets, &findings))
}

fn tell(
    wanted: &Validate,
    conversation: &Conversation,
    about: Option<(&Project, &DeployConfig)>,
    targets: &[&TargetConfig],
    findings: &[Finding],
) -> Exit {
    let readiness = Readiness::of(findings);
    let text = if wanted.json {
        as_json(wanted, about, targets, findings, &readiness).to_string()
    } else {
        as_text(wanted, about, targets, findings, &readiness)
    };
    print_line!("{}", conversation.redactor.redact(&text));
    exit(&readiness, findings)
}

fn as_text(
    wanted: &Validate,
    about: Option<(&Project, &DeployConfig)>,
    targets: &[&TargetConfig],
    findings: &[Finding],
    readiness: &Readiness,
) -> String {
    let mut text = String::new();
    if let Some((project, config)) = about {
        let project = config.project_name_or_folder(project);
        let environment = config.named_environment();
        let environment = environment.map_or(String::new(), |it| format!(" · Environment: {it}"));
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        let scope = validate::Scope::from(wanted.scope).name();
        text.push_str(&format!(
            "Project: {project} · Target: {}{environment} · Scope: {scope}\n",
            names.join(", ")
        ));
    }
    for finding in findings {
        let whose = finding.target.as_ref().filter(|_| targets.len() > 1);
        let whose = whose.map_or(String::new(), |target| format!("{target}: "));
        let message = printable(&finding.message);
        text.push_str(&format!("  {} {whose}{}: {message}\n", check_sign(finding.status), finding.name));
        for detail in &finding.details {
            text.push_str(&format!("       {}\n", printable(detail)));
        }
    }
    let style = match readiness.recommendation {
        Recommendation::Go => GOOD,
        Recommendation::Conditional => CAREFUL,
        Recommendation::NoGo => BAD,
    };
    let word = readiness.recommendation.name();
    text.push_str(&format!("Score: {}\n", readiness.score));
    text.push_str(&format!("Result: {style}{word}{style:#}, {}\n", readiness.reason));
    text + &format!("Next: {}", next(readiness.recommendation))
}

/// A wrong deploy.json or target is wrong usage; whatever else stands against it, preflight.
fn exit(readiness: &Readiness, findings: &[Finding]) -> Exit {
    let is_config = |finding: &Finding| matches!(finding.name.as_str(), "config_valid" | "target_config");
    match readiness.recommendation {
        Recommendation::Go | Recommendation::Conditional => Exit::Done,
        Recommendation::NoGo if findings.iter().any(|it| is_config(it) && it.status == CheckStatus::Fail) => {
            Exit::Usage
        }
        Recommendation::NoGo => Exit::NotReady,
    }
}

fn as_json(
    wanted: &Validate,
    about: Option<(&Project, &DeployConfig)>,
    targets: &[&TargetConfig],
    findings: &[Finding],
    readiness: &Readiness,
) -> Value {
    let checks = findings.iter().map(|finding| {
        let mut value = finding.to_value();
        value["target"] = json!(finding.target);
        value
    });
    json!({
        "v": 1,
        "type": "validate",
        "project": about.map(|(project, config)| config.project_name_or_folder(project)),
        "environment": about.and_then(|(_, config)| config.named_environment()),
        "scope": validate::Scope::from(wanted.scope).name(),
        "targets": targets.iter().map(|target| &target.name).collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
        "readiness": readiness.to_value(),
    })
}

fn next(recommendation: Recommendation) -> &'static str {
    match recommendation {
        Recommendation::Go => "`pop-deploy execute --dry-run` shows what would change",
        Recommendation::Conditional => "look at the warnings, then `pop-deploy execute --dry-run`",
        Recommendation::NoGo => "mend what failed, then validate again",
    }
}

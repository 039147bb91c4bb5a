//! `git_status`: whether what is deployed is what is committed.

use pop_deploy_plugin_api::{protocol::CheckStatus, words::counted};

use super::Finding;
use crate::{git, project::Project};

const NAME: &str = "git_status";
/// More paths than this are counted, not listed.
const LISTED: usize = 20;

/// Of the project folder alone: in a repository of many projects the others don't matter, and neither does the data
/// folder, which every deployment changes.
pub fn git_status(project: &Project) -> Finding {
    let finding = match told(project) {
        Some(status) => status.finding(),
        None if project.dir.ancestors().any(|folder| folder.join(".git").exists()) => {
            Finding::new(NAME, CheckStatus::Skip, "git can't be asked about this repository")
        }
        None => Finding::new(NAME, CheckStatus::Skip, "not in a git repository"),
    };
    // Its only failure is an unfinished merge.
    finding.blocking()
}

#[derive(Default)]
struct Status {
    commit: String,
    branch: String,
    behind: u64,
    changed: Vec<String>,
    unmerged: Vec<String>,
}

fn told(project: &Project) -> Option<Status> {
    let mut arguments = vec!["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", "."];
    let data = project.data.strip_prefix(&project.dir).ok().and_then(|data| data.to_str());
    let but_data = data.filter(|data| !data.is_empty()).map(|data| format!(":(exclude,literal){data}"));
    arguments.extend(but_data.as_deref());
    git::ask(&project.dir, &arguments).map(|text| Status::parse(&text))
}

impl Status {
    fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            // How many fields stand before the path.
            let path = |fields: usize| rest.splitn(fields + 1, ' ').last().unwrap_or(rest).to_owned();
            match kind {
                "#" => status.header(rest),
                "1" => status.changed.push(path(7)),
                "2" => status.changed.push(path(8).split('\t').next().unwrap_or_default().to_owned()),
                "u" => status.unmerged.push(path(9)),
                "?" => status.changed.push(rest.to_owned()),
                _ => {}
            }
        }
        status
    }

    fn header(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("branch.oid", commit)) => self.commit = commit.to_owned(),
            Some(("branch.head", branch)) => self.branch = branch.to_owned(),
            Some(("branch.ab", counts)) => {
                let behind = counts.split_once('-').and_then(|(_, behind)| behind.parse().ok());
                self.behind = behind.unwrap_or_default();
            }
            _ => {}
        }
    }

    fn finding(&self) -> Finding {
        if !self.unmerged.is_empty() {
            let message =
                format!("a merge is unfinished: {} in conflict", counted(self.unmerged.len(), "file"));
            return Finding::new(NAME, CheckStatus::Fail, message).with(listed(&self.unmerged));
        }
        if self.commit == "(initial)" {
            return Finding::new(NAME, CheckStatus::Warn, "the repository has no commit yet");
        }
        if !self.changed.is_empty() {
            let message = counted(self.changed.len(), "uncommitted change");
            return Finding::new(NAME, CheckStatus::Warn, message).with(listed(&self.changed));
        }
        if self.behind > 0 {
            let behind = counted(usize::try_from(self.behind).unwrap_or(usize::MAX), "commit");
            let message = format!("branch `{}` is {behind} behind its upstream", self.branch);
            return Finding::new(NAME, CheckStatus::Warn, message);
        }
        let short = self.commit.get(..7).unwrap_or(&self.commit);
        let place = match self.branch.as_str() {
            "(detached)" => "detached from any branch".to_owned(),
            branch => format!("on `{branch}`"),
        };
        Finding::new(NAME, CheckStatus::Pass, format!("everything is committed: {short}, {place}"))
    }
}

fn listed(paths: &[String]) -> Vec<String> {
    let mut listed: Vec<_> = paths.iter().take(LISTED).cloned().collect();
    if paths.len() > LISTED {
        listed.push(format!("… and {} more", paths.len() - LISTED));
    }
    listed
}

//! The plan of a deployment.

use std::{collections::BTreeMap, time::Duration};

use pop_deploy_plugin_api::{
    Error, Result, Session,
    protocol::{
        Change, Check, CheckStatus, Command, Effect, Note, Phase, Plan, Release, Rollout, Step, Unreachable,
    },
    tree::{Sha256, Tree},
    words::{grouped, some},
};

use crate::{
    canary::{self, Canary},
    config::Site,
    fleet::{Again, Fleet, Hold},
    lock::Owner,
    manifest::{Head, Manifest, covers, fingerprint},
    retention::surplus,
    stage::Prepared,
    steps::{Finalize, Locking, Once, Stage, Verify},
    survey::{Kept, Survey, is_id},
    switch::{Before, Switch},
};

/// What a manifest takes for each entry, roughly, and what is always needed.
const META_BYTES: u64 = 512;
const SLACK: u64 = 64 * 1024;

/// Asks every host what it is like, all at once.
pub(crate) fn survey(site: &Site, fleet: &Fleet) -> Vec<Result<Survey>> {
    let outcomes = fleet.each(site, &fleet.all(), Hold::Free, Again::Yes, |host, connection| {
        let mut question = vec!["survey", site.bases[host].as_str()];
        question.extend(site.config.shared.iter().map(String::as_str));
        connection.ask(&question).map(Survey::of)
    });
    outcomes.into_iter().map(|(_, survey)| survey).collect()
}

/// Refuses the id of a release that no folder should have.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if is_id(id) {
        Ok(())
    } else {
        Err(Error::failed(format!("`{}` is no name for a release", id.escape_debug())))
    }
}

/// Walks and hashes the source.
///
/// # Errors
/// It can't be read.
pub(crate) fn prepare(site: &Site, release: &Release, session: &Session) -> Result<Prepared> {
    let mut tree = Tree::walk(&site.source, &site.skip)?;
    tree.judge_links(&site.source);
    let hashes: Vec<Sha256> = tree.hashes(&site.source, |_| None)?;
    let manifest = Manifest::of(&tree, &hashes, &site.config.shared, release, &session.run_id);
    Ok(Prepared::new(tree, manifest))
}

/// Fetches the manifest of each live release that there is, once, and finds the way from it.
///
/// # Errors
/// The connection is lost.
pub(crate) fn find_ways(
    site: &Site,
    fleet: &Fleet,
    surveys: &[(usize, &Survey)],
    prepared: &mut Prepared,
) -> Result<()> {
    let mut fetched: BTreeMap<&str, usize> = BTreeMap::new();
    for (host, survey) in surveys {
        if let Some(hash) = survey.manifest().filter(|hash| !prepared.knows(hash)) {
            fetched.entry(hash).or_insert(*host);
        }
    }
    let hosts: Vec<_> = fetched.values().copied().collect();
    let live = |host: usize| {
        let survey = surveys.iter().find(|(other, _)| *other == host);
        survey.and_then(|(_, survey)| Some(survey.current.release()?.to_owned())).unwrap_or_default()
    };
    let outcomes = fleet.each(site, &hosts, Hold::Free, Again::Yes, |host, connection| {
        connection.ask(&["show_manifest", &live(host)])
    });
    for (host, outcome) in outcomes {
        let lines = outcome?.lines;
        let hash = surveys.iter().find(|(other, _)| *other == host).and_then(|(_, survey)| survey.manifest());
        let mut text = lines.join("\n");
        text.push('\n');
        // What can't be read is as good as not there: everything is sent then.
        if let (Some(hash), Ok(manifest)) = (hash, Manifest::read(&lines))
            && fingerprint(&text) == hash
        {
            prepared.learn(hash, &manifest);
        }
    }
    Ok(())
}

/// What the source must pass; the same before and after a build.
pub(crate) fn judge(site: &Site, prepared: &Prepared) -> Vec<Check> {
    let source = site.source.display();
    let tree = &prepared.tree;
    if tree.files.is_empty() {
        let hint = "build it first, or look whether `exclude` takes everything";
        let empty = Check::fail("source", format!("the source `{source}` is empty"), hint);
        return tree.checks().into_iter().chain([empty]).collect();
    }
    let counts = format!("{} files, {} bytes", grouped(tree.files.len() as u64), grouped(tree.bytes()));
    let mut checks = vec![Check::pass("source", format!("`{source}` holds {counts}"))];
    checks.extend(tree.checks());
    for shared in &site.config.shared {
        if tree.files.iter().any(|file| covers(shared, &file.path)) {
            let words = format!("`{shared}` is shared: what the source has there stays behind");
            checks.push(Check::warn("shared", words));
        }
        let above = |path: &str| {
            shared.trim_end_matches('/').strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        let files = tree.files.iter().map(|file| &file.path).chain(tree.links.iter().map(|link| &link.path));
        if let Some(path) = files.into_iter().find(|path| above(path)) {
            let hint = "rename it, or share something else";
            checks.push(Check::fail(
                "shared",
                format!("`{path}` is no folder, and `{shared}` is to lie in it"),
                hint,
            ));
        }
    }
    checks
}

/// The source folder, before it is walked.
pub(crate) fn source_folder(site: &Site) -> Check {
    let source = site.source.display();
    if site.source.is_dir() {
        return Check::pass("source", format!("`{source}` is there"));
    }
    let what = if site.source.exists() { "is no folder" } else { "doesn't exist" };
    Check::fail("source", format!("the source `{source}` {what}"), "build it first, or correct `source`")
}

/// Everything that a plan is made from.
pub(crate) struct Ground<'a> {
    pub(crate) site: &'a Site,
    pub(crate) session: &'a Session,
    /// The hosts that answered.
    pub(crate) surveys: Vec<(usize, &'a Survey)>,
}

impl<'a> Ground<'a> {
    /// The hosts that answered; the others are checks.
    pub(crate) fn of(
        site: &'a Site,
        session: &'a Session,
        surveys: &'a [Result<Survey>],
        left: Unreachable,
    ) -> (Self, Vec<Check>) {
        let mut found = Vec::new();
        let mut checks = Vec::new();
        for (host, survey) in surveys.iter().enumerate() {
            match survey {
                Ok(survey) => found.push((host, survey)),
                Err(error) => checks.push(unreachable(site, host, error)),
            }
        }
        // Where nobody answers there is nothing to deploy to.
        if left == Unreachable::StaysBehind && !found.is_empty() {
            for check in &mut checks {
                check.status = CheckStatus::Warn;
                check.message.push_str("; it stays behind");
            }
        }
        (Self { site, session, surveys: found }, checks)
    }

    /// What of the hosts stands against any plan, or is worth a look.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let owner = Owner::of(self.session);
        let now = jiff::Timestamp::now().as_second();
        let mut checks = Vec::new();
        for (host, survey) in &self.surveys {
            let (name, base) = (&self.site.hosts[*host], &self.site.bases[*host]);
            checks.extend(survey.troubles(name, base, &owner));
            checks.extend(survey.doubts(name, base, now));
            if let Some(holder) = survey.holder() {
                let words = format!("`{base}` on `{name}` is being deployed to by {holder}");
                checks.push(Check::warn("lock", words));
            }
        }
        checks
    }

    /// Commands whose host didn't answer.
    fn lonely(&self) -> Vec<Check> {
        let hosts = self.hosts();
        let once = self.site.config.run_once.iter().filter_map(|once| self.site.host_for(once).ok());
        let missing = once.filter(|host| !hosts.contains(host));
        missing
            .map(|host| {
                let words = format!(
                    "`run_once` has a command for `{}`, which can't be reached",
                    self.site.hosts[host]
                );
                Check::fail("run_once", words, "mend that host first, or name another one")
            })
            .collect()
    }

    /// What is live, where all hosts agree. One whose release is still to be verified, as a canary's is, only counts
    /// where no other has a verified one.
    pub(crate) fn live(&self) -> Option<Release> {
        let settled = |survey: &Survey| survey.live().is_none_or(|kept| kept.verified_at.is_some());
        let settled: Vec<_> = self.surveys.iter().filter(|(_, survey)| settled(survey)).collect();
        let counting = if settled.is_empty() { self.surveys.iter().collect() } else { settled };
        let mut releases = counting.into_iter().map(|(_, survey)| survey.live_release());
        let first = releases.next().flatten()?;
        releases.all(|other| other == Some(first)).then(|| first.clone())
    }

    pub(crate) fn locking(&self) -> Locking {
        let name = |host: usize| self.site.hosts[host].name.clone();
        Locking {
            before: self
                .surveys
                .iter()
                .map(|(host, survey)| (name(*host), survey.current.word().to_owned()))
                .collect(),
            made: self
                .surveys
                .iter()
                .filter(|(_, survey)| survey.is_new())
                .map(|(host, _)| name(*host))
                .collect(),
        }
    }

    /// The way of these hosts to the release `to`.
    pub(crate) fn switch(&self, to: &str, hosts: &[usize]) -> Switch {
        let before = |survey: &Survey| Before {
            link: survey.current.word().to_owned(),
            release: survey.live_release().cloned(),
        };
        let some = self.surveys.iter().filter(|(host, _)| hosts.contains(host));
        Switch {
            before: some
                .map(|(host, survey)| (self.site.hosts[*host].name.clone(), before(survey)))
                .collect(),
            to: format!("releases/{to}"),
        }
    }

    /// The hosts that answered.
    pub(crate) fn hosts(&self) -> Vec<usize> {
        self.surveys.iter().map(|(host, _)| *host).collect()
    }

    pub(crate) fn lock_step(&self) -> Step {
        let locking = self.locking();
        let hosts = count(self.surveys.len());
        let (effect, title) = match locking.made.len() {
            0 => (Effect::None, format!("Locking {hosts}")),
            made => (Effect::Create, format!("Making {} and locking {hosts}", bases(made))),
        };
        let mut step = Step::new("lock", Phase::Preflight, effect, title)
            .reason("one deployment at a time, and what is live must be what was planned with");
        let made = self.surveys.iter().filter(|(_, survey)| survey.is_new());
        step.creates = made.map(|(host, _)| self.place(*host, "")).collect();
        step.data(locking)
    }

    /// The step that makes a release live on these hosts.
    pub(crate) fn switch_step(&self, release: &Release, hosts: &[usize]) -> Result<Step> {
        let title = format!("Switching {} to release {}", count(hosts.len()), release.id);
        let words = self.site.config.strategy.words(self.site.hosts.len());
        let step = Step::new("switch", Phase::Switch, self.effect(hosts), title).reason(words);
        Ok(self.going_live(step, release, hosts)?.data(self.switch(&release.id, hosts)))
    }

    /// The step that makes a release live on some hosts first.
    fn canary_step(&self, number: usize, release: &Release, hosts: &[usize], hold: Duration) -> Result<Step> {
        let names: Vec<_> = hosts.iter().map(|host| format!("`{}`", self.site.hosts[*host])).collect();
        let title = format!("Switching the canary to release {}: {}", release.id, some(&names));
        let reason = match hold.as_secs_f64() {
            0.0 => "the others follow when it is well".to_owned(),
            seconds => format!("watched for {seconds} s; the others follow when it is well"),
        };
        let id = format!("canary_{number}");
        let step = Step::new(&id, Phase::Switch, self.effect(hosts), title).reason(reason);
        let mut step = self.going_live(step, release, hosts)?;
        step.hold = hold.as_secs() + u64::from(hold.subsec_nanos() > 0);
        step.awaits_verdict = true;
        let hold = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        Ok(step.data(Canary { switch: self.switch(&release.id, hosts), hold }))
    }

    fn effect(&self, hosts: &[usize]) -> Effect {
        let mut some = self.surveys.iter().filter(|(host, _)| hosts.contains(host));
        let fresh = some.all(|(_, survey)| survey.current.word().is_empty());
        if fresh { Effect::Create } else { Effect::Replace }
    }

    fn going_live(&self, mut step: Step, release: &Release, hosts: &[usize]) -> Result<Step> {
        let switch = self.switch(&release.id, hosts);
        for host in hosts {
            let name = &self.site.hosts[*host];
            step.commands.push(name.shown(&switch.forward(self.site, *host, release).line()));
            let folder = format!("{}/current", self.site.bases[*host]);
            if let Some(argv) = self.site.restart(*host, release)? {
                step.commands.push(name.shown_in(&folder, &argv));
            }
            step.commands.extend(health_command(self.site, *host, release)?);
            step.creates.push(self.place(*host, "/current"));
        }
        Ok(step)
    }

    pub(crate) fn verify_step(&self, head: &Head) -> Result<Step> {
        let hosts = count(self.surveys.len());
        let title = match &self.site.config.health {
            Some(_) => format!("Verifying what is live on {hosts}, and whether it is well"),
            None => format!("Verifying what is live on {hosts}"),
        };
        let mut step = Step::new("verify", Phase::Verify, Effect::None, title)
            .reason("only a verified release counts for `keep` and for a rollback");
        for (host, _) in &self.surveys {
            step.commands.extend(health_command(self.site, *host, &head.release)?);
        }
        let hosts = self.surveys.iter().map(|(host, _)| self.site.hosts[*host].name.clone());
        Ok(step.data(Verify { head: head.clone(), hosts: hosts.collect() }))
    }

    pub(crate) fn place(&self, host: usize, what: &str) -> String {
        format!("{}:{}{what}", self.site.hosts[host], self.site.bases[host])
    }
}

/// The health check that runs on a host, as it is shown.
fn health_command(site: &Site, host: usize, release: &Release) -> Result<Option<Command>> {
    let folder = format!("{}/current", site.bases[host]);
    let argv = site.health(host, release)?.and_then(|health| health.command);
    Ok(argv.map(|argv| site.hosts[host].shown_in(&folder, &argv)))
}

/// A host that can't be asked, as a check.
pub(crate) fn unreachable(site: &Site, host: usize, error: &Error) -> Check {
    let name = format!("`{}`", site.hosts[host]);
    let mut words = if error.message.contains(&name) {
        error.message.clone()
    } else {
        format!("{name}: {}", error.message)
    };
    for cause in &error.causes {
        words.push_str(&format!(": {cause}"));
    }
    let mut check = Check::new("host", CheckStatus::Fail, words);
    check.hint = error.hint.clone();
    check
}

/// `1 host`, `16 hosts`.
pub(crate) fn count(hosts: usize) -> String {
    if hosts == 1 { "1 host".to_owned() } else { format!("{} hosts", grouped(hosts as u64)) }
}

fn bases(count: usize) -> String {
    if count == 1 { "the base".to_owned() } else { format!("{count} bases") }
}

/// What a deployment is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) release: &'a Release,
    pub(crate) rollout: Rollout,
    pub(crate) unreachable: Unreachable,
}

/// Plans to make the release of the source as it is now; with it comes the preparation, where there is a source.
///
/// # Errors
/// Something can't be read here. Hosts that can't be asked are checks.
pub(crate) fn plan(
    site: &Site,
    fleet: &Fleet,
    wish: &Wish<'_>,
    surveys: &[Result<Survey>],
    session: &Session,
) -> Result<(Plan, Option<Prepared>)> {
    let Wish { release, rollout, unreachable } = *wish;
    check_id(&release.id)?;
    let (ground, mut checked) = Ground::of(site, session, surveys, unreachable);
    checked.extend(ground.lonely());
    checked.extend(ground.checks());
    if rollout == Rollout::Canary {
        checked.extend(canary::undividable(site));
    }
    let folder = source_folder(site);
    let mut prepared = match folder.status {
        CheckStatus::Pass => Some(prepare(site, release, session)?),
        _ => None,
    };
    let mut of_source = match &prepared {
        Some(prepared) => judge(site, prepared),
        None => vec![folder],
    };
    if let Some(prepared) = &mut prepared {
        find_ways(site, fleet, &ground.surveys, prepared)?;
        of_source
            .extend(ground.surveys.iter().flat_map(|(host, survey)| on_host(site, *host, survey, prepared)));
    }
    if let Some(maker) = site.made_by() {
        of_source.iter_mut().for_each(|check| leave_to(maker, check));
    }
    checked.extend(of_source);
    for (host, survey) in &ground.surveys {
        if survey.has_release(&release.id) {
            let words = format!("`{}` has a release {} already", site.hosts[*host], release.id);
            checked.push(Check::fail("release", words, "run it again: the next release gets another name"));
        }
    }
    let ready = checked.iter().all(|check| check.status != CheckStatus::Fail);
    let plan = Plan {
        identity: site.identity(),
        fingerprint: inputs(site, prepared.as_ref()),
        live: ground.live(),
        steps: if ready { steps(&ground, release, rollout, prepared.as_ref())? } else { Vec::new() },
        changes: prepared.as_ref().map_or_else(Vec::new, |prepared| changes(&ground, prepared)),
        unchecked: unchecked(site),
        summary: prepared.as_ref().map_or_else(String::new, |prepared| summary(&ground, prepared)),
        checked,
        facts: serde_json::Map::new(),
    };
    Ok((plan, prepared))
}

/// What a host will get, and whether there is room for it.
pub(crate) fn on_host(site: &Site, host: usize, survey: &Survey, prepared: &Prepared) -> Vec<Check> {
    let (name, base) = (&site.hosts[host], &site.bases[host]);
    let way = prepared.way(survey);
    let what = match &way.from {
        Some(from) => {
            format!("`{name}`: {}, against release {from}; {} bytes to send", way.counts, grouped(way.bytes))
        }
        None => format!(
            "`{name}`: {} files, {} bytes to send",
            grouped(way.sent.len() as u64),
            grouped(way.bytes)
        ),
    };
    let mut checks = vec![Check::pass("host", what)];
    if way.from.is_some() && survey.has("stamps") && !survey.pristine() {
        let words = format!("files of the live release on `{name}` were touched since: they are read again");
        checks.push(Check::warn("live", words));
    }
    let manifest = &prepared.manifest;
    let entries = (manifest.files.len() + manifest.folders.len() + manifest.links.len()) as u64;
    let new = (way.sent.len() + manifest.folders.len() + way.links.len()) as u64 + 8;
    checks.extend(survey.space(name, base, way.bytes + entries * META_BYTES + SLACK, new));
    checks
}

/// Before it is made, the source can't be wrong.
fn leave_to(maker: &str, check: &mut Check) {
    if check.status == CheckStatus::Fail {
        check.status = CheckStatus::Skip;
        check.hint = None;
        check.message.push_str(&format!("; looked at again after {maker}"));
    }
}

/// Digest of what the plan is made from. Not of what is live: a resumed run may have switched already. Not of a
/// source either that is still to be made.
fn inputs(site: &Site, prepared: Option<&Prepared>) -> String {
    let source = prepared.filter(|_| site.made_by().is_none()).map(|prepared| prepared.tree.digest());
    let inputs = format!("{:?} {source:?}", site.config);
    blake3::hash(inputs.as_bytes()).to_hex().to_string()
}

fn steps(
    ground: &Ground<'_>,
    release: &Release,
    rollout: Rollout,
    prepared: Option<&Prepared>,
) -> Result<Vec<Step>> {
    let site = ground.site;
    let mut steps = vec![ground.lock_step()];
    if let Some(argv) = &site.config.build {
        let command = Command::new(argv);
        let mut build = Step::new("build", Phase::Build, Effect::Maybe, format!("Building with {command}"))
            .reason("the config has a `build` command");
        build.commands.push(command);
        steps.push(build);
    }
    steps.push(stage_step(ground, &release.id, prepared));
    for (index, once) in site.config.run_once.iter().enumerate() {
        steps.push(once_step(site, index, once, release)?);
    }
    let mut left = ground.hosts();
    if rollout == Rollout::Canary {
        let (first, last) = canary::split(site);
        for (index, (hosts, hold)) in first.into_iter().enumerate() {
            let hosts: Vec<_> = hosts.into_iter().filter(|host| left.contains(host)).collect();
            steps.push(ground.canary_step(index + 1, release, &hosts, hold)?);
        }
        left.retain(|host| last.contains(host));
    }
    steps.push(ground.switch_step(release, &left)?);
    steps.push(verify_step(ground, release)?);
    steps.push(finalize_step(ground, release));
    Ok(steps)
}

/// What the head of a release that is still to be made holds is known once it is staged.
fn verify_step(ground: &Ground<'_>, release: &Release) -> Result<Step> {
    let (tree, content) = (Sha256([0; 32]), Sha256([0; 32]));
    let head =
        Head { format: 1, release: release.clone(), run: ground.session.run_id.clone(), tree, content };
    ground.verify_step(&head)
}

fn stage_step(ground: &Ground<'_>, id: &str, prepared: Option<&Prepared>) -> Step {
    let site = ground.site;
    let maker = site.made_by();
    let hosts = count(ground.surveys.len());
    let mut step = match prepared {
        Some(prepared) if maker.is_none() => {
            let files = grouped(prepared.manifest.files.len() as u64);
            Step::new("stage", Phase::Stage, Effect::Create, format!("Staging {files} files on {hosts}"))
                .reason(summary(ground, prepared))
        }
        _ => {
            let maker = maker.unwrap_or("the build");
            Step::new("stage", Phase::Stage, Effect::Maybe, format!("Staging what {maker} left on {hosts}"))
                .reason(format!("only {maker} can tell which files there are"))
        }
    };
    for (host, survey) in &ground.surveys {
        step.creates.push(ground.place(*host, &format!("/releases/.tmp-{id}")));
        step.creates.push(ground.place(*host, &format!("/releases/{id}")));
        step.creates.push(ground.place(*host, &format!("/.pop-deploy/releases/{id}")));
        step.commands.push(upload(site, *host, survey, id));
    }
    let source = prepared.filter(|_| maker.is_none()).map(|prepared| prepared.tree.digest());
    let hosts = ground.surveys.iter().map(|(host, _)| site.hosts[*host].name.clone()).collect();
    step.data(Stage { source, hosts })
}

/// The upload to a host, as a person would type it.
pub(crate) fn upload(site: &Site, host: usize, survey: &Survey, id: &str) -> Command {
    let base = crate::quote::shown(&site.bases[host]);
    let begin = match survey.live() {
        Some(live) => format!("cp -al {} .tmp-{id}", live.head.release.id),
        None => format!("mkdir .tmp-{id}"),
    };
    site.hosts[host]
        .shown(&format!("cd {base}/releases && {begin} && tar -xpof - -C .tmp-{id} && mv .tmp-{id} {id}"))
}

fn once_step(site: &Site, index: usize, once: &crate::config::RunOnce, release: &Release) -> Result<Step> {
    let host = site.host_for(once)?;
    let argv = site.fill("run_once.command", &once.command, host, release)?;
    let folder = format!("{}/releases/{}", site.bases[host], release.id);
    let name = &site.hosts[host];
    let title = format!("Running {} once, on {name}", crate::quote::line(&argv));
    let mut step = Step::new(&format!("run_once_{}", index + 1), Phase::Switch, Effect::Maybe, title)
        .reason("before any host goes live; nothing takes it back");
    step.irreversible = true;
    step.commands.push(name.shown_in(&folder, &argv));
    Ok(step.data(Once { host: name.name.clone(), argv }))
}

fn finalize_step(ground: &Ground<'_>, release: &Release) -> Step {
    let keep = ground.site.config.keep.get();
    let mut going = BTreeMap::new();
    for (host, survey) in &ground.surveys {
        let before = survey.live_release().map(|release| release.id.clone());
        let mut kept = survey.kept.clone();
        let (tree, content) = (Sha256([0; 32]), Sha256([0; 32]));
        let head = Head { format: 1, release: release.clone(), run: String::new(), tree, content };
        kept.push(Kept { head, verified_at: Some(i64::MAX) });
        going.insert(
            ground.site.hosts[*host].name.clone(),
            surplus(&kept, &release.id, before.as_deref(), keep),
        );
    }
    let releases: usize = going.values().map(Vec::len).sum();
    let (effect, title) = match releases {
        0 => (Effect::None, "Keeping all releases".to_owned()),
        1 => (Effect::Delete, "Removing an old release".to_owned()),
        many => {
            (Effect::Delete, format!("Removing {} old releases, all hosts together", grouped(many as u64)))
        }
    };
    Step::new("finalize", Phase::Finalize, effect, title)
        .reason(format!("`keep` is {keep}"))
        .data(Finalize { going })
}

/// What changes, once for all hosts that it changes on alike.
fn changes(ground: &Ground<'_>, prepared: &Prepared) -> Vec<Change> {
    let mut groups: Vec<(std::sync::Arc<crate::shipment::Shipment>, Vec<String>)> = Vec::new();
    for (host, survey) in &ground.surveys {
        let way = prepared.way(survey);
        let name = ground.site.hosts[*host].name.clone();
        match groups.iter_mut().find(|(known, _)| std::sync::Arc::ptr_eq(known, &way)) {
            Some((_, hosts)) => hosts.push(name),
            None => groups.push((way, vec![name])),
        }
    }
    let alone = groups.len() < 2;
    let mut changes = Vec::new();
    for (way, hosts) in groups {
        for change in &way.changes {
            let mut change = change.clone();
            if !alone {
                change.detail = format!("{} on {}", change.detail, hosts.join(", "));
            }
            changes.push(change);
        }
    }
    changes
}

/// One sentence over all hosts.
fn summary(ground: &Ground<'_>, prepared: &Prepared) -> String {
    let ways: Vec<_> = ground.surveys.iter().map(|(_, survey)| prepared.way(survey)).collect();
    let Some(first) = ways.first() else { return String::new() };
    let bytes: u64 = ways.iter().map(|way| way.bytes).sum();
    let alike = ways.iter().all(|way| std::sync::Arc::ptr_eq(way, first));
    let counts = if alike {
        first.counts.to_string()
    } else {
        let differ = ways.iter().filter(|way| way.counts.differ()).count();
        format!("{} of {} differ", count(differ), ways.len())
    };
    format!("{counts}; {} bytes to {}", grouped(bytes), count(ways.len()))
}

fn unchecked(site: &Site) -> Vec<Note> {
    let note = |what: &str, why: &str| Note { what: what.to_owned(), why: why.to_owned() };
    let mut notes = Vec::new();
    match &site.config.health {
        None => notes.push(note("whether the hosts are well", "no `health` in the config")),
        Some(_) => notes.push(note("whether the hosts are well", "they are asked after the switch")),
    }
    if site.config.restart.is_some() {
        notes.push(note("`restart`", "it runs after the switch only"));
    }
    if let Some(maker) = site.made_by() {
        let why =
            format!("{maker} may change the source first; the files listed are those that are there now");
        notes.push(note("what is deployed", &why));
    }
    notes
}

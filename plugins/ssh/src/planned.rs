//! The steps as they stand in a plan: what each does to which hosts, and the commands it stands for.

use std::{collections::BTreeMap, time::Duration};

use pop_deploy_plugin_api::{
    Result,
    protocol::{Command, Effect, Phase, Release, Step},
    words::{counted, grouped, some},
};

use crate::{
    canary::Canary,
    config::RunOnce,
    fleet::count,
    ground::Ground,
    manifest::Head,
    origin::Origin,
    prepared::Prepared,
    preview,
    retention::{surplus, ways_back},
    site::Site,
    steps::{Finalize, Locking, Once, Stage, Verify},
    survey::Survey,
};

impl Ground<'_> {
    /// The step that takes every host; of a deployment, for the release that it `makes`.
    pub(crate) fn lock_step(&self, makes: Option<&Release>) -> Step {
        let locking = Locking { makes: makes.map(|release| release.id.clone()), ..self.locking() };
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
    pub(crate) fn canary_step(
        &self,
        number: usize,
        release: &Release,
        hosts: &[usize],
        hold: Duration,
    ) -> Result<Step> {
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
}

/// The health check that runs on a host, as it is shown.
fn health_command(site: &Site, host: usize, release: &Release) -> Result<Option<Command>> {
    let folder = format!("{}/current", site.bases[host]);
    let argv = site.health(host, release)?.and_then(|health| health.command);
    Ok(argv.map(|argv| site.hosts[host].shown_in(&folder, &argv)))
}

fn bases(count: usize) -> String {
    if count == 1 { "the base".to_owned() } else { format!("{count} bases") }
}

/// What the head of a release that is still to be made holds is known once it is staged.
pub(crate) fn verify(ground: &Ground<'_>, release: &Release) -> Result<Step> {
    ground.verify_step(&Head::to_be_made(release, Origin::of(ground.session)))
}

pub(crate) fn stage(ground: &Ground<'_>, id: &str, prepared: Option<&Prepared>) -> Step {
    let site = ground.site;
    let maker = site.made_by();
    let hosts = count(ground.surveys.len());
    let mut step = match prepared {
        Some(prepared) if maker.is_none() => {
            let files = counted(prepared.manifest.files.len(), "file");
            Step::new("stage", Phase::Stage, Effect::Create, format!("Staging {files} on {hosts}"))
                .reason(preview::summary(ground, prepared))
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
fn upload(site: &Site, host: usize, survey: &Survey, id: &str) -> Command {
    let base = crate::quote::shown(&site.bases[host]);
    let begin = match survey.live() {
        Some(live) => format!("cp -al {} .tmp-{id}", live.head.release.id),
        None => format!("mkdir .tmp-{id}"),
    };
    site.hosts[host]
        .shown(&format!("cd {base}/releases && {begin} && tar -xpof - -C .tmp-{id} && mv .tmp-{id} {id}"))
}

pub(crate) fn once(site: &Site, index: usize, once: &RunOnce, release: &Release) -> Result<Step> {
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

pub(crate) fn finalize(ground: &Ground<'_>, release: &Release) -> Step {
    let keep = ground.site.config.keep.get();
    let all: Vec<_> = ground.surveys.iter().map(|(_, survey)| survey.kept.as_slice()).collect();
    let silent = ground.silent();
    let mut going = BTreeMap::new();
    for (host, survey) in &ground.surveys {
        let before = survey.live_release().map(|release| release.id.as_str());
        let mut staying = ways_back(&all, &[], release);
        staying.extend(ways_back(&all, &silent, release));
        staying.extend(ways_back(&[&survey.kept], &[], release));
        staying.extend(before);
        let surplus = surplus(&survey.kept, &release.id, &staying, keep);
        going.insert(ground.site.hosts[*host].name.clone(), surplus);
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

//! The steps of a deployment and of a rollback, as they stand in plans, and how each runs and is taken back.
//!
//! Step data is journaled, so it is small: ids, what was before. Everything else is in memory, or on the hosts for a process
//! that never saw the plan.

use std::collections::BTreeMap;

use pop_deploy_plugin_api::{
    Error, ErrorKind, Process, Result, Session,
    protocol::{Check, CheckStatus, Outcome, Receipt, RunRequest, Step, Undo},
    tree::Root,
    words::grouped,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    command,
    config::Site,
    deploy::{self, count},
    fleet::{Again, Fleet, Hold, joined, together},
    lock::told,
    manifest::Head,
    rollout::Switched,
    stage::{self, Prepared, Progress, Staged, Staging},
    survey::{Current, Survey},
    verify::{self, Look},
};

/// Reads what a step was planned with.
///
/// # Errors
/// Another version of the plugin planned it.
pub(crate) fn data<D: DeserializeOwned>(step: &Step) -> Result<D> {
    D::deserialize(&step.data).map_err(|error| {
        Error::failed(format!("the step `{}` was planned by another version of the plugin", step.id))
            .because(&error)
            .hint("use the version that planned it, or plan again")
    })
}

/// `lock`: takes every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locking {
    /// Where `current` leads on each host; empty where it isn't there.
    pub(crate) before: BTreeMap<String, String>,
    /// The hosts whose base is to be made.
    #[serde(default)]
    pub(crate) made: Vec<String>,
}

impl Locking {
    /// The hosts that were planned with.
    pub(crate) fn hosts(&self, site: &Site) -> Vec<usize> {
        (0..site.hosts.len()).filter(|host| self.before.contains_key(&site.hosts[*host].name)).collect()
    }

    /// Takes all locks or none, and looks whether the plan still holds.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`]; something else is live by now.
    pub(crate) fn run(&self, site: &Site, fleet: &Fleet, release: &str) -> Result<Receipt> {
        let mut hosts = self.hosts(site);
        // In one order for everybody: of two who begin at once, one gets the first host and with it all the others.
        hosts.sort_by_key(|host| site.hosts[*host].place());
        let (first, others) = hosts.split_at(hosts.len().min(1));
        for some in [first, others] {
            let outcomes = fleet.each(site, some, Hold::Locked, Again::Yes, |host, connection| {
                let current = Current::of(&connection.ask(&["current"])?);
                self.check(site, host, &current, release)
            });
            together(site, outcomes)?;
        }
        Ok(Receipt::new(Outcome::Changed, ""))
    }

    fn check(&self, site: &Site, host: usize, current: &Current, release: &str) -> Result<()> {
        let name = &site.hosts[host].name;
        let planned = self.before.get(name).map_or("", String::as_str);
        // A resumed run may have switched already.
        if current.word() == planned || current.release() == Some(release) {
            return Ok(());
        }
        Err(Error::preflight(format!(
            "`{}/current` on `{name}` isn't what it was when the plan was made: it is {current}",
            site.bases[host]
        ))
        .hint("plan again: somebody else deployed meanwhile"))
    }

    /// Lets go, and removes the folders again that nothing came into.
    pub(crate) fn undo(&self, site: &Site, fleet: &Fleet) -> Undo {
        let made: Vec<_> =
            self.hosts(site).into_iter().filter(|host| self.made.contains(&site.hosts[*host].name)).collect();
        // A host out of reach has let go by itself, and an empty folder there does no harm.
        let outcomes = fleet.each(site, &made, Hold::Locked, Again::Yes, |_, connection| {
            let answer = connection.ask(&["unmake"])?;
            connection.locked = false;
            Ok(answer.says("unmade"))
        });
        let removed = outcomes.into_iter().filter(|(_, outcome)| matches!(outcome, Ok(true))).count();
        fleet.close();
        match removed {
            0 => Undo::Nothing,
            removed => Undo::Undone { summary: format!("removed what was made on {}", count(removed)) },
        }
    }
}

/// `stage`: brings the release to every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// The digest of the source that was planned; none where the build makes it.
    pub(crate) source: Option<String>,
    /// The hosts that were planned with.
    pub(crate) hosts: Vec<String>,
}

/// What `build` leaves for `stage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Built {
    /// The digest of the source as the build left it.
    source: String,
}

/// Runs the build command, and looks at what it made.
///
/// # Errors
/// The command fails, or what it made can't be shipped.
pub(crate) fn build(
    site: &Site,
    step: &Step,
    request: &RunRequest,
    session: &Session,
) -> Result<(Receipt, Prepared)> {
    for command in &step.commands {
        Process::new(command).run(session)?.success()?;
    }
    first_failure(vec![deploy::source_folder(site)])?;
    let prepared = deploy::prepare(site, &request.release, session)?;
    first_failure(deploy::judge(site, &prepared))?;
    let files = grouped(prepared.manifest.files.len() as u64);
    let receipt = Receipt::new(Outcome::Changed, format!("{files} files"));
    Ok((receipt.data(Built { source: prepared.tree.digest() }), prepared))
}

/// The first failed check as an error, for what could only be checked on the way.
fn first_failure(checks: Vec<Check>) -> Result<()> {
    match checks.into_iter().find(|check| check.status == CheckStatus::Fail) {
        Some(check) => Err(Error { hint: check.hint, ..Error::failed(check.message) }),
        None => Ok(()),
    }
}

/// What there is for `stage` to work with.
pub(crate) struct Means<'a> {
    pub(crate) site: &'a Site,
    pub(crate) fleet: &'a Fleet,
    pub(crate) session: &'a Session,
    /// The hosts as the plan saw them.
    pub(crate) surveys: &'a [Result<Survey>],
}

impl Stage {
    /// Makes the release on every host, from what was prepared for the plan or, in a process that never saw it, prepared
    /// again.
    ///
    /// # Errors
    /// The source changed since; see [`Staging::on`].
    pub(crate) fn run(
        &self,
        means: &Means<'_>,
        request: &RunRequest,
        prepared: Option<Prepared>,
    ) -> Result<Receipt> {
        let Means { site, fleet, session, surveys } = *means;
        let built = request.receipts.iter().find(|receipt| receipt.step == "build");
        let built: Option<Built> = built.and_then(|built| Built::deserialize(&built.receipt.data).ok());
        let wanted = built.map(|built| built.source).or_else(|| self.source.clone());
        // After the user's hooks nobody can say what the source should be.
        let wanted = wanted.filter(|_| !site.hooks_write);
        let mut prepared = match prepared {
            Some(prepared) => prepared,
            None => {
                first_failure(vec![deploy::source_folder(site)])?;
                deploy::prepare(site, &request.release, session)?
            }
        };
        if wanted.is_some_and(|wanted| wanted != prepared.tree.digest()) {
            return Err(Error::failed(format!(
                "the source `{}` changed since the plan",
                site.source.display()
            ))
            .hint("deploy again; nothing else may write to the source meanwhile"));
        }
        first_failure(deploy::judge(site, &prepared))?;
        let surveys: Vec<_> = surveys
            .iter()
            .enumerate()
            .filter_map(|(host, survey)| Some((host, survey.as_ref().ok()?)))
            .collect();
        deploy::find_ways(site, fleet, &surveys, &mut prepared)?;
        let total = surveys.iter().map(|(_, survey)| prepared.way(survey).bytes).sum();
        let progress = Progress::new(session, total);
        let root = Root::open(&site.source)?;
        let staging = Staging { site, prepared: &prepared, progress: &progress, root: &root, session };
        let hosts: Vec<_> = surveys.iter().map(|(host, _)| *host).collect();
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            let survey = surveys.iter().find(|(other, _)| *other == host).map(|(_, survey)| *survey);
            let survey = survey.ok_or_else(|| Error::failed("the host was never looked at"))?;
            staging.on(host, survey, connection)
        });
        let staged = together(site, outcomes)?;
        let head = prepared.manifest.head.clone();
        Ok(staged_receipt(&staged, &head))
    }

    /// Takes the release away from every host. What a host out of reach has of it, its next deployment tidies up: it was never
    /// live there.
    ///
    /// # Errors
    /// It can't be removed from a host that answers.
    pub(crate) fn undo(&self, site: &Site, fleet: &Fleet, id: &str) -> Result<Undo> {
        let outcomes =
            fleet.each(site, &named(site, &self.hosts), Hold::Locked, Again::Yes, |host, connection| {
                stage::unstage(&site.hosts[host], id, connection)
            });
        let mut removed = 0;
        let mut left = Vec::new();
        let mut failed = Vec::new();
        for (host, outcome) in outcomes {
            match outcome {
                Ok(there) => removed += usize::from(there),
                Err(_) if !fleet.is_connected(host) => left.push(site.hosts[host].name.clone()),
                Err(error) if error.kind == ErrorKind::Locked => left.push(site.hosts[host].name.clone()),
                Err(error) => failed.push((host, error)),
            }
        }
        if !failed.is_empty() {
            return Err(joined(site, failed));
        }
        let mut words = Vec::new();
        if removed > 0 {
            words.push(format!("removed release {id} from {}", count(removed)));
        }
        if !left.is_empty() {
            words.push(format!("{} can't be reached: its next deployment tidies up", left.join(", ")));
        }
        match words.is_empty() {
            true => Ok(Undo::Nothing),
            false => Ok(Undo::Undone { summary: words.join("; ") }),
        }
    }
}

fn staged_receipt(staged: &[Staged], head: &Head) -> Receipt {
    let sum = |part: fn(&Staged) -> u64| staged.iter().map(part).sum::<u64>();
    let [sent, linked, bytes] =
        [sum(|one| one.sent as u64), sum(|one| one.linked as u64), sum(|one| one.bytes)].map(grouped);
    let summary = format!("{sent} files sent ({bytes} bytes), {linked} linked");
    let receipt = Receipt::new(Outcome::Changed, summary);
    receipt.fact("wire_bytes", sum(|one| one.wire)).data(head)
}

/// `run_once_…`: a command on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Once {
    pub(crate) host: String,
    pub(crate) argv: Vec<String>,
}

impl Once {
    /// Runs it, in the new release. Never a second time by itself.
    ///
    /// # Errors
    /// It fails; the host is gone from the config.
    pub(crate) fn run(&self, site: &Site, fleet: &Fleet, id: &str, session: &Session) -> Result<Receipt> {
        let host = site.hosts.iter().position(|host| host.name == self.host);
        let host =
            host.ok_or_else(|| Error::failed(format!("`{}` isn't in the config any more", self.host)))?;
        let folder = format!("{}/releases/{id}", site.bases[host]);
        fleet.on(site, host, Hold::Locked, Again::No, &|host, connection| {
            connection.begin(&["current"])?;
            let running = command::start(&site.hosts[host], &folder, &self.argv, connection)?;
            running.succeed(connection, session)
        })?;
        Ok(Receipt::new(Outcome::Changed, ""))
    }

    /// There is no way back, and a person must know.
    pub(crate) fn undo(&self) -> Undo {
        let line = crate::quote::line(&self.argv);
        Undo::Undone { summary: format!("{line} on {} can't be taken back: it stays done", self.host) }
    }
}

/// `check`, of a rollback: the release is there on every host, and whole.
///
/// # Errors
/// [`ErrorKind::NoRelease`], naming the hosts; nothing was touched.
pub(crate) fn check(
    site: &Site,
    fleet: &Fleet,
    heads: &BTreeMap<String, Head>,
    hold: Hold,
) -> Result<Receipt> {
    let hosts = of_names(site, heads);
    let outcomes = fleet.each(site, &hosts, hold, Again::Yes, |host, connection| {
        let name = &site.hosts[host];
        verify::compare(name, &heads[&name.name], Look::Whole, connection)
    });
    let hosts = together(site, outcomes)?.len();
    Ok(Receipt::new(Outcome::Unchanged, format!("it is whole on {}", count(hosts))))
}

/// The hosts of these names that are still in the config.
fn named(site: &Site, names: &[String]) -> Vec<usize> {
    (0..site.hosts.len()).filter(|host| names.contains(&site.hosts[*host].name)).collect()
}

fn of_names<T>(site: &Site, names: &BTreeMap<String, T>) -> Vec<usize> {
    (0..site.hosts.len()).filter(|host| names.contains_key(&site.hosts[*host].name)).collect()
}

/// The hosts that go live: all that were planned with.
pub(crate) fn switched_hosts(site: &Site, switch: &crate::switch::Switch) -> Vec<usize> {
    of_names(site, &switch.before)
}

/// `verify`: looks at every host that has the release, and writes down that it is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verify {
    /// What the release must be, where no step before this one makes it.
    pub(crate) head: Head,
    /// The hosts that were planned with.
    pub(crate) hosts: Vec<String>,
}

impl Verify {
    /// Looks, and writes down.
    ///
    /// # Errors
    /// One isn't as it should be.
    pub(crate) fn run(
        &self,
        site: &Site,
        fleet: &Fleet,
        request: &RunRequest,
        session: &Session,
    ) -> Result<Receipt> {
        let head = known_head(request)?;
        let mut behind = behind(request);
        let planned = |host: &usize| self.hosts.contains(&site.hosts[*host].name);
        let hosts: Vec<_> = fleet.all().into_iter().filter(planned).collect();
        let hosts: Vec<_> =
            hosts.into_iter().filter(|host| !behind.contains(&site.hosts[*host].name)).collect();
        behind.extend(
            site.hosts.iter().map(|host| host.name.clone()).filter(|name| !self.hosts.contains(name)),
        );
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            verify::live(site, host, &head, connection, session)
        });
        together(site, outcomes)?;
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            verify::record(&site.hosts[host], "verified", &head.release, connection, session)
        });
        together(site, outcomes)?;
        let mut words = count(hosts.len());
        let receipt = Receipt::new(Outcome::Changed, "").fact("round_trips", fleet.round_trips());
        if behind.is_empty() {
            return Ok(Receipt { summary: words, ..receipt });
        }
        words.push_str(&format!("; behind: {}", behind.join(", ")));
        Ok(Receipt { summary: words, ..receipt }.fact("behind", behind))
    }

    /// Takes the mark back from every host that can be reached; where not, the undo of `stage` removes it. Not that of a
    /// release that was there already, as a rollback has it: without the mark, it would be removed as a leftover.
    pub(crate) fn undo(&self, site: &Site, fleet: &Fleet, id: &str) -> Undo {
        if !self.head.is_to_be_made() {
            return Undo::Nothing;
        }
        let outcomes =
            fleet.each(site, &named(site, &self.hosts), Hold::Locked, Again::Yes, |_, connection| {
                connection.ask(&["unverified", id])
            });
        match outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count() {
            0 => Undo::Nothing,
            hosts => Undo::Undone {
                summary: format!("release {id} doesn't count as verified on {}", count(hosts)),
            },
        }
    }
}

/// The hosts that stayed on the release before.
fn behind(request: &RunRequest) -> Vec<String> {
    let switched = request.receipts.iter().find(|receipt| receipt.step == "switch");
    let switched = switched.and_then(|receipt| Switched::deserialize(&receipt.receipt.data).ok());
    switched.unwrap_or_default().behind.into_iter().map(|behind| behind.host).collect()
}

/// What the release must be: as it was staged, or as a rollback found it.
///
/// # Errors
/// No step before this one says.
pub(crate) fn known_head(request: &RunRequest) -> Result<Head> {
    let said = request.receipts.iter().find(|receipt| matches!(receipt.step.as_str(), "stage" | "check"));
    let head = said.and_then(|said| Head::deserialize(&said.receipt.data).ok());
    head.ok_or_else(|| Error::failed("no step before this one said what the release is"))
}

/// `finalize`: removes what is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finalize {
    /// The releases that go, by host.
    pub(crate) going: BTreeMap<String, Vec<String>>,
}

impl Finalize {
    /// Removes them, and lets go of the locks.
    ///
    /// # Errors
    /// Something can't be removed.
    pub(crate) fn run(&self, site: &Site, fleet: &Fleet, live: &str) -> Result<Receipt> {
        let hosts = of_names(site, &self.going);
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            let name = &site.hosts[host];
            let mut words = vec!["tidy", live];
            words.extend(self.going[&name.name].iter().map(String::as_str));
            let tidied = connection.begin(&words)?;
            let unlocked = connection.begin(&["unlock"])?;
            let answers = connection.wait_all(&[tidied, unlocked])?;
            connection.locked = false;
            match answers[0].status {
                0 => Ok((answers[0].values("removed").count(), answers[0].values("leftover").count())),
                _ => Err(told(&answers[0], format!("can't remove old releases from `{name}`"))),
            }
        });
        let round_trips = fleet.round_trips();
        let tidied = together(site, outcomes)?;
        let removed: usize = tidied.iter().map(|(removed, _)| removed).sum();
        let leftovers: usize = tidied.iter().map(|(_, leftovers)| leftovers).sum();
        let mut words = Vec::new();
        if removed > 0 {
            words.push(format!("removed {} releases", grouped(removed as u64)));
        }
        if leftovers > 0 {
            words.push(format!("{} leftovers of runs that died", grouped(leftovers as u64)));
        }
        words.push(format!("{round_trips} round trips a host"));
        let outcome = if removed + leftovers > 0 { Outcome::Changed } else { Outcome::Unchanged };
        Ok(Receipt::new(outcome, words.join(", ")).fact("round_trips", round_trips))
    }
}

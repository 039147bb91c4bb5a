//! `build` and `stage`: makes the release, and brings it to every host.

use pop_deploy_plugin_api::{
    Error, ErrorKind, Process, Result, Session,
    protocol::{Check, CheckStatus, Outcome, Receipt, RunRequest, Step, Undo},
    tree::Root,
    words::{bytes, counted, grouped},
};
use serde::{Deserialize, Serialize};

use super::named;
use crate::{
    fleet::{Again, Fleet, Hold, at_once, count, joined, together},
    manifest::Head,
    origin::Origin,
    prepared::{self, Prepared},
    site::Site,
    source,
    stage::{self, Progress, Staged, Staging},
    survey::Survey,
};

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
    first_failure(vec![source::folder(site)])?;
    let prepared = prepared::prepare(site, &request.release, session)?;
    first_failure(source::judge(site, &prepared))?;
    let files = counted(prepared.manifest.files.len(), "file");
    let receipt = Receipt::new(Outcome::Changed, files);
    Ok((receipt.data(Built { source: prepared.tree.digest() }), prepared))
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
                first_failure(vec![source::folder(site)])?;
                prepared::prepare(site, &request.release, session)?
            }
        };
        if wanted.is_some_and(|wanted| wanted != prepared.tree.digest()) {
            return Err(Error::failed(format!(
                "the source `{}` changed since the plan",
                site.source.display()
            ))
            .hint("deploy again; nothing else may write to the source meanwhile"));
        }
        first_failure(source::judge(site, &prepared))?;
        // The hosts of the plan and no others: a run that is resumed looked again, and may have found one more or one less.
        let planned = named(site, &self.hosts).into_iter();
        let looked = planned
            .map(|host| (host, surveys[host].as_ref().map(|survey| (host, survey)).map_err(Error::clone)));
        let surveys = together(site, looked.collect())?;
        prepared::find_ways(site, fleet, &surveys, &mut prepared)?;
        let total = surveys.iter().map(|(_, survey)| prepared.way(survey).bytes).sum();
        let progress = Progress::begin(session, total);
        let root = Root::open(&site.source)?;
        let hosts: Vec<_> = surveys.iter().map(|(host, _)| *host).collect();
        let wires = at_once(site, &hosts);
        let staging = Staging { site, prepared: &prepared, progress: &progress, root: &root, wires, session };
        let outcomes = fleet.each(site, &hosts, Hold::Locked, Again::Yes, |host, connection| {
            staging.on(host, means.surveys[host].as_ref().map_err(Error::clone)?, connection)
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
    pub(crate) fn undo(&self, site: &Site, fleet: &Fleet, id: &str, session: &Session) -> Result<Undo> {
        let origin = Origin::of(session);
        let outcomes =
            fleet.each(site, &named(site, &self.hosts), Hold::Locked, Again::Yes, |host, connection| {
                stage::unstage(&site.hosts[host], id, &origin, connection)
            });
        let mut left = Left::default();
        let mut failed = Vec::new();
        for (host, outcome) in outcomes {
            let name = || site.hosts[host].name.clone();
            match outcome {
                Ok(there) => left.removed += usize::from(there),
                Err(_) if !fleet.is_connected(host) => left.unreachable.push(name()),
                Err(error) if error.kind == ErrorKind::Locked => left.locked.push(name()),
                Err(error) => failed.push((host, error)),
            }
        }
        if !failed.is_empty() {
            return Err(joined(site, failed));
        }
        Ok(match left.words(id) {
            words if words.is_empty() => Undo::Nothing,
            summary => Undo::Undone { summary },
        })
    }
}

/// What became of a release that was taken away, where nothing failed.
#[derive(Debug, Default)]
struct Left {
    /// From how many hosts it was removed.
    removed: usize,
    unreachable: Vec<String>,
    locked: Vec<String>,
}

impl Left {
    fn words(&self, id: &str) -> String {
        let left = |hosts: &[String], why: &str| {
            let why = format!("{} {why}: the next deployment there tidies up", hosts.join(", "));
            (!hosts.is_empty()).then_some(why)
        };
        let removed =
            (self.removed > 0).then(|| format!("removed release {id} from {}", count(self.removed)));
        let unreachable = left(&self.unreachable, "can't be reached");
        let locked = left(&self.locked, "can't be locked, since a run is at work there");
        [removed, unreachable, locked].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn staged_receipt(staged: &[Staged], head: &Head) -> Receipt {
    let sum = |part: fn(&Staged) -> u64| staged.iter().map(part).sum::<u64>();
    let sent = counted(staged.iter().map(|one| one.sent).sum(), "file");
    let [bytes, linked] = [bytes(sum(|one| one.bytes)), grouped(sum(|one| one.linked as u64))];
    let summary = format!("{sent} sent ({bytes}), {linked} linked");
    let receipt = Receipt::new(Outcome::Changed, summary);
    receipt.fact("wire_bytes", sum(|one| one.wire)).data(head)
}

/// The first failed check as an error, for what could only be checked on the way.
fn first_failure(checks: Vec<Check>) -> Result<()> {
    match checks.into_iter().find(|check| check.status == CheckStatus::Fail) {
        Some(check) => Err(Error { hint: check.hint, ..Error::failed(check.message) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_locked_is_not_said_to_be_out_of_reach() {
        let [web1, web2] = ["web1", "web2"].map(str::to_owned);
        let left = Left { removed: 2, unreachable: Vec::new(), locked: vec![web1, web2] };
        let words = "removed release id from 2 hosts; web1, web2 can't be locked, since a run is at work there: \
                     the next deployment there tidies up";
        assert_eq!(left.words("id"), words);
        assert_eq!(Left::default().words("id"), "");
    }
}

//! The plan of a deployment.

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::{Change, Check, CheckStatus, Command, Effect, Note, Phase, Plan, Release, Step},
    tree::{Tree, now},
    words::{counted, grouped},
};

use crate::{
    checks,
    config::Site,
    diff::{Diff, Live},
    inspect::inspect,
    manifest::{FORMAT, Head, Manifest, heads},
    retention::surplus,
    stage::Prepared,
    steps::{Finalize, Locking, Stage, Verify},
    switch::Switch,
    webroot::{Current, Webroot, check_id},
};

/// Walks the source and compares it with what is live.
///
/// # Errors
/// The source or the live release can't be read.
pub(crate) fn prepare(site: &Site, webroot: &Webroot, current: &Current) -> Result<Prepared> {
    let (tree, live) = rayon::join(|| walk(site), || live(webroot, current));
    let (tree, live) = (tree?, live?);
    let diff = Diff::of(&site.source, &tree, live.as_ref())?;
    Ok(Prepared { tree, live, diff })
}

/// Walks the source and judges it.
pub(crate) fn walk(site: &Site) -> Result<Tree> {
    let mut tree = Tree::walk(&site.source, &site.skip)?;
    tree.judge_links(&site.source);
    tree.judge_case();
    Ok(tree)
}

/// The live release, where it is one of ours, its folder is there, and its manifest tells what is in it.
pub(crate) fn live(webroot: &Webroot, current: &Current) -> Result<Option<Live>> {
    let manifest = match current {
        Current::Link(_) if !webroot.current().is_dir() => None,
        Current::Link(id) => Manifest::known(webroot, id)?,
        Current::Folder(_) => match current.release(&heads(webroot)?) {
            Some(head) => Manifest::known(webroot, &head.release.id)?,
            None => None,
        },
        Current::Absent | Current::Foreign(_) => None,
    };
    let Some(manifest) = manifest else { return Ok(None) };
    let inspection = inspect(&webroot.current(), &manifest, None)?;
    Ok(Some(Live { manifest, inspection }))
}

/// What the source must pass, and the diff with what is live; the same before and after a build.
pub(crate) fn judge(site: &Site, webroot: &Webroot, prepared: &Prepared) -> Vec<Check> {
    let Prepared { tree, live, diff } = prepared;
    let mut checks = checks::source(site, tree);
    checks.extend(checks::space(webroot, tree, diff));
    checks.extend(live.as_ref().map(|live| checks::max_delete(site, diff, live)));
    checks
}

/// Plans to make `release` of the source as it is now, and the preparation for it where there is a source.
///
/// # Errors
/// Something can't be read.
pub(crate) fn plan(
    site: &Site,
    webroot: &Webroot,
    release: &Release,
    session: &Session,
) -> Result<(Plan, Option<Prepared>)> {
    check_id(&release.id)?;
    let current = webroot.look()?;
    let mut checked = checks::webroot(webroot, &current, session);
    checked.extend(checks::lock(webroot)?);
    let astray = checks::astray(webroot, &current)?;
    let folder = checks::source_folder(site);
    let prepared = match folder.status {
        CheckStatus::Pass => Some(prepare(site, webroot, &current)?),
        _ => None,
    };
    let mut of_source = match &prepared {
        Some(prepared) => judge(site, webroot, prepared),
        None => vec![folder],
    };
    if let Some(maker) = site.made_by() {
        of_source.iter_mut().for_each(|check| leave_to(maker, check));
    }
    checked.extend(of_source);
    let live = match &prepared {
        Some(prepared) => prepared.live.as_ref(),
        None => None,
    };
    checked.extend(live.map(checks::live_tree));
    checked.extend(astray.clone());
    checked.extend(checks::unused(webroot, &release.id));
    let plan = Plan {
        identity: webroot.identity(),
        fingerprint: fingerprint(site, prepared.as_ref()),
        live: live.map(|live| live.manifest.head.release.clone()),
        steps: if checks::any_failed(&checked) {
            Vec::new()
        } else {
            steps(site, webroot, release, &current, prepared.as_ref())?
        },
        changes: changes(webroot, release, &current, prepared.as_ref(), astray.as_ref()),
        unchecked: unchecked(site, &current, live, astray.as_ref()),
        checked,
        summary: prepared.as_ref().map_or_else(String::new, |prepared| prepared.diff.summary()),
        ..Plan::default()
    };
    Ok((plan, prepared))
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
fn fingerprint(site: &Site, prepared: Option<&Prepared>) -> String {
    let source = prepared.filter(|_| site.made_by().is_none()).map(|prepared| prepared.tree.digest());
    let inputs = format!("{:?} {} {source:?}", site.config, site.base.display());
    blake3::hash(inputs.as_bytes()).to_hex().to_string()
}

fn steps(
    site: &Site,
    webroot: &Webroot,
    release: &Release,
    current: &Current,
    prepared: Option<&Prepared>,
) -> Result<Vec<Step>> {
    let id = &release.id;
    let live = prepared.and_then(|prepared| prepared.live.as_ref());
    let mut steps = vec![Locking::new(webroot, current)?.step(webroot)];
    if let Some(argv) = &site.config.build {
        let command = Command::new(argv);
        let mut build = Step::new("build", Phase::Build, Effect::Maybe, format!("Building with {command}"))
            .reason("the config has a `build` command");
        build.commands.push(command);
        steps.push(build);
    }
    steps.push(stage_step(site, webroot, id, prepared));
    let before = live.map(|live| live.manifest.head.release.id.clone());
    let switch = Switch { from: current.clone(), park: park(webroot, id, current, before.as_deref()) };
    steps.push(switch_step(webroot, id, &switch));
    steps.push(Verify { before: before.clone() }.step(site));
    steps.push(finalize_step(site, webroot, release, before)?);
    Ok(steps)
}

fn stage_step(site: &Site, webroot: &Webroot, id: &str, prepared: Option<&Prepared>) -> Step {
    let maker = site.made_by();
    let mut step = match prepared {
        Some(Prepared { tree, diff, .. }) if maker.is_none() => {
            let (files, new) = (counted(tree.files.len(), "file"), grouped(diff.new_files() as u64));
            Step::new("stage", Phase::Stage, Effect::Create, format!("Staging {files} ({new} changed)"))
                .reason(diff.summary())
        }
        _ => {
            let maker = maker.unwrap_or("the build");
            Step::new("stage", Phase::Stage, Effect::Maybe, format!("Staging what {maker} left"))
                .reason(format!("only {maker} can tell which files there are"))
        }
    };
    let paths = [webroot.temporary(id), webroot.release(id), webroot.manifest(id)];
    step.creates = paths.iter().map(|path| path.display().to_string()).collect();
    step.data(Stage { source: prepared.filter(|_| maker.is_none()).map(|prepared| prepared.tree.digest()) })
}

/// The step that makes the release `id` live.
pub(crate) fn switch_step(webroot: &Webroot, id: &str, switch: &Switch) -> Step {
    let effect = if switch.from == Current::Absent { Effect::Create } else { Effect::Replace };
    let reason = match (&switch.from, &switch.park) {
        (Current::Folder(_), Some(park)) => {
            format!("`current` is a folder: exchanged in one go, and kept as releases/{park}")
        }
        (from, _) => format!("`current` is {from}"),
    };
    let mut step =
        Step::new("switch", Phase::Switch, effect, format!("Switching to release {id}")).reason(reason);
    step.creates = vec![webroot.current().display().to_string()];
    step.creates.extend(switch.park.iter().map(|park| webroot.release(park).display().to_string()));
    step.data(switch)
}

/// The name that a real folder gets when it gives way to `id`: its release's, or a new one for somebody else's.
pub(crate) fn park(webroot: &Webroot, id: &str, current: &Current, live: Option<&str>) -> Option<String> {
    if !matches!(current, Current::Folder(_)) {
        return None;
    }
    let others = (1_u32..).map(|number| match number {
        1 => format!("before-{id}"),
        _ => format!("before-{id}-{number}"),
    });
    let mut names = live.map(str::to_owned).into_iter().chain(others);
    names.find(|name| webroot.release(name).symlink_metadata().is_err())
}

fn finalize_step(site: &Site, webroot: &Webroot, release: &Release, before: Option<String>) -> Result<Step> {
    let keep = site.config.keep.get();
    let mut heads = heads(webroot)?;
    let made_at = now() / 1_000_000;
    let new = Head { format: FORMAT, release: release.clone(), made_at, verified_at: Some(made_at), root: 0 };
    heads.insert(0, new.clone());
    let going = surplus(&heads, &new, before.as_deref(), keep);
    let (effect, title) = match going.as_slice() {
        [] => (Effect::None, "Keeping all releases".to_owned()),
        [one] => (Effect::Delete, format!("Removing release {}", one.release.id)),
        many => (Effect::Delete, format!("Removing {} old releases", grouped(many.len() as u64))),
    };
    let step = Step::new("finalize", Phase::Finalize, effect, title);
    Ok(step.reason(format!("`keep` is {keep}")).data(Finalize { keep, before }))
}

fn changes(
    webroot: &Webroot,
    release: &Release,
    current: &Current,
    prepared: Option<&Prepared>,
    astray: Option<&Check>,
) -> Vec<Change> {
    let Some(Prepared { tree, live, diff }) = prepared else { return Vec::new() };
    let mut changes = diff.changes(tree, live.as_ref());
    if live.is_none() && matches!(current, Current::Link(_) | Current::Folder(_)) {
        let id = &release.id;
        let detail = match astray {
            Some(_) => format!("{current} that can't be compared with; replaced by release {id}"),
            None => format!("{current} that no deployment made; kept, and replaced by release {id}"),
        };
        changes.insert(
            0,
            Change { effect: Effect::Replace, what: webroot.current().display().to_string(), detail },
        );
    }
    changes
}

fn unchecked(site: &Site, current: &Current, live: Option<&Live>, astray: Option<&Check>) -> Vec<Note> {
    let note = |what: &str, why: &str| Note { what: what.to_owned(), why: why.to_owned() };
    let mut notes = Vec::new();
    match &site.config.url {
        None => notes.push(note("public pages", "no `url` in the config")),
        Some(_) => notes.push(note("public pages", "they are fetched after the switch")),
    }
    if let Some(maker) = site.made_by() {
        notes.push(note(
            "what is deployed",
            &format!("{maker} may change the source first; the files listed are those that are there now"),
        ));
    }
    if live.is_none() && astray.is_none() && matches!(current, Current::Link(_) | Current::Folder(_)) {
        notes
            .push(note("what is live", "no deployment of ours made it, so there is nothing to compare with"));
    }
    notes
}

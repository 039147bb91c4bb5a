//! The plan of a rollback: the release is there, so it is checked and switched to.

use std::path::{Path, PathBuf};

use pop_deploy_plugin_api::{
    Error, ErrorKind, Result, Session,
    protocol::{Change, Effect, Note, Outcome, PastRelease, Phase, Plan, Receipt, Step},
    words::{bytes, grouped},
};

use crate::{
    checks,
    config::Site,
    deploy::{park, switch_step},
    diff::summary,
    inspect::{Inspection, inspect},
    manifest::{Entry, Head, Manifest, heads},
    steps::{Locking, Verify},
    switch::Switch,
    webroot::{Current, Webroot, check_id},
};

/// Plans to make the release `to` live again.
///
/// # Errors
/// [`ErrorKind::NoRelease`] when it isn't there, or isn't whole.
pub(crate) fn plan(site: &Site, webroot: &Webroot, to: &PastRelease, session: &Session) -> Result<Plan> {
    let id = &to.release.id;
    check_id(id)?;
    let identity = webroot.identity();
    let current = webroot.look()?;
    let heads = heads(webroot)?;
    let live = current.release(&heads).cloned();
    let verify = Verify { before: live.as_ref().map(|head| head.release.id.clone()) };
    let before = verify.read_before(webroot)?;
    let (manifest, _) = whole(webroot, id, &folder(webroot, id, &current, &heads), before.as_ref())?;
    let mut checked = checks::webroot(webroot, &current, session);
    checked.extend(checks::lock(webroot)?);
    checked.push(checks::release_tree(&manifest));
    let switch =
        Switch { from: current.clone(), park: park(webroot, id, &current, verify.before.as_deref()) };
    let (changes, summary) = differences(before.as_ref(), &manifest);
    let check = Step::new("check", Phase::Preflight, Effect::None, format!("Checking release {id}"))
        .reason("nothing is touched unless it is there and whole")
        .data(&verify);
    let steps = vec![
        Locking::new(webroot, &current)?.step(webroot),
        check,
        switch_step(webroot, id, &switch),
        verify.step(site),
    ];
    Ok(Plan {
        identity,
        fingerprint: blake3::hash(format!("{id} {:?}", site.config).as_bytes()).to_hex().to_string(),
        live: live.map(|head| head.release),
        steps: if checks::any_failed(&checked) { Vec::new() } else { steps },
        changes,
        checked,
        unchecked: match &site.config.url {
            Some(_) => {
                vec![Note { what: "public pages".into(), why: "they are fetched after the switch".into() }]
            }
            None => vec![Note { what: "public pages".into(), why: "no `url` in the config".into() }],
        },
        summary,
        ..Plan::default()
    })
}

/// Runs `check`: looks once more, now that nobody else can change anything.
///
/// # Errors
/// [`ErrorKind::NoRelease`], before anything was touched.
pub(crate) fn check(webroot: &Webroot, id: &str, planned: &Verify) -> Result<Receipt> {
    let before = planned.read_before(webroot)?;
    let folder = folder(webroot, id, &webroot.look()?, &heads(webroot)?);
    let (manifest, _) = whole(webroot, id, &folder, before.as_ref())?;
    Ok(Receipt::new(
        Outcome::Unchanged,
        format!("{} files are as they were", grouped(manifest.files.len() as u64)),
    ))
}

/// Looks whether the release `id` lies in `folder`, whole.
fn whole(
    webroot: &Webroot,
    id: &str,
    folder: &Path,
    before: Option<&Manifest>,
) -> Result<(Manifest, Inspection)> {
    let gone = |why: String| {
        Error::new(ErrorKind::NoRelease, why).hint("choose another release, or deploy that version again")
    };
    let Some(manifest) = Manifest::read(webroot, id)? else {
        return Err(gone(format!("release {id} isn't kept at `{}`", webroot.base.display())));
    };
    let inspection = inspect(folder, &manifest, before)?;
    if !inspection.differences.is_empty() {
        return Err(gone(format!("release {id} isn't whole any more: {}", inspection.words())));
    }
    Ok((manifest, inspection))
}

/// Where the release `id` lies: under its name, or as `current` itself.
fn folder(webroot: &Webroot, id: &str, current: &Current, heads: &[Head]) -> PathBuf {
    match current.release(heads) {
        Some(live) if live.release.id == id => webroot.current(),
        _ => webroot.release(id),
    }
}

/// What visitors will see change, and its sum.
fn differences(before: Option<&Manifest>, after: &Manifest) -> (Vec<Change>, String) {
    let change =
        |effect, entry: &Entry| Change { effect, what: entry.path.clone(), detail: bytes(entry.size) };
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for entry in &after.files {
        match before.and_then(|before| before.file(&entry.path)) {
            None => added.push(change(Effect::Create, entry)),
            Some(old) if (old.hash, old.mode) != (entry.hash, entry.mode) => {
                changed.push(change(Effect::Update, entry))
            }
            Some(_) => {}
        }
    }
    let before = before.map_or(&[][..], |before| &before.files);
    let removed: Vec<_> = before
        .iter()
        .filter(|entry| after.file(&entry.path).is_none())
        .map(|entry| change(Effect::Delete, entry))
        .collect();
    let unchanged = after.files.len() - added.len() - changed.len();
    let summary = summary(added.len(), changed.len(), removed.len(), unchanged);
    (added.into_iter().chain(changed).chain(removed).collect(), summary)
}

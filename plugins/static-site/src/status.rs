//! What is live, and what is kept: for people who look, now or after a failure.

use pop_deploy_plugin_api::{
    Result, Session,
    protocol::{Check, CheckStatus, Diagnostic, Release, Status},
};
use serde_json::json;

use crate::{
    checks, deploy,
    manifest::heads,
    webroot::{Current, Webroot},
};

/// Reads the web root.
///
/// # Errors
/// It can't be read.
pub(crate) fn read(webroot: &Webroot, session: &Session) -> Result<Status> {
    let current = webroot.look()?;
    let live = deploy::live(webroot, &current)?;
    let mut checks = checks::webroot(webroot, &current, session);
    let astray = checks::astray(webroot, &current)?;
    match (&live, &current) {
        (Some(live), _) => {
            checks.push(Check::new("live", CheckStatus::Pass, "a release is live"));
            checks.push(drift(checks::live_tree(live)));
        }
        (None, Current::Absent) => {
            checks.push(Check::new("live", CheckStatus::Skip, "nothing was deployed yet"));
        }
        (None, _) if let Some(astray) = astray => checks.push(drift(astray)),
        (None, _) => {
            checks.push(Check::new("live", CheckStatus::Warn, "what is live is no release of this target"));
        }
    }
    Ok(Status { identity: webroot.identity(), live: live.map(|live| live.manifest.head.release), checks })
}

/// For a deployment, what somebody did to the live files is worth a look; whoever asks for the status asks for this.
fn drift(mut check: Check) -> Check {
    if check.status == CheckStatus::Warn {
        check.status = CheckStatus::Fail;
        check.hint = Some("deploy again to make it right, or find out who writes there".to_owned());
    }
    check
}

/// The releases whose folder is there.
///
/// # Errors
/// The bookkeeping can't be read.
pub(crate) fn kept(webroot: &Webroot) -> Result<Vec<Release>> {
    let (current, heads) = (webroot.look()?, heads(webroot)?);
    let live = current.release(&heads).map(|head| head.release.id.clone());
    let mut kept = Vec::new();
    for head in heads {
        let release = head.release;
        if live.as_ref() == Some(&release.id) || webroot.folder_at(&webroot.release(&release.id))?.is_some() {
            kept.push(release);
        }
    }
    Ok(kept)
}

/// Lists the releases with their state.
///
/// # Errors
/// The bookkeeping can't be read.
pub(crate) fn diagnose(webroot: &Webroot) -> Result<Vec<Diagnostic>> {
    let (current, heads) = (webroot.look()?, heads(webroot)?);
    let live = current.release(&heads).map(|head| head.release.id.clone());
    let releases: Vec<_> = heads
        .iter()
        .map(|head| {
            let folder = webroot.release(&head.release.id);
            let is_live = live.as_ref() == Some(&head.release.id);
            json!({
                "release": head.release,
                "live": is_live,
                "verified": head.verified_at.is_some(),
                "made_at": at(head.made_at),
                "verified_at": head.verified_at.map(at),
                "there": is_live || webroot.folder_at(&folder).is_ok_and(|found| found == Some(head.root)),
            })
        })
        .collect();
    let data = json!({ "current": current.to_string(), "releases": releases });
    Ok(vec![Diagnostic { source: "releases".to_owned(), data }])
}

fn at(milliseconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

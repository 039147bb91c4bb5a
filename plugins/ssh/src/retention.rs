//! Which releases of a host may go: never what is live, never the one before it, never what isn't ours.

use crate::survey::Kept;

/// The releases that may go when `live` is live and `keep` verified ones stay, newest first.
///
/// Releases that never were verified are leftovers of failed runs: they don't count, and go. The newest verified one of
/// another version stays, which is where a rollback goes, and so does `before`, what was live before.
pub(crate) fn surplus(kept: &[Kept], live: &str, before: Option<&str>, keep: usize) -> Vec<String> {
    let mut others: Vec<_> = kept.iter().filter(|kept| kept.head.release.id != live).collect();
    others.sort_by_key(|kept| std::cmp::Reverse(kept.verified_at));
    let version = |id: &str| {
        let found = kept.iter().find(|kept| kept.head.release.id == id);
        found.and_then(|kept| kept.head.release.version.clone())
    };
    let live_version = version(live);
    let verified = || others.iter().filter(|kept| kept.verified_at.is_some());
    let next = verified().next().map(|kept| kept.head.release.id.as_str());
    let other_version = verified().find(|kept| kept.head.release.version != live_version);
    let other_version = other_version.map(|kept| kept.head.release.id.as_str());
    // The live one is the first of those that stay.
    let mut counted = 1;
    let mut going = Vec::new();
    for other in &others {
        let id = other.head.release.id.as_str();
        counted += usize::from(other.verified_at.is_some());
        let stays = other.verified_at.is_some() && counted <= keep;
        if !stays && ![before, next, other_version].contains(&Some(id)) {
            going.push(id.to_owned());
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use pop_deploy_plugin_api::protocol::Release;

    use super::*;
    use crate::{manifest::Head, origin::Origin};

    fn kept(id: &str, version: &str, verified_at: Option<i64>) -> Kept {
        let release = Release { id: id.to_owned(), version: Some(version.to_owned()), commit: None };
        Kept { head: Head::to_be_made(&release, Origin::default()), verified_at }
    }

    #[test]
    fn failed_releases_go_without_counting_and_the_way_back_stays() {
        let all = [
            kept("a", "1", Some(1)),
            kept("b", "2", Some(2)),
            kept("failed", "3", None),
            kept("c", "3", Some(3)),
            kept("d", "3", Some(4)),
        ];
        assert_eq!(surplus(&all, "d", Some("c"), 1), ["a", "failed"]);
        assert_eq!(surplus(&all, "d", Some("c"), 3), ["a", "failed"]);
        assert_eq!(surplus(&all, "d", Some("a"), 2), ["failed"]);
        assert_eq!(surplus(&all, "d", None, 9), ["failed"]);
    }
}

//! Which releases of a host may go: never what is live, never where a rollback could go, never what isn't ours.

use pop_deploy_plugin_api::protocol::Release;

use crate::survey::Kept;

/// Where hosts that keep these releases could go back to together once `release` is live, and `silent` places with them,
/// which can't be asked: the newest that each of them has verified, and of another version the one that was deployed last, which
/// is what a rollback takes: who went back meanwhile has verified an older one since.
pub(crate) fn ways_back<'k>(hosts: &[&'k [Kept]], silent: &[String], release: &Release) -> Vec<&'k str> {
    let [first, others @ ..] = hosts else { return Vec::new() };
    let everywhere = |one: &&Kept| {
        let has =
            |host: &&[Kept]| host.iter().any(|kept| kept.verified_at.is_some() && kept.id() == one.id());
        let is_there = |place: &String| !one.lacking.contains(place);
        let counts = one.id() != release.id && one.verified_at.is_some();
        counts && others.iter().all(has) && silent.iter().all(is_there)
    };
    let mut common: Vec<_> = first.iter().filter(everywhere).collect();
    common.sort_by(|one, other| other.when().cmp(&one.when()));
    let of_other_versions = common.iter().filter(|kept| kept.head.release.version != release.version);
    let deployed_last = of_other_versions.max_by_key(|kept| kept.id());
    common.first().into_iter().chain(deployed_last).map(|kept| kept.id()).collect()
}

/// The releases that may go when `live` is live and `keep` verified ones stay, newest first. Those `staying` never go.
///
/// Releases that never were verified are leftovers of failed runs: they don't count, and go.
pub(crate) fn surplus(kept: &[Kept], live: &str, staying: &[&str], keep: usize) -> Vec<String> {
    let mut others: Vec<_> = kept.iter().filter(|kept| kept.id() != live).collect();
    others.sort_by(|one, other| other.when().cmp(&one.when()));
    // The live one is the first of those that stay.
    let mut counted = 1;
    let mut going = Vec::new();
    for other in others {
        counted += usize::from(other.verified_at.is_some());
        let stays = other.verified_at.is_some() && counted <= keep;
        if !stays && !staying.contains(&other.id()) {
            going.push(other.id().to_owned());
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifest::Head, origin::Origin};

    fn release(id: &str, version: &str) -> Release {
        Release { id: id.to_owned(), version: Some(version.to_owned()), commit: None }
    }

    fn kept(id: &str, version: &str, verified_at: Option<i64>) -> Kept {
        Kept {
            head: Head::to_be_made(&release(id, version), Origin::default()),
            verified_at,
            lacking: Vec::new(),
            canary: None,
        }
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
        assert_eq!(ways_back(&[&all], &[], &release("d", "3")), ["c", "b"]);
        assert_eq!(surplus(&all, "d", &["c", "b"], 1), ["a", "failed"]);
        assert_eq!(surplus(&all, "d", &["c", "b"], 3), ["a", "failed"]);
        assert_eq!(surplus(&all, "d", &["a"], 3), ["failed"]);
        assert_eq!(surplus(&all, "d", &[], 9), ["failed"]);
    }

    #[test]
    fn where_all_hosts_can_go_back_to_stays_though_some_have_newer_ones() {
        let [one, two] = [kept("a", "1", Some(1)), kept("b", "2", Some(2))];
        let (ahead, behind) = ([one.clone(), two.clone()], [one.clone()]);
        let new = release("c", "3");
        assert_eq!(ways_back(&[&ahead, &behind], &[], &new), ["a", "a"]);
        assert_eq!(surplus(&ahead, "c", &["b", "a"], 1), [""; 0]);
        assert_eq!(ways_back(&[&ahead, &behind, &[]], &[], &new), [""; 0]);
        let unverified = [Kept { verified_at: None, ..one }];
        assert_eq!(ways_back(&[&ahead, &unverified], &[], &new), [""; 0]);
        assert_eq!(ways_back(&[&ahead, &ahead], &[], &new), ["b", "b"]);
        let in_one_second = [kept("a", "1", Some(1)), kept("b", "2", Some(1))];
        assert_eq!(ways_back(&[&in_one_second], &[], &new), ["b", "b"]);
    }

    #[test]
    fn what_was_gone_back_from_stays_since_a_rollback_goes_there() {
        let gone_back = [kept("a", "1", Some(3)), kept("b", "2", Some(2))];
        assert_eq!(ways_back(&[&gone_back], &[], &release("c", "3")), ["a", "b"]);
    }

    #[test]
    fn who_cannot_be_asked_has_what_it_had_when_others_verified_it() {
        let one = kept("a", "1", Some(1));
        let two = Kept { lacking: vec!["db:22".to_owned()], ..kept("b", "2", Some(2)) };
        let (all, new) = ([one, two], release("c", "3"));
        assert_eq!(ways_back(&[&all], &["db:22".to_owned()], &new), ["a", "a"]);
        assert_eq!(ways_back(&[&all], &["web:22".to_owned()], &new), ["b", "b"]);
    }
}

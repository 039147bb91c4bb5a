//! Runs that die while they change a service: the next command says what is there and mends it, nothing stays behind, and
//! behind a proxy visitors are served all along.

#![allow(missing_docs, clippy::unwrap_used)]

use assassin::{Aim, Assassin, Victim, When};
use front::{Front, Visitors};
use serde_json::json;
use shop::{Behaviour, Shop};
use swarm::{in_a_swarm, serves, services};

#[path = "support/assassin.rs"]
mod assassin;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/front.rs"]
mod front;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/mod.rs"]
mod support;
#[path = "support/swarm.rs"]
mod swarm;

/// Every way to die, or one that is another with every command.
fn ways(nth: usize) -> &'static [(Victim, When)] {
    match (everything(), nth % 2) {
        (true, _) => &[
            (Victim::Host, When::Before),
            (Victim::Host, When::After),
            (Victim::Worker, When::Before),
            (Victim::Worker, When::After),
        ],
        (false, 1) => &[(Victim::Host, When::After)],
        (false, _) => &[(Victim::Worker, When::Before)],
    }
}

fn everything() -> bool {
    std::env::var_os("POP_DEPLOY_EVERY_DEATH").is_some()
}

fn assassin() -> Assassin {
    Assassin::new(if everything() { Aim::Everything } else { Aim::Services })
}

/// Has a deployment die at each of its commands in turn, and sees to it that version 1 is all there is afterwards.
/// Returns the deaths.
fn die_everywhere(shop: &Shop, assassin: &Assassin) -> Vec<String> {
    let mut deaths = Vec::new();
    for nth in 1.. {
        for (victim, when) in ways(nth) {
            assassin.arm(nth, *victim, *when);
            let said = assassin.deploy(shop, "2");
            assassin.disarm();
            let Some(command) = assassin.struck() else {
                assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
                return deaths;
            };
            let death = format!("{victim:?} {when:?} `{command}`");
            let told = format!("{death}: {:?} {}{}", said.code, said.stdout, said.stderr);
            match (victim, said.code) {
                (Victim::Host, code) => {
                    assert_eq!(code, None, "{told}");
                    assert_eq!(shop.run(&["execute", "--yes", "--version", "2"]).code, Some(7), "{told}");
                    shop.must(&["rollback", "--yes"]);
                }
                // In finalize a failure is a warning: the release is live and good.
                (Victim::Worker, Some(0)) => {
                    assert!((said.stdout + &said.stderr).contains("warning"), "{told}");
                    shop.must(&["rollback", "--yes"]);
                }
                (Victim::Worker, code) => assert!(matches!(code, Some(1 | 8)), "{told}"),
            }
            serves(shop, "1");
            assert_eq!(services(shop).len(), 1, "{death}: {:?}", services(shop));
            shop.must(&["verify"]);
            deaths.push(death);
        }
    }
    deaths
}

#[test]
fn a_run_that_is_killed_anywhere_leaves_one_service_and_visitors_are_served_all_along() {
    let Some(shop) = in_a_swarm("mortal") else { return };
    let (front, assassin) = (Front::open(), assassin());
    let proxy = assassin.behind(front.proxy());
    shop.edit(|config| {
        config["service"]["ports"] = json!([]);
        config["service"]["proxy"] = proxy;
    });
    shop.must_deploy("1", Behaviour::Well);
    let visitors = Visitors::come(front.port, 50);
    let deaths = die_everywhere(&shop, &assassin);
    let visit = visitors.leave();
    assert!(
        visit.failed.is_empty(),
        "{} of {} failed: {:?}, {deaths:?}",
        visit.failed.len(),
        visit.asked,
        visit.failed[0]
    );
    for command in ["service create", "reload", "service rm"] {
        assert!(deaths.iter().any(|death| death.contains(command)), "{command} in {deaths:?}");
    }
}

#[test]
fn an_update_that_is_killed_anywhere_is_mended() {
    let Some(shop) = in_a_swarm("updated") else { return };
    let assassin = assassin();
    shop.must_deploy("1", Behaviour::Well);
    let deaths = die_everywhere(&shop, &assassin);
    assert!(deaths.iter().any(|death| death.contains("service update")), "{deaths:?}");
}

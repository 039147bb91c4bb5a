//! Runs that die between two docker commands, behind a real proxy: visitors are served all along, the next command says
//! what is there and mends it, and no container stays behind.

#![allow(missing_docs, clippy::unwrap_used)]

use assassin::{Aim, Assassin, Victim, When};
use front::{Front, Visitors};
use shop::{Behaviour, Shop};

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

#[test]
fn a_run_that_is_killed_anywhere_is_mended_and_visitors_are_served_all_along() {
    let shop = match Shop::open("mortal") {
        Ok(shop) => shop,
        Err(why) => return support::skipped(why),
    };
    let everything = std::env::var_os("POP_DEPLOY_EVERY_DEATH").is_some();
    let front = Front::open();
    let assassin = Assassin::new(Aim::Everything);
    let proxy = assassin.behind(front.proxy());
    shop.edit(|config| config["run"]["proxy"] = proxy);
    shop.must_deploy("1", Behaviour::Well);
    let (containers, images) = (shop.containers(), shop.images());
    let visitors = Visitors::come(front.port, 50);
    let mut deaths = Vec::new();
    for nth in 1.. {
        let ways: &[_] = match (everything, nth % 2) {
            (true, _) => &[
                (Victim::Host, When::Before),
                (Victim::Host, When::After),
                (Victim::Worker, When::Before),
                (Victim::Worker, When::After),
            ],
            (false, 1) => &[(Victim::Host, When::After)],
            (false, _) => &[(Victim::Worker, When::Before)],
        };
        let mut over = false;
        for (victim, when) in ways {
            assassin.arm(nth, *victim, *when);
            let said = assassin.deploy(&shop, "2");
            assassin.disarm();
            let Some(command) = assassin.struck() else {
                assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
                over = true;
                break;
            };
            let death = format!("{victim:?} {when:?} `{command}`");
            if *victim == Victim::Host {
                assert_eq!(said.code, None, "{death}: {}{}", said.stdout, said.stderr);
                assert_eq!(shop.run(&["execute", "--yes", "--version", "2"]).code, Some(7), "{death}");
                let mended = shop.run(&["rollback", "--yes"]);
                assert_eq!(mended.code, Some(0), "{death}: {}{}", mended.stdout, mended.stderr);
            } else {
                let told = format!("{death}: {:?} {}{}", said.code, said.stdout, said.stderr);
                if said.code == Some(0) {
                    // In finalize a failure is a warning: the release is live and good.
                    assert!(said.stderr.contains("warning") || said.stdout.contains("warning"), "{told}");
                    shop.must(&["rollback", "--yes"]);
                    let kept = shop.containers();
                    let old: Vec<_> = kept.iter().filter(|name| !containers.contains(name)).collect();
                    old.into_iter().for_each(|name| drop(shop.engine.must(&["rm", "--force", name])));
                } else {
                    assert!(matches!(said.code, Some(1 | 8)), "{told}");
                }
            }
            assert_eq!(front.get(), "1", "{death}");
            assert_eq!(shop.containers(), containers, "{death}");
            deaths.push(death);
        }
        if over {
            break;
        }
    }
    let visit = visitors.leave();
    assert!(
        visit.failed.is_empty(),
        "{} of {} failed: {:?}",
        visit.failed.len(),
        visit.asked,
        visit.failed[0]
    );
    assert!(deaths.len() >= 7, "{deaths:?}");
    for command in ["build", "push", "run", "reload", "stop"] {
        assert!(deaths.iter().any(|death| death.contains(command)), "{command} in {deaths:?}");
    }
    drop(images);
}

//! Switches in front of visitors: what they may never see, whatever runs the image.

#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part of it")]
#![allow(clippy::unwrap_used)]

use crate::{
    front::{Front, Visitors},
    shop::{Behaviour, Shop},
};

/// Deploys and goes back `usually` times, or as often as the environment says, then has one release fail before it is
/// live and one after, while visitors come; none of them may be turned away. Says how often it was.
pub fn switch_before_visitors(shop: &Shop, front: &Front, usually: u32) -> u32 {
    let switches = std::env::var("POP_DEPLOY_SWITCHES").map_or(usually, |switches| switches.parse().unwrap());
    shop.must_deploy("0", Behaviour::Well);
    assert_eq!(front.get(), "0");
    let visitors = Visitors::come(front.port, 200);
    for number in 1..=switches {
        shop.must_deploy(&number.to_string(), Behaviour::Well);
        shop.must(&["rollback", "--yes", "--to", &(number - 1).to_string()]);
    }
    let unwell = shop.deploy("9999", Behaviour::Unwell);
    assert_eq!(unwell.code, Some(1), "{}{}", unwell.stdout, unwell.stderr);
    // One that goes live, and is taken back.
    shop.project.hook("pre_verify", "exit 1");
    let back = shop.deploy("8888", Behaviour::Well);
    assert_eq!(back.code, Some(8), "{}{}", back.stdout, back.stderr);
    let visit = visitors.leave();
    visit.all_served();
    let versions = (0..=switches).chain([8888]).map(|number| number.to_string()).collect();
    assert_eq!(visit.seen, versions, "of {} requests", visit.asked);
    shop.must(&["verify"]);
    switches
}

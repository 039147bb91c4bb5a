//! `make bench`: a whole deployment of an image against a shell script that calls the same docker commands one after another.
//!
//! On a real engine with a real registry. The script is written from the plan: its commands, the digest filled in, less those
//! that only a failure needs. Medians; no assertion on time.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark, and its output")]

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/shop.rs"]
mod shop;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod table;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shop::{Behaviour, Shop};
use table::{Goal, compare, head};

const ROUNDS: u32 = 7;
/// What a deployment may take longer than the script: so much, or a twentieth.
const ALLOWANCE: Duration = Duration::from_millis(150);

fn main() {
    let shop = match Shop::open("bench") {
        Ok(shop) => shop,
        Err(why) => return println!("skipped: {why}"),
    };
    shop.fixed_port();
    shop.edit(|config| {
        config["min_ready"] = json!(0);
        config["health"]["interval"] = json!(0.02);
    });
    shop.must_deploy("0", Behaviour::Well);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        shop.dockerfile(&format!("{round}a"), Behaviour::Well);
        let script = script(&shop, &format!("{round}a"));
        theirs.push(timed(|| {
            let status = shop.engine.shell(&script).current_dir(shop.project.path()).status().unwrap();
            assert!(status.success());
        }));
        shop.dockerfile(&format!("{round}b"), Behaviour::Well);
        ours.push(timed(|| drop(shop.must(&["execute", "--yes", "--version", &format!("{round}b")]))));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("\ndocker, an image of one small layer on an engine of this machine; medians of {ROUNDS}\n");
    head();
    let limit = theirs + ALLOWANCE.max(theirs / 20);
    compare(
        "build, push, replace, health",
        ours,
        "a script with the same commands",
        theirs,
        &Goal::Within(limit),
    );
}

/// The commands of the plan as a shell script.
fn script(shop: &Shop, version: &str) -> String {
    let said = shop.must(&["execute", "--dry-run", "--json", "--version", version]);
    let lines = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let plan = lines.filter(|line| line["type"] == "plan").map(|line| line["plan"].clone()).next().unwrap();
    let commands = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|step| step["commands"].as_array().unwrap().clone());
    let mut script = "set -e\n".to_owned();
    for command in commands {
        let argv: Vec<_> =
            command["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let quoted: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
        let line = quoted.join(" ");
        script.push_str(&match argv[1] {
            "logs" => continue,
            // What isn't there yet is no failure.
            "container" => format!("{line} >/dev/null || :\n"),
            "push" if argv[2].ends_with(version) => format!(
                "image={}@$({line} | sed -n 's/.*digest: \\(sha256:[0-9a-f]*\\).*/\\1/p')\n",
                shop.image()
            ),
            _ => format!("{line} >/dev/null\n"),
        });
    }
    script
}

fn quoted(word: &str) -> String {
    match word {
        "<image>" => "\"$image\"".to_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

//! The words that make a service what a spec says, from nothing or from what it is.

use std::collections::BTreeSet;

use pop_deploy_plugin_api::protocol::Command;

use super::{
    port::Port,
    spec::Spec,
    variable::{Variable, variable},
};
use crate::command::{IMAGE, docker};

impl Spec {
    /// The command that makes the service.
    pub(crate) fn create(&self, name: &str) -> Command {
        let mut words = Words::new("create");
        words.option("name", name);
        self.always(&mut words);
        for (name, value) in &self.env {
            words.extend("env", variable(name, value));
        }
        for (name, value) in &self.labels {
            words.option("label", format!("{name}={value}"));
        }
        for port in &self.ports {
            words.option("publish", port.words());
        }
        for network in &self.networks {
            words.option("network", self.network_word(network));
        }
        for constraint in &self.constraints {
            words.option("constraint", constraint);
        }
        words.0.push(self.image_word());
        words.0.extend(self.args.iter().cloned());
        self.finished(words)
    }

    /// The commands that make the service this, from what it is `now` or from nothing.
    pub(crate) fn commands(&self, name: &str, now: Option<&Self>) -> Vec<Command> {
        match now {
            Some(now) => self.updates(name, now),
            None => vec![self.create(name)],
        }
    }

    /// The commands that make the service this, from what it is `now`. Docker takes away, with a port, every other that leads
    /// to the same one inside, and gives none back that it takes: then ports go and come first, while the image is the old one.
    /// To what the last command finds the Swarm itself goes back.
    fn updates(&self, name: &str, now: &Self) -> Vec<Command> {
        let gone: BTreeSet<_> = now.ports.difference(&self.ports).cloned().collect();
        let leads = |a: &Port, b: &Port| (a.target, &a.protocol, &a.mode) == (b.target, &b.protocol, &b.mode);
        let (taken, left): (BTreeSet<_>, BTreeSet<_>) =
            now.ports.difference(&gone).cloned().partition(|port| gone.iter().any(|it| leads(it, port)));
        if taken.is_empty() {
            return vec![self.update(name, now)];
        }
        let ports = |option: &str, ports: Vec<String>| {
            let mut words = Words::new("update");
            ports.into_iter().for_each(|port| words.option(option, port));
            words.0.push(name.to_owned());
            docker(words.0)
        };
        let kept = Self { ports: left.union(&taken).cloned().collect(), ..now.clone() };
        vec![
            ports("publish-rm", gone.iter().map(Port::inside).collect()),
            ports("publish-add", taken.iter().map(Port::words).collect()),
            self.update(name, &kept),
        ]
    }

    fn update(&self, name: &str, now: &Self) -> Command {
        let mut words = Words::new("update");
        words.option("image", self.image_word());
        self.always(&mut words);
        if self.args != now.args {
            words.option("args", Command::new(self.args.iter().cloned()).to_string());
        }
        for (name, value) in &self.env {
            // Of a secret nobody knows whether its value is still the same.
            if matches!(value, Variable::Secret(_)) || now.env.get(name) != Some(value) {
                words.extend("env-add", variable(name, value));
            }
        }
        let gone = now
            .env
            .iter()
            .filter(|(name, value)| **value != Variable::Theirs && !self.env.contains_key(*name));
        words.gone("env-rm", gone.map(|(name, _)| name));
        for (name, value) in self.labels.iter().filter(|(name, value)| now.labels.get(*name) != Some(value)) {
            words.option("label-add", format!("{name}={value}"));
        }
        words.gone("label-rm", now.labels.keys().filter(|name| !self.labels.contains_key(*name)));
        for port in self.ports.difference(&now.ports) {
            words.option("publish-add", port.words());
        }
        for port in now.ports.difference(&self.ports) {
            words.option("publish-rm", port.inside());
        }
        for network in self.networks.difference(&now.networks) {
            words.option("network-add", self.network_word(network));
        }
        words.gone("network-rm", now.networks.difference(&self.networks));
        words.gone("constraint-add", self.constraints.difference(&now.constraints));
        words.gone("constraint-rm", now.constraints.difference(&self.constraints));
        words.0.push(name.to_owned());
        self.finished(words)
    }

    fn always(&self, words: &mut Words) {
        words.option("replicas", self.replicas.to_string());
        words.option("endpoint-mode", &self.endpoint_mode);
        words.option("limit-memory", self.memory.to_string());
        words.option(
            "limit-cpu",
            format!("{}.{:09}", self.nano_cpus / 1_000_000_000, self.nano_cpus % 1_000_000_000),
        );
        words.option("stop-grace-period", format!("{}ms", self.stop_grace_ms));
        words.option("update-order", &self.order);
        words.option("update-failure-action", "rollback");
        words.option("update-parallelism", self.parallelism.to_string());
        words.option("update-delay", format!("{}ms", self.delay_ms));
        words.option("update-monitor", format!("{}ms", self.monitor_ms));
        words.option("update-max-failure-ratio", self.max_failure_ratio.to_string());
        words.option("rollback-order", &self.order);
    }

    fn network_word(&self, network: &str) -> String {
        match &self.alias {
            Some(alias) => format!("name={network},alias={alias}"),
            None => network.to_owned(),
        }
    }

    fn image_word(&self) -> String {
        self.image.clone().unwrap_or_else(|| format!("<{IMAGE}>"))
    }

    fn finished(&self, words: Words) -> Command {
        match self.image {
            Some(_) => docker(words.0),
            None => docker(words.0).hole(IMAGE),
        }
    }
}

/// The words of a `docker service` command.
struct Words(Vec<String>);

impl Words {
    fn new(verb: &str) -> Self {
        let words = ["service", verb, "--detach", "--quiet", "--no-resolve-image", "--with-registry-auth"];
        Self(words.map(str::to_owned).to_vec())
    }

    fn option(&mut self, name: &str, value: impl AsRef<str>) {
        self.0.push(format!("--{name}={}", value.as_ref()));
    }

    fn extend(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.option(name, value);
        }
    }

    fn gone<'s>(&mut self, name: &str, values: impl IntoIterator<Item = &'s String>) {
        for value in values {
            self.option(name, value);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{
            spec::tests::found,
            variable::{Hashes, hash},
        },
        *,
    };

    fn words(command: &Command) -> Vec<&str> {
        let always = ["--limit", "--stop-grace", "--update-", "--rollback-", "--replicas", "--endpoint-mode"];
        let words = command.argv.iter().map(String::as_str).skip(7);
        words.filter(|word| !always.iter().any(|usual| word.starts_with(usual))).collect()
    }

    #[test]
    fn the_way_back_undoes_every_word_of_the_way_there() {
        let before = found();
        let mut after = before.clone().with("shop@sha256:2");
        after.env = BTreeMap::from([("A".to_owned(), Variable::Text("2".to_owned()))]);
        after.labels.remove("team");
        after.args = vec!["serve".to_owned(), "it's --all".to_owned()];
        after.ports.clear();
        after.networks = BTreeSet::from(["back".to_owned()]);
        after.constraints.clear();
        assert_eq!(
            words(&after.update("shop", &before)),
            [
                "--image=shop@sha256:2",
                "--args=serve 'it'\\''s --all'",
                "--env-add=A=2",
                "--env-rm=TOKEN",
                "--label-rm=team",
                "--publish-rm=target=80,protocol=tcp,mode=host",
                "--network-add=back",
                "--network-rm=front",
                "--constraint-rm=node.role == manager",
                "shop",
            ]
        );
        assert_eq!(
            words(&before.update("shop", &after)),
            [
                "--image=shop@sha256:1",
                "--args=serve",
                "--env-add=A=1",
                "--env-add=TOKEN",
                "--label-add=team=a",
                "--publish-add=published=8080,target=80,protocol=tcp,mode=host",
                "--network-add=front",
                "--network-rm=back",
                "--constraint-add=node.role == manager",
                "shop",
            ]
        );
    }

    #[test]
    fn what_somebody_else_set_stays_and_is_told_nobody() {
        let before = found();
        let mut after = before.clone();
        assert_eq!(after.theirs().collect::<Vec<_>>(), ["KEY"]);
        after.env.remove("KEY");
        assert_eq!(
            [words(&after.update("shop", &before)), words(&before.update("shop", &after))].concat().join(" "),
            "--image=shop@sha256:1 --env-add=TOKEN shop --image=shop@sha256:1 --env-add=TOKEN shop"
        );
        after.env.insert("KEY".to_owned(), Variable::Text("other".to_owned()));
        let values = Hashes::from([("KEY".to_owned(), hash("planted"))]);
        assert_eq!(before.clone().known(&after, &values).overwritten(&after), ["KEY"]);
        after.env.insert("KEY".to_owned(), Variable::Text("planted".to_owned()));
        assert_eq!(before.known(&after, &values).overwritten(&after), [""; 0]);
    }

    #[test]
    fn a_port_beside_one_that_goes_is_given_back_before_the_image_changes() {
        let port =
            |published, target| Port { target, protocol: "tcp".into(), published, mode: "ingress".into() };
        let (mut before, mut after) = (found(), found().with("shop@sha256:2"));
        before.ports = BTreeSet::from([port(8080, 80), port(9090, 80), port(7070, 70)]);
        after.ports = BTreeSet::from([port(9090, 80), port(7070, 70), port(6060, 60)]);
        let updates = after.updates("shop", &before);
        assert_eq!(updates[0].argv[7..], ["--publish-rm=target=80,protocol=tcp,mode=ingress", "shop"]);
        assert_eq!(
            updates[1].argv[7..],
            ["--publish-add=published=9090,target=80,protocol=tcp,mode=ingress", "shop"]
        );
        let last = ["--publish-add=published=6060,target=60,protocol=tcp,mode=ingress", "shop"];
        assert_eq!(words(&updates[2])[2..], last);
        assert_eq!(before.updates("shop", &after).len(), 1);
    }
}

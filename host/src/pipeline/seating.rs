//! Gives a target its plugin, and a session to be opened with it: the same for a run, a recovery and a look.

use std::os::fd::OwnedFd;

use pop_deploy_plugin_api::protocol::{OpenCanary, OpenRequest, Release, TargetContext};
use serde_json::Value;

use super::{
    event::What,
    member::{Member, Seat, Surroundings},
    order::Order,
    outcome::Mode,
};
use crate::{
    config::{DeployConfig, TargetConfig},
    failure::Failure,
    plugins::{self, Found, PluginsLock, Ready, SearchPath, Verdict},
    project::Project,
    scratch::Scratch,
};

/// What the members of a run, a recovery or a look have in common.
pub(super) struct Seating<'a> {
    /// The project.
    pub(super) project: &'a Project,
    /// Its deploy.json.
    pub(super) config: &'a DeployConfig,
    /// Where plugins are.
    pub(super) plugins: &'a SearchPath,
    /// Who acts.
    pub(super) actor: &'a str,
    /// What is done; in a dry mode, sessions only read and no plugin is recorded.
    pub(super) mode: Mode,
    /// The run, as sessions are told of it.
    pub(super) run: &'a str,
    /// The descriptors that a worker holds as long as it lives.
    pub(super) held: &'a [OwnedFd],
    /// Where events go, who may stop it.
    pub(super) around: &'a Surroundings,
}

/// A target that is to become a member.
pub(super) struct Guest<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its type.
    pub(super) kind: &'a str,
    /// What deploy.json says of it today; absent where it was removed since.
    pub(super) today: Option<&'a TargetConfig>,
    /// What its session is opened with.
    pub(super) config: Value,
    /// The release that it is about.
    pub(super) release: Release,
    /// Whether hooks of the user run between the plan and the stage.
    pub(super) source_may_change: bool,
    /// The canary that waits for a verdict there, for who looks at what is live.
    pub(super) canary: Option<OpenCanary>,
}

impl Guest<'_> {
    /// The keys of the config that deploy.json has otherwise today.
    fn changed_keys(&self) -> Vec<&str> {
        let (Some(today), Some(then)) =
            (self.today.and_then(|today| today.config.as_object()), self.config.as_object())
        else {
            return Vec::new();
        };
        let new = today.keys().filter(|key| !then.contains_key(*key));
        let keys = then.keys().chain(new).map(String::as_str);
        keys.filter(|key| then.get(*key) != today.get(*key)).collect()
    }
}

/// A target that became a member.
pub(super) struct Seated {
    /// The member; its worker starts when it is first asked something.
    pub(super) member: Member,
    /// Its plugin, where nobody used that here before.
    pub(super) newcomer: Option<Newcomer>,
}

/// A plugin that nobody used here before. It is recorded once it made its plan, or where none is asked for, once it was
/// opened: a file that only claims a version must not stand in the way of the right one.
pub(super) struct Newcomer {
    target: String,
    found: Found,
}

impl<'a> Seating<'a> {
    /// For what an order is about.
    pub(super) fn of(
        order: &'a Order<'_>,
        run: &'a str,
        held: &'a [OwnedFd],
        around: &'a Surroundings,
    ) -> Self {
        Self {
            project: order.project,
            config: order.config,
            plugins: order.plugins,
            actor: order.actor,
            mode: order.mode,
            run,
            held,
            around,
        }
    }

    /// Finds the target's plugin and prepares its worker.
    ///
    /// # Errors
    /// There is no plugin that serves it, it isn't the one we know, or there is no room for temporary files.
    pub(super) fn seat(&self, guest: Guest<'_>) -> Result<Seated, Failure> {
        let (plugin, newcomer) = self.admit(&guest)?;
        let changed = guest.changed_keys();
        if !changed.is_empty() {
            let words = format!(
                "what counts is the config that `{}` was deployed with; deploy.json has another by now: `{}`",
                guest.release.id,
                changed.join("`, `")
            );
            self.around.bus.tell_of(guest.name, What::Warning(&words));
        }
        let scratch = Scratch::new()?;
        let context = TargetContext {
            target: guest.name.to_owned(),
            project_name: self.config.project_name_or_folder(self.project),
            project: self.project.dir.clone(),
            scratch: scratch.path().to_owned(),
            data: self.project.data.clone(),
            read_only: self.mode.is_dry(),
            source_may_change: guest.source_may_change,
            actor: self.actor.to_owned(),
            run_id: self.run.to_owned(),
            canary: guest.canary,
            flags: self.project.environment.flags(guest.name),
        };
        let held = self.held.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
        let seat = Seat {
            plugin,
            open: OpenRequest { context, config: guest.config },
            held: held.map_err(Failure::Descriptors)?,
            // What the machine allows is of today, also for a run of the past.
            deadlines: guest.today.map(|target| target.deadlines.clone()).unwrap_or_default(),
            limits: guest.today.map(|target| target.limits).unwrap_or_default(),
        };
        let member = Member::new(guest.name, guest.release, seat, scratch, self.around);
        Ok(Seated { member, newcomer })
    }

    /// Finds the plugin of a target, checks that it is the one we know, and makes the private copy.
    fn admit(&self, guest: &Guest<'_>) -> Result<(Ready, Option<Newcomer>), Failure> {
        let known = self.known()?;
        let requirement = guest.today.and_then(|target| target.plugin.as_ref());
        let found = plugins::choose(self.plugins, &known, guest.kind, requirement)
            .map_err(|source| Failure::Choose { target: guest.name.to_owned(), source: Box::new(source) })?;
        let verdict = plugins::trust::admit(&found, &known, self.plugins)?;
        let ready = plugins::private_copy(&found)?;
        let is_new = verdict == Verdict::New && !self.mode.is_dry();
        Ok((ready, is_new.then(|| Newcomer { target: guest.name.to_owned(), found })))
    }

    /// Records the plugins that nobody used here before, and says so.
    ///
    /// # Errors
    /// The record can't be written, or somebody recorded another file in that version meanwhile.
    pub(super) fn record_all(&self, newcomers: &[Newcomer]) -> Result<(), Failure> {
        newcomers.iter().try_for_each(|newcomer| self.record(newcomer))
    }

    fn record(&self, newcomer: &Newcomer) -> Result<(), Failure> {
        let Newcomer { target, found } = newcomer;
        let mut known = self.known()?;
        // Another target may have brought it along already.
        if plugins::trust::admit(found, &known, self.plugins)? == Verdict::New {
            known.record(found)?;
            let (id, version) = (&found.build.plugin.id, &found.build.version);
            let note = format!("plugin `{id}` {version} is new here; recorded its hash in plugins.lock");
            self.around.bus.tell_of(target, What::Warning(&note));
        }
        Ok(())
    }

    fn known(&self) -> Result<PluginsLock, Failure> {
        Ok(PluginsLock::read(&self.project.data.join("plugins.lock"))?)
    }
}

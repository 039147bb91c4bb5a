//! Walks the plans: phase by phase, with two barriers, and back again when something fails.
//!
//! No member enters *switch* before every one has staged; none enters *finalize* before every one is verified. Up to
//! the first barrier the members work at the same time; going live they take turns, so that a release which fails its
//! first target never reaches the second.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind,
    protocol::{Phase, Receipt, Step, StepReceipt, Verdict},
};

use super::{
    event::{Bus, Place, What},
    member::{Member, Surroundings},
    outcome::{Ending, RollbackReport, StepEnding, StepReport, TargetEnding},
};
use crate::{
    config::{HookPoint, OnInterrupt, OnPartial},
    failure::Failure,
    hooks::Hooks,
    journal::{Entry, Journal, JournalError, Until},
};

/// What a walk needs beside its members.
pub struct Walk<'a> {
    /// Where events go, who may stop it.
    pub around: &'a Surroundings,
    /// Intents before, receipts after.
    pub journal: &'a Journal,
    /// The user's hooks.
    pub hooks: &'a Hooks<'a>,
    /// What becomes of the others when one target fails while live.
    pub on_partial: OnPartial,
    /// What becomes of a run that a signal stops.
    pub on_interrupt: OnInterrupt,
    /// How long a canary waits.
    pub until: Until,
    /// How long to wait where somebody else holds the place itself.
    pub wait: Option<Duration>,
    /// Since when somebody is waited for.
    pub waiting: OnceLock<Instant>,
}

/// What makes plans again for members whose plans don't hold any more, as the first ones were made.
pub type PlanAnew<'a> = &'a dyn Fn(&mut [Member]) -> Result<(), Error>;

/// How often a place that somebody else holds is tried again.
const AGAIN: Duration = Duration::from_millis(500);

impl Walk<'_> {
    /// Walks every member's plan to its end, or back to its beginning; says how that went.
    /// Without `plan_anew`, plans that don't hold any more are a failure.
    pub fn walk(&self, members: &mut [Member], plan_anew: Option<PlanAnew<'_>>) -> (Ending, Option<Error>) {
        let walked = self
            .hooks
            .run(HookPoint::BeforeAll, None)
            .and_then(|()| self.preflight(members, plan_anew))
            .and_then(|()| self.go_through(members, &Phase::ALL[1..]));
        self.end(members, walked)
    }

    /// Takes the places. Who would wait for somebody else's run to end finds, after it, that the plan may not hold any more:
    /// then the places are given back, and new plans take the rest of the way.
    fn preflight(&self, members: &mut [Member], plan_anew: Option<PlanAnew<'_>>) -> Result<(), Error> {
        // That run may also end just before it is noticed.
        members.iter_mut().for_each(|member| member.doubtful = self.wait.is_some());
        loop {
            let Err(failed) = self.together(members, Phase::Preflight) else { return Ok(()) };
            let outdated = members.iter().find_map(|member| Some((&member.name, member.outdated()?)));
            let (Some(plan_anew), Some((name, error))) = (plan_anew, outdated) else { return Err(failed) };
            let again = format!("planning again: {}", error.message);
            self.bus().tell_of(name, What::Warning(&again));
            for member in members.iter_mut().rev() {
                for index in member.begun.clone().into_iter().rev() {
                    if self.undo(member, index).1.is_err() {
                        // It is tried again, and reported, with all that is to be taken back.
                        return Err(failed);
                    }
                }
            }
            members.iter_mut().for_each(Member::forget_plan);
            plan_anew(members)?;
        }
    }

    /// Goes on with a walk that another process began, from the first step that isn't done. Hooks that may not have
    /// run, run. A canary that was to be judged still is.
    ///
    /// # Errors
    /// As [`promote`](Self::promote).
    pub fn resume(&self, members: &mut [Member]) -> Result<(Ending, Option<Error>), Error> {
        for member in &mut *members {
            let last = member.begun.iter().rfind(|index| member.planned()[**index].phase == Phase::Switch);
            if last.is_some_and(|last| self.stays_open(member, *last)) {
                member.ending = TargetEnding::CanaryOpen;
            }
        }
        if is_open(members) { Ok(self.end(members, Ok(()))) } else { self.promote(members) }
    }

    /// Goes on with a walk that another process began, past the canary that it stopped at.
    ///
    /// # Errors
    /// The preflight, which is done anew since locks go with their process, failed: everything stands as it stood.
    pub fn promote(&self, members: &mut [Member]) -> Result<(Ending, Option<Error>), Error> {
        for member in &mut *members {
            let (id, preflight) =
                (|step: &Step| step.id.clone(), |step: &&Step| step.phase == Phase::Preflight);
            let anew: Vec<_> = member.planned().iter().filter(preflight).map(id).collect();
            member.receipts.retain(|kept| !anew.contains(&kept.step));
        }
        self.together(members, Phase::Preflight)?;
        let walked = self.take_halves_back(members).and_then(|()| self.go_through(members, &Phase::ALL[1..]));
        Ok(self.end(members, walked))
    }

    /// Takes back what was begun and left nothing behind, so that it begins anew.
    fn take_halves_back(&self, members: &mut [Member]) -> Result<(), Error> {
        for member in members.iter_mut().rev() {
            for index in member.begun.clone().into_iter().rev() {
                let phase = member.planned()[index].phase;
                if phase != Phase::Finalize && member.left_to_do(phase).contains(&index) {
                    self.undo(member, index).1?;
                    member.begun.retain(|begun| *begun != index);
                }
            }
            member.unshield();
        }
        Ok(())
    }

    fn go_through(&self, members: &mut [Member], phases: &[Phase]) -> Result<(), Error> {
        let up_to_stage = phases.iter().filter(|phase| **phase <= Phase::Stage);
        for phase in up_to_stage {
            self.together(members, *phase)?;
        }
        self.go_live(members)?;
        if is_open(members) { Ok(()) } else { self.together(members, Phase::Finalize) }
    }

    fn end(&self, members: &mut [Member], walked: Result<(), Error>) -> (Ending, Option<Error>) {
        if let Err(error) = &walked {
            self.settle(members, error);
        } else if is_open(members) {
            leave_staged(members);
        }
        let astray =
            || members.iter().filter(|member| member.ending == TargetEnding::Astray).find_map(Member::astray);
        // Of a run that stays open nothing is said yet.
        let error = walked.err().or_else(|| if is_open(members) { None } else { astray() });
        let ending = self.ending(members, error.as_ref());
        self.hooks.close(ending);
        (ending, error)
    }

    /// Has all members do a phase at the same time; the first failure keeps the others from beginning another step.
    fn together(&self, members: &mut [Member], phase: Phase) -> Result<(), Error> {
        let halted = AtomicBool::new(false);
        let failed = thread::scope(|scope| {
            let working: Vec<_> =
                members.iter_mut().map(|member| scope.spawn(|| self.phase(member, phase, &halted))).collect();
            let results = working.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => Err(Error::failed("the host itself panicked; this is a bug in pop-deploy")),
            });
            // Waits for all, keeps the first error that isn't merely the halt of another.
            results.filter_map(Result::err).min_by_key(|error| error.kind == ErrorKind::Cancelled)
        });
        failed.map_or(Ok(()), Err)
    }

    /// Switches and verifies one member after the other.
    fn go_live(&self, members: &mut [Member]) -> Result<(), Error> {
        let mut first_error = None;
        for member in members {
            let halted = AtomicBool::new(false);
            let switched = self.phase(member, Phase::Switch, &halted);
            if member.ending == TargetEnding::CanaryOpen {
                break;
            }
            match switched.and_then(|()| self.phase(member, Phase::Verify, &halted)) {
                Ok(()) if member.astray().is_some() => member.ending = TargetEnding::Astray,
                Ok(()) => member.ending = TargetEnding::Verified,
                Err(error)
                    if self.on_partial == OnPartial::Continue && error.kind != ErrorKind::Cancelled =>
                {
                    self.take_back(member, &error);
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(first_error.unwrap_or(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// One phase of one member, with the hooks around it.
    fn phase(&self, member: &mut Member, phase: Phase, halted: &AtomicBool) -> Result<(), Error> {
        // What another process did before it died isn't done again.
        let (before, after) =
            (member.has_begun(phase), next(phase).is_some_and(|next| member.has_begun(next)));
        let hook = |done: bool, point, member: &Member| {
            if done { Ok(()) } else { self.hooks.run(point, Some(member)) }
        };
        let walked = hook(before, HookPoint::Pre(phase), member).and_then(|()| {
            for index in member.left_to_do(phase) {
                self.may_go_on(halted)?;
                self.step(member, index)?;
                if self.stays_open(member, index) {
                    member.ending = TargetEnding::CanaryOpen;
                    return Ok(());
                }
            }
            hook(after, HookPoint::Post(phase), member)
        });
        match walked {
            // What finalize couldn't tidy up, the next deployment will; the release is live and good.
            Err(error) if phase == Phase::Finalize => {
                self.bus().tell_of(&member.name, What::Warning(&described(&error)));
                Ok(())
            }
            Err(error) => {
                halted.store(true, Ordering::SeqCst);
                member.error.get_or_insert_with(|| error.clone());
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether what the step at `index` left is a canary for somebody to judge.
    fn stays_open(&self, member: &Member, index: usize) -> bool {
        let step = &member.planned()[index];
        let receipt = member.receipts.iter().rfind(|kept| kept.step == step.id);
        let inconclusive = receipt.is_some_and(|kept| kept.receipt.verdict == Some(Verdict::Inconclusive));
        inconclusive || (step.awaits_verdict && self.until == Until::Manual)
    }

    /// One step: intent, work, receipt.
    fn step(&self, member: &mut Member, index: usize) -> Result<(), Error> {
        let step = member.planned()[index].clone();
        let place = Place { step: &step, number: index + 1, of: member.planned().len() };
        let begun = Instant::now();
        self.bus().tell_of(&member.name, What::StepStarted(place));
        let result =
            self.journal.append(&Entry::intent(&member.name, &step)).map_err(unjournaled).and_then(|()| {
                if !member.begun.contains(&index) {
                    member.begun.push(index);
                }
                member.was_live |= step.phase == Phase::Switch;
                let receipt = self.run(member, index)?;
                let (_, version) = member.plugin();
                let kept = StepReceipt { step: step.id.clone(), plugin_version: version.clone(), receipt };
                self.journal.append(&Entry::receipt(&member.name, &kept)).map_err(unjournaled)?;
                member.receipts.push(kept.clone());
                Ok(kept.receipt)
            });
        let took = begun.elapsed();
        let finished = result.as_ref().map(|receipt| (receipt.outcome, receipt.summary.as_str()));
        self.bus().tell_of(&member.name, What::StepFinished { place, result: finished, took });
        if result.is_ok() && step.phase == Phase::Switch {
            let from = member.plan.as_ref().and_then(|plan| plan.live.as_ref());
            self.bus().tell_of(&member.name, What::Switched { from, to: &member.release });
        }
        let ending = match &result {
            Ok(receipt) => StepEnding::Done(receipt.outcome, receipt.summary.clone()),
            Err(error) => {
                // The journal may be what failed; the error that counts is the step's.
                self.note(&Entry::failed(&member.name, &step.id, error));
                StepEnding::Failed(error.clone())
            }
        };
        member.steps.push(StepReport {
            id: step.id.clone(),
            phase: step.phase,
            title: step.title.clone(),
            commands: step.commands.clone(),
            ending,
            exit_code: member.exit_code.take(),
            took,
        });
        result.map(|_| ())
    }

    /// Runs a step; again, as long as the run may wait, where somebody else has locked the place.
    fn run(&self, member: &mut Member, index: usize) -> Result<Receipt, Error> {
        loop {
            match member.run(index) {
                Err(error)
                    if error.kind == ErrorKind::Locked
                        && self.wait.is_some_and(|wait| self.has_waited() < wait)
                        && self.around.interrupt.signal().is_none() =>
                {
                    member.doubtful = true;
                    // Whoever holds the place may do so from another machine: nothing tells when it is free.
                    thread::sleep(AGAIN);
                }
                ended => return ended,
            }
        }
    }

    /// For how long somebody has been waited for; from now on, if nobody was.
    fn has_waited(&self) -> Duration {
        self.waiting.get_or_init(Instant::now).elapsed()
    }

    /// After a failure: takes back what the policy says.
    fn settle(&self, members: &mut [Member], error: &Error) {
        let interrupted = self.around.interrupt.signal().is_some();
        if interrupted && self.on_interrupt == OnInterrupt::Leave {
            for member in members.iter_mut().filter(|member| member.ending == TargetEnding::Skipped) {
                member.ending = match (member.was_live, member.begun.is_empty()) {
                    (true, _) => TargetEnding::LeftLive,
                    (false, false) => TargetEnding::Staged,
                    (false, true) => TargetEnding::Skipped,
                };
            }
            return;
        }
        for member in members.iter_mut().rev() {
            let stays = member.ending.is_good() && self.on_partial != OnPartial::RollbackAll;
            if member.rollback.is_none() && !stays {
                self.take_back(member, error);
            }
        }
    }

    /// Takes a member's steps back, newest first.
    pub fn take_back(&self, member: &mut Member, because: &Error) {
        if member.was_live && !member.auto_rollback {
            // A good release stays good when another target fails.
            if !member.ending.is_good() {
                member.ending = TargetEnding::LeftLive;
            }
            return;
        }
        let untouched = TargetEnding::Skipped;
        if member.begun.is_empty() && !member.was_live {
            member.ending = if member.error.is_some() { TargetEnding::Failed } else { untouched };
            return;
        }
        self.bus().tell_of(&member.name, What::RollbackStarted { because });
        let mut report = RollbackReport::default();
        for index in member.begun.clone().into_iter().rev() {
            let phase = member.planned()[index].phase;
            if phase == Phase::Finalize {
                continue;
            }
            let (id, result) = self.undo(member, index);
            let lost = result.is_err();
            report.steps.push((id, result));
            if lost && phase == Phase::Switch {
                // Nobody knows what is live: unstaging now could pull the pages from under it.
                break;
            }
        }
        // Who took it asked for just that nothing more is done there.
        let ousted = !report.success() && self.was_ousted(member) && stayed_unseen(member);
        member.was_live &= !ousted;
        member.ending = match (report.error(), member.was_live, &member.error) {
            (Some(_), ..) if ousted => TargetEnding::Failed,
            (Some(error), ..) if error.kind == ErrorKind::Unknown => TargetEnding::Unknown,
            (Some(_), ..) => TargetEnding::RollbackFailed,
            (None, true, _) => TargetEnding::RolledBack,
            (None, false, Some(_)) => TargetEnding::Failed,
            (None, false, None) => untouched,
        };
        member.rollback = Some(report);
        if member.was_live
            && let Err(error) = self.hooks.run(HookPoint::OnRollback, Some(member))
        {
            self.bus().tell_of(&member.name, What::Warning(&described(&error)));
        }
    }

    /// Whether somebody took the place from the run: a step was stopped, and no signal did it.
    fn was_ousted(&self, member: &Member) -> bool {
        let stopped = |step: &StepReport| matches!(&step.ending, StepEnding::Failed(error) if error.kind == ErrorKind::Cancelled);
        self.around.interrupt.signal().is_none() && member.steps.iter().any(stopped)
    }

    /// Takes one step of a member back.
    fn undo(&self, member: &mut Member, index: usize) -> (String, Result<String, Error>) {
        let step = member.planned()[index].clone();
        self.note(&Entry::undo_begun(&member.name, &step.id));
        let result = member.undo(index);
        let told = result.as_ref().map(String::as_str);
        self.note(&Entry::undone(&member.name, &step.id, told));
        self.bus().tell_of(&member.name, What::Undone { step: &step, result: told });
        (step.id, result)
    }

    /// The gravest of what happened to the members.
    fn ending(&self, members: &[Member], error: Option<&Error>) -> Ending {
        let any = |wanted: &[TargetEnding]| members.iter().any(|member| wanted.contains(&member.ending));
        let Some(error) = error else {
            let wanted = self.until == Until::Manual;
            return if is_open(members) { Ending::CanaryOpen { wanted } } else { Ending::Succeeded };
        };
        if any(&[TargetEnding::RollbackFailed, TargetEnding::Astray, TargetEnding::Unknown]) {
            return Ending::Stuck;
        }
        if let Some(signal) = self.around.interrupt.signal() {
            return Ending::Interrupted { signal };
        }
        if any(&[TargetEnding::LeftLive, TargetEnding::Verified]) {
            return Ending::Partial;
        }
        if any(&[TargetEnding::RolledBack]) {
            return Ending::RolledBack;
        }
        let failed_in_preflight = |member: &Member| {
            let failed = |last: &StepReport| {
                last.phase == Phase::Preflight && matches!(last.ending, StepEnding::Failed(_))
            };
            // Without a plan it was planned again, and none came of it.
            member.plan.is_none() || member.steps.last().is_some_and(failed)
        };
        let in_preflight = members.iter().any(failed_in_preflight);
        before_live(error, in_preflight)
    }

    fn may_go_on(&self, halted: &AtomicBool) -> Result<(), Error> {
        match self.around.interrupt.signal() {
            Some(signal) => Err(Error::new(ErrorKind::Cancelled, format!("stopped by signal {signal}"))),
            None if halted.load(Ordering::SeqCst) => {
                Err(Error::new(ErrorKind::Cancelled, "not begun: another target failed"))
            }
            None => Ok(()),
        }
    }

    /// Writes to the journal where a failure to do so can't change what happens next.
    fn note(&self, entry: &Entry) {
        if let Err(error) = self.journal.append(entry) {
            self.bus().tell(What::Warning(&described(&unjournaled(error))));
        }
    }

    fn bus(&self) -> &Bus {
        &self.around.bus
    }
}

fn next(phase: Phase) -> Option<Phase> {
    Phase::ALL.into_iter().find(|later| *later > phase)
}

/// Whether users never saw its release: no switch was begun, or what was live before it still is.
fn stayed_unseen(member: &mut Member) -> bool {
    if !member.was_live {
        return true;
    }
    let phase =
        |step: &str| member.planned().iter().find(|planned| planned.id == step).map(|step| step.phase);
    let switched = member.receipts.iter().any(|kept| phase(&kept.step) == Some(Phase::Switch));
    // Where parts of a place have different releases none is said to be live: nothing at both times proves nothing.
    let before = member.plan.as_ref().and_then(|plan| plan.live.as_ref()).map(|live| live.id.clone());
    let is_live = |id| member.status().is_ok_and(|now| now.live.is_some_and(|live| live.id == id));
    !switched && before.is_some_and(is_live)
}

/// The others of a run whose canary is open wait with it.
fn leave_staged(members: &mut [Member]) {
    for member in members.iter_mut().filter(|member| member.ending == TargetEnding::Skipped) {
        member.ending = TargetEnding::Staged;
    }
}

fn is_open(members: &[Member]) -> bool {
    members.iter().any(|member| member.ending == TargetEnding::CanaryOpen)
}

/// How a run ends that failed while nothing live had changed; `in_preflight`: while planning, or in that phase.
pub fn before_live(error: &Error, in_preflight: bool) -> Ending {
    match error.kind {
        ErrorKind::Locked => Ending::Locked,
        _ if !in_preflight => Ending::FailedBeforeLive,
        ErrorKind::Config => Ending::Refused,
        ErrorKind::NoRelease => Ending::NoRelease,
        _ => Ending::NotReady,
    }
}

/// A journal that can't be written, as what failed the step.
fn unjournaled(error: JournalError) -> Error {
    Failure::from(error).to_error()
}

/// An error with its causes on one line, for warnings.
pub fn described(error: &Error) -> String {
    std::iter::once(&error.message).chain(&error.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
}

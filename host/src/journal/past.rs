//! A run of the past, built up from its journal's entries.

use std::path::PathBuf;

use pop_deploy_plugin_api::{
    Error,
    protocol::{OpenCanary, Phase, Step, StepReceipt, Undo},
};

use super::{Entry, PlannedTarget, RunEnding, RunInfo, TargetEnding, entry::Line};

/// A run, as its journal tells it.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its id.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// When it began.
    pub started_at: String,
    /// What it was for.
    pub info: RunInfo,
    /// Its planned targets, in order.
    pub targets: Vec<PastTarget>,
    /// How it ended; absent while it is alive and when it was interrupted.
    pub ending: Option<RunEnding>,
    /// When it ended, where it said so.
    pub ended_at: Option<String>,
    /// Who took its lock while it was alive, and ended it; none once it was gone on with.
    pub lock_taken_by: Option<String>,
    /// Whether the run or one of its workers is alive.
    pub alive: bool,
}

/// A target of a run.
#[derive(Debug, Clone)]
pub struct PastTarget {
    /// What was known once it was planned.
    pub planned: PlannedTarget,
    /// The steps that were begun, in order.
    pub steps: Vec<PastStep>,
    /// How it ended, where it came that far.
    pub ending: Option<TargetEnding>,
}

/// A step that was begun.
#[derive(Debug, Clone)]
pub struct PastStep {
    /// The step as it was planned: the intent.
    pub step: Step,
    /// When it was begun.
    pub began_at: String,
    /// When it was done, or failed.
    pub ended_at: Option<String>,
    /// When taking it back was begun.
    pub undo_began_at: Option<String>,
    /// When taking it back ended.
    pub undone_at: Option<String>,
    /// What it left behind, where it was done.
    pub receipt: Option<StepReceipt>,
    /// Why it failed, where it did.
    pub error: Option<Error>,
    /// Whether taking it back was begun.
    pub undo_begun: bool,
    /// How taking it back ended.
    pub undone: Option<Undo>,
}

impl PastRun {
    /// Whether it ended without saying so.
    pub fn is_interrupted(&self) -> bool {
        self.ending.is_none() && !self.alive
    }

    /// Whether it came to an end that nobody goes on from: an open canary's isn't.
    pub fn is_over(&self) -> bool {
        self.ending.is_some_and(|ending| ending != RunEnding::CanaryOpen)
    }

    /// Whether any step was begun; without one there is nothing to mend.
    pub fn began_steps(&self) -> bool {
        self.targets.iter().any(|target| !target.steps.is_empty())
    }

    /// Whether taking it back was begun.
    pub fn is_being_taken_back(&self) -> bool {
        self.targets.iter().flat_map(|target| &target.steps).any(|step| step.undo_begun)
    }

    /// The steps that nothing takes back and that may have been done, each with its target: they were begun and left no receipt.
    pub fn cut_off(&self) -> impl Iterator<Item = (&str, &PastStep)> {
        self.targets.iter().flat_map(|target| {
            let steps = target.steps.iter().filter(|step| step.is_cut_off());
            steps.map(|step| (target.planned.target.as_str(), step))
        })
    }

    /// The target whose canary waits for a verdict.
    pub fn open_target(&self) -> Option<&PastTarget> {
        self.targets.iter().find(|target| target.ending == Some(TargetEnding::CanaryOpen))
    }

    /// The target of that name, where it was planned.
    pub fn target(&self, name: &str) -> Option<&PastTarget> {
        self.targets.iter().find(|target| target.planned.target == name)
    }
}

impl PastStep {
    /// Whether it was taken back: nothing of it is left.
    pub fn is_settled(&self) -> bool {
        matches!(self.undone, Some(Undo::Undone { .. } | Undo::Nothing))
    }

    /// Whether it is done for good, whatever was taken back around it.
    pub fn stays_done(&self) -> bool {
        self.step.irreversible && self.receipt.is_some()
    }

    /// Whether nothing takes it back and nobody knows whether it was done.
    pub fn is_cut_off(&self) -> bool {
        self.step.irreversible && self.receipt.is_none()
    }
}

impl PastTarget {
    /// Whether users may have seen its release: a begun switch counts as switched.
    pub fn was_live(&self) -> bool {
        self.steps.iter().any(|step| step.step.phase == Phase::Switch)
    }

    /// The steps still in effect as far as the journal knows, last first: what a rollback of the run takes back.
    pub fn to_undo(&self) -> impl Iterator<Item = &PastStep> {
        self.steps.iter().rev().filter(|step| !step.is_settled())
    }

    /// Its canary, where one waits for a verdict.
    pub fn open_canary(&self) -> Option<OpenCanary> {
        let done = self.steps.iter().filter(|step| step.receipt.is_some() && step.undone.is_none());
        (self.ending == Some(TargetEnding::CanaryOpen)).then(|| OpenCanary {
            release: self.planned.release.clone(),
            steps: done.map(|step| step.step.clone()).collect(),
        })
    }

    /// The receipts of the steps that are done and weren't taken back, in order.
    pub fn receipts(&self) -> Vec<StepReceipt> {
        let kept = self.steps.iter().filter(|step| step.undone.is_none());
        kept.filter_map(|step| step.receipt.clone()).collect()
    }
}

impl PastTarget {
    /// A step begins. In a run that is resumed it may begin again, and stays where it was in the order.
    fn begin(&mut self, step: &Step, time: &str) {
        let begun = PastStep {
            step: step.clone(),
            began_at: time.to_owned(),
            ended_at: None,
            undo_began_at: None,
            undone_at: None,
            receipt: None,
            error: None,
            undo_begun: false,
            undone: None,
        };
        match self.steps.iter_mut().find(|past| past.step.id == step.id) {
            // What an earlier attempt left behind is there until it is taken back.
            Some(past) => {
                let receipt = past.receipt.take().filter(|_| !past.is_settled());
                *past = PastStep { receipt, ..begun };
            }
            None => self.steps.push(begun),
        }
    }
}

impl PastRun {
    pub(super) fn take(&mut self, line: &Line) {
        let time = || Some(line.time.clone());
        match &line.entry {
            Entry::TargetPlanned(planned) => {
                let target = PastTarget { planned: planned.clone(), steps: Vec::new(), ending: None };
                match self.past_target(&planned.target) {
                    // Planned again, once what it had begun was taken back.
                    Some(before) => *before = target,
                    None => self.targets.push(target),
                }
            }
            Entry::Intent { target, step } => {
                // A canary that was open is gone on with.
                self.ending = None;
                self.lock_taken_by = None;
                if let Some(target) = self.past_target(target) {
                    target.begin(step, &line.time);
                }
            }
            Entry::Receipt { target, receipt } => {
                if let Some(step) = self.past_step(target, &receipt.step) {
                    step.receipt = Some(receipt.clone());
                    step.ended_at = time();
                }
            }
            Entry::StepFailed { target, step, error } => {
                if let Some(step) = self.past_step(target, step) {
                    step.error = Some(error.clone());
                    step.ended_at = time();
                }
            }
            Entry::UndoBegun { target, step } => {
                self.ending = None;
                self.lock_taken_by = None;
                if let Some(step) = self.past_step(target, step) {
                    step.undo_begun = true;
                    step.undo_began_at = time();
                }
            }
            Entry::Undone { target, step, outcome } => {
                if let Some(step) = self.past_step(target, step) {
                    step.undone = Some(outcome.clone());
                    step.undone_at = time();
                }
            }
            Entry::TargetEnded { target, ending } => {
                if let Some(target) = self.past_target(target) {
                    target.ending = Some(*ending);
                }
            }
            Entry::RunEnded { ending } => {
                self.ending = Some(*ending);
                self.ended_at = time();
            }
            Entry::LockTaken { by } => self.lock_taken_by = Some(by.clone()),
            Entry::RunStarted(_) | Entry::Unknown => {}
        }
    }

    fn past_target(&mut self, name: &str) -> Option<&mut PastTarget> {
        self.targets.iter_mut().find(|target| target.planned.target == name)
    }

    fn past_step(&mut self, target: &str, step: &str) -> Option<&mut PastStep> {
        self.past_target(target)?.steps.iter_mut().find(|past| past.step.id == step)
    }
}

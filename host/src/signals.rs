//! Ctrl-C, SIGTERM, SIGHUP and a closed standard output: ask once to stop, insist the second time.
//!
//! The first signal lets the running step stop at its next safe point; the run then takes itself back. The second
//! ends the workers and this process at once: the journal is left as of a run that died, and the next command mends it.
//! SIGHUP only ever asks. Both the shell and the kernel say that a terminal is gone, and whoever unlocks a target can't know
//! what its run heard before. A run under `nohup` hears SIGUSR1 instead, where /proc says that it is one.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use pop_deploy_plugin_api::holding::ignores_hangups;
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use crate::{keeper::Keeper, plugins::Worker};

/// Whether somebody wants the run to stop, and whom to tell.
pub struct Interrupt {
    signal: AtomicI32,
    workers: Mutex<Vec<Weak<Worker>>>,
    shielded: Mutex<Vec<Weak<Worker>>>,
    groups: Mutex<Groups>,
    last_words: fn(),
}

/// The process groups of the hooks that run, and who ends them should this process be killed.
#[derive(Default)]
struct Groups {
    running: BTreeSet<u32>,
    keeper: Option<Keeper>,
}

impl Interrupt {
    /// Catches the signals from here on. `last_words` is called before a second signal ends the process: it says
    /// how to mend what is left.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install(last_words: fn()) -> io::Result<Arc<Self>> {
        let interrupt = Arc::new(Self {
            signal: AtomicI32::new(0),
            workers: Mutex::default(),
            shielded: Mutex::default(),
            groups: Mutex::default(),
            last_words,
        });
        let asking = if ignores_hangups(std::process::id()) { SIGUSR1 } else { SIGHUP };
        let mut signals = Signals::new([SIGINT, SIGTERM, asking])?;
        let hears = Arc::clone(&interrupt);
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                hears.take(signal);
            }
        })?;
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// Tells this worker too, should a signal come.
    pub fn watch(&self, worker: &Arc<Worker>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|known| known.strong_count() > 0);
        workers.push(Arc::downgrade(worker));
    }

    /// Spares this worker the first signal from here on: it takes steps back, which is what the signal asks for.
    pub fn shield(&self, worker: &Arc<Worker>) {
        self.shielded.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(worker));
    }

    /// Has the first signal stop this worker again: it goes forward.
    pub fn unshield(&self, worker: &Arc<Worker>) {
        let mut shielded = self.shielded.lock().unwrap_or_else(PoisonError::into_inner);
        shielded.retain(|other| !other.ptr_eq(&Arc::downgrade(worker)));
    }

    /// Ends this process group of a hook with the process, should a second signal come or the process be killed.
    pub fn watch_group(&self, pid: Option<u32>) {
        let Some(pid) = pid else { return };
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.running.insert(pid);
        if groups.keeper.is_none() {
            // Without one a hook may outlive a killed run; that isn't worth failing a deployment.
            groups.keeper = Keeper::start().ok();
        }
        if let Some(keeper) = &mut groups.keeper {
            keeper.watch(pid);
        }
    }

    /// That group is gone.
    pub fn forget_group(&self, pid: Option<u32>) {
        let Some(pid) = pid else { return };
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.running.remove(&pid);
        if let Some(keeper) = &mut groups.keeper {
            keeper.forget(pid);
        }
    }

    /// Standard output was closed: nobody hears what goes on, so it stops as by a signal.
    pub fn output_closed(&self) {
        if self.signal().is_none() {
            self.take(SIGPIPE);
        }
    }

    fn take(&self, signal: i32) {
        let first = self.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !first && matches!(signal, SIGHUP | SIGUSR1) {
            return;
        }
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shielded = self.shielded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_shielded = |worker: &Weak<Worker>| shielded.iter().any(|other| other.ptr_eq(worker));
        for (known, worker) in workers.iter().filter_map(|known| Some((known, known.upgrade()?))) {
            match first {
                true if is_shielded(known) => {}
                true => worker.cancel(),
                false => worker.kill(),
            }
        }
        if !first {
            for group in self.groups.lock().unwrap_or_else(PoisonError::into_inner).running.iter() {
                if let Some(pid) = i32::try_from(*group).ok().and_then(Pid::from_raw) {
                    // Gone already is what is wanted.
                    kill_process_group(pid, Signal::KILL).unwrap_or_default();
                }
            }
            (self.last_words)();
            std::process::exit(128 + signal);
        }
    }
}

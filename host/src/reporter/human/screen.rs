//! What people see while a run goes on: a live line a target on a terminal; elsewhere lines, and a sign of life from
//! a step that takes long.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pop_deploy_plugin_api::redact::Redactor;

use super::super::{lost::output_lost, printable, seconds};
use crate::signals::Interrupt;

/// The variable that says after how many seconds a silent step shows a sign of life, where there are no live lines.
const HEARTBEAT: &str = "POP_DEPLOY_HEARTBEAT";
/// Ten minutes of silence make CI systems end a job; a quarter of a minute doesn't flood their logs.
const USUAL_HEARTBEAT: Duration = Duration::from_secs(15);

/// Standard output, with a line for each step that runs.
pub(super) struct Screen {
    bars: MultiProgress,
    live: bool,
    heartbeat: Duration,
    redactor: Redactor,
    interrupt: Arc<Interrupt>,
    /// By target: each runs one step at a time.
    lines: Mutex<BTreeMap<String, Line>>,
}

/// A step that runs.
struct Line {
    title: String,
    /// How far it is.
    news: String,
    bar: ProgressBar,
    begun: Instant,
    /// When something was last said of it.
    told: Instant,
}

impl Screen {
    pub(super) fn new(redactor: Redactor, interrupt: Arc<Interrupt>) -> Arc<Self> {
        let live = is_watched();
        let target = if live { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let screen = Arc::new(Self {
            bars: MultiProgress::with_draw_target(target),
            live,
            heartbeat: heartbeat(),
            redactor,
            interrupt,
            lines: Mutex::default(),
        });
        if !live {
            let beating = Arc::downgrade(&screen);
            thread::spawn(move || beat(&beating));
        }
        screen
    }

    /// Prints whole lines above the live ones.
    pub(super) fn say(&self, text: &str) {
        let text = self.redactor.redact(text);
        let written = self.bars.suspend(|| {
            let mut out = anstream::stdout().lock();
            writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush())
        });
        if let Err(error) = written {
            output_lost(&error, &self.interrupt);
        }
    }

    /// A target begins a step.
    pub(super) fn begin(&self, target: &str, title: &str) {
        let bar = if self.live { self.bars.add(ProgressBar::new_spinner()) } else { ProgressBar::hidden() };
        // The template is a constant; a fallback keeps a typing mistake in it from costing a deployment.
        // `wide_msg` is cut to the terminal's width, so that a line never becomes two.
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        if self.live {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        let now = Instant::now();
        let title = self.redactor.redact(title).into_owned();
        bar.set_message(title.clone());
        let line = Line { title, news: String::new(), bar, begun: now, told: now };
        self.lines().insert(target.to_owned(), line);
    }

    /// A target's step is so far.
    pub(super) fn progress(&self, target: &str, news: &str) {
        if let Some(line) = self.lines().get_mut(target) {
            line.news = printable(&self.redactor.redact(news));
            line.bar.set_message(format!("{} · {}", line.title, line.news));
        }
    }

    /// A target's step is over.
    pub(super) fn end(&self, target: &str) {
        if let Some(line) = self.lines().remove(target) {
            line.bar.finish_and_clear();
        }
    }

    /// Nothing runs any more.
    pub(super) fn clear(&self) {
        for line in std::mem::take(&mut *self.lines()).into_values() {
            line.bar.finish_and_clear();
        }
    }

    /// Says of each step that was silent for long that it still runs, and how far it is.
    fn show_life(&self) {
        let mut signs = Vec::new();
        for line in self.lines().values_mut() {
            if line.told.elapsed() >= self.heartbeat {
                line.told = Instant::now();
                let news = if line.news.is_empty() { String::new() } else { format!(": {}", line.news) };
                signs.push(format!(
                    "{}... still running after {}{news}",
                    line.title,
                    seconds(line.begun.elapsed())
                ));
            }
        }
        for sign in signs {
            self.say(&sign);
        }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody watches a screen whose lines can change. CI systems give jobs a terminal that nobody watches.
fn is_watched() -> bool {
    let says = |name: &str, word: &str| std::env::var(name).is_ok_and(|value| value == word);
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty()) && !says("CI", "false");
    io::stdout().is_terminal() && !in_ci && !says("TERM", "dumb")
}

fn heartbeat() -> Duration {
    let wanted = std::env::var(HEARTBEAT).ok().and_then(|seconds| seconds.parse::<f64>().ok());
    let wanted = wanted.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    wanted.filter(|wanted| !wanted.is_zero()).unwrap_or(USUAL_HEARTBEAT)
}

/// Looks at the screen's lines as long as there is a screen.
fn beat(screen: &Weak<Screen>) {
    while let Some(there) = screen.upgrade() {
        there.show_life();
        let pause = there.heartbeat / 4;
        drop(there);
        thread::sleep(pause);
    }
}

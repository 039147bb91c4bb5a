//! One `ssh` process a host, and the shell at its far end.
//!
//! Requests go in as lines, bodies as frames between them; answers come out as lines that bear the request's number. The
//! shell listens all the time, so that it sees this end go whatever it does. Nothing here knows what a request means.

mod answer;
#[cfg(all(test, target_os = "linux"))]
mod far_end;
mod frames;
mod thrift;

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Write},
    mem,
    process::{Child, ChildStdin, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{Error, ErrorKind, IoContext as _, Result, Session};

use self::thrift::Thrift;
pub(crate) use self::{answer::Answer, frames::Frames};
use crate::{
    address::{Approach, Host},
    quote, refusal,
};

/// The far end.
pub(crate) const FAR_END: &str = concat!(
    include_str!("remote/session.sh"),
    include_str!("remote/content.sh"),
    include_str!("remote/survey.sh"),
    include_str!("remote/lock.sh"),
    include_str!("remote/release.sh"),
    include_str!("remote/live.sh"),
    include_str!("remote/command.sh"),
    include_str!("remote/serve.sh"),
);
/// Says hello to the shell over there, all of it on one line: it takes the far end in one go where `dd` can, else line by
/// line. The shell reads no further than that line by itself.
const HELLO: &str = concat!(
    "if s=$(dd bs=SIZE count=1 iflag=fullblock 2>/dev/null); then exact=dd; ",
    r"else exact=; n=$(printf '\nx'); n=${n%x}; s=; ",
    r##"while IFS= read -r l && [ "$l" != "#end" ]; do s=$s$l$n; done; fi; "##,
    r#"eval "$s""#,
);
/// How long the way there may take, logging in and all.
const LONGEST_LOGIN: Duration = Duration::from_secs(60);
/// How often the far end hears that somebody is here.
const BEAT: Duration = Duration::from_secs(10);
/// How often a waiting thread looks whether the run was cancelled.
const TICK: Duration = Duration::from_millis(50);
/// How long who is cancelled waits for an answer that is still to come.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// How long who is done waits for the far end to let go of the lock: whoever comes next would find it held. Less than what a
/// plugin has to close.
const LEAVE: Duration = Duration::from_secs(4);
/// So many of the lines that `ssh` and login scripts write are kept.
const KEPT: usize = 40;

/// A connection; dropping it ends the `ssh` process, and with it whatever runs at the far end.
pub(crate) struct Connection {
    child: Child,
    input: Arc<Mutex<ChildStdin>>,
    answers: mpsc::Receiver<VecDeque<String>>,
    /// Lines that came together with one that was waited for.
    heard: VecDeque<String>,
    /// Which request a frame was taken for.
    taken: mpsc::Receiver<u32>,
    words: Arc<Mutex<VecDeque<String>>>,
    host: Host,
    session: Session,
    next: u32,
    /// How often something was asked and waited for.
    pub(crate) trips: u32,
    /// How long the quickest answer took since its request was sent: the way there and back is no longer.
    quickest: Option<Duration>,
    /// Whether the lock of the base is held by it.
    pub(crate) locked: bool,
    /// Whether somebody took that lock from this run.
    pub(crate) forfeited: bool,
    /// Whether somebody stopped waiting for an answer that is still to come.
    abandoned: bool,
    lost: Arc<AtomicBool>,
    /// Whether something in the chain of requests that goes on has failed.
    failed: Arc<AtomicBool>,
    /// What is known of the wire.
    pub(crate) thrift: Thrift,
}

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    id: u32,
    at: Instant,
}

impl Connection {
    /// Logs in and starts the far end.
    ///
    /// # Errors
    /// There is no way there, in words that name the reason; [`ErrorKind::Cancelled`].
    pub(crate) fn open(host: &Host, approach: &Approach, session: &Session) -> Result<Self> {
        if let Some((path, line)) = host.known_hosts(approach) {
            std::fs::write(&path, line).at("write", &path)?;
        }
        let argv = host.connect(approach);
        let mut child = std::process::Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| refusal::no_ssh(&error))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::failed("`ssh` was started without its pipes"));
        };
        let mark = mark(session, host);
        let ((send, answers), (take, taken)) = (mpsc::channel(), mpsc::channel());
        let [lost, failed] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let (gone, fails, begin) = (Arc::clone(&lost), Arc::clone(&failed), mark.clone());
        let instead = Arc::clone(&words);
        // Both threads end with the process, at the latest when the connection is dropped.
        thread::spawn(move || {
            let ears = Ears { fails: &fails, take, send, instead: &instead };
            forward(output, &begin, &ears);
            // Before its channels close: who is told by them that the connection is lost looks here.
            gone.store(true, Ordering::SeqCst);
        });
        let kept = Arc::clone(&words);
        let overheard = thread::spawn(move || overhear(errors, &kept));
        let mut connection = Self {
            child,
            input: Arc::new(Mutex::new(input)),
            answers,
            heard: VecDeque::new(),
            taken,
            words,
            host: host.clone(),
            session: session.clone(),
            next: 0,
            trips: 0,
            quickest: None,
            locked: false,
            forfeited: false,
            abandoned: false,
            lost,
            failed,
            thrift: Thrift::default(),
        };
        let hello = HELLO.replace("SIZE", &FAR_END.len().to_string());
        // Should it be gone already, the reason comes on the other pipe.
        connection.write(format!("mark={mark}; {hello}\n{FAR_END}").as_bytes()).unwrap_or_default();
        connection.await_begin(overheard)?;
        keep_beating(&connection.input, &connection.lost);
        Ok(connection)
    }

    /// Waits for the far end's first word; login scripts may have said a lot before.
    fn await_begin(&mut self, overheard: thread::JoinHandle<()>) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.answers.recv_timeout(TICK) {
                Ok(mut lines) => {
                    // The mark.
                    lines.pop_front();
                    self.heard = lines;
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.session.checkpoint()?;
                    if begun.elapsed() > LONGEST_LOGIN {
                        return Err(Error::preflight(format!("`{}` doesn't answer", self.host))
                            .hint("log in by hand and see what it waits for"));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // The last words are the reason; nobody else holds the pipe now.
                    self.child.kill().unwrap_or_default();
                    overheard.join().unwrap_or_default();
                    return Err(refusal::read(&self.host, &self.overheard()));
                }
            }
        }
    }

    /// What `ssh` and login scripts wrote.
    pub(crate) fn overheard(&self) -> Vec<String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Whether the far end is known to be out of reach.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Whether it is of no more use: what runs at the far end is to end with it.
    pub(crate) fn is_spent(&self) -> bool {
        self.abandoned || self.is_lost()
    }

    /// Sends a request, in the foreground of the far end.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn send(&mut self, words: &[&str]) -> Result<Sent> {
        self.request("fg", words)
    }

    /// Sends a request that the far end does while it goes on listening.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn send_beside(&mut self, words: &[&str]) -> Result<Sent> {
        self.request("bg", words)
    }

    /// Sends a request that begins a chain: one in it that fails has the others skipped.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn begin(&mut self, words: &[&str]) -> Result<Sent> {
        self.failed.store(false, Ordering::SeqCst);
        self.request("fresh; fg", words)
    }

    /// Has a command of the user's run.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn run(&mut self, folder: &str, argv: &[String]) -> Result<Sent> {
        let words: Vec<_> = std::iter::once(folder).chain(argv.iter().map(String::as_str)).collect();
        self.request("run", &words)
    }

    fn request(&mut self, how: &str, words: &[&str]) -> Result<Sent> {
        self.next += 1;
        let line = self.line(how, words);
        self.dispatch(line.as_bytes())
    }

    /// The request of the current number.
    fn line(&self, how: &str, words: &[&str]) -> String {
        let mut line = format!("{how} {}", self.next);
        for word in words {
            line.push(' ');
            line.push_str(&quote::on_a_line(word));
        }
        line.push('\n');
        line
    }

    /// Sends a signal to the commands of the user's that run.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn signal(&mut self, signal: &str) -> Result<()> {
        self.write(format!("signal {signal}\n").as_bytes()).map_err(|_| self.gone())
    }

    /// Sends a request with the bytes that it takes, in one go: nothing else may come between.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn send_with(&mut self, words: &[&str], bytes: &[u8]) -> Result<Sent> {
        self.next += 1;
        let mut whole = self.line("fg", words).into_bytes();
        whole.extend_from_slice(bytes);
        self.dispatch(&whole)
    }

    /// Sends what the request of the current number is.
    fn dispatch(&self, bytes: &[u8]) -> Result<Sent> {
        let at = Instant::now();
        self.write(bytes).map_err(|_| self.gone())?;
        Ok(Sent { id: self.next, at })
    }

    /// Waits for the end of a request, passing over those before it.
    ///
    /// # Errors
    /// The connection is lost: [`ErrorKind::Unknown`], nobody knows what the request came to. The run was cancelled.
    pub(crate) fn wait(&mut self, sent: Sent) -> Result<Answer> {
        self.trips += 1;
        self.receive(sent)
    }

    /// Waits for the end of a request for so long at most, passing each line on as it comes; its status.
    ///
    /// # Errors
    /// As [`wait`](Self::wait); [`ErrorKind::Timeout`]. What runs then is for the caller to end.
    pub(crate) fn wait_hearing(
        &mut self,
        sent: Sent,
        limit: Option<Duration>,
        hear: &mut dyn FnMut(&str),
    ) -> Result<i32> {
        self.trips += 1;
        self.listen(sent, limit, hear)
    }

    /// Waits for the ends of requests that were sent in this order.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub(crate) fn wait_all(&mut self, sent: &[Sent]) -> Result<Vec<Answer>> {
        self.trips += 1;
        sent.iter().map(|sent| self.receive(*sent)).collect()
    }

    fn receive(&mut self, sent: Sent) -> Result<Answer> {
        let mut lines = Vec::new();
        let status = self.listen(sent, None, &mut |line| lines.push(line.to_owned()))?;
        Ok(Answer { status, lines })
    }

    fn listen(&mut self, sent: Sent, limit: Option<Duration>, hear: &mut dyn FnMut(&str)) -> Result<i32> {
        let begun = Instant::now();
        let mut cancelled: Option<Instant> = None;
        let says = format!("+ {} ", sent.id);
        let ends = format!("= {} ", sent.id);
        loop {
            while let Some(line) = self.heard.pop_front() {
                if let Some(text) = line.strip_prefix(&says) {
                    hear(text);
                } else if let Some(status) = line.strip_prefix(&ends) {
                    let took = sent.at.elapsed();
                    self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
                    return Ok(status.trim().parse().unwrap_or(-1));
                }
            }
            match self.answers.recv_timeout(TICK) {
                Ok(lines) => self.heard = lines,
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if limit.is_some_and(|limit| begun.elapsed() > limit) {
                return Err(Error::new(ErrorKind::Timeout, "it took too long"));
            }
            if self.session.cancelled() && cancelled.is_none() {
                self.signal("TERM")?;
                cancelled = Some(Instant::now());
            }
            if cancelled.is_some_and(|since| since.elapsed() > LAST_ANSWER) {
                self.abandoned = true;
                return Err(Error::new(
                    ErrorKind::Cancelled,
                    format!("stopped while `{}` was at work", self.host),
                ));
            }
        }
    }

    /// Gives up on an answer that is still to come: what runs at the far end is to end with the connection.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Sends a request and waits for its end.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Answer> {
        let sent = self.begin(words)?;
        self.wait(sent)
    }

    /// As [`ask`](Self::ask), for what takes long: the far end goes on listening.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub(crate) fn ask_beside(&mut self, words: &[&str]) -> Result<Answer> {
        let sent = self.request("fresh; bg", words)?;
        self.wait(sent)
    }

    /// Whether the far end has no more use for what a chain of requests still has to send.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Whether the run was cancelled or the connection is lost: no more need be sent.
    pub(crate) fn should_stop(&self) -> bool {
        self.session.cancelled() || self.is_lost()
    }

    /// Takes leave: the far end lets go of the lock before this returns. One that holds nothing needs no word.
    pub(crate) fn close(mut self) {
        if self.locked
            && let Ok(sent) = self.request("bye", &[])
        {
            // A far end that is gone has let go already.
            self.wait_hearing(sent, Some(LEAVE), &mut |_| {}).map(drop).unwrap_or_default();
        }
    }

    /// What to say when the far end is gone.
    fn gone(&self) -> Error {
        let error = Error::new(ErrorKind::Unknown, format!("the connection to `{}` was lost", self.host));
        let words = self.overheard();
        let last = words.iter().rev().find(|line| !line.trim().is_empty());
        let error = match last {
            Some(line) => error.because(&Error::failed(line.clone())),
            None => error,
        };
        error.hint(format!("look whether it is up: {}", self.host.shown("true")))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.write_all(bytes)?;
        input.flush()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lost.store(true, Ordering::SeqCst);
        // Gone already is what is wanted.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// A word that nothing else at the far end writes by chance.
fn mark(session: &Session, host: &Host) -> String {
    let now = pop_deploy_plugin_api::tree::now();
    let seed = format!("{} {} {now} {}", session.run_id, host, std::process::id());
    format!("pop-deploy-{}", &blake3::hash(seed.as_bytes()).to_hex()[..32])
}

/// Whom the lines of the far end are for.
struct Ears<'a> {
    fails: &'a AtomicBool,
    take: mpsc::Sender<u32>,
    send: mpsc::Sender<VecDeque<String>>,
    /// What was said instead, should the far end never begin.
    instead: &'a Mutex<VecDeque<String>>,
}

/// Passes lines on from the far end's first word on. What login scripts print before is nobody's, unless that word never
/// comes: a shell that lets nobody in says why on this pipe. That a request failed is known at once, whether or not anybody
/// waits for its answer. What comes in one go is passed on in one go: a manifest has thousands of lines, and who waits for
/// them would be woken for each.
fn forward(output: impl io::Read, mark: &str, ears: &Ears<'_>) {
    let mut begun = false;
    let mut reader = BufReader::with_capacity(64 << 10, output);
    let mut line = Vec::new();
    let mut lines = VecDeque::new();
    let mut before = VecDeque::new();
    loop {
        line.clear();
        // A read error on a pipe is its end.
        if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            if !begun {
                ears.instead.lock().unwrap_or_else(PoisonError::into_inner).append(&mut before);
            }
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !begun && text != mark {
            keep(&mut before, KEPT, text);
            continue;
        }
        begun = true;
        if text.starts_with("! ") || (text.starts_with("= ") && !text.ends_with(" 0")) {
            ears.fails.store(true, Ordering::SeqCst);
        }
        match text.strip_prefix("> ").and_then(|id| id.parse().ok()) {
            Some(id) => ears.take.send(id).unwrap_or_default(),
            None => lines.push_back(text.to_owned()),
        }
        let more = reader.buffer().contains(&b'\n');
        if !more && !lines.is_empty() && ears.send.send(mem::take(&mut lines)).is_err() {
            return;
        }
    }
}

fn overhear(errors: impl io::Read, words: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut words, KEPT, String::from_utf8_lossy(&line).trim_end());
    }
}

/// One more of the lines of which so many, the last ones, are kept.
pub(crate) fn keep(lines: &mut VecDeque<String>, most: usize, line: &str) {
    lines.push_back(line.to_owned());
    if lines.len() > most {
        lines.pop_front();
    }
}

/// Lets the far end hear that somebody is here, as long as the connection lasts.
fn keep_beating(input: &Arc<Mutex<ChildStdin>>, lost: &Arc<AtomicBool>) {
    let (input, lost): (Weak<_>, _) = (Arc::downgrade(input), Arc::clone(lost));
    thread::spawn(move || {
        loop {
            thread::sleep(BEAT);
            let Some(input) = input.upgrade().filter(|_| !lost.load(Ordering::SeqCst)) else { return };
            let written = input.lock().unwrap_or_else(PoisonError::into_inner).write_all(b"beat\n");
            if written.is_err() {
                return;
            }
        }
    });
}

//! The faults, one by one.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    os::{fd::BorrowedFd, unix::process::CommandExt as _},
    process,
    sync::Mutex,
    thread,
    time::Duration,
};

use pop_deploy_plugin_api::{Error, ErrorKind, IoContext as _, Process, Result, Session, protocol};
use rustix::process::{Signal, getpid, kill_process};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// What happens in the chosen hook.
#[derive(Deserialize, JsonSchema, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    #[default]
    Nothing,
    /// An ordinary failure.
    Fail,
    /// Somebody took the place from the run.
    Oust,
    /// A panic.
    Panic,
    /// A panic whose payload panics when it is dropped.
    Bomb,
    /// `exit(0)`.
    ExitZero,
    /// `exit(1)`, after some last words on standard error.
    ExitOne,
    /// `abort`.
    Abort,
    /// SIGSEGV.
    Segfault,
    /// A stack overflow.
    Overflow,
    /// Sleeps for ever.
    Sleep,
    /// Runs in circles for ever.
    Spin,
    /// Stops when it is asked to, not before.
    WaitForCancel,
    /// Prints a megabyte.
    Print,
    /// Prints a gigabyte.
    Flood,
    /// Takes ten gigabytes of memory.
    Memory,
    /// Opens files until it may open no more, and answers how many those were.
    Files,
    /// Waits for a lock that it holds itself.
    Deadlock,
    /// Closes the file descriptors 0 to 10.
    CloseFds,
    /// Sets an environment variable.
    Setenv,
    /// Reports an event that nobody knows.
    StrangeEvent,
    /// Runs a command that no plan has.
    UnplannedCommand,
    /// Answers only after it was asked to stop, and as if nothing had been.
    AnswerLate,
    /// Writes a file, at `note`.
    Write,
    /// Has another program write a file, at `note`.
    WriteByChild,
    /// Looks at its place with a program that writes a file, at `note`, as well.
    ConfinedTool,
    /// Truncates, renames, links and removes what lies at `note`, and answers what came of it.
    Tamper,
    /// Writes files where it may: the folder for temporary files and `/dev/null`.
    WriteScratch,
    /// Answers fifty megabytes.
    FatAnswer,
    /// Leaves a child running, in its own group, and notes its process id.
    LeaveChild,
    /// Leaves a program running in a session of that program's own, without an environment, and notes its process id.
    LeaveSession,
    /// Runs a command that doesn't end, and notes its process id.
    Command,
    /// Starts a process in a group of its own, notes its process id, and dies before anybody heard of it.
    UnreportedCommand,
    /// Leaves a thread running.
    LeaveThread,
    /// Answers two megabytes.
    BigAnswer,
    /// Answers seventy megabytes.
    HugeAnswer,
    /// Answers JSON that is nested two hundred deep.
    DeepAnswer,
    /// Changes the working directory.
    Chdir,
    /// Answers its environment and working directory.
    Look,
    /// Asks the host for a secret and answers it.
    Ask,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload went off");
    }
}

impl Fault {
    /// Does it; what comes back goes into the answer.
    pub fn commit(self, session: &Session, note: &str) -> Result<Value> {
        match self {
            Self::Nothing => {}
            Self::Fail => return Err(Error::failed("failed on purpose").hint("change `do`")),
            Self::Oust => {
                let taken = "the lock was taken from this run";
                return Err(Error::new(ErrorKind::Cancelled, taken).hint("leave it as it is"));
            }
            Self::Panic => panic!("panicked on purpose"),
            Self::Bomb => std::panic::panic_any(Bomb),
            Self::ExitZero => process::exit(0),
            Self::ExitOne => {
                print(std::io::stderr(), "last words\n")?;
                process::exit(1);
            }
            Self::Abort => process::abort(),
            // Again and again: Rust's own handler takes the first one for a stack overflow's and asks for a second.
            Self::Segfault => endless(|| kill_process(getpid(), Signal::SEGV).unwrap_or_default()),
            Self::Overflow => return Ok(json!(dig(1))),
            Self::Sleep => endless(|| thread::sleep(Duration::from_secs(1))),
            Self::Spin => endless(std::hint::spin_loop),
            Self::WaitForCancel => loop {
                session.checkpoint()?;
                thread::sleep(Duration::from_millis(1));
            },
            Self::Print => print(std::io::stdout(), &format!("{}\n", "x".repeat(1023)).repeat(1024))?,
            Self::Flood => {
                let much = format!("{}\n", "x".repeat(1023)).repeat(1024);
                (0..1024).try_for_each(|_| print(std::io::stdout(), &much))?;
            }
            Self::Memory => {
                let much = vec![1_u8; 10 << 30];
                return Ok(json!(std::hint::black_box(much).len()));
            }
            Self::Files => {
                let mut files = Vec::new();
                while let Ok(file) = fs::File::open("/dev/null") {
                    files.push(file);
                }
                return Ok(json!(files.len()));
            }
            Self::Deadlock => {
                let lock = Mutex::new(());
                let first = lock.lock();
                let second = lock.lock();
                drop((first, second));
            }
            Self::CloseFds => close_fds(),
            Self::Setenv => set_env(),
            Self::StrangeEvent => session.emit(&protocol::Event::Unknown),
            Self::UnplannedCommand => {
                Process::new(&protocol::Command::new(["true", "unplanned"])).run(session)?;
            }
            Self::AnswerLate => {
                while !session.cancelled() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Self::Write => fs::write(note, "written").at("write", note.as_ref())?,
            Self::WriteByChild => {
                let script = format!("echo written > '{note}'");
                let command = protocol::Command::new(["sh", "-c", &script]);
                return Ok(json!(Process::new(&command).run(session)?.stderr));
            }
            Self::ConfinedTool => {
                let script = format!("echo written > '{note}'");
                let looked = Process::new(&protocol::Command::new(["sh", "-c", &script])).run(session)?;
                if let Err(error) = looked.success() {
                    return Ok(json!({"unchecked": [session.could_not_check("the place", error)?]}));
                }
            }
            Self::Tamper => return Ok(tamper(note)),
            Self::WriteScratch => {
                fs::write("/dev/null", "nothing").at("write", "/dev/null".as_ref())?;
                let file = env::temp_dir().join("mine");
                fs::write(&file, "mine").at("write", &file)?;
                fs::rename(&file, session.scratch.join("moved")).at("rename", &file)?;
                let folder = session.scratch.join("folder");
                fs::create_dir(&folder).at("make", &folder)?;
                fs::remove_dir(&folder).at("remove", &folder)?;
            }
            Self::FatAnswer => return Ok(json!("x".repeat(50 << 20))),
            Self::LeaveChild => {
                let child = process::Command::new("sleep").arg("1000").spawn();
                let child = child.map_err(|error| Error::failed("can't start `sleep`").because(&error))?;
                write_note(note, child.id())?;
            }
            Self::LeaveSession => {
                let script =
                    format!("echo $$ > '{note}.part' && mv '{note}.part' '{note}' && exec sleep 1000");
                let left =
                    process::Command::new("setsid").args(["-f", "sh", "-c", &script]).env_clear().status();
                left.map_err(|error| Error::failed("can't start `setsid`").because(&error))?;
            }
            Self::Command => {
                let script =
                    format!("echo $$ > '{note}.part' && mv '{note}.part' '{note}' && exec sleep 1000");
                Process::new(&protocol::Command::new(["sh", "-c", &script])).run(session)?;
            }
            Self::UnreportedCommand => {
                let child = process::Command::new("sleep").arg("1000").process_group(0).spawn();
                let child = child.map_err(|error| Error::failed("can't start `sleep`").because(&error))?;
                write_note(note, child.id())?;
                process::abort();
            }
            Self::LeaveThread => drop(thread::spawn(|| endless(|| thread::sleep(Duration::from_secs(1))))),
            Self::BigAnswer => return Ok(json!("x".repeat(2 << 20))),
            Self::HugeAnswer => return Ok(json!("x".repeat(70 << 20))),
            Self::DeepAnswer => return Ok((0..200).fold(Value::Null, |inside, _| json!([inside]))),
            Self::Chdir => {
                env::set_current_dir("/").map_err(|error| Error::failed("can't leave").because(&error))?
            }
            Self::Look => {
                let variables: BTreeMap<_, _> = env::vars().collect();
                return Ok(json!({"env": variables, "cwd": env::current_dir().unwrap_or_default()}));
            }
            Self::Ask => return session.request("secret", &json!({"env": "TOKEN"})),
        }
        Ok(Value::Null)
    }
}

#[allow(unsafe_code, reason = "nothing safe does such a thing")]
fn close_fds() {
    for number in 0..=10 {
        // SAFETY: none; that is the fault. Closing what isn't open would be rustix's panic instead.
        unsafe {
            if rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(number)).is_ok() {
                rustix::io::close(number);
            }
        }
    }
}

#[allow(unsafe_code, reason = "nothing safe does such a thing")]
fn set_env() {
    // SAFETY: nothing else in a worker looks at the environment at this time.
    unsafe { env::set_var("POP_DEPLOY_FAULT", "set") };
}

/// The ways to change what is there, each with how it ended.
fn tamper(note: &str) -> Value {
    let beside = format!("{note}.beside");
    let came =
        |result: std::io::Result<()>| result.err().map_or("done".to_owned(), |error| error.to_string());
    let open = |options: &mut fs::OpenOptions| came(options.open(note).map(drop));
    json!({
        "append": open(fs::OpenOptions::new().append(true)),
        "truncate": open(fs::OpenOptions::new().write(true).truncate(true)),
        "rename": came(fs::rename(note, &beside)),
        "link": came(fs::hard_link(note, &beside)),
        "symlink": came(std::os::unix::fs::symlink(note, &beside)),
        "folder": came(fs::create_dir(&beside)),
        "remove": came(fs::remove_file(note)),
        "read": came(fs::read(note).map(drop)),
    })
}

fn endless(mut what: impl FnMut()) -> ! {
    loop {
        what();
    }
}

/// Recursion that can't become a loop.
#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 512]);
    dig(depth + 1) + ballast[usize::try_from(depth % 512).unwrap_or(0)]
}

fn print(mut to: impl std::io::Write, text: &str) -> Result<()> {
    to.write_all(text.as_bytes()).map_err(|error| Error::failed("can't print").because(&error))
}

fn write_note(note: &str, pid: u32) -> Result<()> {
    let part = format!("{note}.part");
    let mut file = fs::File::create(&part).at("write", part.as_ref())?;
    write!(file, "{pid}").at("write", part.as_ref())?;
    fs::rename(&part, note).at("write", note.as_ref())
}

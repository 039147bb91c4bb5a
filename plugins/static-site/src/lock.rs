//! One deployment at a time, and one target a web root.

use std::{
    fmt, fs,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use pop_deploy_plugin_api::{
    Error, ErrorKind, IoContext as _, Result, Session,
    holding::{Holding, Taker},
    protocol::{LockState, PlaceHolder, PlaceLock, UnlockRequest},
};
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::webroot::{Webroot, absent};

/// A dry run that looks whether the lock is held holds it for an instant itself, or until a busy machine gives it its turn.
const PATIENCE: Duration = Duration::from_millis(300);

/// Opening a named pipe would wait for somebody at its other end.
const AT_ONCE: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// What to do about a lock that is none.
pub(crate) const MOVE_IT: &str = "move it away: the next deployment makes the lock itself";

/// The lock of a web root, held until it is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: fs::File,
}

/// Who holds it, as its file says.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    #[serde(flatten)]
    run: PlaceHolder,
    pid: u32,
    /// The folder with the run's journal; empty where an older version wrote this.
    #[serde(default)]
    data: PathBuf,
}

impl Holder {
    fn place_holder(self, session: &Session) -> PlaceHolder {
        let ours = (!self.data.as_os_str().is_empty()).then(|| is_one_folder(&self.data, &session.data));
        PlaceHolder { ours, ..self.run }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process {}", self.run, self.pid)
    }
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], naming the holder.
    pub(crate) fn acquire(webroot: &Webroot, session: &Session) -> Result<Self> {
        let path = webroot.lock();
        let begun = Instant::now();
        loop {
            let mut file = fs::File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(AT_ONCE)
                .open(&path)
                .at("open", &path)?;
            if !file.metadata().at("look at", &path)?.is_file() {
                return Err(Error::preflight(format!("`{}` is no file", path.display())).hint(MOVE_IT));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // An undo may have removed the file between our opening and locking it.
                Ok(())
                    if absent(path.metadata()).at("look at", &path)?.map(|found| found.ino())
                        == Some(file.metadata().at("look at", &path)?.ino()) =>
                {
                    write_holder(&mut file, session).at("write", &path)?;
                    return Ok(Self { file });
                }
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if begun.elapsed() > PATIENCE => {
                    return Err(held_by_another(webroot, read_holder(&mut file).as_ref(), session));
                }
                Err(Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(error).at("lock", &path),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The kernel frees the lock; the text only spares the next dry run a look at the lock itself.
        self.file.set_len(0).unwrap_or_default();
    }
}

/// Who holds the lock, as a sentence; none if nobody does.
pub(crate) fn holder(webroot: &Webroot) -> Result<Option<String>> {
    Ok(look(webroot)?.map(|held| held_by(webroot, held.holder.as_ref())))
}

/// How the lock stands.
pub(crate) fn state(webroot: &Webroot, session: &Session) -> Result<PlaceLock> {
    let state = match look(webroot)? {
        None => LockState::Free,
        Some(Held { holder: Some(holder) }) => LockState::Held { holder: holder.place_holder(session) },
        Some(Held { holder: None }) => {
            let error = Error::new(ErrorKind::Locked, held_by(webroot, None));
            LockState::Unclear { error: error.hint("look again: it was just taken, or let go of") }
        }
    };
    Ok(PlaceLock { place: format!("`{}`", webroot.base.display()), state })
}

/// Ends the run that is named, if it holds the lock: one of this user's on this machine.
pub(crate) fn take_from(webroot: &Webroot, request: &UnlockRequest, session: &Session) -> Result<()> {
    let taker = || {
        session.checkpoint()?;
        let holder = look(webroot)?.and_then(|held| held.holder);
        Ok(holder.filter(|holder| holder.run.run == request.run).map(|holder| holder.pid))
    };
    let patience = Duration::from_secs(request.wait);
    Holding { lock: &webroot.lock(), by: Taker::Worker, taker: &taker }.end(patience)
}

/// That somebody holds the lock; one who has just taken it didn't say yet who it is.
struct Held {
    holder: Option<Holder>,
}

fn look(webroot: &Webroot) -> Result<Option<Held>> {
    let path = webroot.lock();
    let Some(mut file) =
        absent(fs::File::options().read(true).custom_flags(AT_ONCE).open(&path)).at("open", &path)?
    else {
        return Ok(None);
    };
    if file.metadata().at("look at", &path)?.len() == 0 {
        return Ok(None);
    }
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(Held { holder: read_holder(&mut file) })),
        Err(error) => Err(error).at("look at", &path),
    }
}

fn write_holder(file: &mut fs::File, session: &Session) -> std::io::Result<()> {
    let holder = Holder {
        run: PlaceHolder {
            owner: session.actor.clone(),
            run: session.run_id.clone(),
            target: session.target.clone(),
            since: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ours: None,
        },
        pid: std::process::id(),
        data: session.data.clone(),
    };
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(&holder)?)
}

/// Whether two paths, of which one may be another machine's, lead to one folder.
fn is_one_folder(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// What the file says; nothing where its holder is just about to write it, or has just let go.
fn read_holder(file: &mut fs::File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

fn held_by(webroot: &Webroot, holder: Option<&Holder>) -> String {
    let who = holder.map_or_else(|| "another run".to_owned(), Holder::to_string);
    format!("`{}` is being deployed to by {who}", webroot.base.display())
}

fn held_by_another(webroot: &Webroot, holder: Option<&Holder>, session: &Session) -> Error {
    let command = holder.and_then(|holder| session.unlock_command(&holder.run.run));
    let ends = command.map_or_else(String::new, |command| format!("; if it hangs, `{command}` ends it"));
    Error::new(ErrorKind::Locked, held_by(webroot, holder))
        .hint(format!("wait until that run is done, its lock goes with its process{ends}"))
}

/// Whose web root it is, as `owner.json` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) project: String,
    pub(crate) target: String,
}

impl Owner {
    /// This session's target.
    pub(crate) fn of(session: &Session) -> Self {
        Self { project: session.project_name.clone(), target: session.target.clone() }
    }

    /// Reads who owns the web root; none for a new one.
    pub(crate) fn read(webroot: &Webroot) -> Result<Option<Self>> {
        let path = webroot.owner();
        let Some(json) = absent(fs::read(&path)).at("read", &path)? else { return Ok(None) };
        serde_json::from_slice(&json).map(Some).map_err(|error| {
            Error::preflight(format!("`{}` doesn't say whose web root it is", path.display()))
                .because(&error)
                .hint("remove the file if the web root is this target's")
        })
    }

    /// Writes the owner in one go.
    pub(crate) fn write(&self, webroot: &Webroot) -> Result<()> {
        let path = webroot.owner();
        let temporary = webroot.bookkeeping().join("owner.tmp");
        let json = serde_json::to_vec(self)
            .map_err(|error| Error::failed("the owner isn't representable as JSON").because(&error))?;
        fs::write(&temporary, json).at("write", &temporary)?;
        fs::rename(&temporary, &path).at("make", &path)
    }

    /// Refuses a web root that is somebody else's.
    ///
    /// # Errors
    /// [`ErrorKind::Preflight`] then.
    pub(crate) fn check(&self, webroot: &Webroot) -> Result<()> {
        match Self::read(webroot)? {
            Some(other) if other != *self => Err(Error::preflight(format!(
                "`{}` belongs to the target `{}` of `{}`",
                webroot.base.display(),
                other.target,
                other.project
            ))
            .hint(format!(
                "choose another `dir`, or remove `{}` if that target is gone",
                webroot.owner().display()
            ))),
            _ => Ok(()),
        }
    }
}

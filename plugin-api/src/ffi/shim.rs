//! The plugin's side: turns the four functions into calls of a [`Target`], and panics into errors.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::RefCell,
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pop_deploy_abi::{
    Answer, EntryV1, EntryV1_Ref, HostV1,
    abi_stable::{
        prefix_type::PrefixTypeTrait as _,
        std_types::{RErr, ROk, RResult, RSlice, RStr, RVec},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Deserializer, Value};

use super::export::{Described, describe_json};
use crate::{
    Error, ErrorKind, Host, Result, Session, Target,
    protocol::{OpenRequest, method},
};

/// The root module of `T`, as its library exports it.
pub fn entry<T: Target + Described>() -> EntryV1_Ref {
    EntryV1 { describe: describe::<T>, open: open::<T>, call: call::<T>, close }.leak_into_prefix()
}

/// The number under which the plugin itself is asked; sessions begin at 1.
pub(super) const NO_SESSION: u64 = 0;

type Sessions = BTreeMap<u64, Arc<Mutex<Box<dyn Serve>>>>;

/// Open sessions by number. A number that isn't here is an error of the caller, never a dangling pointer.
static SESSIONS: Mutex<Sessions> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

extern "C" fn describe<T: Target + Described>() -> Answer {
    answer(|| describe_json::<T>(T::embedded()).map_err(Error::failed))
}

extern "C" fn open<T: Target>(host: HostV1, input: RSlice<'_, u8>) -> RResult<u64, RVec<u8>> {
    let opened = guarded(|| {
        let request: OpenRequest = parse(input.as_slice())?;
        let session = Session::new(request.context, Box::new(HostTable(host)));
        let config = config::<T>(&request.config)?;
        let target: Box<dyn Serve> = Box::new(Served(T::open(config, session)?));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        sessions().insert(number, Arc::new(Mutex::new(target)));
        Ok(number)
    });
    match opened {
        Ok(number) => ROk(number),
        Err(error) => RErr(to_bytes(&error).into()),
    }
}

extern "C" fn call<T: Target>(session: u64, method: RStr<'_>, input: RSlice<'_, u8>) -> Answer {
    answer(|| {
        if session == NO_SESSION {
            return serve_plugin::<T>(method.as_str(), input.as_slice());
        }
        let target = sessions().get(&session).cloned();
        let target = target.ok_or_else(|| Error::failed(format!("session {session} isn't open")))?;
        // A poisoned target panicked in an earlier call; undo must still have its chance.
        let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
        target.serve(method.as_str(), input.as_slice())
    })
}

/// What is asked of the plugin itself.
fn serve_plugin<T: Target>(name: &str, input: &[u8]) -> Result<Vec<u8>> {
    match name {
        method::DETECT => reply(T::detect(&parse::<PathBuf>(input)?)?),
        _ => Err(Error::unimplemented(name)),
    }
}

extern "C" fn close(session: u64) {
    // Taken out first, so that a panic in `drop` is caught and leaves the table usable.
    let target = sessions().remove(&session);
    let closed = guarded(|| {
        drop(target);
        Ok(())
    });
    // Nobody is left to tell: the session is gone either way.
    drop(closed);
}

fn sessions() -> std::sync::MutexGuard<'static, Sessions> {
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A target behind its method names, with its type forgotten.
trait Serve: Send {
    fn serve(&mut self, name: &str, input: &[u8]) -> Result<Vec<u8>>;
}

struct Served<T>(T);

impl<T: Target> Serve for Served<T> {
    fn serve(&mut self, name: &str, input: &[u8]) -> Result<Vec<u8>> {
        let target = &mut self.0;
        match name {
            method::STATUS => reply(target.status()?),
            method::PLAN => reply(target.plan(&parse(input)?)?),
            method::RUN => reply(target.run(&parse(input)?)?),
            method::UNDO => reply(target.undo(&parse(input)?)?),
            method::DIAGNOSE => reply(target.diagnose()?),
            method::KEPT => reply(target.kept()?),
            method::LOCKS => reply(target.locks()?),
            method::UNLOCK => reply(target.unlock(&parse(input)?)?),
            _ => Err(Error::unimplemented(name)),
        }
    }
}

/// The host's table as a [`Host`].
struct HostTable(HostV1);

impl Host for HostTable {
    fn emit(&self, event: &[u8]) {
        (self.0.emit)(self.0.context, event.into());
    }

    fn cancelled(&self) -> bool {
        (self.0.cancelled)(self.0.context)
    }

    fn request(&self, method: &str, input: &[u8]) -> std::result::Result<Vec<u8>, Vec<u8>> {
        match (self.0.request)(self.0.context, method.into(), input.into()) {
            ROk(bytes) => Ok(bytes.into()),
            RErr(bytes) => Err(bytes.into()),
        }
    }
}

fn answer(call: impl FnOnce() -> Result<Vec<u8>>) -> Answer {
    match guarded(call) {
        Ok(bytes) => ROk(bytes.into()),
        Err(error) => RErr(to_bytes(&error).into()),
    }
}

thread_local! {
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `call`, turning a panic into an error with its message and place.
fn guarded<R>(call: impl FnOnce() -> Result<R>) -> Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PANICKED_AT.with(|at| at.replace(place));
            if Backtrace::capture().status() == std::backtrace::BacktraceStatus::Captured {
                previous(info);
            }
        }));
    });
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let message = message_of(payload.as_ref());
        // Dropping somebody's payload may panic again, and this time nobody would catch it.
        std::mem::forget(payload);
        let mut error = Error::new(ErrorKind::Panic, format!("the plugin panicked: {message}"));
        error.causes.extend(PANICKED_AT.with(RefCell::take).map(|place| format!("at {place}")));
        Err(error)
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}

fn parse<'a, D: Deserialize<'a>>(input: &'a [u8]) -> Result<D> {
    serde_json::from_slice(input).map_err(|error| {
        Error::failed("the host asked something that this plugin can't read").because(&error)
    })
}

fn reply(value: impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(&value)
        .map_err(|error| Error::failed("the answer isn't representable as JSON").because(&error))
}

fn to_bytes(error: &Error) -> Vec<u8> {
    serde_json::to_vec(error).unwrap_or_default()
}

/// Reads a target's config; a failure names the key and, for a misspelt one, the nearest that there is.
fn config<T: Target>(config: &Value) -> Result<T::Config> {
    read_config(&config.to_string(), &T::manifest().id)
}

fn read_config<C: DeserializeOwned>(text: &str, plugin: &str) -> Result<C> {
    serde_path_to_error::deserialize(&mut Deserializer::from_str(text)).map_err(|error| {
        let path = error.path().to_string();
        // The line and column are those of a copy that the user never sees.
        let words = error.inner().to_string();
        let words = in_words_of_json(words.split(" at line ").next().unwrap_or_default());
        let key = if path == "." { "config".to_owned() } else { format!("config.{path}") };
        let failed = Error::config(format!("`{key}`: {words}"));
        match nearest_key(&words) {
            Some(near) => failed.hint(format!("did you mean `{near}`?")),
            None => {
                failed.hint(format!("`pop-deploy plugin info {plugin}` lists the keys, and what they take"))
            }
        }
    })
}

/// A message of serde's, which calls JSON's things by names of its own.
fn in_words_of_json(message: &str) -> String {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = rest.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let word = |word| match word {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "a list",
        "a string" | "path string" => "a text",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        word if word.starts_with("a nonzero ") => "a whole number above 0",
        word if word.starts_with("struct ") => "an object",
        word => word,
    };
    format!("{} is there, and {} is expected", word(found), word(expected))
}

/// The expected key that resembles the unknown one in serde's message.
fn nearest_key(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, expected) = rest.split_once('`')?;
    let names = expected.split('`').skip(1).step_by(2);
    names
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, name)| name)
}

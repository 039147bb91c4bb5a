//! Makes a release beside what is live on a host, and takes it away again: one stream, one answer.

use std::{
    io::{self, Read as _},
    sync::atomic::{AtomicU64, Ordering},
};

use pop_deploy_plugin_api::{Error, ErrorKind, IoContext as _, Result, Session, tree::Root};
use tar::{Builder, EntryType, Header};

use crate::{
    address::Host,
    connection::{Answer, Connection, Frames, Sent},
    lists::Lists,
    lock::{name_taken, told},
    manifest::{Entry, Head, content_digest},
    origin::Origin,
    prepared::Prepared,
    shipment::Shipment,
    site::Site,
    survey::Survey,
    verify::{self, Look, OTHER_CONTENT, OTHER_TREE},
};

/// How many bytes a header has for where a link leads.
const HEADER_ROOM: usize = 100;
/// What a request ends with that wasn't begun, because one before it failed.
const SKIPPED: i32 = 125;
/// So many names go along with a request; more go as a list.
const FEW: usize = 20;

/// What making a release took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) sent: usize,
    pub(crate) linked: usize,
    pub(crate) bytes: u64,
    /// How many bytes of archives crossed the wire.
    pub(crate) wire: u64,
}

/// How far all hosts are together.
pub(crate) struct Progress<'s> {
    session: &'s Session,
    done: AtomicU64,
    total: u64,
}

impl<'s> Progress<'s> {
    /// Says that nothing is there yet.
    pub(crate) fn begin(session: &'s Session, total: u64) -> Self {
        let progress = Self { session, done: AtomicU64::new(0), total };
        progress.add(0);
        progress
    }

    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.session.progress("uploading", done.min(self.total), self.total, "bytes");
    }
}

/// A release on its way to one host.
pub(crate) struct Staging<'a> {
    pub(crate) site: &'a Site,
    pub(crate) prepared: &'a Prepared,
    pub(crate) progress: &'a Progress<'a>,
    pub(crate) root: &'a Root,
    /// How many hosts are sent to at the same time.
    pub(crate) wires: usize,
    pub(crate) session: &'a Session,
}

impl Staging<'_> {
    /// Makes the release on a host. Should its live release turn out to hold other contents than its manifest says,
    /// nothing of it is used.
    ///
    /// # Errors
    /// The place can't be written, the source changed, what arrived isn't what was sent. What is there of the
    /// release then is for [`unstage`].
    pub(crate) fn on(&self, host: usize, survey: &Survey, connection: &mut Connection) -> Result<Staged> {
        let name = &self.site.hosts[host];
        let way = self.prepared.way(survey);
        let spoilt = match self.send(name, survey, &way, connection) {
            Err(error) if error.kind == ErrorKind::NoRelease && way.from.is_some() => error,
            sent => return sent,
        };
        self.session.warn(format!("{}; everything is sent anew", spoilt.message));
        self.send(name, survey, &self.prepared.whole(), connection)
    }

    fn send(
        &self,
        host: &Host,
        survey: &Survey,
        way: &Shipment,
        connection: &mut Connection,
    ) -> Result<Staged> {
        let manifest = &self.prepared.manifest;
        let id = &manifest.head.release.id;
        let folders = self.site.config.shared.iter().filter(|shared| shared.ends_with('/'));
        let tree = survey.live().map(|live| live.head.tree.to_string()).unwrap_or_default();
        let mut open = vec!["open_release", id.as_str(), way.from.as_deref().unwrap_or_default(), &tree];
        open.extend(folders.map(String::as_str));
        let mut sent = vec![connection.begin(&open)?];
        sent.extend(trim(way, connection)?);
        let lists = Lists::of(manifest, way);
        if survey.has("gzip") {
            connection.thrift.allow(self.wires);
        }
        let mut wire = 0;
        if survey.has("tar") {
            sent.push(connection.send(&["unpack"])?);
            wire = self.archive(way, &lists, connection)?;
        } else {
            sent.push(keep(&lists.with_made(way), connection)?);
            self.one_by_one(way, connection, &mut sent)?;
        }
        if !way.gone_later.is_empty() || !way.folders_later.is_empty() {
            sent.push(connection.send(&["trim", "gone_later", "folders_later"])?);
        }
        let fresh = content_digest(way.sent.iter().map(|index| &manifest.files[*index]));
        let (Head { tree, content, .. }, bytes) = (&manifest.head, [way.bytes, manifest.bytes()]);
        let [tree, walk, fresh, content] =
            [tree, &manifest.walk_digest(), &fresh, content].map(ToString::to_string);
        let [new, all] = bytes.map(|bytes| bytes.to_string());
        sent.push(connection.send_beside(&["seal", &tree, &walk, &fresh, &content, &new, &all])?);
        let answers = connection.wait_all(&sent)?;
        let opened = &answers[0];
        if opened.says("touched") {
            let words =
                format!("files of the live release on `{host}` were touched since: all are read again");
            self.session.warn(words);
        }
        if !(opened.says("taken") && self.is_there(host, connection)) {
            self.judge(host, way, &answers)?;
        }
        if opened.says("copied") {
            self.session.warn(format!("`{host}` lets nobody link to what is live there: it was copied"));
        }
        let linked = manifest.files.len() - way.sent.len();
        Ok(Staged { sent: way.sent.len(), linked, bytes: way.bytes, wire })
    }

    /// Whether the release is there already, whole: the connection was lost after it had got its name.
    fn is_there(&self, host: &Host, connection: &mut Connection) -> bool {
        verify::compare(host, &self.prepared.manifest.head, Look::Whole, connection).is_ok()
    }

    /// Everything new as one archive: the lists, folders, files, links, and files that are linked to others of the old
    /// release.
    fn archive(&self, way: &Shipment, lists: &Lists, connection: &mut Connection) -> Result<u64> {
        let mut builder = Builder::new(Frames::new(connection, way.bytes));
        let folder = format!(".pop-deploy-{}", self.prepared.manifest.head.release.id);
        append(&mut builder, EntryType::Directory, &format!("{folder}/"), 0o755, None)?;
        for (name, bytes) in &lists.0 {
            append_list(&mut builder, &format!("{folder}/{name}"), bytes)?;
        }
        self.fill(way, &mut builder)?;
        let finished = builder.into_inner().and_then(Frames::end);
        finished.map_err(|error| self.cut(connection, &error))
    }

    fn fill(&self, way: &Shipment, builder: &mut Builder<Frames<'_>>) -> Result<()> {
        for path in &way.folders {
            append(builder, EntryType::Directory, &format!("{path}/"), 0o755, None)?;
        }
        for (path, lender) in &way.twins {
            append(builder, EntryType::Link, path, 0o444, Some(lender))?;
        }
        let mut reported = 0;
        for index in &way.sent {
            if builder.get_ref().is_in_vain() {
                // The answers say why.
                return Ok(());
            }
            let entry = &self.prepared.manifest.files[*index];
            self.append_file(entry, builder)?;
            reported += entry.size;
            if reported > 1 << 20 {
                self.progress.add(std::mem::take(&mut reported));
            }
        }
        self.progress.add(reported);
        for link in &way.links {
            append(builder, EntryType::Symlink, &link.path, 0o777, Some(&link.to))?;
        }
        Ok(())
    }

    fn append_file(&self, entry: &Entry, builder: &mut Builder<Frames<'_>>) -> Result<()> {
        let file = self.source_file(entry)?;
        let fd = self.root.file(file)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(entry.mode);
        header.set_size(entry.size);
        header.set_mtime(u64::try_from(file.stamp.mtime / 1_000_000_000).unwrap_or(0));
        let mut source = std::fs::File::from(fd);
        // Never more than was said, so that the archive stays one; the digest tells whether it was all.
        let read = (&mut source).take(entry.size);
        builder
            .append_data(&mut header, &entry.path, read)
            .map_err(|error| self.unsent(&entry.path, &error))?;
        self.root.check(&source.into(), file)
    }

    fn source_file(&self, entry: &Entry) -> Result<&pop_deploy_plugin_api::tree::File> {
        let files = &self.prepared.tree.files;
        let found = files.binary_search_by(|file| file.path.cmp(&entry.path));
        found
            .map(|index| &files[index])
            .map_err(|_| Error::failed(format!("`{}` is no file of the source", entry.path)))
    }

    fn unsent(&self, path: &str, error: &io::Error) -> Error {
        if self.session.cancelled() {
            return Error::new(ErrorKind::Cancelled, "the upload was stopped");
        }
        Error::new(ErrorKind::Unknown, format!("can't send `{path}`")).because(error)
    }

    fn cut(&self, connection: &Connection, error: &io::Error) -> Error {
        if self.session.cancelled() {
            return Error::new(ErrorKind::Cancelled, "the upload was stopped");
        }
        let said = connection.overheard().pop();
        let error = Error::new(ErrorKind::Unknown, "the upload broke off").because(error);
        match said {
            Some(line) => error.because(&Error::failed(line)),
            None => error,
        }
    }

    /// Without tar there: each file by itself.
    fn one_by_one(&self, way: &Shipment, connection: &mut Connection, sent: &mut Vec<Sent>) -> Result<()> {
        sent.push(connection.send(&["unpack_folders"])?);
        for (path, lender) in &way.twins {
            sent.push(connection.send(&["unpack_twin", path, lender])?);
        }
        for index in &way.sent {
            if connection.has_failed() {
                return Ok(());
            }
            let entry = &self.prepared.manifest.files[*index];
            let file = self.source_file(entry)?;
            let mut source = std::fs::File::from(self.root.file(file)?);
            let path = self.root.join(&entry.path);
            sent.push(connection.send(&["unpack_file", &entry.path, &format!("{:o}", entry.mode)])?);
            let mut frames = Frames::new(connection, entry.size);
            let copied = io::copy(&mut (&mut source).take(entry.size), &mut frames);
            match copied {
                Ok(_) => frames.end().map_err(|error| self.unsent(&entry.path, &error))?,
                Err(error) => return Err(error).at("send", &path),
            };
            self.root.check(&source.into(), file)?;
            self.progress.add(entry.size);
        }
        for link in &way.links {
            sent.push(connection.send(&["unpack_link", &link.path, &link.to])?);
        }
        Ok(())
    }

    /// What the answers of a chain come to: the first failure counts, those after it were skipped.
    fn judge(&self, host: &Host, way: &Shipment, answers: &[Answer]) -> Result<()> {
        let id = &self.prepared.manifest.head.release.id;
        let Some(failed) = answers.iter().find(|answer| !matches!(answer.status, 0 | SKIPPED)) else {
            return Ok(());
        };
        match failed.status {
            _ if failed.says("taken") => Err(name_taken(host, id)),
            OTHER_TREE | OTHER_CONTENT if way.from.is_some() => Err(Error::new(
                ErrorKind::NoRelease,
                format!("the live release on `{host}` isn't what was deployed any more"),
            )),
            OTHER_TREE | OTHER_CONTENT => Err(Error::failed(format!(
                "what arrived on `{host}` isn't what was sent"
            ))
            .hint("run it again; should it come back, look at the disk and at what else writes there")),
            _ => Err(told(failed, format!("can't make release {id} on `{host}`"))),
        }
    }
}

/// Has the far end take what is gone out of its copy of the old release, where anything is.
fn trim(way: &Shipment, connection: &mut Connection) -> Result<Vec<Sent>> {
    let later = way.gone_later.len() + way.folders_later.len();
    if way.gone.len() + way.gone_folders.len() + later == 0 {
        return Ok(Vec::new());
    }
    if way.gone.len() <= FEW && way.gone_folders.len() + later == 0 {
        let names: Vec<_> = way.gone.iter().map(|path| format!("./{path}")).collect();
        let words: Vec<_> = std::iter::once("trim_named").chain(names.iter().map(String::as_str)).collect();
        return Ok(vec![connection.send(&words)?]);
    }
    let kept = keep(&Lists::gone(way), connection)?;
    Ok(vec![kept, connection.send(&["trim", "gone", "gone_folders"])?])
}

/// Has the far end keep lists for the requests that follow.
fn keep(lists: &Lists, connection: &mut Connection) -> Result<Sent> {
    let mut words = vec!["keep".to_owned(), lists.0.values().map(Vec::len).sum::<usize>().to_string()];
    words.extend(lists.0.iter().flat_map(|(name, bytes)| [name.clone(), bytes.len().to_string()]));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let bytes: Vec<u8> = lists.0.values().flatten().copied().collect();
    connection.send_with(&words, &bytes)
}

fn append_list(builder: &mut Builder<Frames<'_>>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    let appended = builder.append_data(&mut header, path, bytes);
    appended.map_err(|error| Error::new(ErrorKind::Unknown, format!("can't send `{path}`")).because(&error))
}

fn append(
    builder: &mut Builder<Frames<'_>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    target: Option<&str>,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    let appended = match target {
        // Longer ones go beside the header, byte for byte; in it, the crate would tidy them up.
        Some(target) if target.len() > HEADER_ROOM => builder.append_link(&mut header, path, target),
        Some(target) => header
            .set_link_name_literal(target)
            .and_then(|()| builder.append_data(&mut header, path, io::empty())),
        None => builder.append_data(&mut header, path, io::empty()),
    };
    appended.map_err(|error| Error::new(ErrorKind::Unknown, format!("can't send `{path}`")).because(&error))
}

/// Takes a release of the run `origin` away from a host, however far it came; whether there was anything.
///
/// # Errors
/// It is live, or something of it can't be removed.
pub(crate) fn unstage(host: &Host, id: &str, origin: &Origin, connection: &mut Connection) -> Result<bool> {
    let answer = connection.ask(&["unstage", id, &origin.maker])?;
    match answer.status {
        0 => Ok(!answer.says("nothing")),
        _ if answer.says("live") => {
            Err(Error::new(ErrorKind::Unknown, format!("release {id} is live on `{host}`, so it stays")))
        }
        _ => Err(told(&answer, format!("can't remove release {id} from `{host}`"))),
    }
}

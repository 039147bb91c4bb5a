//! Fetches pages of the live site and compares what comes with what was deployed.

use std::{io::Read as _, thread, time::Duration};

use pop_deploy_plugin_api::{Error, Result, Session, protocol::Event, tree::buffer};
use ureq::Agent;

use crate::manifest::{Entry, Hash, Manifest};

/// How many pages are fetched: enough to notice a wrong or mixed release, few enough to take no time.
const SAMPLE: usize = 20;
/// Servers keep files open for a moment, so what isn't right at once is asked for again, after twice the time.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches the index and a sample of `pages` below `url`; how many that were.
///
/// # Errors
/// A page doesn't come, or isn't what was deployed.
pub(crate) fn check(url: &str, index: &str, pages: &[&Entry], session: &Session) -> Result<usize> {
    let agent: Agent = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    for page in pages {
        let address = address(url, &page.path, index);
        let mut attempt = 1;
        while let Err(error) = fetch(&agent, &address, page, session) {
            if attempt == ATTEMPTS {
                return Err(error);
            }
            session.checkpoint()?;
            thread::sleep(PAUSE * 2_u32.pow(attempt - 1));
            attempt += 1;
        }
        session.checkpoint()?;
    }
    Ok(pages.len())
}

/// The index, and an even sample of the pages that `before` doesn't have as they are now.
pub(crate) fn sample<'m>(now: &'m Manifest, before: Option<&Manifest>, index: &str) -> Vec<&'m Entry> {
    let changed = |entry: &&Entry| {
        let is_page = entry.path.ends_with(".html") || entry.path.ends_with(".htm");
        let old = before.and_then(|before| before.file(&entry.path));
        is_page && entry.path != index && old.is_none_or(|old| old.hash != entry.hash)
    };
    let pages: Vec<_> = now.files.iter().filter(changed).collect();
    let step = pages.len().div_ceil(SAMPLE - 1).max(1);
    now.file(index).into_iter().chain(pages.into_iter().step_by(step)).collect()
}

/// The address of a page; a folder's index is asked for by the folder, as visitors do.
fn address(url: &str, path: &str, index: &str) -> String {
    let path = match path.strip_suffix(index) {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
        _ => path,
    };
    let mut address = url.trim_end_matches('/').to_owned();
    address.push('/');
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    address
}

fn fetch(agent: &Agent, address: &str, page: &Entry, session: &Session) -> Result<()> {
    let result = get(agent, address, page);
    session.emit(&Event::HealthAttempt {
        what: address.to_owned(),
        healthy: result.is_ok(),
        detail: result.as_ref().err().map(|error| error.message.clone()).unwrap_or_default(),
    });
    result
}

fn get(agent: &Agent, address: &str, page: &Entry) -> Result<()> {
    let unreachable = |error: &(dyn std::error::Error + 'static)| {
        Error::failed(format!("can't fetch `{address}`"))
            .because(error)
            .hint("check that the server runs and that `url` is its address")
    };
    let mut response =
        agent.get(address).header("cache-control", "no-cache").call().map_err(|error| unreachable(&error))?;
    let status = response.status();
    if let Some(to) = response.headers().get("location").filter(|_| status.is_redirection()) {
        let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
        return Err(Error::failed(format!("`{address}` answers {} and leads to `{to}`", status.as_u16()))
            .hint("give the address in `url` that answers by itself; redirects aren't followed"));
    }
    if !status.is_success() {
        return Err(Error::failed(format!("`{address}` answers {status}"))
            .hint("check that the server's root is the `current` folder, and that it may read the files"));
    }
    // One byte more than there should be is enough to know.
    let mut body = response.body_mut().with_config().limit(u64::MAX).reader().take(page.size + 1);
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), buffer());
    loop {
        match body.read(&mut buffer).map_err(|error| unreachable(&error))? {
            0 => break,
            read => drop(hasher.update(&buffer[..read])),
        }
    }
    if Hash(hasher.finalize()) == page.hash {
        return Ok(());
    }
    Err(Error::failed(format!("`{address}` answers with something else than `{}` of the release", page.path))
        .hint("check which folder the server serves, and whether a cache or a filter stands before it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_asked_for_by_its_folder() {
        let page = |path| address("https://example.org/docs/", path, "index.html");
        assert_eq!(page("index.html"), "https://example.org/docs/");
        assert_eq!(page("a b/index.html"), "https://example.org/docs/a%20b/");
        assert_eq!(page("oldindex.html"), "https://example.org/docs/oldindex.html");
    }
}

//! Asks by HTTP and TCP.

use std::{
    io::{self, Read as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ureq::{
    Agent,
    http::{Response, Uri},
};

use super::{Attempt, Header, Health, Question, Statuses};
use crate::{Error, Result, Session, context::TICK};

/// So much of a body is looked at.
const BODY: u64 = 64 * 1024;
/// So much of it is shown, in characters.
const SHOWN: usize = 200;
/// So much longer than its time-out an attempt may take before nobody waits for it any more.
const SLACK: Duration = Duration::from_secs(1);

/// What asks an `http` or `tcp` question, ready to ask it again and again: its secrets are known, its address whole.
///
/// Every attempt is a connection of its own, direct: no proxy of the environment stands between.
#[derive(Debug, Clone)]
pub struct Probe {
    asks: Asks,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Asks {
    Http(Box<Get>),
    Tcp(String),
}

#[derive(Debug, Clone)]
struct Get {
    agent: Agent,
    address: String,
    headers: Vec<(String, String)>,
    status: Statuses,
    body: Option<String>,
}

impl Probe {
    /// What asks the question of `health`.
    ///
    /// # Errors
    /// A header's secret can't be resolved; the question is one that only the plugin can ask, or a path alone.
    pub fn new(health: &Health, session: &Session) -> Result<Self> {
        let timeout = health.timeout.span().max(Duration::from_millis(1));
        let asks = match health.question() {
            Question::Http(address) if address.starts_with('/') => {
                return Err(Error::config(format!("`{address}` of health is a path, of no known instance"))
                    .hint("write the whole address, beginning with http:// or https://"));
            }
            Question::Http(address) => Asks::Http(Box::new(Get::new(address, health, timeout, session)?)),
            Question::Tcp(address) => Asks::Tcp(address.to_owned()),
            Question::Command(_) | Question::Docker => {
                return Err(Error::config("this kind of health check isn't for this target")
                    .hint("ask by http or tcp"));
            }
        };
        Ok(Self { asks, timeout })
    }

    /// What is asked: the address.
    pub fn what(&self) -> &str {
        match &self.asks {
            Asks::Http(get) => &get.address,
            Asks::Tcp(address) => address,
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// The run was cancelled; nobody waits for the answer then.
    pub fn attempt(&self, session: &Session) -> Result<Attempt> {
        let (send, receive) = mpsc::channel();
        let probe = self.clone();
        // Detached on purpose: a cancelled run doesn't wait for a server that is slow to answer.
        thread::spawn(move || send.send(probe.ask()));
        let begun = Instant::now();
        loop {
            match receive.recv_timeout(TICK) {
                Ok(attempt) => return Ok(attempt),
                // Several addresses of one name, or a resolver that hangs, add up.
                Err(mpsc::RecvTimeoutError::Timeout) if begun.elapsed() > self.timeout + SLACK => {
                    return Ok(silent(self.timeout));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => session.checkpoint()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::failed(format!("asking `{}` panicked", self.what())));
                }
            }
        }
    }

    fn ask(&self) -> Attempt {
        match &self.asks {
            Asks::Http(get) => get.ask(self.timeout),
            Asks::Tcp(address) => connect(address, self.timeout),
        }
    }
}

impl Get {
    fn new(address: &str, health: &Health, timeout: Duration, session: &Session) -> Result<Self> {
        let agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_global(Some(timeout))
            .user_agent("pop-deploy")
            .build()
            .into();
        let headers = health.headers.iter().map(|(name, value)| {
            let value = match value {
                Header::Text(text) => text.clone(),
                Header::Secret(secret) => secret.reveal(session)?.expose().to_owned(),
            };
            Ok((name.clone(), value))
        });
        Ok(Self {
            agent,
            address: address.to_owned(),
            headers: headers.collect::<Result<_>>()?,
            status: health.expect_status.clone(),
            body: health.expect_body.clone(),
        })
    }

    fn ask(&self, timeout: Duration) -> Attempt {
        let request = self.agent.get(&self.address).header("cache-control", "no-cache");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        match request.call() {
            Ok(response) => self.judge(response),
            // Neither a name without an address nor a secret that is no header says anything about the instance.
            Err(error) if matches!(error, ureq::Error::Http(_)) || !self.has_address() => {
                Attempt::Unmeasured(error.to_string())
            }
            Err(ureq::Error::Timeout(_)) => silent(timeout),
            Err(error) => Attempt::Unhealthy(error.to_string()),
        }
    }

    fn has_address(&self) -> bool {
        let host = self.address.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        // An address of IPv6 stands in brackets here and nowhere else.
        host.is_some_and(|host| (host.trim_matches(['[', ']']), 0).to_socket_addrs().is_ok())
    }

    fn judge(&self, mut response: Response<ureq::Body>) -> Attempt {
        let status = response.status();
        let leads_to = response.headers().get("location").filter(|_| status.is_redirection());
        if let Some(to) = leads_to.filter(|_| !self.status.contain(status.as_u16())) {
            let to = String::from_utf8_lossy(to.as_bytes());
            return Attempt::Unhealthy(format!("{status}: leads to `{to}`, which isn't followed"));
        }
        let mut body = Vec::new();
        // What came before the connection broke is looked at like the rest.
        let broken = response.body_mut().as_reader().take(BODY).read_to_end(&mut body).err();
        let body = String::from_utf8_lossy(&body);
        let answer = format!("{status}{}", start_of(&body));
        if !self.status.contain(status.as_u16()) {
            return Attempt::Unhealthy(answer);
        }
        if let Some(error) = broken {
            return Attempt::Unhealthy(format!("{status}, then the body broke off: {error}"));
        }
        match &self.body {
            Some(wanted) if !body.contains(wanted) => {
                Attempt::Unhealthy(format!("no `{wanted}` in the body; {answer}"))
            }
            _ => Attempt::Healthy(status.to_string()),
        }
    }
}

/// Nobody answered in time.
fn silent(timeout: Duration) -> Attempt {
    Attempt::Unhealthy(format!("no answer within {} s", timeout.as_secs_f64()))
}

/// The start of a body on one line, behind a colon; nothing where it is empty.
fn start_of(body: &str) -> String {
    let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = words.chars().filter(|c| !c.is_control());
    let shown: String = printable.clone().take(SHOWN).collect();
    let rest = if printable.count() > SHOWN { "…" } else { "" };
    if shown.is_empty() { shown } else { format!(": {shown}{rest}") }
}

fn connect(address: &str, timeout: Duration) -> Attempt {
    let addresses = match address.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Attempt::Unmeasured(error.to_string()),
    };
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Attempt::Healthy(format!("{address} accepts connections")),
            Err(error) => last = error,
        }
    }
    Attempt::Unhealthy(last.to_string())
}

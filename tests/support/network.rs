//! Hosts at a distance: two network namespaces, and between them a relay that keeps every packet for half the round trip.
//!
//! The kernel's TCP runs at both ends, so handshakes, windows and acknowledgements cost what they cost on a real line.
//! The bandwidth is limited where it is asked for. Everything is gone with this process.

#![allow(dead_code, unreachable_pub, reason = "shared by tests and benches that each use a part of it")]
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    os::fd::AsFd as _,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

/// A network of its own.
pub struct Namespace(File);

/// The namespace of the user, that of the hosts, and the way between them.
pub struct Network {
    client: Arc<Namespace>,
    hosts: Arc<Namespace>,
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const NAME: &str = "lab0";

impl Network {
    /// A network with hosts at these round-trip times in milliseconds: the addresses of those at the first one are
    /// 10.77.1.x, at the second one 10.77.2.x.
    ///
    /// # Errors
    /// What is missing here.
    pub fn new(round_trips: &[u64]) -> Result<Self, String> {
        Self::with(round_trips, None)
    }

    /// The same, with an uplink of the user's that takes so many bytes a second.
    ///
    /// # Errors
    /// What is missing here.
    pub fn with_uplink(round_trips: &[u64], rate: u32) -> Result<Self, String> {
        Self::with(round_trips, Some(rate))
    }

    fn with(round_trips: &[u64], uplink: Option<u32>) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may make network namespaces".into());
        }
        let network = Self { client: Namespace::new()?, hosts: Namespace::new()? };
        let half: Vec<_> = round_trips.iter().map(|rtt| Duration::from_millis(*rtt) / 2).collect();
        let near = network.client.open(&[&["addr", "add", "10.77.0.1/16", "dev", NAME]])?;
        let mut far = vec![vec!["route", "add", "10.77.0.0/24", "dev", NAME]];
        let places: Vec<_> = (1..=half.len()).map(|place| format!("10.77.{place}.0/24")).collect();
        far.extend(places.iter().map(|place| vec!["route", "add", "local", place, "dev", "lo"]));
        let far: Vec<&[&str]> = far.iter().map(Vec::as_slice).collect();
        let far = network.hosts.open(&far)?;
        relay(&near, &far, &half, 16, uplink);
        relay(&far, &near, &half, 12, None);
        Ok(network)
    }

    /// The address of a host at the first, second, … of the round-trip times.
    pub fn place(&self, distance: u8, number: u8) -> (Arc<Namespace>, Ipv4Addr) {
        (self.hosts.clone(), Ipv4Addr::new(10, 77, distance + 1, number))
    }

    /// Does something as the user of this network: what it starts sees the hosts, and nothing else.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.client);
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Moves this thread, and what it starts from now on, into the network.
pub fn enter(network: &Namespace) {
    move_into_link_name_space(network.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

impl Namespace {
    fn new() -> Result<Arc<Self>, String> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start unshare: {error}"))?;
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let network = File::open(format!("/proc/{}/ns/net", holder.id()));
        drop(holder.stdin.take());
        holder.wait().unwrap();
        if said != "there\n" {
            return Err("network namespaces aren't allowed here".into());
        }
        Ok(Arc::new(Self(network.unwrap())))
    }

    /// Makes the network's end of the relay, and has `ip` set it up.
    fn open(&self, lines: &[&[&str]]) -> Result<Arc<SyncDevice>, String> {
        let open = || {
            enter(self);
            let device = DeviceBuilder::new()
                .name(NAME)
                .build_sync()
                .map_err(|error| format!("no TUN device: {error}"))?;
            let up: [&[&str]; 2] = [&["link", "set", "lo", "up"], &["link", "set", NAME, "up"]];
            for line in up.iter().chain(lines) {
                let ip =
                    Command::new("ip").args(*line).output().map_err(|error| format!("no ip: {error}"))?;
                assert!(ip.status.success(), "ip {line:?}: {}", String::from_utf8_lossy(&ip.stderr));
            }
            Ok(Arc::new(device))
        };
        thread::scope(|scope| scope.spawn(open).join().unwrap())
    }
}

/// How much of a limited line's time may wait in front of it.
const BACKLOG: Duration = Duration::from_millis(200);

/// When the last packet is through a line that takes so many bytes a second.
struct Line {
    rate: Option<u32>,
    free: Instant,
}

impl Line {
    /// When a packet is through that came at `came`; none where it is lost, because too much waits already.
    fn through(&mut self, came: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.rate else { return Some(came) };
        let begin = self.free.max(came);
        if begin.duration_since(came) > BACKLOG {
            return None;
        }
        self.free = begin + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
        Some(self.free)
    }
}

/// Passes packets on, each after its time. The address at byte `at` of the header tells which host they are of.
fn relay(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, delays: &[Duration], at: usize, rate: Option<u32>) {
    // A queue for each distance: a near packet doesn't wait behind a far one.
    let queues: Vec<_> = delays
        .iter()
        .map(|delay| {
            let (queue, packets) = mpsc::channel::<(Instant, Vec<u8>)>();
            let (to, delay) = (to.clone(), *delay);
            thread::spawn(move || {
                for (came, packet) in packets {
                    thread::sleep((came + delay).saturating_duration_since(Instant::now()));
                    // A full device loses packets, as a line does.
                    drop(to.send(&packet));
                }
            });
            queue
        })
        .collect();
    let from = from.clone();
    let mut line = Line { rate, free: Instant::now() };
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok(length) = from.recv(&mut buffer) {
            let packet = &buffer[..length];
            // Others than IPv4 are the kernel looking for neighbours.
            let place =
                packet.get(at..at + 4).filter(|_| packet[0] >> 4 == 4).map(|address| usize::from(address[2]));
            if let Some(queue) = place.and_then(|place| queues.get(place.wrapping_sub(1)))
                && let Some(through) = line.through(Instant::now(), length)
            {
                drop(queue.send((through, packet.to_vec())));
            }
        }
    });
}

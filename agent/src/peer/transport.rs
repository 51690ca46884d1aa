//! The thread that has the socket: what the core wants sent goes out, what comes in goes to the core, and nobody waits for it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::TrySendError,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hashbrown::HashMap;
use rand::{TryRng as _, rngs::SysRng};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::{Errno, read, write},
    net::sockopt::set_socket_recv_buffer_size_force,
    time::{ClockId, clock_gettime},
};
use thiserror::Error;

use super::{
    core::{Config, Core, Event, Order},
    greeting::Said,
    peers::{Link, Notice, Peers, Settings},
    seal::Key,
    stats::{Stats, count},
    wire::LONGEST,
};
use crate::event::Nanos;

/// Datagrams taken before orders are looked at again.
const ROUND: usize = 64;
/// How long the thread waits for the last acknowledgements when the agent stops.
const LINGER: Nanos = 100_000_000;
/// What the kernel may keep of datagrams that were not taken yet, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The same warning about one address is not said more often than this.
const WARN: Nanos = 60_000_000_000;
/// How often names of listed peers are looked up.
const LOOK_UP: Duration = Duration::from_secs(30);

/// Why agents cannot talk to each other.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken, or not one of this host.
    #[error("cannot listen for other agents on {address} (UDP): {error}{}", advice(.error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The operating system refused something that always works.
    #[error("cannot talk to other agents: {0}")]
    System(#[from] io::Error),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another agent may run on this host: choose another by --peer-listen",
        io::ErrorKind::AddrNotAvailable => "; it is no address of this host",
        _ => "",
    }
}

/// What the transport is started with.
#[derive(Clone, Debug)]
pub struct TransportSettings {
    /// Where to listen; `None`: at the port of [`Config`] on all addresses.
    pub listen: Option<SocketAddr>,
    /// Peers, as `host:port`.
    pub listed: Vec<String>,
    /// The shared secret.
    pub key: Key,
    /// How agents talk.
    pub config: Config,
    /// Bounds of what waits.
    pub settings: Settings,
    /// Whether agents are to find each other by a TCP option, too.
    pub greets: Option<Greets>,
}

/// How agents find each other by a TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greets {
    /// Whoever services talk with is told, not only at private addresses.
    pub anywhere: bool,
    /// Where others reach this agent, if that is known.
    pub advertised: Option<SocketAddrV4>,
    /// The control group whose connections have the option, from the root of the hierarchy.
    pub group: PathBuf,
}

/// How requests carry their contexts in TCP options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// To and from whoever services talk with, not only private addresses.
    pub anywhere: bool,
    /// The control group whose connections have options, from the root of the hierarchy.
    pub group: PathBuf,
}

/// The thread, as long as it runs.
#[derive(Debug)]
pub struct Transport {
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    worker: JoinHandle<()>,
    names: Option<JoinHandle<()>>,
    address: SocketAddr,
    me: u64,
    stats: Arc<Stats>,
}

impl Transport {
    /// Listens, and starts the thread.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(settings: TransportSettings) -> Result<(Peers, Self), StartError> {
        let TransportSettings { listen, listed, key, config, settings, greets: _ } = settings;
        let socket = bind(listen, config.port)?;
        let address = socket.local_addr()?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?);
        let stats = Arc::new(Stats::default());
        let waker = Arc::clone(&wake);
        let (peers, link) = Peers::new(settings, Arc::clone(&stats), Box::new(move || ring(&waker)));
        let me = SysRng.try_next_u64().map_err(io::Error::other)?.max(1);
        let stop = Arc::new(AtomicBool::new(false));
        let names = (!listed.is_empty()).then(|| look_up(listed, &link, Arc::clone(&stop), Arc::clone(&wake)));
        let mut worker = Worker {
            core: Core::new(config, key, me, Arc::clone(&stats)),
            v6: address.is_ipv6(),
            socket,
            wake: Arc::clone(&wake),
            stop: Arc::clone(&stop),
            link,
            stats: Arc::clone(&stats),
            alive: Arc::default(),
            warned: HashMap::new(),
        };
        let worker = thread::Builder::new().name("geophone-peers".to_owned()).spawn(move || worker.run())?;
        Ok((peers, Self { stop, wake, worker, names: names.transpose()?, address, me, stats }))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What others are to be told of where this agent is.
    #[must_use]
    pub fn said(&self, greets: &Greets) -> Said {
        let listens = match self.address.ip().to_canonical() {
            IpAddr::V4(address) if !address.is_unspecified() => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let address = greets.advertised.map(|address| *address.ip()).or(listens).or_else(own_address);
        let port = greets.advertised.map_or(self.address.port(), |address| address.port());
        Said { first: 0, agent: self.me as u32, port, address }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Sends what there is, says good-bye, and ends the thread; takes a tenth of a second at most.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        ring(&self.wake);
        if let Some(names) = self.names {
            names.thread().unpark();
        }
        if self.worker.join().is_err() {
            log::error!("the thread that talks to other agents failed");
        }
    }
}

/// A socket for both versions of IP, where the host has both.
fn bind(listen: Option<SocketAddr>, port: u16) -> Result<UdpSocket, StartError> {
    let bind = |address| UdpSocket::bind(address).map_err(|error| StartError::Listen { address, error });
    let socket = match listen {
        Some(address) => bind(address)?,
        None => match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(StartError::Listen { error, .. }) if error.kind() != io::ErrorKind::AddrInUse => {
                bind((Ipv4Addr::UNSPECIFIED, port).into())?
            }
            bound => bound?,
        },
    };
    socket.set_nonblocking(true)?;
    // Many may tell at once. Without the right to more than the usual, what does not fit is sent again.
    let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
    Ok(socket)
}

/// Looks up the names of listed peers, now and again, on a thread of its own: it may take long.
fn look_up(listed: Vec<String>, link: &Link, stop: Arc<AtomicBool>, wake: Arc<OwnedFd>) -> io::Result<JoinHandle<()>> {
    use std::net::ToSocketAddrs as _;
    let more = link.more.clone();
    thread::Builder::new().name("geophone-names".to_owned()).spawn(move || {
        while !stop.load(Ordering::Acquire) {
            let mut found = Vec::new();
            for name in &listed {
                match name.to_socket_addrs() {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => log::warn!("--peer {name}: {error}"),
                }
            }
            if more.try_send(vec![Order::Listed(found)]).is_ok() {
                ring(&wake);
            }
            thread::park_timeout(LOOK_UP);
        }
    })
}

/// The address that this host has on its way to everywhere, if it has one. Nothing is sent.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // One of those that are for documentation, and nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => Some(address),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

fn ring(wake: &OwnedFd) {
    // It fails only when it was rung so often that it still rings.
    let _ = write(wake, &1u64.to_ne_bytes());
}

fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value| Nanos::try_from(value).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

struct Worker {
    core: Core,
    socket: UdpSocket,
    v6: bool,
    wake: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    link: Link,
    stats: Arc<Stats>,
    /// What the other thread was told last of who is there.
    alive: Arc<super::Alive>,
    warned: HashMap<IpAddr, Nanos>,
}

impl Worker {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.round(self.core.idle());
        }
        let end = now() + LINGER;
        while now() < end && !self.core.is_settled() {
            self.round(10_000_000);
        }
        self.core.stop(now());
        self.transmit();
    }

    /// Waits for something to do, and does it.
    fn round(&mut self, wait: Nanos) {
        let timeout = Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
        let mut ends =
            [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        if let Err(error) = poll(&mut ends, Some(&timeout))
            && error != Errno::INTR
        {
            log::error!("waiting for other agents failed: {error}");
            thread::sleep(Duration::from_millis(100));
        }
        // Whether it rings is all it says.
        let _ = read(&*self.wake, &mut [0; 8]);
        while let Ok(orders) = self.link.orders.try_recv() {
            let now = now();
            orders.into_iter().for_each(|order| self.core.order(now, order));
        }
        self.receive();
        self.core.tick(now());
        self.transmit();
        self.notify();
    }

    fn receive(&mut self) {
        // One byte more than the longest, to tell what is longer.
        let mut buffer = [0; LONGEST + 1];
        for _ in 0..ROUND {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    if let Some(bytes) = buffer.get_mut(..len) {
                        self.core.datagram(now(), from, bytes);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    fn transmit(&mut self) {
        while let Some(datagram) = self.core.poll_transmit() {
            let to = match datagram.to {
                SocketAddr::V4(v4) if self.v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
                to => to,
            };
            match self.socket.send_to(&datagram.bytes, to) {
                Ok(_) => {
                    count(&self.stats.datagrams_sent, 1);
                    count(&self.stats.bytes_sent, datagram.bytes.len() as u64);
                }
                Err(_) => count(&self.stats.send_failed, 1),
            }
        }
    }

    /// Hands over what was heard.
    fn notify(&mut self) {
        if !Arc::ptr_eq(&self.alive, self.core.alive()) {
            let alive = Arc::clone(self.core.alive());
            if self.link.notices.try_send(Notice::Alive(Arc::clone(&alive))).is_ok() {
                self.alive = alive;
            }
        }
        let heard = self.core.take_heard();
        if !heard.is_empty()
            && let Err(TrySendError::Full(Notice::Heard(lost)) | TrySendError::Disconnected(Notice::Heard(lost))) =
                self.link.notices.try_send(Notice::Heard(heard))
        {
            count(&self.stats.queue_full, lost.len() as u64);
        }
        while let Some(event) = self.core.poll_event() {
            self.say(event);
        }
    }

    fn say(&mut self, event: Event) {
        match event {
            Event::Found { address, version, restarted } => {
                let again = if restarted { ", started again" } else { "" };
                log::info!("found the agent at {address} (version {version}{again})");
            }
            Event::Gone(address) => log::info!("the agent at {address} is gone"),
            Event::Forged(address) => {
                let now = now();
                self.warned.retain(|_, at| now.saturating_sub(*at) < WARN);
                if self.warned.len() < ROUND && self.warned.insert(address.ip(), now).is_none() {
                    log::warn!(
                        "{address} sends what is not sealed with this agent's key: does an agent there have another key?"
                    );
                }
            }
        }
    }
}

//! Talking to the agents of other hosts: flags, checked before anything is started.

use std::{
    net::{SocketAddr, SocketAddrV4, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use thiserror::Error;

use super::output::duration;
use crate::peer::{Config, Contexts, Greets, Key, KeyError, Settings, TransportSettings};

/// The variable that has the key itself.
const VARIABLE: &str = "GEOPHONE_PEER_KEY";
/// Longest time that a request is held: longer, and spans come so late that nobody waits for them.
const HOLD: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
/// A file that is longer than this is no key.
const KEY_FILE: u64 = 4096;

/// Where agents are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Discover {
    /// At private addresses with which traced services talk
    #[default]
    Private,
    /// There too, and where an option says that is put on the first segments of connections with private addresses
    Option,
    /// The same with that option on connections with all addresses
    OptionAny,
    /// Nowhere: only --peer
    Off,
}

/// Whose requests carry contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Carry {
    /// Nobody's
    #[default]
    Off,
    /// Those to private addresses, where an agent says that it reads them
    Option,
    /// The same to all addresses
    OptionAny,
}

/// Talking to the agents of other hosts.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Other hosts")]
pub struct PeerArgs {
    /// Talk to the agents of other hosts, so that one trace goes through all; the file holds the secret that they share [env:
    /// GEOPHONE_PEER_KEY, the secret itself]
    #[arg(long, value_name = "FILE")]
    peer_key_file: Option<PathBuf>,
    /// An agent of another host, where it is not found by itself
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    peer: Vec<String>,
    /// UDP port of agents
    #[arg(long, value_name = "PORT", default_value_t = 4419, value_parser = clap::value_parser!(u16).range(1..))]
    peer_port: u16,
    /// Where to listen for other agents; default: --peer-port on all addresses
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer_listen: Option<SocketAddr>,
    /// Where agents are looked for
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    peer_discover: Discover,
    /// Where other hosts reach this agent, as --peer-discover option tells them; default: the address it listens on, or else this host's
    /// on its default route
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer_advertise: Option<SocketAddrV4>,
    /// Where agents cannot reach each other: put the context of each request into a TCP option on its first segment, and believe what comes in
    /// such options; needs no key. One request at a time on each connection that is opened from now on
    #[arg(long, value_enum, value_name = "WHOSE", default_value_t)]
    peer_context: Carry,
    /// The control group whose connections have options, from the root of the hierarchy
    #[arg(long, value_name = "PATH", default_value = "/")]
    peer_cgroup: PathBuf,
    /// How long a request from a host with an agent waits for what that agent says of it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    peer_hold: Duration,
}

/// Why the flags make no sense.
#[derive(Debug, Error)]
pub enum PeerError {
    /// The key cannot be read.
    #[error("--peer-key-file {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The key is none.
    #[error("{origin} holds no key: {error}")]
    Key {
        /// The file or variable.
        origin: String,
        /// Why not.
        error: KeyError,
    },
    /// Peers without a key.
    #[error("--peer needs a key that all agents share: give --peer-key-file, or set {VARIABLE}")]
    NoKey,
    /// A peer that is no address.
    #[error("--peer {0}: write it as host, host:port or [address]:port")]
    Peer(String),
    /// A port or address where nobody can be.
    #[error("--peer-advertise {0}: others cannot reach that")]
    Advertised(SocketAddrV4),
    /// Flags of what is not switched on.
    #[error("--peer-advertise is for --peer-discover option")]
    NoOption,
    /// The same.
    #[error("--peer-cgroup is for --peer-discover option and --peer-context option")]
    NoOptions,
    /// One greeting goes to both.
    #[error("--peer-discover and --peer-context: choose option for both, or option-any for both")]
    Scopes,
    /// A time that makes no sense.
    #[error("--peer-hold: choose between {} and {}", humantime::format_duration(*HOLD.start()), humantime::format_duration(*HOLD.end()))]
    Hold,
}

impl PeerArgs {
    /// Checks what was given, together with the environment; `None` when agents are not to talk to each other.
    pub fn check(&self) -> Result<Option<TransportSettings>, PeerError> {
        self.check_with(std::env::var_os(VARIABLE).map(std::ffi::OsString::into_encoded_bytes))
    }

    fn check_with(&self, variable: Option<Vec<u8>>) -> Result<Option<TransportSettings>, PeerError> {
        let secret = match (&self.peer_key_file, variable) {
            (Some(path), _) => {
                let origin = path.display().to_string();
                let text = read(path).map_err(|error| PeerError::Unreadable { path: origin.clone(), error })?;
                Some((origin, text))
            }
            (None, Some(text)) => Some((VARIABLE.to_owned(), text)),
            (None, None) => None,
        };
        let Some((origin, text)) = secret else {
            return if self.peer.is_empty() && self.peer_listen.is_none() { Ok(None) } else { Err(PeerError::NoKey) };
        };
        let key = Key::new(&text).map_err(|error| PeerError::Key { origin, error })?;
        if !HOLD.contains(&self.peer_hold) {
            return Err(PeerError::Hold);
        }
        let hold = u64::try_from(self.peer_hold.as_nanos()).map_err(|_| PeerError::Hold)?;
        let listed = self.peer.iter().map(|peer| with_port(peer, self.peer_port)).collect::<Result<_, _>>()?;
        let discover = self.peer_discover != Discover::Off;
        let greets = self.greets()?;
        Ok(Some(TransportSettings {
            listen: self.peer_listen,
            listed,
            key,
            config: Config { port: self.peer_port, discover, hold, ..Config::default() },
            settings: Settings { hold, ..Settings::default() },
            greets,
        }))
    }

    /// Whether requests are to carry contexts in TCP options.
    pub fn contexts(&self) -> Result<Option<Contexts>, PeerError> {
        let group = self.peer_cgroup.clone();
        let contexts = match self.peer_context {
            Carry::Option => Some(Contexts { anywhere: false, group }),
            Carry::OptionAny => Some(Contexts { anywhere: true, group }),
            Carry::Off => None,
        };
        match (self.peer_discover, self.peer_context) {
            (Discover::Option, Carry::OptionAny) | (Discover::OptionAny, Carry::Option) => Err(PeerError::Scopes),
            (Discover::Private | Discover::Off, Carry::Off) if self.peer_cgroup != Path::new("/") => {
                Err(PeerError::NoOptions)
            }
            _ => Ok(contexts),
        }
    }

    fn greets(&self) -> Result<Option<Greets>, PeerError> {
        let anywhere = match self.peer_discover {
            Discover::Option => false,
            Discover::OptionAny => true,
            Discover::Private | Discover::Off => {
                return if self.peer_advertise.is_none() { Ok(None) } else { Err(PeerError::NoOption) };
            }
        };
        let advertised = self.peer_advertise;
        match advertised.filter(|at| at.port() == 0 || at.ip().is_unspecified() || at.ip().is_loopback()) {
            Some(wrong) => Err(PeerError::Advertised(wrong)),
            None => Ok(Some(Greets { anywhere, advertised, group: self.peer_cgroup.clone() })),
        }
    }
}

/// Reads a key, but nothing endless.
fn read(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(KEY_FILE + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// A name with the port that it has, or else the usual one.
fn with_port(peer: &str, port: u16) -> Result<String, PeerError> {
    let failed = || PeerError::Peer(peer.to_owned());
    if peer.is_empty() || peer.contains(char::is_whitespace) || peer.contains("//") {
        return Err(failed());
    }
    if let Ok(address) = peer.parse::<std::net::IpAddr>() {
        return Ok(SocketAddr::new(address, port).to_string());
    }
    match peer.rsplit_once(':') {
        None => Ok(format!("{peer}:{port}")),
        // What is no name is looked up by nobody: this only reads it.
        Some((host, number)) if host.starts_with('[') => {
            peer.to_socket_addrs().map_err(|_| failed())?;
            number.parse::<u16>().map(|_| peer.to_owned()).map_err(|_| failed())
        }
        Some((host, number)) if !host.is_empty() && !host.contains(':') => {
            number.parse::<u16>().ok().filter(|number| *number > 0).map(|_| peer.to_owned()).ok_or_else(failed)
        }
        Some(_) => Err(failed()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        peers: PeerArgs,
    }

    fn check(flags: &[&str], variable: Option<&str>) -> Result<Option<TransportSettings>, String> {
        let cli = Cli::parse_from([&["x"], flags].concat());
        cli.peers.check_with(variable.map(|text| text.as_bytes().to_vec())).map_err(|error| error.to_string())
    }

    const KEY: Option<&str> = Some("0123456789abcdef0123456789abcdef");

    #[test]
    fn off_without_a_key() {
        assert!(check(&[], None).unwrap().is_none());
        assert!(check(&["--peer-port", "5000"], None).unwrap().is_none());
        assert!(check(&[], KEY).unwrap().is_some());
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |flags: &[&str], variable| check(flags, variable).unwrap_err();
        let no_key = "--peer needs a key that all agents share: give --peer-key-file, or set GEOPHONE_PEER_KEY";
        assert_eq!(wrong(&["--peer", "a"], None), no_key);
        assert_eq!(
            wrong(&[], Some("short")),
            "GEOPHONE_PEER_KEY holds no key: it has 5 characters, and 32 are needed; make one by: openssl rand -hex 32"
        );
        assert_eq!(
            wrong(&["--peer-key-file", "/nowhere/key"], None),
            "--peer-key-file /nowhere/key: No such file or directory (os error 2)"
        );
        let endless = "/dev/zero holds no key: it has more than 4096 characters, which no key needs";
        assert_eq!(wrong(&["--peer-key-file", "/dev/zero"], None), endless);
        assert_eq!(wrong(&["--peer-hold", "1h"], KEY), "--peer-hold: choose between 10ms and 10s");
        assert_eq!(
            wrong(&["--peer-discover", "option", "--peer-advertise", "127.0.0.1:4419"], KEY),
            "--peer-advertise 127.0.0.1:4419: others cannot reach that"
        );
        let no_option = "--peer-advertise is for --peer-discover option";
        assert_eq!(wrong(&["--peer-advertise", "10.0.0.1:5"], KEY), no_option);
        for peer in ["http://a:1", "a:b", "a:0", "a:70000", "[::1", "[::1]:x", ":4419", " "] {
            let expected = format!("--peer {peer}: write it as host, host:port or [address]:port");
            assert_eq!(wrong(&["--peer", peer], KEY), expected);
        }
    }

    #[test]
    fn a_tcp_option_only_when_asked_for() {
        let greets = |flags: &[&str]| check(flags, KEY).unwrap().unwrap().greets;
        assert_eq!((greets(&[]), greets(&["--peer-discover", "off"])), (None, None));
        let told = greets(&["--peer-discover", "option"]).unwrap();
        assert_eq!((told.anywhere, told.advertised, told.group), (false, None, "/".into()));
        let told = greets(&["--peer-discover", "option-any", "--peer-advertise", "10.0.0.1:5", "--peer-cgroup", "/a"]);
        let at = Some(SocketAddrV4::new([10, 0, 0, 1].into(), 5));
        assert_eq!(told, Some(Greets { anywhere: true, advertised: at, group: "/a".into() }));
    }

    #[test]
    fn contexts_in_options_need_no_key() {
        let contexts = |flags: &[&str]| {
            let cli = Cli::parse_from([&["x"], flags].concat());
            cli.peers.contexts().map_err(|error| error.to_string())
        };
        assert_eq!(contexts(&[]), Ok(None));
        assert_eq!(contexts(&["--peer-discover", "option", "--peer-cgroup", "/a"]), Ok(None));
        let private = Contexts { anywhere: false, group: "/a".into() };
        assert_eq!(contexts(&["--peer-context", "option", "--peer-cgroup", "/a"]), Ok(Some(private)));
        let all = Contexts { anywhere: true, group: "/".into() };
        let flags = ["--peer-context", "option-any", "--peer-discover"];
        assert_eq!(contexts(&[&flags[..], &["option-any"]].concat()), Ok(Some(all)));
        let scopes = "--peer-discover and --peer-context: choose option for both, or option-any for both";
        assert_eq!(contexts(&[&flags[..], &["option"]].concat()), Err(scopes.to_owned()));
        let unused = "--peer-cgroup is for --peer-discover option and --peer-context option";
        assert_eq!(contexts(&["--peer-cgroup", "/a"]), Err(unused.to_owned()));
    }

    #[test]
    fn peers_have_the_usual_port() {
        let flags = ["--peer", "a,b:5,10.0.0.1,[::1]:7,::1", "--peer-port", "99", "--peer-discover", "off"];
        let settings = check(&flags, KEY).unwrap().unwrap();
        assert_eq!(settings.listed, ["a:99", "b:5", "10.0.0.1:99", "[::1]:7", "[::1]:99"]);
        assert!(!settings.config.discover);
        assert_eq!((settings.config.port, settings.config.hold), (99, 1_000_000_000));
    }
}

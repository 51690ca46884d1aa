//! Go: goroutines. Where a thread has the address of its goroutine, where that has its number and its parent's, and where
//! `net/http` hands a request over to the goroutines of a connection. All of it is the same for every process that runs a file.

mod buildinfo;
mod dwarf;
mod layout;
mod modules;
mod pclntab;
mod returns;
mod tls;

use std::sync::Arc;

use geophone_ebpf::config::{RUNTIME_GO, Runtime, go};

pub use self::layout::Layout;
use self::pclntab::Function;
use super::{Answer, Detector, Found, Image, Plan, Probe, Refusal, Target};

/// Programs made by the Go compiler.
pub struct Go;

/// The function at whose entry a caller is known that has a request sent on a pooled connection.
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
/// The function that makes another goroutine ready to run.
const READY: &str = "runtime.ready";
/// What tells of which type a `net.Conn` is: the first method in its table, by the alphabet.
const CLOSE_TCP: &str = "net.(*TCPConn).Close";
const CLOSE_UNIX: &str = "net.(*UnixConn).Close";
const CLOSE_TLS: &str = "crypto/tls.(*Conn).Close";
/// What encrypts and decrypts.
const TLS_READ: &str = "crypto/tls.(*Conn).Read";
const TLS_WRITE: &str = "crypto/tls.(*Conn).Write";

impl Detector for Go {
    fn name(&self) -> &'static str {
        "Go"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let Some(version) = buildinfo::version(image)? else {
            return Ok(None);
        };
        // The table is right for every program of a version that it knows, and costs nothing.
        let layout = match Layout::of(&version) {
            Err(unknown) => dwarf::layout(image)?.ok_or(unknown)?,
            layout => layout?,
        };
        let mut runtime = Runtime { kind: RUNTIME_GO, no_wakes: 1, ..Runtime::default() };
        let mut set = |index: usize, value: u64| {
            if let Some(at) = runtime.at.get_mut(index) {
                *at = value;
            }
        };
        set(go::TLS, tls::offset(image)?.unwrap_or(0).cast_unsigned());
        set(go::G_M, layout.g_m);
        set(go::G_ID, layout.g_goid);
        set(go::G_PARENT, layout.g_parent_goid);
        set(go::M_CURG, layout.m_curg);
        set(go::PERSIST_CONN, layout.persist_conn);
        set(go::SYSFD, layout.sysfd);
        let mut probes = Vec::new();
        let mut tls = Vec::new();
        let [round_trip, ready, read, write, closes @ ..] =
            pclntab::functions(image, [ROUND_TRIP, READY, TLS_READ, TLS_WRITE, CLOSE_TCP, CLOSE_UNIX, CLOSE_TLS])?;
        if let Some(function) = round_trip {
            probes.push(probe(image, "go_http_round_trip", function.begin)?);
        }
        if let (Some(read), Some(write)) = (read, write) {
            match tls_probes(image, read, write) {
                Ok(found) => tls = found,
                // Its tasks are known all the same.
                Err(refusal) => log::info!("TLS of a program of {version} cannot be read: {refusal}"),
            }
        }
        if let Some(anchor) = round_trip.or(write) {
            let places = [go::CLOSE_TCP, go::CLOSE_UNIX, go::CLOSE_TLS, go::TLS_READ, go::TLS_WRITE];
            for (index, function) in places.into_iter().zip(closes.into_iter().chain([read, write])) {
                set(index, function.map_or(0, |function| function.begin.wrapping_sub(anchor.begin)));
            }
        }
        let on_demand =
            ready.map(|function| probe(image, "go_ready", function.begin)).transpose()?.into_iter().collect();
        Ok(Some(Box::new(Known(Found { runtime, probes, tls, on_demand, since: Some(go::TLS_SINCE) }))))
    }
}

fn probe(image: &Image, program: &'static str, address: u64) -> Result<Probe, Refusal> {
    let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
    Ok(Probe { program, file: Arc::clone(image.file()), id: image.id(), offset })
}

/// Where `crypto/tls` encrypts and decrypts. The returns first: an entry without them would be a call that never ends.
fn tls_probes(image: &Image, read: Function, write: Function) -> Result<Vec<Probe>, Refusal> {
    let mut probes = Vec::new();
    for function in [read, write] {
        for address in returns::returns(image, function.begin, function.end)? {
            probes.push(probe(image, "go_tls_return", address)?);
        }
    }
    probes.push(probe(image, "go_tls_read", read.begin)?);
    probes.push(probe(image, "go_tls_write", write.begin)?);
    Ok(probes)
}

/// What the table says of a file, and what its debugging information says, where it has any: for checking the table.
///
/// # Errors
/// When the version is not known, or the file cannot be understood.
pub fn layouts(image: &Image) -> Result<Option<(String, Layout, Option<Layout>)>, Refusal> {
    let Some(version) = buildinfo::version(image)? else {
        return Ok(None);
    };
    let layout = Layout::of(&version)?;
    Ok(Some((version, layout, dwarf::layout(image)?)))
}

/// The same in each process.
struct Known(Found);

impl Plan for Known {
    fn runtime(&self) -> &'static str {
        Go.name()
    }

    fn early(&self) -> bool {
        true
    }

    fn process(&self, _target: &Target) -> Result<Answer, Refusal> {
        Ok(Answer::Found(self.0.clone()))
    }
}

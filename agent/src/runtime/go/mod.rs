//! Go: goroutines. Where a thread has the address of its goroutine, where that has its number and its parent's, and where
//! `net/http`, its HTTP/2 and gRPC hand a request over to the goroutines of a connection. All of it is the same for every process that runs a file.

mod buildinfo;
mod dwarf;
mod grpc;
mod http2;
mod layout;
mod modules;
mod pclntab;
mod returns;
mod tls;

use std::sync::Arc;

use geophone_ebpf::config::{RUNTIME_GO, Runtime, go};

use self::{buildinfo::Build, pclntab::Function};
pub use self::{grpc::Streams, layout::Layout};
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
/// What encrypts and decrypts.
const TLS_READ: &str = "crypto/tls.(*Conn).Read";
const TLS_WRITE: &str = "crypto/tls.(*Conn).Write";

/// What is looked for: those that probes are put at, and those whose addresses only are of use.
const FUNCTIONS: [&str; 16] = [
    ROUND_TRIP,
    READY,
    TLS_READ,
    TLS_WRITE,
    CLOSE_TCP,
    CLOSE_UNIX,
    grpc::WRITE,
    grpc::OLD_WRITE,
    grpc::HANDLE,
    http2::SERVE,
    http2::MOVED_SERVE,
    http2::X_SERVE,
    http2::ROUND_TRIP,
    http2::MOVED_ROUND_TRIP,
    http2::X_ROUND_TRIP,
    http2::X_OLD_ROUND_TRIP,
];

impl Detector for Go {
    fn name(&self) -> &'static str {
        "Go"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let Some(build) = buildinfo::read(image)? else {
            return Ok(None);
        };
        let version = &build.version;
        // The table is right for every program of a version that it knows, and costs nothing.
        let layout = match Layout::of(version) {
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
        set(go::HTTP2_CONN, layout.http2_conn);
        set(go::X_HTTP2_CONN, layout.x_http2_conn);
        let mut probes = Vec::new();
        let mut tls = Vec::new();
        let [
            round_trip,
            ready,
            read,
            write,
            close_tcp,
            close_unix,
            grpc_write,
            grpc_old_write,
            grpc_handle,
            http2 @ ..,
        ] = pclntab::functions(image, FUNCTIONS)?;
        let http2 = http2::Functions::of(http2);
        probes.extend(http2.probes(image)?);
        let grpc_write = grpc_write.or(grpc_old_write);
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
        if grpc_write.or(grpc_handle).is_some() {
            match grpc_probes(image, &build, grpc_write, grpc_handle) {
                Ok((streams, found)) => {
                    set(go::GRPC_CLIENT_CONN, streams.client_conn);
                    set(go::GRPC_SERVER_CONN, streams.server_conn);
                    set(go::GRPC_STREAM_ID, streams.id);
                    set(go::GRPC_POINTS, streams.points.into());
                    probes.extend(found);
                }
                // The rest is known all the same.
                Err(refusal) => {
                    log::info!("whose the calls of gRPC in a program of {version} are is not known: {refusal}");
                }
            }
        }
        let anchors = [round_trip, write, grpc_write, grpc_handle, http2.serve, http2.x_serve];
        if let Some(anchor) = anchors.into_iter().flatten().next() {
            for (index, function) in [
                (go::CLOSE_TCP, close_tcp),
                (go::CLOSE_UNIX, close_unix),
                (go::TLS_READ, read),
                (go::TLS_WRITE, write),
                (go::GRPC_WRITE, grpc_write),
                (go::GRPC_HANDLE, grpc_handle),
                (go::HTTP2_SERVE, http2.serve),
                (go::X_HTTP2_SERVE, http2.x_serve),
            ] {
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

/// Where gRPC knows whose a stream is, and how it is found there.
fn grpc_probes(
    image: &Image,
    build: &Build,
    write: Option<Function>,
    handle: Option<Function>,
) -> Result<(Streams, Vec<Probe>), Refusal> {
    let streams = Streams::of(image, build)?;
    let places = [("go_grpc_write", write), ("go_grpc_handle", handle)];
    let found = places.into_iter().filter_map(|(program, function)| Some(probe(image, program, function?.begin)));
    Ok((streams, found.collect::<Result<_, _>>()?))
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

/// What the tables say of a file, and what its debugging information says, where it has any: for checking the tables.
#[derive(Clone, Debug)]
pub struct Layouts {
    /// Version of Go.
    pub version: String,
    /// Go's structures; of what the program does not have, debugging information says what the table says.
    pub go: (Layout, Option<Layout>),
    /// gRPC's, if they are known.
    pub grpc: (Option<Streams>, Option<Streams>),
}

/// Reads both.
///
/// # Errors
/// When the version of Go is not known, or the file cannot be understood.
pub fn layouts(image: &Image) -> Result<Option<Layouts>, Refusal> {
    let Some(build) = buildinfo::read(image)? else {
        return Ok(None);
    };
    let table = Layout::of(&build.version)?;
    let go = (table, dwarf::layout(image)?.map(|described| table.filled(described)));
    let grpc = (build.module(grpc::MODULE).and_then(Streams::known), Streams::described(image)?);
    Ok(Some(Layouts { version: build.version, go, grpc }))
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

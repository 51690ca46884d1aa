//! grpc-go, which has calls sent, and requests read, by goroutines of its connections: where the functions are called that know whose they
//! are, and where those find the connection and the number of the stream. By the version of the module, from 1.40 on.

use super::{
    super::{Image, Refusal},
    buildinfo::Build,
    dwarf,
};

/// The module.
pub const MODULE: &str = "google.golang.org/grpc";
/// The function that writes a message of a client, in the goroutine that makes the call; since 1.69, and before.
pub const WRITE: &str = "google.golang.org/grpc/internal/transport.(*http2Client).write";
pub const OLD_WRITE: &str = "google.golang.org/grpc/internal/transport.(*http2Client).Write";
/// The function that serves a stream, in the goroutine that runs the handler.
pub const HANDLE: &str = "google.golang.org/grpc.(*Server).handleStream";

/// Offsets in bytes, in structures of `google.golang.org/grpc/internal/transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// `http2Client.conn`
    pub client_conn: u64,
    /// `http2Server.conn`
    pub server_conn: u64,
    /// `Stream.id`.
    pub id: u64,
    /// `ClientStream` and `ServerStream` begin with a pointer to a `Stream`, not with one; until 1.68 there are only `Stream`s.
    pub points: bool,
}

/// 1.N, from the first version to the last.
const VERSIONS: &[(u32, u32, Streams)] = &[
    (40, 51, Streams { client_conn: 64, server_conn: 32, id: 0, points: false }),
    (52, 57, Streams { client_conn: 136, server_conn: 32, id: 0, points: false }),
    (58, 59, Streams { client_conn: 128, server_conn: 32, id: 0, points: false }),
    (60, 68, Streams { client_conn: 128, server_conn: 16, id: 0, points: false }),
    (69, 76, Streams { client_conn: 128, server_conn: 16, id: 0, points: true }),
    (77, 85, Streams { client_conn: 128, server_conn: 16, id: 108, points: false }),
];

/// The structures and fields, in the order of [`Streams`]; what follows the `Stream` or the pointer to it.
const FIELDS: [(&str, &str); 4] = [
    ("google.golang.org/grpc/internal/transport.http2Client", "conn"),
    ("google.golang.org/grpc/internal/transport.http2Server", "conn"),
    ("google.golang.org/grpc/internal/transport.Stream", "id"),
    ("google.golang.org/grpc/internal/transport.ClientStream", "ct"),
];

impl Streams {
    /// Of a program: by the version that it says, otherwise by its debugging information.
    ///
    /// # Errors
    /// When that version is not known, and it has none.
    pub fn of(image: &Image, build: &Build) -> Result<Self, Refusal> {
        let version = build.module(MODULE).unwrap_or_default();
        match Self::known(version) {
            Some(streams) => Ok(streams),
            None => Self::described(image)?.ok_or_else(|| Refusal::Version(format!("{MODULE} {version}"))),
        }
    }

    /// Of a version as a module has it.
    pub fn known(version: &str) -> Option<Self> {
        let (minor, _) = version.strip_prefix("v1.")?.split_once('.')?;
        let minor = minor.parse().ok()?;
        let row = VERSIONS.iter().find(|(from, to, _)| (*from..=*to).contains(&minor))?;
        Some(row.2)
    }

    /// As debugging information says; `None` without any. A program may lack one of both sides.
    pub fn described(image: &Image) -> Result<Option<Self>, Refusal> {
        let found = dwarf::fields(image, FIELDS)?;
        let [client, server, Some(id), after] = found else {
            return Ok(None);
        };
        Ok((client.or(server).is_some()).then(|| Self {
            client_conn: client.unwrap_or_default(),
            server_conn: server.unwrap_or_default(),
            id,
            points: after == Some(size_of::<u64>() as u64),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, client_conn) in [
            ("v1.40.0", Some(64)),
            ("v1.51.1-0.20221219232127-8c57bdb0f1ee", Some(64)),
            ("v1.57.2", Some(136)),
            ("v1.85.0", Some(128)),
            ("v1.39.1", None),
            ("v1.86.0", None),
            ("v1.99999999999.0", None),
            ("v2.60.0", None),
            ("(devel)", None),
            ("v1", None),
            ("", None),
        ] {
            assert_eq!(Streams::known(version).map(|streams| streams.client_conn), client_conn, "{version}");
        }
        let last = Streams::known("v1.85.0").unwrap();
        assert_eq!((last.id, last.server_conn, last.points), (108, 16, false));
        let points = |version| Streams::known(version).map(|streams| (streams.id, streams.points));
        let versions = ["v1.68.2", "v1.69.0", "v1.76.0"].map(points);
        assert_eq!(versions, [Some((0, false)), Some((0, true)), Some((0, true))]);
    }
}

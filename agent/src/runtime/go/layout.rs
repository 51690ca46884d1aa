//! Where fields are in the structures of Go's runtime, of `net/http` and of `golang.org/x/net/http2`, by the version of Go: the same on
//! all 64-bit architectures. `cargo run --example go_layout` compares this with the debugging information of programs.

use super::Refusal;

/// Offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `runtime.g.m`
    pub g_m: u64,
    /// `runtime.g.goid`
    pub g_goid: u64,
    /// `runtime.g.parentGoid`; 0 before Go 1.21, which does not keep it.
    pub g_parent_goid: u64,
    /// `runtime.m.curg`
    pub m_curg: u64,
    /// `net/http.persistConn.conn`
    pub persist_conn: u64,
    /// `net.netFD.pfd.Sysfd`
    pub sysfd: u64,
    /// `net/http.http2serverConn.conn`; since Go 1.27 `net/http/internal/http2.serverConn.conn`.
    pub http2_conn: u64,
    /// `golang.org/x/net/http2.serverConn.conn`, in all versions of that module since 2020.
    pub x_http2_conn: u64,
}

/// Go 1.N, from the first version to the last, with `g.goid`, `g.parentGoid`, `m.curg`, and the connection of HTTP/2.
const VERSIONS: &[(u32, u32, u64, u64, u64, u64)] = &[
    (20, 20, 152, 0, 192, 16),
    (21, 22, 152, 272, 192, 16),
    (23, 24, 160, 280, 192, 16),
    (25, 25, 152, 272, 184, 16),
    (26, 26, 152, 280, 184, 16),
    (27, 27, 152, 280, 184, 24),
];

impl Layout {
    /// As debugging information says, with this for what the program does not have.
    pub(super) fn filled(&self, described: Self) -> Self {
        let or = |described, table| if described == 0 { table } else { described };
        Self {
            persist_conn: or(described.persist_conn, self.persist_conn),
            http2_conn: or(described.http2_conn, self.http2_conn),
            x_http2_conn: or(described.x_http2_conn, self.x_http2_conn),
            ..described
        }
    }

    /// Of a version as `go version` says it.
    ///
    /// # Errors
    /// When that version is not known.
    pub fn of(version: &str) -> Result<Self, Refusal> {
        let unknown = || Refusal::Version(version.to_owned());
        let minor = minor(version).ok_or_else(unknown)?;
        let row = VERSIONS.iter().find(|(from, to, ..)| (*from..=*to).contains(&minor)).ok_or_else(unknown)?;
        let (_, _, g_goid, g_parent_goid, m_curg, http2_conn) = *row;
        Ok(Self { g_m: 48, g_goid, g_parent_goid, m_curg, persist_conn: 80, sysfd: 16, http2_conn, x_http2_conn: 16 })
    }
}

/// N of Go 1.N: `go1.21.3`, `go1.22rc1`, `go1.24.1 X:boringcrypto`. `None` for a version in the making (`devel go1.27-1a2b3c`), which
/// may be anything between two versions.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, expected) in [
            ("go1.21.3", Some(21)),
            ("go1.22rc1", Some(22)),
            ("go1.24.1 X:boringcrypto", Some(24)),
            ("go1.27", Some(27)),
            ("devel go1.27-1a2b3c Tue Jan 6", None),
            ("go1.", None),
            ("go1.99999999999", None),
            ("go2.1", None),
        ] {
            assert_eq!(minor(version), expected, "{version}");
        }
        assert_eq!(Layout::of("go1.20.14").unwrap().g_parent_goid, 0);
        assert_eq!(Layout::of("go1.25").unwrap().m_curg, 184);
        assert_eq!(["go1.26.8", "go1.27rc1"].map(|version| Layout::of(version).unwrap().http2_conn), [16, 24]);
        for unknown in ["go1.19.13", "go1.28", "devel +abc"] {
            assert_eq!(Layout::of(unknown).unwrap_err().to_string(), format!("{unknown} is not known"));
        }
    }
}

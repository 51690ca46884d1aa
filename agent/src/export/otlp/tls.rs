//! TLS for OTLP over HTTP: rustls with ring, the roots of the system or a given certificate, a client certificate.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::config::{ConfigError, Tls};

/// A client's configuration.
///
/// # Errors
/// No certificate in a file, none on the system, or a key that does not fit.
pub fn client(tls: &Tls) -> Result<ClientConfig, ConfigError> {
    let error = |what: &str, error: &dyn std::fmt::Display| ConfigError::Tls(format!("{what}: {error}"));
    let mut roots = RootCertStore::empty();
    match &tls.roots {
        Some(pem) => {
            for certificate in certificates("certificate", pem)? {
                roots.add(certificate).map_err(|e| error("certificate", &e))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(system.certs);
            if added == 0 {
                let reason = system.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
                return Err(error("certificates of the system (give one by OTEL_EXPORTER_OTLP_CERTIFICATE)", &reason));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|e| error("protocol versions", &e))?
        .with_root_certificates(roots);
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let chain = certificates("client certificate", chain)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| error("client key", &e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| error("client certificate", &e))
        }
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(ConfigError::Tls(format!("{what}: there is none in the file"))),
        Err(error) => Err(ConfigError::Tls(format!("{what}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_certificates_and_refuses_anything_else() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (pem, key) = (own.cert.pem().into_bytes(), own.signing_key.serialize_pem().into_bytes());
        let roots = Some(pem.clone());
        assert!(client(&Tls { roots: roots.clone(), identity: None }).is_ok());
        assert!(client(&Tls { roots: roots.clone(), identity: Some((pem.clone(), key.clone())) }).is_ok());

        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other_key = other.signing_key.serialize_pem().into_bytes();
        for bad in [
            Tls { roots: Some(b"nothing".to_vec()), identity: None },
            Tls { roots: Some(key), identity: None },
            Tls { roots: roots.clone(), identity: Some((pem.clone(), pem.clone())) },
            Tls { roots, identity: Some((pem, other_key)) },
        ] {
            assert!(matches!(client(&bad), Err(ConfigError::Tls(_))));
        }
    }
}

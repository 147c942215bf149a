//! A certificate for one run: what TLS costs the function is measured, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;

/// What a server on loopback needs, and the file by which a client knows it.
pub(crate) fn certify(folder: &Path) -> Result<(TlsAcceptor, PathBuf), Error> {
    let failed = |error: &dyn std::error::Error| Error::Tls(error.to_string());
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
        .map_err(|error| failed(&error))?;
    let path = folder.join(format!("certificate-{}.pem", std::process::id()));
    fs::write(&path, certified.cert.pem()).map_err(Error::file("write", &path))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key)
        })
        .map_err(|error| failed(&error))?;
    Ok((TlsAcceptor::from(Arc::new(config)), path))
}

//! What a test puts in the place of a server that it does not have: a Runtime API, a proxy, an S3
//! behind TLS.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;
use crate::http1::Message;

/// An HTTP server that records the first line of every request, and answers with what a test makes
/// of that line.
///
/// Dropping it ends it, with every connection.
#[derive(Debug)]
pub struct RecordingServer {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    _listening: JoinSet<()>,
}

impl RecordingServer {
    /// Listens on a free port of the loopback interface.
    ///
    /// `answer` makes the whole answer, head and body; with `None`, none is sent.
    pub async fn start(
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::listen("http", None, answer).await
    }

    /// The same over TLS. It comes with the certificate authority that a client has to trust, as
    /// PEM.
    ///
    /// Each server has an authority of its own. A client that does not trust it sends no request.
    pub async fn start_tls(
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<(Self, String), Error> {
        let (tls, authority) = certify()?;
        Ok((Self::listen("https", Some(tls), answer).await?, authority))
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The first lines of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn listen(
        scheme: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::service("start a recording server", error.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let endpoint = format!("{scheme}://{}", listener.local_addr().map_err(failed)?);
        let requests = Arc::default();
        let service = Service { requests: Arc::clone(&requests), answer: Arc::new(answer) };
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, tls, service));
        Ok(Self { endpoint, requests, _listening: listening })
    }
}

/// The answer to a request with this first line; `None`: it gets none.
type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

#[derive(Clone)]
struct Service {
    requests: Arc<Mutex<Vec<String>>>,
    answer: Arc<Answer>,
}

impl Service {
    /// One client's connection, until the client ends it.
    async fn serve<C: AsyncRead + AsyncWrite + Unpin + Send>(self, client: C) -> io::Result<()> {
        let mut client = BufReader::new(client);
        while let Some(request) = Message::read_request(&mut client).await? {
            let line = request.first_line();
            let answer = (self.answer)(&line);
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            let Some(answer) = answer else {
                return std::future::pending().await;
            };
            client.write_all(answer.as_bytes()).await?;
            client.flush().await?;
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, service: Service) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (tls, service) = (tls.clone(), service.clone());
                connections.spawn(async move {
                    match tls {
                        None => service.serve(client).await,
                        Some(tls) => service.serve(tls.accept(client).await?).await,
                    }
                });
            }
            // With an error where a client broke off or its handshake failed: it is the one to
            // report that.
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// What a server on 127.0.0.1 needs for TLS, and the authority that issued its certificate, as PEM.
fn certify() -> Result<(TlsAcceptor, String), Error> {
    let failed =
        |error: &dyn std::error::Error| Error::service("make a certificate", error.to_string());
    let (authority, certificate, key) = issue().map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(|error| failed(&error))?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority))
}

/// A new authority, as PEM, a certificate of it, and the key of that certificate.
fn issue() -> Result<(String, CertificateDer<'static>, KeyPair), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority of a test");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.der().clone(), key))
}

//! HTTP servers on loopback, with and without TLS.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;

/// A server on a free port of the loopback interface. Dropping it ends it, with every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _listening: JoinSet<()>,
}

impl Server {
    /// Serves HTTP/1.1, over TLS if there is a `tls`. Where a client hangs up, the future of its
    /// request is dropped.
    pub async fn start<S, B>(tls: Option<TlsAcceptor>, service: S) -> Result<Self, Error>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let http = http1::Builder::new();
        Self::listen(move |stream| {
            let (http, tls, service) = (http.clone(), tls.clone(), service.clone());
            async move {
                // A client that hangs up, or that does not accept the certificate, is no error here.
                match tls {
                    None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }
            }
        })
        .await
    }

    /// Calls `serve` for each connection.
    pub(crate) async fn listen<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            Error::service("listen on the loopback interface", error.to_string())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        // Otherwise a small answer may wait 40 ms for its acknowledgement.
                        drop(stream.set_nodelay(true));
                        connections.spawn(serve(stream));
                    }
                    Some(_ended) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, _listening: listening })
    }

    /// Its IP address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A whole answer.
pub type Answer = Response<Full<Bytes>>;

/// The text of a request's body.
pub async fn text_of(request: Request<Incoming>) -> String {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&body).into_owned()
}

/// An answer with this status, content type and text.
pub fn answer(status: u16, content_type: &str, text: impl Into<Bytes>) -> Answer {
    let answer = Response::builder().status(status).header("content-type", content_type);
    answer.body(Full::new(text.into())).unwrap_or_default()
}

/// What a server on 127.0.0.1 needs for TLS, and the authority that issued its certificate, as PEM.
///
/// Each call makes a new authority.
pub fn certify() -> Result<(TlsAcceptor, String), Error> {
    issue().map_err(|error| Error::service("make a certificate", error.to_string()))
}

fn issue() -> Result<(TlsAcceptor, String), Box<dyn StdError>> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority of a test");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}

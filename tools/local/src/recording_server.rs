//! What a test uses in place of a server that it does not have: a Runtime API, a proxy, an S3
//! behind TLS.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::http::{self, Server};

/// An HTTP server that records the first line and the body of every request, and answers with what a test makes
/// of that line.
///
/// Dropping it ends it, with every connection.
#[derive(Debug)]
pub struct RecordingServer {
    endpoint: String,
    requests: Arc<Mutex<Vec<(String, String)>>>,
    _server: Server,
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

    /// The same over TLS. It returns also the certificate authority that a client has to trust, as
    /// PEM.
    ///
    /// Each server has its own authority. A client that does not trust it sends no request.
    pub async fn start_tls(
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<(Self, String), Error> {
        let (tls, authority) = http::certify()?;
        Ok((Self::listen("https", Some(tls), answer).await?, authority))
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The first lines of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.recorded(|(line, _)| line.clone())
    }

    /// The bodies of all requests so far.
    pub fn bodies(&self) -> Vec<String> {
        self.recorded(|(_, body)| body.clone())
    }

    fn recorded(&self, part: impl Fn(&(String, String)) -> String) -> Vec<String> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(part).collect()
    }

    async fn listen(
        scheme: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, recorded) = (Arc::new(answer), Arc::clone(&requests));
        let service = service_fn(move |request: Request<Incoming>| {
            let (answer, recorded) = (Arc::clone(&answer), Arc::clone(&recorded));
            async move {
                let (method, uri) = (request.method(), request.uri());
                let line = format!("{method} {uri} {:?}", request.version());
                let body = http::text_of(request).await;
                let answer = answer(&line);
                recorded.lock().unwrap_or_else(PoisonError::into_inner).push((line, body));
                match answer {
                    Some(text) => Ok::<_, Infallible>(response(&text)),
                    None => std::future::pending().await,
                }
            }
        });
        let server = Server::start(tls, service).await?;
        let endpoint = format!("{scheme}://{}", server.address());
        Ok(Self { endpoint, requests, _server: server })
    }
}

/// Reads an answer as it looks on the wire. A malformed one becomes a 500.
fn response(text: &str) -> Response<Full<Bytes>> {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let response = headers.fold(Response::builder().status(status), |response, (name, value)| {
        response.header(name, value)
    });
    let response = response.body(Full::from(body.to_owned()));
    response.unwrap_or_else(|error| http::answer(500, "text/plain", error.to_string()))
}
